-- To version 1 of the schema (PRAGMA user_version).
-- A session is a row. It waits where scope_hash says, or nowhere if that is NULL.
-- No team and no user are '' (an id is never empty). deadline is in milliseconds since the epoch.
-- document is the JSON of the session without its context_json, which stands beside it unescaped.

CREATE TABLE sessions (
    key          TEXT NOT NULL PRIMARY KEY,
    env          TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    team         TEXT NOT NULL,
    user         TEXT NOT NULL,
    scope_hash   TEXT,
    deadline     INTEGER,
    document     TEXT NOT NULL,
    context_json TEXT NOT NULL
);

CREATE UNIQUE INDEX sessions_by_scope
    ON sessions (env, tenant, team, user, scope_hash)
    WHERE scope_hash IS NOT NULL;

CREATE INDEX sessions_by_deadline
    ON sessions (deadline)
    WHERE deadline IS NOT NULL;
