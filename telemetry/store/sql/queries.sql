-- Every statement of the store, by name. Parameters are psycopg's.

-- name: server_features
-- (TimescaleDB is there and preloaded, its licence). Its loader alone defines the setting that is looked for; the
-- licence is known once the extension is created.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
       AND EXISTS (SELECT FROM pg_settings WHERE name = 'timescaledb.max_background_workers'),
       current_setting('timescaledb.license', true);

-- name: samples_migration
SELECT name FROM schema_migrations WHERE name LIKE '002\_samples.%';

-- name: create_migrations
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: migration_lock
SELECT pg_advisory_lock(hashtext('telemetry.migrate'));

-- name: migration_unlock
SELECT pg_advisory_unlock(hashtext('telemetry.migrate'));

-- name: end_stuck_peers
-- First who, then the end of them: among other conditions of one WHERE it might be called for any session at all.
WITH stuck AS MATERIALIZED (
    SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE ANY(%(names)s::text[]) AND pid <> pg_backend_pid()
      AND xact_start < clock_timestamp() - make_interval(secs => %(older)s)
      AND pg_has_role(usesysid, 'USAGE')
)
SELECT application_name, age FROM stuck WHERE pg_terminate_backend(pid);

-- name: reserve
-- One statement, so that no row is lost between two commits. Times of a stamped source run 1 µs apart and never back.
WITH reserved AS (
    INSERT INTO stream_progress AS p (stream_id, next_row, length, next_time)
    VALUES (%(source)s, %(rows)s, %(length)s, clock_timestamp() + %(rows)s * INTERVAL '1 microsecond')
    ON CONFLICT (stream_id) DO UPDATE
        SET next_row = p.next_row + %(rows)s,
            next_time = GREATEST(clock_timestamp(), p.next_time) + %(rows)s * INTERVAL '1 microsecond'
        WHERE p.length IS NULL OR p.next_row < p.length
    RETURNING next_row - %(rows)s AS first_row, length, next_time - %(rows)s * INTERVAL '1 microsecond' AS time0
)
INSERT INTO blocks (source, first_row, rows, time0, leased_until)
SELECT %(source)s, first_row, LEAST(%(rows)s, length - first_row), CASE WHEN %(stamped)s THEN time0 END,
       clock_timestamp() + make_interval(secs => %(lease)s)
FROM reserved WHERE length IS NULL OR first_row < length
RETURNING first_row, rows, (extract(epoch FROM time0) * 1000000)::bigint, tries;

-- name: due
-- Unsettled blocks whose streamer should have published them by now, a page of them.
SELECT first_row FROM blocks
WHERE source = %(source)s AND settled_at IS NULL AND first_row > %(after)s AND leased_until < clock_timestamp()
ORDER BY first_row LIMIT %(limit)s;

