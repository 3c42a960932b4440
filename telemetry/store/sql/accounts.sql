-- Reconciling, by name: what was read, and what became of it. Parameters are psycopg's.

-- name: reconcile
-- Per source: what was read, and what became of it. stored is counted in samples, those of pruned blocks too, not taken
-- from the ledger's word; what retention dropped was counted when it went, and is told apart. Of the ways to count the
-- planner drops those that the parameter rules out. Ranges are written
-- out, because to look a number up in them would unpack them each time; samples are grouped before they are compared with
-- these, because the planner takes the numbers for so many that it would build its hash table of the samples.
WITH gone AS (
    SELECT p.source, block FROM pruned_blocks p, unnest(p.blocks) r, generate_series(lower(r), upper(r) - 1) AS block
    WHERE %(source)s::text IS NULL OR p.source = %(source)s
), counted AS (
    SELECT block, count(*) AS samples FROM samples WHERE %(source)s::text IS NULL GROUP BY block
    UNION ALL
    SELECT s.block, count(*) FROM samples s JOIN blocks b USING (block) WHERE b.source = %(source)s GROUP BY s.block
    UNION ALL
    SELECT s.block, s.samples
    FROM (
        SELECT block, count(*) AS samples FROM samples
        WHERE EXISTS (SELECT FROM pruned_blocks WHERE source = %(source)s) GROUP BY block
    ) s
    JOIN gone USING (block)
), kept AS (
    SELECT b.source,
           sum(b.rows) FILTER (WHERE b.settled_at IS NOT NULL) AS rows,
           sum(b.rows) FILTER (WHERE b.settled_at IS NULL) AS unsettled,
           sum(b.blank) AS blank, sum(b.rejected) AS rejected, sum(b.dead) AS dead,
           sum(c.samples) AS there, sum(d.readings) AS dropped,
           count(*) FILTER (WHERE coalesce(c.samples, 0) + coalesce(d.readings, 0) <> coalesce(b.stored, 0)) AS differing
    FROM blocks b LEFT JOIN counted c USING (block) LEFT JOIN dropped_blocks d USING (block)
    WHERE %(source)s::text IS NULL OR b.source = %(source)s
    GROUP BY b.source
), pruned AS (
    SELECT g.source, sum(c.samples) AS there FROM gone g JOIN counted c USING (block) GROUP BY g.source
), dropped AS (
    SELECT source, sum(readings) AS readings
    FROM (
        SELECT source, readings FROM dropped_sources
        UNION ALL
        SELECT g.source, d.readings FROM gone g JOIN dropped_blocks d USING (block)
    ) parts
    GROUP BY source
), told AS (
    SELECT p.*, coalesce(k.rows, 0) AS rows, coalesce(k.unsettled, 0) AS unsettled,
           coalesce(k.blank, 0) AS blank, coalesce(k.rejected, 0) AS rejected, coalesce(k.dead, 0) AS dead,
           coalesce(k.there, 0) + coalesce(k.dropped, 0) AS stored, coalesce(k.dropped, 0) AS dropped,
           coalesce(k.differing, 0) AS differing,
           coalesce(g.there, 0) + coalesce(d.readings, 0) AS stored_before, coalesce(d.readings, 0) AS dropped_before
    FROM stream_progress p
    LEFT JOIN kept k ON k.source = p.stream_id
    LEFT JOIN pruned g ON g.source = p.stream_id
    LEFT JOIN dropped d ON d.source = p.stream_id
    WHERE %(source)s::text IS NULL OR p.stream_id = %(source)s
)
SELECT stream_id, next_row, length, (rows + pruned_rows)::bigint, unsettled::bigint, (stored + stored_before)::bigint,
       (blank + pruned_blank)::bigint, (rejected + pruned_rejected)::bigint, (dead + pruned_dead)::bigint,
       differing + (stored_before <> pruned_stored)::int, (dropped + dropped_before)::bigint
FROM told ORDER BY stream_id;

-- name: orphans
-- Samples whose block no ledger row knows, nor that of a block that was pruned: there must be none. Nor must there have
-- been among what was dropped.
SELECT coalesce(sum(s.samples), 0)::bigint + (SELECT coalesce(sum(orphans), 0)::bigint FROM dropped_chunks)
FROM (SELECT block, count(*) AS samples FROM samples GROUP BY block) s
WHERE NOT EXISTS (SELECT FROM blocks b WHERE b.block = s.block)
  AND NOT EXISTS (
      SELECT FROM pruned_blocks p, unnest(p.blocks) r, generate_series(lower(r), upper(r) - 1) AS number
      WHERE number = s.block);

-- name: source_gpus
SELECT count(DISTINCT g.id)
FROM gpus g WHERE g.gpu IN (
    SELECT s.gpu FROM samples s JOIN blocks b USING (block) WHERE b.source = %(source)s
    UNION ALL
    SELECT s.gpu
    FROM (
        SELECT DISTINCT gpu, block FROM samples
        WHERE EXISTS (SELECT FROM pruned_blocks WHERE source = %(source)s)
    ) s
    JOIN (
        SELECT block FROM pruned_blocks p, unnest(p.blocks) r, generate_series(lower(r), upper(r) - 1) AS block
        WHERE p.source = %(source)s
    ) gone USING (block));
