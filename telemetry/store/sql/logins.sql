-- Giving logins to the writer and the reader, by name. Parameters are psycopg's.

-- name: login_statements
-- What makes a role that may log in with a password and do what its group may; the statements in their order. Role names
-- and passwords are no parameters to PostgreSQL, so it is asked to quote them itself. A password comes as its verifier.
-- The time that a statement has is a setting of who logs in, as those of a group are not its members'; what somebody
-- else set for this role stays. It is this database's alone.
WITH known AS (
    SELECT role, verifier, grp, patience, current_database() AS here, to_regrole(quote_ident(role)) IS NOT NULL AS there
    FROM (VALUES (%(role)s::text, %(verifier)s::text, %(group)s::text, %(patience)s::text))
         AS given (role, verifier, grp, patience)
), patient AS (
    SELECT FROM known, pg_db_role_setting AS s, unnest(s.setconfig) AS setting
    WHERE s.setrole = to_regrole(quote_ident(role)) AND starts_with(setting, 'statement_timeout=')
      AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = here))
)
SELECT statement FROM (
    SELECT 1, format('CREATE ROLE %%I LOGIN', role) FROM known WHERE NOT there
    UNION ALL SELECT 2, format('ALTER ROLE %%I LOGIN PASSWORD %%L', role, verifier) FROM known
    UNION ALL SELECT 3, format('GRANT %%I TO %%I', grp, role) FROM known
              WHERE role <> grp AND NOT (there AND pg_has_role(to_regrole(quote_ident(role)), grp, 'USAGE'))
    UNION ALL SELECT 4, format('ALTER ROLE %%I IN DATABASE %%I SET statement_timeout = %%L', role, here, patience)
              FROM known WHERE patience IS NOT NULL AND NOT EXISTS (SELECT FROM patient)
) AS s (step, statement) ORDER BY step;
