-- Readings of many GPUs in the order of time, a window of time after the other. Parameters are psycopg's.
-- Columns come as in `readings` of reader.sql: each is the concatenation of its values in PostgreSQL's binary form.

-- name: by_gpu
-- Whether samples have an index by GPU and time, which then is the way to them.
SELECT to_regclass('samples_gpu_time') IS NOT NULL;

-- name: all_gpus
SELECT coalesce(array_agg(gpu), '{}') FROM gpus;

-- name: window
-- What there is in a window, in any order; a window that holds more than `most` is told by just so many.
SELECT string_agg(timestamptz_send(time), ''), string_agg(int4send(gpu), ''), string_agg(int2send(metric), ''),
       string_agg(int4send(workload), ''), string_agg(int8send(block), ''), string_agg(float8send(value), '')
FROM (
    SELECT time, gpu, metric, workload, block, value FROM samples
    WHERE time >= %(start)s AND time <= %(end)s
      AND (%(gpus)s::int[] IS NULL OR gpu = ANY(%(gpus)s::int[]))
      AND (%(metrics)s::smallint[] IS NULL OR metric = ANY(%(metrics)s::smallint[]))
      AND (%(workloads)s::int[] IS NULL OR workload = ANY(%(workloads)s::int[]))
    LIMIT %(most)s
) found;

-- name: window_by_gpu
-- The same where the index leads to each GPU's part of the window. LATERAL, because no statistics can mislead it.
SELECT string_agg(timestamptz_send(time), ''), string_agg(int4send(gpu), ''), string_agg(int2send(metric), ''),
       string_agg(int4send(workload), ''), string_agg(int8send(block), ''), string_agg(float8send(value), '')
FROM (
    SELECT s.* FROM unnest(%(gpus)s::int[]) AS w(gpu)
    CROSS JOIN LATERAL (
        SELECT time, gpu, metric, workload, block, value FROM samples
        WHERE gpu = w.gpu AND time >= %(start)s AND time <= %(end)s
          AND (%(metrics)s::smallint[] IS NULL OR metric = ANY(%(metrics)s::smallint[]))
          AND (%(workloads)s::int[] IS NULL OR workload = ANY(%(workloads)s::int[]))
        OFFSET 0
    ) s
    LIMIT %(most)s
) found;

-- name: instant
-- Readings of one instant from a key on, in order. An instant may hold more than a page: a whole fleet's snapshot.
SELECT string_agg(timestamptz_send(time), ''), string_agg(int4send(gpu), ''), string_agg(int2send(metric), ''),
       string_agg(int4send(workload), ''), string_agg(int8send(block), ''), string_agg(float8send(value), '')
FROM (
    SELECT time, gpu, metric, workload, block, value FROM samples
    WHERE time = %(start)s AND gpu >= %(after_gpu)s
      AND (gpu, metric, workload, block)
          >= (%(after_gpu)s, %(after_metric)s::smallint, %(after_workload)s, %(after_block)s::bigint)
      AND (%(gpus)s::int[] IS NULL OR gpu = ANY(%(gpus)s::int[]))
      AND (%(metrics)s::smallint[] IS NULL OR metric = ANY(%(metrics)s::smallint[]))
      AND (%(workloads)s::int[] IS NULL OR workload = ANY(%(workloads)s::int[]))
    ORDER BY gpu, metric, workload, block, value
    LIMIT %(most)s OFFSET %(skip)s
) found;
