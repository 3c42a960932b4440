-- Readings made into steps of time, by name. Parameters are psycopg's; what a person may type is a parameter.

-- name: step_snapshot
-- All statements of an answer see the same rows. Some hundred thousand groups are to fit into memory.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SET LOCAL work_mem = '32MB';

-- name: step_metrics
-- The metrics that a question may mean; NULL: all.
SELECT metric, name FROM metrics WHERE %(metrics)s::smallint[] IS NULL OR metric = ANY(%(metrics)s::smallint[]) ORDER BY metric;

-- name: step_places
SELECT gpu, id, coalesce(labels ->> 'GPU_I_ID', ''), hostname, model_name FROM gpus
WHERE %(gpus)s::int[] IS NULL OR gpu = ANY(%(gpus)s::int[]);

-- name: step_loads
SELECT workload, namespace, pod FROM workloads
WHERE %(workloads)s::int[] IS NULL OR workload = ANY(%(workloads)s::int[]);

-- name: step_of_samples
-- The readings of a question; step_grouped, step_first or step_last goes on. A statement of them all would
-- be planned for each of them, over every chunk. A group's key is the sum of what its metric, GPU and workload are given
-- for it; they come as arrays, which parallel workers can join and subqueries not. Steps count from an origin before the
-- first reading, because older servers' date_bin errs for exact multiples before it. Where something is added or
-- multiplied, values beyond 1e270 count as 1e270, and those below 1e-270 as 0: no metric is there, and an overflow or
-- underflow would be an error of the whole statement.
WITH names AS (
    SELECT * FROM unnest(%(metrics)s::smallint[], %(metric_keys)s::bigint[], %(factors)s::float8[]) AS n(metric, key, factor)
), places AS (
    SELECT * FROM unnest(%(places)s::int[], %(place_keys)s::bigint[]) AS p(gpu, key)
), loads AS (
    SELECT * FROM unnest(%(loads)s::int[], %(load_keys)s::bigint[]) AS l(workload, key)
), found AS NOT MATERIALIZED (
    SELECT date_bin(%(step)s::interval, s.time, 'epoch'::timestamptz + %(origin)s::interval) AS step,
           n.key + coalesce(p.key, 0) + coalesce(l.key, 0) AS key,
           s.time, s.gpu, s.metric, s.workload, s.block,
           CASE WHEN %(as_is)s THEN s.value WHEN abs(s.value) < 1e-270 THEN 0
                ELSE least(greatest(s.value, -1e270), 1e270) * n.factor END AS value
    FROM samples s
    JOIN names n USING (metric)
    LEFT JOIN places p USING (gpu)
    LEFT JOIN loads l USING (workload)
    WHERE s.time >= %(start)s AND s.time <= %(end)s
      AND (%(only)s::smallint[] IS NULL OR s.metric = ANY(%(only)s::smallint[]))
      AND (%(gpus)s::int[] IS NULL OR s.gpu = ANY(%(gpus)s::int[]))
      AND (%(workloads)s::int[] IS NULL OR s.workload = ANY(%(workloads)s::int[]))
), answered AS (

-- name: step_grouped
-- Of the ways to aggregate the planner drops those that the parameter rules out.
    SELECT step, key, count(*) AS readings,
           CASE %(agg)s
               WHEN 'avg' THEN sum(value) WHEN 'sum' THEN sum(value) WHEN 'count' THEN count(*)
               WHEN 'min' THEN min(value) WHEN 'max' THEN max(value)
               WHEN 'p50' THEN percentile_cont(0.50) WITHIN GROUP (ORDER BY value)
               WHEN 'p95' THEN percentile_cont(0.95) WITHIN GROUP (ORDER BY value)
               WHEN 'p99' THEN percentile_cont(0.99) WITHIN GROUP (ORDER BY value)
           END AS value
    FROM found GROUP BY step, key

-- name: step_first
    SELECT DISTINCT ON (step, key) step, key, 1 AS readings, value FROM found
    ORDER BY step, key, time, workload, block, value

-- name: step_last
    SELECT DISTINCT ON (step, key) step, key, 1 AS readings, value FROM found
    ORDER BY step, key, time DESC, workload DESC, block DESC, value DESC

-- name: step_series
-- Rows of the same board, and of the same MIG instance of it, are one series, which is called after the lowest of them.
SELECT gpu, min(gpu) OVER (PARTITION BY id, coalesce(labels ->> 'GPU_I_ID', '')) FROM gpus
WHERE %(gpus)s::int[] IS NULL OR id IN (SELECT id FROM gpus WHERE gpu = ANY(%(gpus)s::int[]));

-- name: step_columns
-- The end of each: one row of columns as in `readings`.
)
SELECT string_agg(timestamptz_send(step), ''), string_agg(int8send(key), ''), string_agg(int8send(readings), ''),
       string_agg(float8send(value), '')
