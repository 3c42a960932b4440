-- Giving logins to the writer and the reader, by name. Parameters are psycopg's.

-- name: login_statements
-- What makes a role that may log in with a password and do what its group may; the statements in their order. Role names
-- and passwords are no parameters to PostgreSQL, so it is asked to quote them itself. A password comes as its verifier.
WITH known AS (
    SELECT role, verifier, grp, EXISTS (SELECT FROM pg_roles WHERE rolname = role) AS there
    FROM (VALUES (%(role)s::text, %(verifier)s::text, %(group)s::text)) AS given (role, verifier, grp)
)
SELECT statement FROM (
    SELECT 1, format('CREATE ROLE %%I LOGIN', role) FROM known WHERE NOT there
    UNION ALL SELECT 2, format('ALTER ROLE %%I LOGIN PASSWORD %%L', role, verifier) FROM known
    UNION ALL SELECT 3, format('GRANT %%I TO %%I', grp, role) FROM known
              WHERE role <> grp AND NOT (there AND pg_has_role(to_regrole(quote_ident(role)), grp, 'USAGE'))
) AS s (step, statement) ORDER BY step;
