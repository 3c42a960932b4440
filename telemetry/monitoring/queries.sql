-- What the dashboards ask, by name. `$..` is Grafana's (the range, the step, what a reader chose), `:..` is filled in when
-- a dashboard is made: metrics by their canonical name, whichever generation of names the source wrote, and their unit.
-- ${source:raw} is what the hidden variable of the same name gives: samples, or a rollup where there is one and the
-- range is long. A board with MIG instances has a row in gpus for each of them, and one id.

-- name: names_of
-- Numbers of these metrics, under whatever name, with the factor to the classic unit of each.
(SELECT metric, canonical, :factor AS factor FROM metrics WHERE canonical IN (:texts))

-- name: only_of
-- The same numbers as an array: known before samples are read, so that only their part is.
ANY (ARRAY(SELECT metric FROM metrics WHERE canonical IN (:texts)))

-- name: steps_of
-- Numbers first, names after: of thousands of readings of a series a step is left before anything is joined.
(SELECT date_bin($__interval_ms * INTERVAL '1 millisecond', s.time, 'epoch') AS time, s.gpu, s.metric, s.workload,
        sum(s.readings) AS readings, sum(s.sum) AS sum, min(s.min) AS min, max(s.max) AS max
 FROM ${source:raw} s
 WHERE $__timeFilter(s.time) AND s.metric = :only AND s.gpu = ANY (ARRAY(SELECT g.gpu FROM gpus g WHERE :boards))
 GROUP BY 1, 2, 3, 4)

-- name: whole_of
-- The same of the whole range.
(SELECT s.gpu, s.metric, s.workload, min(s.time) AS first, max(s.time) AS last,
        sum(s.readings) AS readings, sum(s.sum) AS sum, min(s.min) AS min, max(s.max) AS max
 FROM ${source:raw} s
 WHERE $__timeFilter(s.time) AND s.metric = :only AND s.gpu = ANY (ARRAY(SELECT g.gpu FROM gpus g WHERE :boards))
 GROUP BY 1, 2, 3)

-- name: newest_of
-- Of each series the newest reading of the range's last minutes.
(SELECT DISTINCT ON (s.gpu, s.metric) s.gpu, s.metric, s.workload, s.time, s.value FROM samples s
 WHERE s.time > $__timeTo()::timestamptz - INTERVAL '$window' AND s.time <= $__timeTo() AND s.metric = :only
   AND s.gpu = ANY (ARRAY(SELECT g.gpu FROM gpus g WHERE :boards))
 ORDER BY s.gpu, s.metric, s.time DESC)

-- name: placed_of
-- Each board where it was last, as far as the range's end tells: it is not silent at the places that it left.
(SELECT DISTINCT ON (id) id, hostname, gpu_id, model_name, last_seen FROM gpus
 WHERE first_seen <= $__timeTo() ORDER BY id, last_seen DESC, gpu DESC)

-- name: source
-- Where steps are read, by the length of the range: beyond a quarter of an hour minutes are told apart, no less. Only
-- TimescaleDB Community has rollups; what they do not have yet they read from samples by themselves.
SELECT CASE
    WHEN to_regclass('public.rollup_day') IS NULL OR $__to - $__from <= 900000 THEN
        '(SELECT time, gpu, metric, workload, 1 AS readings, value AS sum, value AS min, value AS max FROM samples)'
    ELSE '(SELECT bucket AS time, gpu, metric, workload, readings, sum, min, max FROM rollup_' || CASE
        WHEN $__to - $__from <= 3 * 86400000::bigint THEN 'minute'
        WHEN $__to - $__from <= 90 * 86400000::bigint THEN 'hour'
        ELSE 'day' END || ')'
END;

-- name: hosts
SELECT DISTINCT hostname FROM gpus WHERE last_seen IS NOT NULL ORDER BY hostname;

-- name: models
SELECT DISTINCT model_name FROM gpus WHERE last_seen IS NOT NULL ORDER BY model_name;

-- name: namespaces
SELECT DISTINCT coalesce(nullif(namespace, ''), '(none)') AS namespace FROM workloads ORDER BY namespace;