-- name: claim
-- A due block for this streamer alone; SKIP LOCKED lets several claim side by side.
UPDATE blocks SET leased_until = clock_timestamp() + make_interval(secs => %(lease)s), tries = tries + 1
WHERE (source, first_row) = (
    SELECT source, first_row FROM blocks
    WHERE source = %(source)s AND first_row = ANY(%(first_rows)s)
      AND settled_at IS NULL AND leased_until < clock_timestamp()
    ORDER BY first_row LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING first_row, rows, (extract(epoch FROM time0) * 1000000)::bigint, tries;

-- name: renew
UPDATE blocks SET leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE source = %(source)s AND first_row = %(first_row)s AND settled_at IS NULL;

-- name: pardon
-- A block that was claimed is published after all, or the queue was away: its tries do not count.
UPDATE blocks SET tries = 0 WHERE source = %(source)s AND first_row = %(first_row)s AND settled_at IS NULL;

-- name: split
-- A block whose message would be too large becomes two, at a whole row; only while it is not settled.
WITH cut AS (
    UPDATE blocks SET rows = %(keep)s
    WHERE source = %(source)s AND first_row = %(first_row)s AND rows = %(rows)s AND settled_at IS NULL
    RETURNING source, first_row, time0, leased_until
)
INSERT INTO blocks (source, first_row, rows, time0, leased_until)
SELECT source, first_row + %(keep)s, %(rows)s - %(keep)s, time0 + %(keep)s * INTERVAL '1 microsecond', clock_timestamp()
FROM cut
RETURNING first_row;

-- name: progress
SELECT p.next_row, p.length,
       (SELECT count(*) FROM blocks b WHERE b.source = p.stream_id AND b.settled_at IS NULL)
FROM stream_progress p WHERE p.stream_id = %(source)s;

-- name: gate
-- Settles those of the blocks that are reserved, unsettled and of the size they claim; COPY what comes back, nothing
-- else. Locked in one order, so that two collectors with the same blocks cannot deadlock.
WITH wanted AS (
    SELECT * FROM unnest(%(sources)s::text[], %(first_rows)s::bigint[], %(rows)s::int[], %(stored)s::int[],
                         %(blank)s::int[], %(rejected)s::int[], %(first_times)s::timestamptz[],
                         %(last_times)s::timestamptz[])
        AS w(source, first_row, rows, stored, blank, rejected, first_time, last_time)
), open AS (
    SELECT b.source, b.first_row FROM blocks b JOIN wanted w USING (source, first_row, rows)
    WHERE b.settled_at IS NULL ORDER BY b.source, b.first_row FOR UPDATE OF b
)
UPDATE blocks b
SET settled_at = clock_timestamp(), stored = w.stored, blank = w.blank, rejected = w.rejected, dead = 0, body = NULL,
    first_time = w.first_time, last_time = w.last_time
FROM open JOIN wanted w USING (source, first_row)
WHERE b.source = open.source AND b.first_row = open.first_row AND b.settled_at IS NULL
RETURNING b.source, b.first_row, b.block;

-- name: standing
-- What the ledger says of blocks: open, settled, dead, stale (its row was pruned or lost), other (of another size) or
-- unknown (no such source).
SELECT w.source, w.first_row, CASE
    WHEN b.settled_at IS NOT NULL AND b.dead > 0 THEN 'dead'
    WHEN b.settled_at IS NOT NULL THEN 'settled'
    WHEN b.source IS NOT NULL AND b.rows = w.rows THEN 'open'
    WHEN b.source IS NOT NULL THEN 'other'
    WHEN EXISTS (SELECT FROM stream_progress p WHERE p.stream_id = w.source) THEN 'stale'
    ELSE 'unknown' END
FROM unnest(%(sources)s::text[], %(first_rows)s::bigint[], %(rows)s::int[]) AS w(source, first_row, rows)
LEFT JOIN blocks b USING (source, first_row);

-- name: gate_dead
-- The gate of a block that dies: settled with all its rows dead.
UPDATE blocks SET settled_at = clock_timestamp(), stored = 0, blank = 0, rejected = 0, dead = rows, body = NULL
WHERE source = %(source)s AND first_row = %(first_row)s AND rows = %(rows)s AND settled_at IS NULL
RETURNING block;

-- name: bury
INSERT INTO dead_blocks (message_id, source, first_row, rows, format, reason, attempts, origin, payload)
VALUES (%(message_id)s, %(source)s, %(first_row)s, %(rows)s, %(format)s, %(reason)s, %(attempts)s, %(origin)s, %(payload)s)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: bury_again
UPDATE dead_blocks SET reason = %(reason)s, attempts = attempts + %(attempts)s, died_at = clock_timestamp()
WHERE id = %(id)s AND message_id IN (%(message_id)s, '') RETURNING id;

-- name: exhume
-- The gate of a replay: only who deletes the dead block may store it. A dead block without an id is replayed under any.
DELETE FROM dead_blocks WHERE id = %(id)s AND message_id IN (%(message_id)s, '') RETURNING id;

-- name: dead_exists
SELECT id FROM dead_blocks WHERE id = %(id)s;

-- name: settle_replayed
-- The ledger row of a replayed block, if all its rows are dead.
UPDATE blocks
SET settled_at = clock_timestamp(), stored = %(stored)s, blank = %(blank)s, rejected = %(rejected)s, dead = 0,
    first_time = %(first_time)s, last_time = %(last_time)s
WHERE source = %(source)s AND first_row = %(first_row)s AND rows = %(rows)s AND dead = rows
RETURNING block;

-- name: adopt
-- A replay of rows of a source that nobody ever reserved. They get a stream of their own, whose name no streamer can
-- have: one that reads the source later starts at its row 0, and must not meet them.
WITH adopted AS (
    INSERT INTO stream_progress AS p (stream_id, next_row, next_time)
    SELECT %(source)s || ':replayed', %(rows)s, clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM stream_progress WHERE stream_id = %(source)s)
    ON CONFLICT (stream_id) DO UPDATE SET next_row = p.next_row + %(rows)s
    RETURNING stream_id
)
INSERT INTO blocks (source, first_row, rows, leased_until, settled_at, stored, blank, rejected, dead, first_time, last_time)
SELECT stream_id, %(first_row)s, %(rows)s, clock_timestamp(), clock_timestamp(), %(stored)s, %(blank)s, %(rejected)s, 0,
       %(first_time)s, %(last_time)s
