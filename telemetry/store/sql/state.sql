-- What tells whether the answer to a question about the past is still the same, by name. Parameters are psycopg's.

-- name: state_upto
-- A digest that is another one after any commit that stored readings of times up to `end`, or dropped some. No row on a
-- replica: the next statement may be answered by another one, which is behind.
--
-- Samples are stored only with a row of the ledger, in one transaction: by the gate, which settles an unsettled row; or
-- by the replay of a dead block, which deletes that. So what is stored after this snapshot is, in this snapshot, (1) an
-- unsettled block, (2) a dead block, or (3) not reserved yet. What was stored is never (1) or (2) again, their numbers
-- are never given twice, and each reservation counts on its source's cursor, so that no digest comes back.
-- Of a source whose readings are stamped when they are read, the next reservation begins at its next_time or later:
-- beyond `end` its cursor may move on, and so may blocks whose first reading is beyond it. Clocks decide nothing.
--
-- Retention drops partitions, or chunks, of samples and of rollups. What is changed by hand is seen within the hour, and when the server starts anew.
SELECT encode(sha256(convert_to(json_build_array(
    (SELECT json_agg(json_build_array(p.stream_id, CASE
                WHEN p.next_time > %(end)s AND (SELECT b.time0 IS NOT NULL FROM blocks b WHERE b.source = p.stream_id
                                                ORDER BY b.first_row DESC LIMIT 1) THEN NULL
                ELSE p.next_row END) ORDER BY p.stream_id COLLATE "C")
     FROM stream_progress p),
    (SELECT json_agg(json_build_array(b.source, b.first_row, b.rows) ORDER BY b.source COLLATE "C", b.first_row)
     FROM blocks b WHERE b.settled_at IS NULL AND (b.time0 IS NULL OR b.time0 <= %(end)s)),
    (SELECT json_agg(d.id ORDER BY d.id) FROM dead_blocks d),
    (SELECT json_agg(i.inhrelid::bigint ORDER BY i.inhrelid) FROM pg_inherits i WHERE i.inhparent = 'samples'::regclass),
    (SELECT json_agg(c.chunk::oid::bigint ORDER BY c.chunk::oid) FROM rollup_chunks() c),
    pg_postmaster_start_time(),
    date_trunc('hour', statement_timestamp())
)::text, 'UTF8')), 'hex')
WHERE NOT pg_is_in_recovery();
