-- Who may do what: the owner migrates, the writer is for streamers and collectors, the reader for the API and
-- for people. Where the owner may not create roles, they are made by hand first (README, "Your own servers").

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['telemetry_writer', 'telemetry_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;  -- a migration of another database was faster
                WHEN insufficient_privilege THEN
                    RAISE WARNING 'role % is missing and this user may not create it; only the owner can use the database', role;
                    CONTINUE;
            END;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA public TO %I', role);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO %I', role);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'telemetry_writer') THEN
        GRANT INSERT, UPDATE ON gpus, workloads, metrics, stream_progress, blocks, pruned_blocks TO telemetry_writer;
        GRANT DELETE ON blocks TO telemetry_writer;
        GRANT INSERT ON source_days TO telemetry_writer;
        GRANT INSERT ON samples, rejected_rows TO telemetry_writer;
        GRANT INSERT, UPDATE, DELETE ON dead_blocks TO telemetry_writer;
        GRANT EXECUTE ON FUNCTION ensure_days(date[]), drop_samples(oid, interval, boolean, interval),
            drop_rollup(oid, interval) TO telemetry_writer;
        -- The owner ends a writer's session that blocks a migration: this takes membership that is inherited, which
        -- who creates a role does not get by itself since PostgreSQL 16.
        IF NOT pg_has_role(current_user, 'telemetry_writer', 'USAGE') THEN
            BEGIN
                EXECUTE format('GRANT telemetry_writer TO %I', current_user);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE WARNING 'this user is no member of telemetry_writer and cannot end its sessions';
            END;
        END IF;
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION ensure_days(date[]) FROM PUBLIC;