FROM (SELECT * FROM answered LIMIT %(limit)s) page;

-- name: step_span
SELECT min(first_seen), max(last_seen) FROM gpus WHERE %(gpus)s::int[] IS NULL OR gpu = ANY(%(gpus)s::int[]);

-- name: rollups_there
-- And the tables that rollup_doubts asks: they are TimescaleDB's own, and another version may have others.
SELECT to_regclass('public.rollup_day') IS NOT NULL
   AND to_regclass('_timescaledb_catalog.continuous_agg') IS NOT NULL
   AND to_regclass('_timescaledb_catalog.continuous_aggs_watermark') IS NOT NULL
   AND to_regclass('_timescaledb_catalog.continuous_aggs_hypertable_invalidation_log') IS NOT NULL
   AND to_regclass('_timescaledb_catalog.continuous_aggs_materialization_invalidation_log') IS NOT NULL
   AND to_regclass('_timescaledb_catalog.continuous_aggs_materialization_ranges') IS NOT NULL;

-- name: rollup_doubts
-- Where rollups are not certain to say what samples do: [from, to) in µs since 1970, for each rollup (1 is the minutes'):
-- what is not materialised yet, and what was written since. These tables of TimescaleDB tell it: a transaction that
-- writes below the mark up to which was ever refreshed logs its range before it commits; a refresh moves the ranges on to
-- the next table before it works on them, and removes each with the work done, in one transaction. A rollup is made of
-- the one before it, so it doubts what that one does. Level 0 is where samples say less than rollups: what retention
-- dropped, once all rollups said what was there. Nothing refreshes them there any more, and nothing puts in doubt what they
-- have; but beyond its own mark a rollup shows what came after the drop, which samples say.
WITH levels AS (
    SELECT l.level, c.mat_hypertable_id AS mat, c.raw_hypertable_id AS source, w.watermark
    FROM (VALUES (1, 'rollup_minute'), (2, 'rollup_hour'), (3, 'rollup_day')) AS l(level, name)
    JOIN _timescaledb_catalog.continuous_agg c ON c.user_view_schema = 'public' AND c.user_view_name = l.name
    JOIN _timescaledb_catalog.continuous_aggs_watermark w ON w.mat_hypertable_id = c.mat_hypertable_id
), doubts AS (
    SELECT level, watermark AS lowest, 9223372036854775807 AS highest FROM levels
    UNION ALL
    SELECT l.level, d.lowest_modified_value, d.greatest_modified_value FROM levels l
    JOIN _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log d ON d.hypertable_id = l.source
    UNION ALL
    SELECT l.level, d.lowest_modified_value, d.greatest_modified_value FROM levels l
    JOIN _timescaledb_catalog.continuous_aggs_materialization_invalidation_log d ON d.materialization_id = l.mat
    UNION ALL
    SELECT l.level, d.lowest_modified_value, d.greatest_modified_value FROM levels l
    JOIN _timescaledb_catalog.continuous_aggs_materialization_ranges d ON d.materialization_id = l.mat
), dropped AS (
    SELECT coalesce(range_agg(int8range(begins, ends) * int8range(%(start)s, %(end)s, '[]')), '{}') AS ranges
    FROM (
        SELECT (extract(epoch FROM d.begins) * 1000000)::bigint AS begins, (extract(epoch FROM d.ends) * 1000000)::bigint AS ends
        FROM dropped_chunks d
    ) chunks
    WHERE begins <= %(end)s AND ends > %(start)s
)
SELECT l.level, lower(r), upper(r)
FROM levels l
CROSS JOIN LATERAL (
    SELECT range_agg(int8range(greatest(d.lowest, %(start)s), least(d.highest, %(end)s), '[]')) AS ranges FROM doubts d
    WHERE d.level <= l.level AND d.lowest <= %(end)s AND d.highest >= %(start)s
) merged
CROSS JOIN dropped
CROSS JOIN LATERAL unnest(
    coalesce(merged.ranges, '{}') - dropped.ranges + dropped.ranges * int8multirange(int8range(l.watermark, NULL))
) r
UNION ALL
SELECT 0, lower(r), upper(r) FROM dropped CROSS JOIN LATERAL unnest(dropped.ranges) r
ORDER BY 1, 2;

-- name: rollup_1
WITH buckets AS NOT MATERIALIZED (SELECT * FROM rollup_minute),

-- name: rollup_2
WITH buckets AS NOT MATERIALIZED (SELECT * FROM rollup_hour),

-- name: rollup_3
WITH buckets AS NOT MATERIALIZED (SELECT * FROM rollup_day),

-- name: rollup_grouped
-- What step_grouped makes of samples, of the buckets of a rollup; start and end are those of its first and last bucket.
names AS (
    SELECT * FROM unnest(%(metrics)s::smallint[], %(metric_keys)s::bigint[], %(factors)s::float8[]) AS n(metric, key, factor)
), places AS (
    SELECT * FROM unnest(%(places)s::int[], %(place_keys)s::bigint[]) AS p(gpu, key)
), loads AS (
    SELECT * FROM unnest(%(loads)s::int[], %(load_keys)s::bigint[]) AS l(workload, key)
), found AS NOT MATERIALIZED (
    SELECT date_bin(%(step)s::interval, b.bucket, 'epoch'::timestamptz + %(origin)s::interval) AS step,
           n.key + coalesce(p.key, 0) + coalesce(l.key, 0) AS key, n.factor,
           b.readings, CASE %(agg)s WHEN 'min' THEN b.min WHEN 'max' THEN b.max ELSE b.sum END AS value
    FROM buckets b
    JOIN names n USING (metric)
    LEFT JOIN places p USING (gpu)
    LEFT JOIN loads l USING (workload)
    WHERE b.bucket >= %(start)s AND b.bucket <= %(end)s
      AND (%(only)s::smallint[] IS NULL OR b.metric = ANY(%(only)s::smallint[]))
      AND (%(gpus)s::int[] IS NULL OR b.gpu = ANY(%(gpus)s::int[]))
      AND (%(workloads)s::int[] IS NULL OR b.workload = ANY(%(workloads)s::int[]))
), answered AS (
    SELECT step, key, sum(readings)::bigint AS readings,
           CASE %(agg)s
               WHEN 'count' THEN sum(readings)
               WHEN 'min' THEN min(CASE WHEN %(as_is)s THEN value WHEN abs(value) < 1e-270 THEN 0
                                        ELSE least(greatest(value, -1e270), 1e270) * factor END)
               WHEN 'max' THEN max(CASE WHEN %(as_is)s THEN value WHEN abs(value) < 1e-270 THEN 0
                                        ELSE least(greatest(value, -1e270), 1e270) * factor END)
               ELSE sum(CASE WHEN abs(value) < 1e-270 THEN 0 ELSE value * factor END)
           END AS value
    FROM found GROUP BY step, key
