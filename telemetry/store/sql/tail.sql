-- The live tail: new blocks in the order of commits, by name. Parameters are psycopg's.
--
-- A row of the ledger is new to somebody when its transaction was not among those that had ended as he looked before:
-- settled_at tells when a block was settled, never when that was committed. xmin is the transaction that settled the row,
-- for nothing changes a settled row but what settles it anew; it has 32 bits and is widened by the next free number,
-- of which it lies less than 2^32 behind. settled_at only bounds the search.

-- name: now
-- Which transactions have ended, the number that the next one gets, when it is, the timeline of the log of changes (0 on
-- a replica), how many readings' ledger rows were pruned, when the latest of these was settled, and the last transaction
-- that settled one. age() alone tells the next number without taking it, in 32 bits; the snapshot ends before it. And the
-- last transaction whose blocks this very snapshot shows, of those settled in the last so many µs; 0: none. On a replica
-- as in `settled`.
SELECT now::text, next + ((3 + age('3'::xid)::bigint - next) & 4294967295), time, timeline, pruned, pruned_to, pruned_upto,
       (SELECT coalesce(max(seen.transaction), 0)
        FROM blocks b
        CROSS JOIN LATERAL (SELECT next - ((next - b.xmin::text::bigint) & 4294967295) AS transaction) seen
        WHERE b.settled_at >= statement_timestamp() - %(within)s * INTERVAL '1 microsecond'
          AND (timeline > 0 OR seen.transaction < pg_snapshot_xmin(now)::text::bigint))
FROM (
    SELECT pg_current_snapshot() AS now, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
           (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS time,
           CASE WHEN pg_is_in_recovery() THEN 0
                ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END AS timeline
) server
CROSS JOIN (
    SELECT coalesce(sum(pruned_stored), 0)::bigint AS pruned,
           (extract(epoch FROM max(pruned_to)) * 1000000)::bigint AS pruned_to, max(pruned_upto) AS pruned_upto
    FROM stream_progress
) ledger;

-- name: settled
-- The same but the last transaction, and what this very snapshot shows in a range of settled_at and the snapshot `seen` does not: block numbers,
-- transactions, how many readings and from when to when they are, each as its values in PostgreSQL's binary form, one
-- after the other. Of the blocks that `upto` shows, if it is given. A replica's snapshot does not say which
-- transactions are under way: there only what is older than all of them is taken.
WITH head AS MATERIALIZED (
    SELECT now, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS time, age('3'::xid)::bigint AS age,
           CASE WHEN replica THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END
               AS timeline,
           pg_snapshot_xmax(now)::text::bigint AS next,
           CASE WHEN %(upto)s::pg_snapshot IS NOT NULL THEN %(upto)s::pg_snapshot
                WHEN replica THEN concat_ws(':', pg_snapshot_xmin(now), pg_snapshot_xmin(now), '')::pg_snapshot
                ELSE now END AS upto
    FROM (SELECT pg_current_snapshot() AS now, pg_is_in_recovery() AS replica) server
), found AS (
    SELECT b.block, b.stored, head.next - ((head.next - b.xmin::text::bigint) & 4294967295) AS transaction, head.upto,
           coalesce(b.first_time, b.time0, '-infinity') AS first_time,
           coalesce(b.last_time, b.time0 + b.rows * INTERVAL '1 microsecond', 'infinity') AS last_time
    FROM blocks b CROSS JOIN head
    WHERE b.settled_at >= %(since)s::timestamptz AND b.settled_at < %(until)s::timestamptz AND b.stored > 0 AND b.block >= %(block)s
), fresh AS (
    SELECT * FROM found
    WHERE NOT pg_visible_in_snapshot(transaction::text::xid8, %(seen)s::pg_snapshot)
      AND pg_visible_in_snapshot(transaction::text::xid8, upto)
)
SELECT (SELECT now::text FROM head), (SELECT next + ((3 + age - next) & 4294967295) FROM head), (SELECT time FROM head),
       (SELECT timeline FROM head), (SELECT coalesce(sum(pruned_stored), 0)::bigint FROM stream_progress),
       (SELECT (extract(epoch FROM max(pruned_to)) * 1000000)::bigint FROM stream_progress),
       (SELECT max(pruned_upto) FROM stream_progress),
       string_agg(int8send(block), '' ORDER BY block), string_agg(int8send(transaction), '' ORDER BY block),
       string_agg(int8send(stored), '' ORDER BY block), string_agg(timestamptz_send(first_time), '' ORDER BY block),
       string_agg(timestamptz_send(last_time), '' ORDER BY block)
FROM fresh;

-- name: readings_of_blocks
-- As columns, in any order. By way of the GPUs, because the index of the rowstore begins with them; older servers
-- would else read the whole day.
SELECT string_agg(timestamptz_send(s.time), ''), string_agg(int4send(s.gpu), ''), string_agg(int2send(s.metric), ''),
       string_agg(int4send(s.workload), ''), string_agg(int8send(s.block), ''), string_agg(float8send(s.value), '')
FROM gpus g JOIN samples s USING (gpu)
WHERE s.time >= %(first)s AND s.time <= %(last)s AND s.block = ANY(%(blocks)s::bigint[]);
