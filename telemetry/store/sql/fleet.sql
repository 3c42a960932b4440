-- Questions about the whole fleet, by name. Parameters are psycopg's; what a person may type is a parameter.

-- name: inventory
-- GPUs as objects, in byte order of their ids, each at the place where it was seen last; only that place is matched.
SELECT a.id, l.uuid, l.model_name, l.hostname, l.gpu_id, l.device, a.first_seen, a.last_seen, a.instances, a.places
FROM (
    SELECT id, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
           count(DISTINCT labels) FILTER (WHERE labels <> '{}') AS instances,
           count(DISTINCT (hostname, gpu_id)) AS places
    FROM gpus
    WHERE last_seen IS NOT NULL AND (%(after)s::text IS NULL OR id COLLATE "C" > %(after)s)
    GROUP BY id
) a
CROSS JOIN LATERAL (
    SELECT uuid, model_name, hostname, gpu_id, device FROM gpus g
    WHERE g.id = a.id AND last_seen IS NOT NULL ORDER BY last_seen DESC, gpu DESC LIMIT 1
) l
WHERE (%(host)s::text IS NULL OR l.hostname ILIKE %(host)s) AND (%(model)s::text IS NULL OR l.model_name ILIKE %(model)s)
ORDER BY a.id COLLATE "C" LIMIT %(limit)s;

-- name: metrics
SELECT metric, name, canonical, unit, kind, description FROM metrics
WHERE %(name)s::text IS NULL OR name ILIKE %(name)s OR canonical ILIKE %(name)s
ORDER BY name COLLATE "C";

-- name: rows
-- The rows of the GPUs that have telemetry, those of one id beside each other, the latest first.
SELECT gpu, id, uuid, gpu_id, device, model_name, hostname, labels, first_seen, last_seen FROM gpus
WHERE last_seen IS NOT NULL AND (%(gpus)s::int[] IS NULL OR gpu = ANY(%(gpus)s::int[]))
ORDER BY id COLLATE "C", last_seen DESC, gpu DESC;

-- name: workloads
SELECT workload, namespace, pod FROM workloads WHERE workload = ANY(%(workloads)s::int[]);

-- name: newest_of_many
-- The newest reading of each metric of each GPU from an instant on, and how many readings of all these metrics the GPU
-- has from there. The GPUs are named even when it is all of them: then the index gives their last seconds alone.
-- Ties are told apart as pages tell them.
SELECT DISTINCT ON (gpu, metric) gpu, metric, workload, time, least(greatest(value, -1e270), 1e270),
       count(*) OVER (PARTITION BY gpu)
FROM samples
WHERE gpu = ANY(%(gpus)s::int[]) AND metric = ANY(%(metrics)s::smallint[]) AND time >= %(since)s
ORDER BY gpu, metric, time DESC, workload DESC, block DESC, value DESC;

-- name: extents
-- How many readings of each metric each GPU has in a range, their lowest and highest value, and their sum.
SELECT gpu, metric, count(*), min(least(greatest(value, -1e270), 1e270)), max(least(greatest(value, -1e270), 1e270)),
       sum(least(greatest(value, -1e270), 1e270))
FROM samples
WHERE gpu = ANY(%(gpus)s::int[]) AND metric = ANY(%(metrics)s::smallint[])
  AND (%(workloads)s::int[] IS NULL OR workload = ANY(%(workloads)s::int[]))
  AND time >= %(start)s AND time <= %(end)s
GROUP BY gpu, metric;

-- name: rollup_extents
-- The same of the buckets of a rollup (the beginning is `rollup_1` and so on in steps.sql); start and end are those of its
-- first and last bucket.
found AS NOT MATERIALIZED (
    SELECT gpu, metric, readings, min, max, sum FROM buckets
    WHERE gpu = ANY(%(gpus)s::int[]) AND metric = ANY(%(metrics)s::smallint[])
      AND (%(workloads)s::int[] IS NULL OR workload = ANY(%(workloads)s::int[]))
      AND bucket >= %(start)s AND bucket <= %(end)s
)
SELECT gpu, metric, sum(readings)::bigint, min(least(greatest(min, -1e270), 1e270)),
       max(least(greatest(max, -1e270), 1e270)), sum(sum)
FROM found GROUP BY gpu, metric;

-- name: slice
-- Readings of a slice of time as columns (see `readings` in reader.sql), in no order: numbers are sorted more quickly
-- where they end. Values beyond 1e270 count as 1e270, so that sums stay finite.
SELECT string_agg(timestamptz_send(time), ''), string_agg(int4send(gpu), ''), string_agg(int2send(metric), ''),
       string_agg(int4send(workload), ''), string_agg(float8send(least(greatest(value, -1e270), 1e270)), '')
FROM (
    SELECT time, gpu, metric, workload, value FROM samples
    WHERE gpu = ANY(%(gpus)s::int[]) AND metric = ANY(%(metrics)s::smallint[])
      AND time >= %(start)s AND time <= %(end)s
    LIMIT %(limit)s
) found;
