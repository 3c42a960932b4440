-- What retention asks, by name. Parameters are psycopg's; the functions are those of idempotent/310_retention.sql.

-- name: due
-- Chunks that ended so long ago, and whether they have readings with times of their source. The latest first: TimescaleDB
-- takes the first instant behind a dropped chunk for changed too, and the day that it belongs to would have to wait for a
-- refresh before it can go.
SELECT c.chunk::oid::bigint, GREATEST(c.begins, '0001-01-01 00:00:00+00'), c.ends,
       EXISTS (SELECT FROM source_days s
               WHERE s.day::timestamp AT TIME ZONE 'UTC' < c.ends AND (s.day + 1)::timestamp AT TIME ZONE 'UTC' > c.begins)
FROM sample_chunks() c
WHERE c.chunk IS NOT NULL AND c.ends <= clock_timestamp() - make_interval(secs => %(keep)s)
ORDER BY c.begins DESC;

-- name: due_rollups
SELECT c.chunk::oid::bigint, GREATEST(c.begins, '0001-01-01 00:00:00+00'), c.ends, false, c.rollup FROM rollup_chunks() c
WHERE c.chunk IS NOT NULL AND c.ends <= clock_timestamp() - make_interval(secs => %(keep)s)
  AND NOT EXISTS (SELECT FROM sample_chunks() s WHERE s.begins < c.ends AND s.ends > c.begins)
ORDER BY c.ends, c.begins DESC;

-- name: drop_rollup
SELECT outcome, dropped FROM drop_rollup(%(chunk)s::bigint::oid, make_interval(secs => %(keep)s));

-- name: drop
SELECT outcome, dropped FROM drop_samples(
    %(chunk)s::bigint::oid, make_interval(secs => %(keep)s), %(stamped_only)s, make_interval(secs => %(patience)s));

-- name: stamped
-- Sources whose readings have the time at which they were read: their blocks carry it from the reservation on.
SELECT DISTINCT b.source FROM unnest(%(sources)s::text[], %(first_rows)s::bigint[]) AS w(source, first_row)
JOIN blocks b USING (source, first_row) WHERE b.time0 IS NOT NULL;

-- name: source_days
INSERT INTO source_days SELECT unnest(%(days)s::date[]) ON CONFLICT DO NOTHING;