-- name: boards_of_host
SELECT DISTINCT 'GPU ' || gpu_id || ', ' || model_name AS __text, id AS __value FROM gpus
WHERE hostname = ${host:sqlstring} AND last_seen IS NOT NULL ORDER BY __text;

-- name: fleet_counts
SELECT count(*) AS "GPUs", count(DISTINCT hostname) AS "hosts",
       count(*) FILTER (WHERE last_seen < $__timeTo()::timestamptz - :silence * INTERVAL '1 second') AS "silent"
FROM :placed g
WHERE last_seen >= $__timeFrom() AND :fleet;

-- name: newest_total
-- Of each board the newest reading of the range's last minutes, put together.
SELECT :outer AS value FROM (
    SELECT DISTINCT ON (g.id) s.value * n.factor AS value
    FROM :newest s
    JOIN :names n USING (metric)
    JOIN gpus g USING (gpu)
    JOIN workloads w USING (workload)
    WHERE :loads
    ORDER BY g.id, s.time DESC
) newest;

-- name: newest_shares
-- Memory in use, of all there is: used and free come from the same instants.
SELECT sum(s.value * n.factor) FILTER (WHERE n.canonical = :first) / nullif(sum(s.value * n.factor), 0) AS value
FROM :newest s
JOIN :names n USING (metric)
JOIN workloads w USING (workload)
WHERE :loads;

-- name: newest_highest
SELECT name, value FROM (
    SELECT DISTINCT ON (g.id) g.hostname || ' / GPU ' || g.gpu_id AS name, s.value * n.factor AS value
    FROM :newest s
    JOIN :names n USING (metric)
    JOIN gpus g USING (gpu)
    JOIN workloads w USING (workload)
    WHERE :loads
    ORDER BY g.id, s.time DESC
) newest
ORDER BY value DESC, name LIMIT 10;

-- name: host_steps
-- A line for each host: each board's step first, so that boards with more readings do not count for more.
SELECT time, metric, :outer AS value FROM (
    SELECT s.time, g.hostname AS metric, g.id, :inner AS value
    FROM :steps s
    JOIN :names n USING (metric)
    JOIN gpus g USING (gpu)
    JOIN workloads w USING (workload)
    WHERE :loads
    GROUP BY 1, 2, 3
) boards
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: host_rises
-- Of a counter of nanoseconds: the share of time by which each host's boards rose, on average. A fall is a reset.
SELECT time, metric, avg(share) AS value FROM (
    SELECT time, hostname AS metric, id,
           greatest(reached - lag(reached) OVER board, 0) / 1e9
               / nullif(extract(epoch FROM time - lag(time) OVER board), 0) AS share
    FROM (
        SELECT s.time, g.hostname, g.id, max(s.max * n.factor) AS reached
        FROM :steps s
        JOIN :names n USING (metric)
        JOIN gpus g USING (gpu)
        JOIN workloads w USING (workload)
        WHERE :loads
        GROUP BY 1, 2, 3
    ) reached
    WINDOW board AS (PARTITION BY hostname, id ORDER BY time)
) shares
WHERE share IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: trouble
-- Boards whose newest codes and counters say that a person is needed, the gravest first.
SELECT g.hostname AS host, g.gpu_id AS gpu, g.model_name AS model, t."XID", x.text AS "XID says",
       t."ECC, uncorrectable", t."remap failed", t."remap pending", g.id
