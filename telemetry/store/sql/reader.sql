-- The API's questions, by name. Parameters are psycopg's. What a person may type is a parameter, never a part of a text.

-- name: gpu_ids
-- In byte order, so that a page boundary means the same on every server.
SELECT DISTINCT id COLLATE "C" AS id FROM gpus
WHERE last_seen IS NOT NULL
  AND (%(host)s::text IS NULL OR hostname ILIKE %(host)s)
  AND (%(model)s::text IS NULL OR model_name ILIKE %(model)s)
  AND (%(after)s::text IS NULL OR id COLLATE "C" > %(after)s)
ORDER BY id LIMIT %(limit)s;

-- name: gpus_called
-- All rows of one id, the latest first. A place stands for the id that was seen there last, at whatever place that
-- is now: boards are replaced and moved. An id that reads like a place (a GPU without uuid) is an id first.
SELECT gpu, id, uuid, gpu_id, device, model_name, hostname, labels, first_seen, last_seen FROM gpus
WHERE id = coalesce(
    (SELECT id FROM gpus WHERE id = %(id)s LIMIT 1),
    (SELECT id FROM gpus WHERE hostname = %(host)s AND gpu_id = %(index)s
     ORDER BY last_seen DESC NULLS LAST, gpu DESC LIMIT 1)
)
ORDER BY last_seen DESC NULLS LAST, gpu DESC;

-- name: hosts_of_index
-- The hosts that have a GPU of this number, a few of them, and how many there are.
SELECT hostname, count(*) OVER () FROM gpus WHERE gpu_id = %(index)s GROUP BY hostname ORDER BY hostname COLLATE "C" LIMIT 3;

-- name: gpu_count
SELECT count(DISTINCT id), min(id COLLATE "C") FROM gpus WHERE last_seen IS NOT NULL;

-- name: newest
-- Of each metric among the newest readings of each GPU, from its own `since` on, the newest; how many those were; and
-- how many metrics there are at all, so that nobody looks for more. Ties are told apart as pages tell them. The oldest
-- `since` is said once more, because it is known while planning: days before it are then not even planned for.
SELECT w.gpu, m.name, m.unit, s.time, s.value, s.readings, (SELECT count(*) FROM metrics)
FROM unnest(%(gpus)s::int[], %(since)s::timestamptz[]) AS w(gpu, since)
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (metric) metric, time, value, count(*) OVER () AS readings
    FROM (
        SELECT time, metric, workload, block, value FROM samples
        WHERE gpu = w.gpu AND time >= w.since AND time >= %(oldest)s ORDER BY time DESC LIMIT %(enough)s
    ) found
    ORDER BY metric, time DESC, workload DESC, block DESC, value DESC
) s
JOIN metrics m USING (metric);

-- name: readings
-- One page, as columns: each is the concatenation of its values in PostgreSQL's binary form, so that no row becomes
-- an object on the way. LATERAL lets every tier walk each GPU in time order and stop at the limit; `gpu = ANY(..)`
-- would read the whole range first. Exact ties are told apart by value, so that their order is always the same.
SELECT string_agg(timestamptz_send(time), ''), string_agg(int4send(gpu), ''), string_agg(int2send(metric), ''),
       string_agg(int4send(workload), ''), string_agg(int8send(block), ''), string_agg(float8send(value), '')
FROM (
    SELECT p.* FROM unnest(%(gpus)s::int[]) AS w(gpu)
    CROSS JOIN LATERAL (
        SELECT s.time, s.gpu, s.metric, s.workload, s.block, s.value FROM samples s
        WHERE s.gpu = w.gpu AND s.time >= %(start)s AND s.time <= %(end)s
          AND (%(metrics)s::smallint[] IS NULL OR s.metric = ANY(%(metrics)s::smallint[]))
          AND (%(after_gpu)s::int IS NULL OR (s.time, s.gpu, s.metric, s.workload, s.block) >=
               (%(start)s, %(after_gpu)s::int, %(after_metric)s::smallint, %(after_workload)s::int, %(after_block)s::bigint))
        ORDER BY s.time, s.gpu, s.metric, s.workload, s.block, s.value
        LIMIT %(limit)s::bigint + %(skip)s::bigint
    ) p
    ORDER BY p.time, p.gpu, p.metric, p.workload, p.block, p.value
    LIMIT %(limit)s OFFSET %(skip)s
) page;

-- name: export
-- For the statements of this transaction, and of no other on this connection. What does not come in order is sorted on
-- disk; with so much memory ten million readings are merged once and not twice.
SELECT set_config('statement_timeout', %(timeout)s, true), set_config('work_mem', '32MB', true);

-- name: range_of_one
-- A whole range as numbers, in the order of `readings`, the columns of a row as one value: with names it would be thirty
-- times as many bytes, and labels_raw would be written back once for each reading. One GPU has a statement of its own,
-- because `gpu = n` can be read in order from the index, partition by partition, and `gpu = ANY(..)` only be sorted.
SELECT timestamptz_send(time) || int4send(gpu) || int2send(metric) || int4send(workload) || int8send(block)
       || float8send(value)
FROM (
    SELECT time, gpu, metric, workload, block, value FROM samples
    WHERE gpu = %(gpu)s AND time >= %(start)s AND time <= %(end)s
      AND (%(metrics)s::smallint[] IS NULL OR metric = ANY(%(metrics)s::smallint[]))
    ORDER BY time, gpu, metric, workload, block, value
) found;

-- name: range_of_many
SELECT timestamptz_send(time) || int4send(gpu) || int2send(metric) || int4send(workload) || int8send(block)
       || float8send(value)
FROM (
    SELECT time, gpu, metric, workload, block, value FROM samples
    WHERE gpu = ANY(%(gpus)s::int[]) AND time >= %(start)s AND time <= %(end)s
      AND (%(metrics)s::smallint[] IS NULL OR metric = ANY(%(metrics)s::smallint[]))
    ORDER BY time, gpu, metric, workload, block, value
) found;

-- name: series
-- What the view telemetry says of readings, but for their time and value: once for each GPU, metric and workload.
SELECT m.name, g.gpu_id, g.device, g.uuid, g.model_name, g.hostname, k.container, k.pod, k.namespace,
       labels_raw(k.template, m.name, g.gpu_id, g.device, g.uuid, g.model_name, g.hostname,
                  k.container, k.pod, k.namespace, g.labels)
FROM unnest(%(gpus)s::int[], %(metrics)s::smallint[], %(workloads)s::int[]) WITH ORDINALITY
    AS w(gpu, metric, workload, place)
LEFT JOIN gpus g USING (gpu)
LEFT JOIN metrics m USING (metric)
LEFT JOIN workloads k USING (workload)
ORDER BY w.place;
