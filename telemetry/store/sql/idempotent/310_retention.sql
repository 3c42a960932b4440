-- Dropping old samples, a chunk (on plain PostgreSQL a partition) and a transaction each. The writer may not drop tables, so
-- it asks the owner's functions. Each is asked for in one statement that commits by itself: who asks may die or stop at
-- any moment, and nothing is half done or stays locked.

CREATE OR REPLACE FUNCTION sample_chunks() RETURNS TABLE (chunk regclass, begins timestamptz, ends timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = 'public.samples'::regclass) = 'p' THEN
        RETURN QUERY
        SELECT i.inhrelid::regclass, bound[1]::timestamptz, bound[2]::timestamptz
        FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.+)''\) TO \(''(.+)''\)') bound
        WHERE i.inhparent = 'public.samples'::regclass;
    ELSE
        RETURN QUERY
        SELECT to_regclass(format('%I.%I', c.chunk_schema, c.chunk_name)), c.range_start, c.range_end
        FROM timescaledb_information.chunks c
        WHERE c.hypertable_schema = 'public' AND c.hypertable_name = 'samples';
    END IF;
END
$$;

-- Whether rollups say all that the samples of a time say. Without rollups there is nothing to wait for; for a time that was
-- dropped before there is none either, as it is refreshed no more: what came later is in no rollup.
CREATE OR REPLACE FUNCTION rolled_up(low timestamptz, high timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first bigint := extract(epoch FROM low) * 1000000;
    last bigint := extract(epoch FROM high) * 1000000 - 1;
    levels integer[];
    marks timestamptz[];  -- up to where each is made, within the time
BEGIN
    IF to_regclass('public.rollup_day') IS NULL
       OR EXISTS (SELECT FROM public.dropped_chunks d WHERE d.begins <= low AND d.ends >= high) THEN
        RETURN true;
    END IF;
    SELECT array_agg(l.level ORDER BY l.level), array_agg(
               low + (least(greatest(w.watermark, first), last + 1) - first) * INTERVAL '1 microsecond' ORDER BY l.level)
    INTO levels, marks
    FROM (VALUES (1, 'rollup_minute'), (2, 'rollup_hour'), (3, 'rollup_day')) AS l(level, name)
    JOIN _timescaledb_catalog.continuous_agg c ON c.user_view_schema = 'public' AND c.user_view_name = l.name
    JOIN _timescaledb_catalog.continuous_aggs_watermark w ON w.mat_hypertable_id = c.mat_hypertable_id
    WHERE NOT EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log d
                      WHERE d.hypertable_id = c.raw_hypertable_id
                        AND d.lowest_modified_value <= last AND d.greatest_modified_value >= first)
      AND NOT EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log d
                      WHERE d.materialization_id = c.mat_hypertable_id
                        AND d.lowest_modified_value <= last AND d.greatest_modified_value >= first)
      AND NOT EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_materialization_ranges d
                      WHERE d.materialization_id = c.mat_hypertable_id
                        AND d.lowest_modified_value <= last AND d.greatest_modified_value >= first);  -- as in steps.sql
    RETURN levels IS NOT DISTINCT FROM ARRAY[1, 2, 3]  -- NULL where all are in doubt, as before the first refresh
       AND NOT EXISTS (SELECT FROM public.samples s WHERE s.time >= marks[1] AND s.time < high)
       AND NOT EXISTS (SELECT FROM public.rollup_minute r WHERE r.bucket >= marks[2] AND r.bucket < high)
       AND NOT EXISTS (SELECT FROM public.rollup_hour r WHERE r.bucket >= marks[3] AND r.bucket < high);
END
$$;

-- Write down how many readings of which blocks are dropped; how many of them are of a block at all. A snapshot shows each
-- block in the ledger or pruned, never as both, and what is pruned stays so: nobody need be kept from pruning.
CREATE OR REPLACE FUNCTION account_for_dropped(numbers bigint[], counts bigint[]) RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
    WITH counted AS (
        SELECT c.block, c.n FROM unnest(numbers, counts) AS c(block, n)
    ), listed AS (
        INSERT INTO public.dropped_blocks AS d (block, readings)
        SELECT c.block, c.n FROM counted c JOIN public.blocks b USING (block)
        ON CONFLICT (block) DO UPDATE SET readings = d.readings + excluded.readings
        RETURNING d.block
    ), pruned AS (  -- each range is opened once: to look a block up in them would unpack all ranges of its part again
        SELECT p.source, c.n
        FROM public.pruned_blocks p, unnest(p.blocks) r, generate_series(lower(r), upper(r) - 1) AS number
        JOIN counted c ON c.block = number
        WHERE p.part IN (SELECT counted.block / 1000 FROM counted)
    ), summed AS (
        INSERT INTO public.dropped_sources AS d (source, readings) SELECT source, sum(n) FROM pruned GROUP BY source
        ON CONFLICT (source) DO UPDATE SET readings = d.readings + excluded.readings
    )
    SELECT coalesce(sum(n), 0)::bigint
    FROM (SELECT c.n FROM counted c JOIN listed USING (block) UNION ALL SELECT n FROM pruned) explained