FROM adopted
ON CONFLICT (source, first_row) DO NOTHING
RETURNING block;

-- name: reread
-- A slice that no streamer could read goes back to the streamers; only if its ledger row is there to be given back.
WITH back AS (
    UPDATE blocks b SET settled_at = NULL, stored = NULL, blank = NULL, rejected = NULL, dead = NULL, tries = 0,
                        leased_until = clock_timestamp()
    FROM dead_blocks d
    WHERE d.id = %(id)s AND b.source = d.source AND b.first_row = d.first_row AND b.dead = b.rows
    RETURNING b.first_row
), gone AS (
    DELETE FROM dead_blocks WHERE id = %(id)s AND EXISTS (SELECT FROM back)
)
SELECT first_row FROM back;

-- name: dead_list
SELECT id, message_id, source, first_row, rows, format, reason, attempts, origin, died_at, length(payload)
FROM dead_blocks WHERE id > %(after)s ORDER BY id LIMIT %(limit)s;

-- name: dead_newest
SELECT id, message_id, source, first_row, rows, format, reason, attempts, origin, died_at, length(payload)
FROM dead_blocks WHERE id < %(before)s ORDER BY id DESC LIMIT %(limit)s;

-- name: dead_show
SELECT id, message_id, source, first_row, rows, format, reason, attempts, origin, died_at, length(payload),
       substring(payload FROM 1 FOR %(most)s)
FROM dead_blocks WHERE id = %(id)s;

-- name: dead_count
SELECT count(*), coalesce(sum(rows), 0)::bigint FROM dead_blocks;

-- name: dead_drop
DELETE FROM dead_blocks WHERE id = %(id)s RETURNING id;

-- name: reject
-- In binary: as texts the many quotes of a CSV's row are escaped one by one.
INSERT INTO rejected_rows (block, source, row, reason, raw)
SELECT * FROM unnest(%(blocks)b::bigint[], %(sources)b::text[], %(rows)b::bigint[], %(reasons)b::text[], %(raws)b::text[]);

-- name: find_gpus
SELECT key, gpu FROM gpus WHERE key = ANY(%(keys)s);

-- name: add_gpus
INSERT INTO gpus (key, id, uuid, gpu_id, device, model_name, hostname, labels)
SELECT key, id, uuid, gpu_id, device, model_name, hostname, labels::jsonb
FROM unnest(%(keys)s::bytea[], %(ids)s::text[], %(uuids)s::text[], %(gpu_ids)s::text[], %(devices)s::text[],
            %(models)s::text[], %(hostnames)s::text[], %(labels)s::text[])
    AS g(key, id, uuid, gpu_id, device, model_name, hostname, labels)
ORDER BY key
ON CONFLICT (key) DO NOTHING;

-- name: find_workloads
SELECT key, workload FROM workloads WHERE key = ANY(%(keys)s);

-- name: add_workloads
INSERT INTO workloads (key, container, pod, namespace, labels, template)
SELECT key, container, pod, namespace, labels::jsonb, labels_template(labels::jsonb)
FROM unnest(%(keys)s::bytea[], %(containers)s::text[], %(pods)s::text[], %(namespaces)s::text[], %(labels)s::text[])
    AS w(key, container, pod, namespace, labels)
ORDER BY key
ON CONFLICT (key) DO NOTHING;

-- name: find_metrics
SELECT name, metric FROM metrics WHERE name = ANY(%(keys)s);

