-- A refresh makes rollups of the samples that there are: of a chunk that was dropped it would make nothing, and erase
-- what the rollups have of it. A policy's window is counted from now, and cannot leave such times out while it takes in
-- others as old (a file of last year is to be rolled up too). So jobs of our own stand in the place of the policies, with
-- the same schedules, and refresh everything but what was dropped.

CREATE PROCEDURE refresh_rollups(job_id integer, config jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    bucket interval := config ->> 'bucket';
    batched boolean := (SELECT max(pronargs) > 4 FROM pg_proc WHERE proname = 'refresh_continuous_aggregate');
    lows timestamptz[];
    highs timestamptz[];
BEGIN
    -- Who drops a chunk has this lock alone: no refresh has begun before it and goes on behind it. Of the session, as a
    -- refresh commits on its way; when it fails, the job's session ends, and the lock with it.
    IF NOT pg_try_advisory_lock_shared(hashtext('telemetry.rollups')) THEN
        RETURN;
    END IF;
    SELECT array_agg(lower(r) ORDER BY r), array_agg(upper(r) ORDER BY r) INTO lows, highs
    FROM unnest(
        tstzmultirange(tstzrange(NULL, clock_timestamp() - (config ->> 'end')::interval))
        - coalesce((SELECT range_agg(tstzrange(d.begins, d.ends)) FROM dropped_chunks d), '{}')
    ) r
    WHERE lower(r) IS NULL  -- else it holds a whole bucket: a smaller window would be an error
       OR time_bucket(bucket, upper(r)) >= time_bucket(bucket, lower(r) - INTERVAL '1 microsecond') + 2 * bucket;
    FOR n IN 1 .. coalesce(cardinality(lows), 0) LOOP
        IF batched THEN
            CALL refresh_continuous_aggregate((config ->> 'rollup')::regclass, lows[n], highs[n],
                                              options => jsonb_build_object('buckets_per_batch', config -> 'batch'));
        ELSE
            CALL refresh_continuous_aggregate((config ->> 'rollup')::regclass, lows[n], highs[n]);
        END IF;
    END LOOP;
    PERFORM pg_advisory_unlock_shared(hashtext('telemetry.rollups'));
END
$$;
REVOKE EXECUTE ON PROCEDURE refresh_rollups(integer, jsonb) FROM PUBLIC;

-- An admin may have removed one.
SELECT remove_continuous_aggregate_policy('rollup_minute', if_exists => true);
SELECT remove_continuous_aggregate_policy('rollup_hour', if_exists => true);
SELECT remove_continuous_aggregate_policy('rollup_day', if_exists => true);
SELECT add_job('refresh_rollups', INTERVAL '5 minutes', initial_start => clock_timestamp() + INTERVAL '10 minutes',
    config => '{"rollup": "rollup_minute", "bucket": "1 minute", "end": "2 minutes", "batch": 240}');
SELECT add_job('refresh_rollups', INTERVAL '30 minutes', initial_start => clock_timestamp() + INTERVAL '11 minutes',
    config => '{"rollup": "rollup_hour", "bucket": "1 hour", "end": "5 minutes", "batch": 240}');
SELECT add_job('refresh_rollups', INTERVAL '6 hours', initial_start => clock_timestamp() + INTERVAL '12 minutes',
    config => '{"rollup": "rollup_day", "bucket": "1 day", "end": "1 hour", "batch": 100}');