$$;

-- What was dropped of blocks that were pruned since becomes sums, as their ledger rows did; how many blocks.
CREATE OR REPLACE FUNCTION sum_dropped() RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM public.dropped_blocks d
        USING public.pruned_blocks p
        WHERE p.part = d.block / 1000 AND p.blocks @> d.block
        RETURNING p.source, d.readings
    ), summed AS (
        INSERT INTO public.dropped_sources AS d (source, readings) SELECT source, sum(readings) FROM gone GROUP BY source
        ON CONFLICT (source) DO UPDATE SET readings = d.readings + excluded.readings
    )
    SELECT count(*) FROM gone
$$;

-- Whether some of these blocks may have readings with times of their source. A collector of a version before source_days
-- stores such readings and does not say so there; the ledger does, and of pruned blocks the source's name. What neither
-- knows counts as such.
CREATE OR REPLACE FUNCTION have_own_times(numbers bigint[]) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT number FROM unnest(numbers) AS number
        EXCEPT (  -- not EXISTS: it is asked of hundreds of thousands, and the planner takes them for ten
            SELECT b.block FROM public.blocks b WHERE b.time0 IS NOT NULL
            UNION ALL
            SELECT block
            FROM public.pruned_blocks p, unnest(p.blocks) r, generate_series(lower(r), upper(r) - 1) AS block
            WHERE p.source ~ ':now$' AND p.part IN (SELECT number / 1000 FROM unnest(numbers) AS number)
        )
    )
$$;

-- Lock a chunk of samples for oneself; an error when it is not to be had within the patience. Tried for moments, with
-- pauses: everyone who comes meanwhile waits behind a lock that is waited for.
CREATE OR REPLACE FUNCTION lock_for_drop(part regclass, plain boolean, patience interval) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until timestamptz := clock_timestamp() + patience;
BEGIN
    LOOP
        BEGIN
            IF plain THEN
                LOCK TABLE ONLY public.samples IN ACCESS EXCLUSIVE MODE;
            END IF;
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', part);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > until THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.5);
        END;
    END LOOP;
END
$$;

-- What became of one chunk of samples: dropped (and of how many readings), young, kept (it has readings with times of
-- their source, and only those that were stamped are to go), gone, busy (another session drops, or rollups are being
-- refreshed), or waiting (for a refresh). A lock that is not to be had in time is an error, and nothing has changed.
CREATE OR REPLACE FUNCTION drop_samples(chunk_id oid, keep interval, stamped_only boolean, patience interval)
RETURNS TABLE (outcome text, dropped bigint)
LANGUAGE plpgsql STRICT SECURITY DEFINER  -- STRICT: whatever is compared with NULL is not refused
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '700ms'  -- below deadlock_timeout: who stores is never the one to be ended for it
AS $$
DECLARE
    latest timestamptz := clock_timestamp() - keep;
    plain boolean := (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = 'public.samples'::regclass) = 'p';
    part regclass;
    low timestamptz;
    high timestamptz;
    numbers bigint[];
    counts bigint[];
    explained bigint;
BEGIN
    IF latest > clock_timestamp() - INTERVAL '24 hours' THEN  -- not keep: '-12 months 361 days' compares as a day
        RAISE invalid_parameter_value USING MESSAGE = format('readings are kept for a day at least, not for %s', keep);
    END IF;
    dropped := 0;
    IF NOT pg_try_advisory_xact_lock(hashtext('telemetry.retention'))
       OR NOT pg_try_advisory_xact_lock(hashtext('telemetry.rollups')) THEN
        outcome := 'busy';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT c.chunk, c.begins, c.ends INTO part, low, high FROM public.sample_chunks() c WHERE c.chunk = chunk_id;
    outcome := CASE WHEN part IS NULL THEN 'gone' WHEN high > latest THEN 'young' ELSE 'dropped' END;
    IF outcome = 'dropped' THEN
        -- From here on nothing is stored in it, but it is read; what was under way is committed and can be seen.
        EXECUTE format('LOCK TABLE %s IN SHARE MODE', part);
        IF stamped_only AND EXISTS (
            SELECT FROM public.source_days s
            WHERE s.day::timestamp AT TIME ZONE 'UTC' < high AND (s.day + 1)::timestamp AT TIME ZONE 'UTC' > low
        ) THEN
            outcome := 'kept';
        ELSIF public.rolled_up(low, high) IS NOT TRUE THEN
            outcome := 'waiting';
        END IF;
    END IF;
    IF outcome <> 'dropped' THEN
        RETURN NEXT;
        RETURN;
    END IF;

    -- Counting may take long, and would be for nothing where somebody is in the way, again and again. A lock that was had is
    -- let go with the sub-transaction: to count, questions need not wait.
    BEGIN
        PERFORM public.lock_for_drop(part, plain, patience);
        RAISE EXCEPTION USING ERRCODE = 'TE001';
    EXCEPTION WHEN SQLSTATE 'TE001' THEN NULL;
    END;
    EXECUTE format(
        'SELECT coalesce(array_agg(block), ''{}''), coalesce(array_agg(n), ''{}''), coalesce(sum(n), 0)
         FROM (SELECT block, count(*) AS n FROM public.samples WHERE time >= %L AND time < %L GROUP BY block) counted',
        low, high) INTO numbers, counts, dropped;
    IF stamped_only AND public.have_own_times(numbers) THEN
        INSERT INTO public.source_days SELECT (d AT TIME ZONE 'UTC')::date
        FROM generate_series(low, high - INTERVAL '1 microsecond', INTERVAL '1 day') d
        ON CONFLICT DO NOTHING;
        outcome := 'kept';
        dropped := 0;
        RETURN NEXT;
        RETURN;
    END IF;
    PERFORM public.sum_dropped();
    explained := public.account_for_dropped(numbers, counts);

    PERFORM public.lock_for_drop(part, plain, patience);
    PERFORM public.drop_chunk('public.samples', part, low, high);
    INSERT INTO public.dropped_chunks AS d (begins, ends, readings, orphans, dropped_at)
    VALUES (low, high, dropped, dropped - explained, clock_timestamp())
    ON CONFLICT (begins, ends) DO UPDATE
        SET readings = d.readings + excluded.readings, orphans = d.orphans + excluded.orphans, times = d.times + 1,
            dropped_at = excluded.dropped_at;
    RETURN NEXT;