-- name: add_metrics
INSERT INTO metrics (name, canonical, unit, kind, description)
SELECT * FROM unnest(%(keys)s::text[], %(canonicals)s::text[], %(units)s::text[], %(kinds)s::text[], %(descriptions)s::text[])
    AS m(name, canonical, unit, kind, description)
ORDER BY name
ON CONFLICT DO NOTHING;

-- name: seen
-- Sorted, so that two collectors cannot deadlock; a GPU is touched only when it is news.
UPDATE gpus g SET first_seen = LEAST(g.first_seen, s.first), last_seen = GREATEST(g.last_seen, s.last)
FROM (
    SELECT g.gpu, s.first, s.last
    FROM unnest(%(gpus)s::int[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS s(gpu, first, last)
    JOIN gpus g USING (gpu) ORDER BY g.gpu FOR UPDATE OF g
) s
WHERE g.gpu = s.gpu;

-- name: ensure_days
SELECT ensure_days(%(days)s::date[]);

-- name: ensure_tomorrow
-- If today, by this server's clock, is among the days that were needed, data is live: the next day's partition is then
-- there before its first reading. Files of the past make no day that has no readings.
SELECT ensure_days(ARRAY[today + 1]) FROM (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS today) clock
WHERE today = ANY(%(days)s::date[]);

-- name: prune
-- Ledger rows that were settled long ago become sums, and their numbers ranges; samples stay as they are. Never a row
-- that a dead block's replay or reading again asks for (any of its id, as a message may have died before its rows were
-- reserved), nor that of a replay without a stream (adopt): nothing else remembers that it was stored. One session at a
-- time, so that none waits for another's sources; what reserves meanwhile waits for one source's cursor at most, and
-- holds no ledger row. Returns blocks, readings, and whether this session was the one.
WITH alone AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('telemetry.prune')) AS got
), old AS MATERIALIZED (
    SELECT b.source, b.first_row FROM blocks b
    WHERE (SELECT got FROM alone)
      AND b.settled_at <= statement_timestamp() - make_interval(secs => %(keep)s)
      AND right(b.source, 9) <> ':replayed'
      AND EXISTS (SELECT FROM stream_progress p WHERE p.stream_id = b.source)
      AND (b.dead = 0 OR NOT EXISTS (
          SELECT FROM dead_blocks d WHERE left(d.message_id, 400) = left(b.source || ':' || b.first_row, 400)))
    ORDER BY b.settled_at LIMIT %(limit)s FOR UPDATE OF b SKIP LOCKED
), gone AS (
    DELETE FROM blocks b USING old WHERE b.source = old.source AND b.first_row = old.first_row
    RETURNING b.source, b.block, b.rows, b.stored, b.blank, b.rejected, b.dead, b.settled_at,
              b.xmin::text::bigint AS settled_by
), summed AS (
    UPDATE stream_progress p
    SET pruned_rows = p.pruned_rows + g.rows, pruned_stored = p.pruned_stored + g.stored,
        pruned_blank = p.pruned_blank + g.blank, pruned_rejected = p.pruned_rejected + g.rejected,
        pruned_dead = p.pruned_dead + g.dead, pruned_to = GREATEST(p.pruned_to, g.settled_to),
        pruned_upto = GREATEST(p.pruned_upto, g.settled_upto)
    FROM (
        SELECT source, sum(rows) AS rows, sum(stored) AS stored, sum(blank) AS blank, sum(rejected) AS rejected,
               sum(dead) AS dead, max(settled_at) AS settled_to,
               max(next - ((next - settled_by) & 4294967295)) AS settled_upto  -- of 32 bits; widened as in tail.sql
        FROM gone CROSS JOIN (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) server
        GROUP BY source
    ) g
    WHERE p.stream_id = g.source
), numbered AS (
    INSERT INTO pruned_blocks AS p (part, source, blocks)
    SELECT block / 1000, source, range_agg(int8range(block, block + 1)) FROM gone GROUP BY 1, 2
    ON CONFLICT (part, source) DO UPDATE SET blocks = p.blocks + excluded.blocks
)
SELECT count(*), coalesce(sum(rows), 0)::bigint, (SELECT got FROM alone) FROM gone;
