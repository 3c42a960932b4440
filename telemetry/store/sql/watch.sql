-- What Prometheus is told of the database, by name. Parameters are psycopg's.

-- name: standing
-- One row: GPUs; age of the newest reading (NULL without one), and GPUs whose newest is dated ahead: the clock of one
-- would hide the silence of all others; unsettled blocks; for how long the longest of them is
-- overdue (NULL without one); dead blocks and their readings. Ages in seconds. The index of unsettled blocks is small:
-- the queue's capacity bounds it.
SELECT (SELECT count(DISTINCT id) FROM gpus WHERE last_seen IS NOT NULL),
       (SELECT extract(epoch FROM clock_timestamp() - max(last_seen))::float8 FROM gpus
        WHERE last_seen <= clock_timestamp() + make_interval(secs => %(ahead)s)),
       (SELECT count(DISTINCT id) FROM gpus WHERE last_seen > clock_timestamp() + make_interval(secs => %(ahead)s)),
       unsettled.blocks, unsettled.overdue, dead.blocks, dead.rows
FROM (SELECT count(*) AS blocks, extract(epoch FROM clock_timestamp() - min(leased_until))::float8 AS overdue
      FROM blocks WHERE settled_at IS NULL) unsettled,
     (SELECT count(*) AS blocks, coalesce(sum(rows), 0)::bigint AS rows FROM dead_blocks) dead;

-- name: current
-- The newest reading of each metric of each GPU within a slice of time, as columns (see `readings` in reader.sql), and
-- how many there are beyond the limit. Ties are told apart as pages tell them. Of what is older than the split only
-- series that have nothing newer are sorted: that is what takes long where readings are many. NOT IN, as it is looked up
-- in a hash table whatever the planner knows of samples that came just now; with NOT EXISTS it sorted all of them.
WITH recent AS MATERIALIZED (
    SELECT DISTINCT ON (gpu, metric) time, gpu, metric, workload, value
    FROM samples WHERE time >= %(split)s AND time < %(end)s
    ORDER BY gpu, metric, time DESC, workload DESC, block DESC, value DESC
    LIMIT %(limit)s
), older AS (
    SELECT DISTINCT ON (gpu, metric) time, gpu, metric, workload, value
    FROM samples WHERE time >= %(start)s AND time < %(split)s AND (gpu, metric) NOT IN (SELECT gpu, metric FROM recent)
    ORDER BY gpu, metric, time DESC, workload DESC, block DESC, value DESC
    LIMIT %(limit)s
)
SELECT string_agg(timestamptz_send(time), ''), string_agg(int4send(gpu), ''), string_agg(int2send(metric), ''),
       string_agg(int4send(workload), ''), string_agg(float8send(least(greatest(value, -1e270), 1e270)), '')
FROM (SELECT * FROM recent UNION ALL SELECT * FROM older) newest;

-- name: apart
-- Likewise of the metrics of which a GPU has several series, one for each workload: those that have a code as a label.
SELECT string_agg(timestamptz_send(time), ''), string_agg(int4send(gpu), ''), string_agg(int2send(metric), ''),
       string_agg(int4send(workload), ''), string_agg(float8send(least(greatest(value, -1e270), 1e270)), '')
FROM (
    SELECT DISTINCT ON (gpu, metric, workload) time, gpu, metric, workload, value
    FROM samples WHERE time >= %(start)s AND time < %(end)s AND metric = ANY(%(metrics)s::int[])
    ORDER BY gpu, metric, workload, time DESC, block DESC, value DESC
    LIMIT %(limit)s
) newest;

-- name: series
-- How many of both there are within a slice of time; asked only when they are more than are shown.
SELECT count(*) FROM (
    SELECT FROM samples WHERE time >= %(start)s AND time < %(end)s GROUP BY gpu, metric
) series;

-- name: in_memory
-- For this transaction alone: a slice of a large fleet is sorted without a file.
SELECT set_config('work_mem', '64MB', true);

-- name: seen
-- When each of the GPUs of the last day was heard of, µs since 1970; the others are history, or have a clock that is ahead.
-- Those that live first, of these and of the others those that are known longest, as many as the limit says.
SELECT gpu, (extract(epoch FROM last_seen) * 1000000)::bigint FROM gpus WHERE last_seen >= %(since)s AND last_seen <= %(until)s
ORDER BY last_seen < %(fresh)s, gpu LIMIT %(limit)s;

-- name: boards
-- How many of them there are; asked only when they are more than are told of.
SELECT count(*) FROM gpus WHERE last_seen >= %(since)s AND last_seen <= %(until)s;

-- name: places
SELECT gpu, id, uuid, gpu_id, device, model_name, hostname, labels, first_seen, last_seen FROM gpus
WHERE gpu = ANY(%(gpus)s::int[]);

-- name: workloads
SELECT workload, container, pod, namespace, labels FROM workloads WHERE workload = ANY(%(workloads)s::int[]);