END
$$;

-- The chunks of all rollups; none where there are no rollups.
CREATE OR REPLACE FUNCTION rollup_chunks() RETURNS TABLE (rollup text, chunk regclass, begins timestamptz, ends timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass('public.rollup_day') IS NOT NULL THEN
        RETURN QUERY
        SELECT a.view_name::text, to_regclass(format('%I.%I', c.chunk_schema, c.chunk_name)), c.range_start, c.range_end
        FROM timescaledb_information.continuous_aggregates a
        JOIN timescaledb_information.chunks c ON c.hypertable_schema = a.materialization_hypertable_schema
                                             AND c.hypertable_name = a.materialization_hypertable_name
        WHERE a.view_schema = 'public' AND a.view_name IN ('rollup_minute', 'rollup_hour', 'rollup_day');
    END IF;
END
$$;

-- What became of one chunk of a rollup: as drop_samples; kept: samples are still there that it would be made of again.
CREATE OR REPLACE FUNCTION drop_rollup(chunk_id oid, keep interval) RETURNS TABLE (outcome text, dropped bigint)
LANGUAGE plpgsql STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '700ms'
AS $$
DECLARE
    latest timestamptz := clock_timestamp() - keep;
    name text;
    part regclass;
    low timestamptz;
    high timestamptz;
BEGIN
    IF latest > clock_timestamp() - INTERVAL '24 hours' THEN  -- not keep: '-12 months 361 days' compares as a day
        RAISE invalid_parameter_value USING MESSAGE = format('rollups are kept for a day at least, not for %s', keep);
    END IF;
    dropped := 0;
    SELECT c.rollup, c.chunk, c.begins, c.ends INTO name, part, low, high
    FROM public.rollup_chunks() c WHERE c.chunk = chunk_id;
    IF NOT pg_try_advisory_xact_lock(hashtext('telemetry.retention'))
       OR NOT pg_try_advisory_xact_lock(hashtext('telemetry.rollups')) THEN
        outcome := 'busy';
    ELSIF part IS NULL THEN
        outcome := 'gone';
    ELSIF high > latest THEN
        outcome := 'young';
    ELSIF EXISTS (SELECT FROM public.sample_chunks() c WHERE c.begins < high AND c.ends > low) THEN
        outcome := 'kept';
    ELSE
        outcome := 'dropped';
        PERFORM public.drop_chunk(format('public.%I', name)::regclass, part, low, high);
    END IF;
    RETURN NEXT;
END
$$;

CREATE OR REPLACE FUNCTION drop_chunk(parent regclass, part regclass, low timestamptz, high timestamptz) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home text := (SELECT extnamespace::regnamespace FROM pg_catalog.pg_extension WHERE extname = 'timescaledb');
    chosen text[];
BEGIN
    IF (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = parent) = 'p' THEN
        EXECUTE format('DROP TABLE %s', part);
        RETURN;
    END IF;
    EXECUTE format('SELECT array_agg(c) FROM %s.drop_chunks($1, older_than => $2, newer_than => $3) c', home)
    INTO chosen USING parent, high, low;
    IF cardinality(chosen) IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION 'one chunk was to be dropped, not %', chosen;
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION account_for_dropped(bigint[], bigint[]), sum_dropped(), have_own_times(bigint[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION lock_for_drop(regclass, boolean, interval) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION drop_samples(oid, interval, boolean, interval), drop_rollup(oid, interval) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION drop_chunk(regclass, regclass, timestamptz, timestamptz) FROM PUBLIC;
