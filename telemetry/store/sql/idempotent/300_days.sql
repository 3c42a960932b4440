-- Partitions of plain PostgreSQL. The writer may not create tables, so it asks the owner's function; a lock keeps
-- two collectors from making the same day at once. On the other tiers it has nothing to do.

CREATE OR REPLACE FUNCTION ensure_days(days date[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    day date;
    missing date[];
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'public.samples'::regclass) <> 'p' THEN
        RETURN;
    END IF;
    IF cardinality(days) > 400 THEN
        RAISE program_limit_exceeded USING
            MESSAGE = format('readings of %s different days in one message; 400 is the most', cardinality(days));
    END IF;
    SELECT array_agg(d ORDER BY d) INTO missing FROM unnest(days) d
    WHERE to_regclass(format('public.samples_%s', to_char(d, 'YYYYMMDD'))) IS NULL;
    IF missing IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('telemetry.ensure_days'));
    FOREACH day IN ARRAY missing LOOP
        IF to_regclass(format('public.samples_%s', to_char(day, 'YYYYMMDD'))) IS NULL THEN
            EXECUTE format('CREATE TABLE public.samples_%s PARTITION OF public.samples FOR VALUES FROM (%L) TO (%L)',
                           to_char(day, 'YYYYMMDD'),
                           to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
        END IF;
    END LOOP;
END
$$;
