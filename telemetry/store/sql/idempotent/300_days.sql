-- Partitions of plain PostgreSQL. The writer may not create tables, so it asks the owner's function; a lock keeps
-- two collectors from making the same day at once. On the other tiers only the limit holds.

CREATE OR REPLACE FUNCTION ensure_days(days date[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    day date;
    partition text;
    missing date[];
BEGIN
    IF cardinality(days) > 400 THEN
        RAISE program_limit_exceeded USING MESSAGE = format('%s days at once; 400 is the most', cardinality(days));
    END IF;
    IF (SELECT relkind FROM pg_catalog.pg_class WHERE oid = 'public.samples'::regclass) <> 'p' THEN
        RETURN;
    END IF;
    SELECT array_agg(d ORDER BY d) INTO missing FROM unnest(days) d
    WHERE to_regclass(format('public.samples_%s', to_char(d, 'YYYYMMDD'))) IS NULL;
    IF missing IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('telemetry.ensure_days'));
    FOREACH day IN ARRAY missing LOOP
        partition := format('public.samples_%s', to_char(day, 'YYYYMMDD'));
        -- Not to_regclass: its cache need not know yet what another session made while this one waited for the lock.
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = 'public'::regnamespace
                       AND c.relname = format('samples_%s', to_char(day, 'YYYYMMDD'))) THEN
            -- Not PARTITION OF: it would wait for every reader of samples, and everyone would wait behind it.
            EXECUTE format('CREATE TABLE %s (LIKE public.samples INCLUDING CONSTRAINTS)', partition);
            EXECUTE format('ALTER TABLE public.samples ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', partition,
                           to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
        END IF;
    END LOOP;
END
$$;