FROM (
    SELECT gpu,
           max(value) FILTER (WHERE canonical = 'DCGM_FI_DEV_XID_ERRORS') AS "XID",
           max(value) FILTER (WHERE canonical = 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL') AS "ECC, uncorrectable",
           max(value) FILTER (WHERE canonical = 'DCGM_FI_DEV_ROW_REMAP_FAILURE') AS "remap failed",
           max(value) FILTER (WHERE canonical = 'DCGM_FI_DEV_ROW_REMAP_PENDING') AS "remap pending"
    FROM (
        SELECT s.gpu, m.canonical, s.value FROM :newest s JOIN metrics m USING (metric)
    ) newest
    GROUP BY gpu
    HAVING max(value) > 0
) t
JOIN gpus g USING (gpu)
LEFT JOIN (VALUES :xids) AS x(code, grave, text) ON x.code = t."XID"
ORDER BY x.grave DESC NULLS LAST, t."remap failed" DESC NULLS LAST, t."ECC, uncorrectable" DESC NULLS LAST,
         g.hostname, g.gpu_id
LIMIT 200;

-- name: silent
-- Boards that were heard of within the range, and not in the end.
SELECT g.hostname AS host, g.gpu_id AS gpu, g.model_name AS model, g.last_seen AS "last seen", g.id
FROM :placed g
WHERE g.last_seen >= $__timeFrom() AND g.last_seen < $__timeTo()::timestamptz - :silence * INTERVAL '1 second' AND :fleet
ORDER BY "last seen" DESC, host, gpu LIMIT 200;

-- name: idle
-- Boards that did nothing all the time, and yet kept memory.
SELECT g.hostname AS host, g.gpu_id AS gpu, g.model_name AS model, b.mebibytes AS "memory held", b.watts AS "power", g.id
FROM (
    SELECT g.id, max(s.max * n.factor) FILTER (WHERE n.canonical = 'DCGM_FI_DEV_GPU_UTIL') AS busiest,
           min(s.min * n.factor) FILTER (WHERE n.canonical = 'DCGM_FI_DEV_FB_USED') AS mebibytes,
           sum(s.sum * n.factor) FILTER (WHERE n.canonical = 'DCGM_FI_DEV_POWER_USAGE')
               / nullif(sum(s.readings) FILTER (WHERE n.canonical = 'DCGM_FI_DEV_POWER_USAGE'), 0) AS watts
    FROM :whole s
    JOIN :names n USING (metric)
    JOIN gpus g USING (gpu)
    JOIN workloads w USING (workload)
    WHERE :loads
    GROUP BY g.id
) b
CROSS JOIN LATERAL (
    SELECT hostname, gpu_id, model_name, id FROM gpus WHERE id = b.id ORDER BY last_seen DESC NULLS LAST, gpu DESC LIMIT 1
) g
WHERE b.busiest <= :idle_util AND b.mebibytes >= :idle_memory
ORDER BY b.mebibytes DESC, host, gpu LIMIT 200;

-- name: energy
-- Mean power by the time between a board's first and last reading of the range: gaps count as the mean. Namespaces that
-- had a board in turn share what it drew by their readings, those that are not chosen too: together they used no more.
SELECT w.host, coalesce(nullif(w.namespace, ''), '(none)') AS namespace, sum(w.watts * w.seconds) / 3.6e6 AS "energy",
       sum(w.watts) AS "mean power", count(DISTINCT w.id) AS "GPUs"
FROM (
    SELECT g.hostname AS host, g.id, w.namespace,
           sum(s.sum * n.factor) / sum(sum(s.readings)) OVER board AS watts,
           extract(epoch FROM max(max(s.last)) OVER board - min(min(s.first)) OVER board) AS seconds
    FROM :whole s
    JOIN :names n USING (metric)
    JOIN gpus g USING (gpu)
    JOIN workloads w USING (workload)
    GROUP BY g.hostname, g.id, w.namespace
    WINDOW board AS (PARTITION BY g.hostname, g.id)
) w
WHERE :loads
GROUP BY 1, 2 ORDER BY "energy" DESC NULLS LAST, 1, 2 LIMIT 500;

-- name: pods
-- What ran where, and how busy it kept its boards.
SELECT w.namespace, w.pod, w.container, g.hostname AS host,
       string_agg(DISTINCT g.gpu_id, ', ') AS "GPUs", min(s.first) AS "from", max(s.last) AS "until",
       sum(s.sum * n.factor) / sum(s.readings) AS "mean utilisation"
FROM :whole s
JOIN :names n USING (metric)
JOIN gpus g USING (gpu)
JOIN workloads w USING (workload)
WHERE w.pod <> '' AND :loads
GROUP BY w.namespace, w.pod, w.container, g.hostname
ORDER BY "until" DESC, w.namespace, w.pod, host LIMIT 500;

-- name: mig
-- The instances into which boards are split, with the newest that is known of them.
SELECT g.hostname AS host, g.gpu_id AS gpu, g.labels ->> 'GPU_I_ID' AS instance, g.labels ->> 'GPU_I_PROFILE' AS profile,
       u.used AS "memory used", g.last_seen AS "last seen", g.id
FROM gpus g
LEFT JOIN (
    SELECT DISTINCT ON (s.gpu) s.gpu, s.value * n.factor AS used
    FROM :newest s
    JOIN :names n USING (metric)
    ORDER BY s.gpu, s.time DESC
) u USING (gpu)
WHERE g.labels ? 'GPU_I_ID' AND g.last_seen >= $__timeFrom() AND :fleet
ORDER BY host, gpu, instance LIMIT 500;

-- name: board_steps
-- A line for each board or MIG instance.
SELECT s.time, :board AS metric, :inner AS value
FROM :steps s
JOIN :names n USING (metric)
JOIN gpus g USING (gpu)
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: board_rises
-- By how much a counter rose in a second, of what `per` units are one of the axis. A fall is a reset.
SELECT time, metric, value FROM (
    SELECT time, metric, greatest(reached - lag(reached) OVER board, 0) / :per
               / nullif(extract(epoch FROM time - lag(time) OVER board), 0) AS value
    FROM (
        SELECT s.time, :board AS metric, max(s.max * n.factor) AS reached
        FROM :steps s
        JOIN :names n USING (metric)
        JOIN gpus g USING (gpu)
        GROUP BY 1, 2
    ) reached
    WINDOW board AS (PARTITION BY metric ORDER BY time)
) rises
WHERE value IS NOT NULL
ORDER BY 1, 2;

-- name: board_reasons
-- The share of readings at which each reason held; of the readings themselves, as a mask cannot be averaged.
SELECT s.time, :board || ': ' || r.reason AS metric,
       sum(s.readings) FILTER (WHERE s.mask & r.mask <> 0) / sum(s.readings) AS value
FROM (
    SELECT date_bin($__interval_ms * INTERVAL '1 millisecond', s.time, 'epoch') AS time, s.gpu, s.value::bigint AS mask,
           count(*) AS readings
    FROM samples s
    WHERE $__timeFilter(s.time) AND s.metric = :only AND s.value BETWEEN 0 AND 65535
      AND s.gpu = ANY (ARRAY(SELECT g.gpu FROM gpus g WHERE :chosen))
    GROUP BY 1, 2, 3
) s
JOIN gpus g USING (gpu)
CROSS JOIN (VALUES :reasons) AS r(mask, reason)
GROUP BY 1, 2 HAVING bool_or(s.mask & r.mask <> 0)
ORDER BY 1, 2;

-- name: board_newest
-- Of each board the newest reading of the range's last minutes.
SELECT name, value FROM (
    SELECT DISTINCT ON (g.gpu) :board AS name, s.value * n.factor AS value
    FROM :newest s
    JOIN :names n USING (metric)
    JOIN gpus g USING (gpu)
    ORDER BY g.gpu, s.time DESC
) newest
ORDER BY name;

-- name: board_total
SELECT :outer AS value FROM (
    SELECT DISTINCT ON (g.id) s.value * n.factor AS value
    FROM :newest s
    JOIN :names n USING (metric)
    JOIN gpus g USING (gpu)
    ORDER BY g.id, s.time DESC
) newest;

-- name: board_identity
SELECT g.hostname AS host, g.gpu_id AS gpu, g.model_name AS model, g.id, g.device,
       g.labels ->> 'GPU_I_ID' AS instance, g.labels ->> 'GPU_I_PROFILE' AS profile,
       g.first_seen AS "first seen", g.last_seen AS "last seen"
FROM gpus g WHERE :chosen ORDER BY host, gpu, instance;

-- name: board_pods
SELECT w.namespace, w.pod, w.container, :board AS gpu, min(s.first) AS "from", max(s.last) AS "until",
       sum(s.sum * n.factor) / sum(s.readings) AS "mean utilisation"
FROM :whole s
JOIN :names n USING (metric)
JOIN gpus g USING (gpu)
JOIN workloads w USING (workload)
WHERE w.pod <> ''
GROUP BY 1, 2, 3, 4 ORDER BY "until" DESC, 1, 2, 4 LIMIT 500;
