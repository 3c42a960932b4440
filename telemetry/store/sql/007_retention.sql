-- What retention dropped: which chunks (partitions on plain PostgreSQL), and how many readings of which block, so that
-- what was stored is what is there and what was dropped. And which days have readings whose times are their source's
-- own: these days are kept unless somebody says otherwise.

CREATE TABLE dropped_chunks (
    begins     timestamptz NOT NULL,
    ends       timestamptz NOT NULL,    -- exclusive
    readings   bigint NOT NULL,         -- counted in the transaction that dropped them
    orphans    bigint NOT NULL,         -- how many of them were of no block: a fault that is not forgotten
    times      integer NOT NULL DEFAULT 1, -- readings that come later make the chunk anew, and it is dropped again
    dropped_at timestamptz NOT NULL,
    PRIMARY KEY (begins, ends)
);
COMMENT ON TABLE dropped_chunks IS 'Times whose readings retention dropped, and how many there were.';

CREATE TABLE dropped_blocks (
    block    bigint PRIMARY KEY,
    readings bigint NOT NULL
);
COMMENT ON TABLE dropped_blocks IS 'Of blocks that the ledger had when their readings were dropped, how many these were.';

CREATE TABLE dropped_sources (
    source   text PRIMARY KEY,
    readings bigint NOT NULL
);
COMMENT ON TABLE dropped_sources IS 'Of each source, how many readings of pruned blocks were dropped.';

CREATE TABLE source_days (
    day date PRIMARY KEY                -- UTC
);
COMMENT ON TABLE source_days IS 'Days that have, or had, readings with times of their source, not of when they were read.';

-- Of what was stored before: each day on which such a block may lie. Of pruned blocks nothing tells their times, nor of
-- any where 008 is applied later than this: its columns are asked for by name, of each block once, as there may be many
-- blocks and many days. Blocks of the same times are one span.
DO $$
DECLARE
    plain boolean := (SELECT relkind FROM pg_class WHERE oid = 'samples'::regclass) = 'p';
    spans tstzmultirange;
BEGIN
    SELECT range_agg(tstzrange(first_time, last_time, '[]')) INTO spans FROM (
        SELECT (j ->> 'first_time')::timestamptz AS first_time, (j ->> 'last_time')::timestamptz AS last_time
        FROM blocks b, to_jsonb(b) j WHERE b.time0 IS NULL AND b.stored > 0
        UNION
        SELECT NULL, NULL FROM stream_progress WHERE stream_id !~ ':now$' AND pruned_stored > 0
    ) own;
    IF plain THEN
        INSERT INTO source_days
        SELECT d FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, to_date(right(c.relname, 8), 'YYYYMMDD') d
        WHERE i.inhparent = 'samples'::regclass
          AND spans && tstzrange(d::timestamp AT TIME ZONE 'UTC', (d + 1)::timestamp AT TIME ZONE 'UTC');
    ELSE
        INSERT INTO source_days
        SELECT DISTINCT (d AT TIME ZONE 'UTC')::date
        FROM timescaledb_information.chunks c,
             generate_series(c.range_start, c.range_end - INTERVAL '1 microsecond', INTERVAL '1 day') d
        WHERE c.hypertable_schema = 'public' AND c.hypertable_name = 'samples'
          AND spans && tstzrange(c.range_start, c.range_end);
    END IF;
END $$;
