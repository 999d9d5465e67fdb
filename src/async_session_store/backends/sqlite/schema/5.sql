-- To version 5: what follows a claim, claims on empty scopes, and queues for a turn.
-- scope is the JSON of the scope that a wait was registered at. It is only for the record: scope_hash
-- routes. A claim without a wait_id holds an empty scope. superseded is 1 once a call has changed what
-- waits at the scope; if it is 0 and the wait is gone, the wait has expired.
-- A place in a queue is a row. The lowest number at a scope is first. While its holder waits, the
-- deadline of the place is moved.

ALTER TABLE sessions ADD COLUMN scope TEXT;

ALTER TABLE claims RENAME TO older_claims;
DROP INDEX claims_by_deadline;

CREATE TABLE claims (
    env        TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    team       TEXT NOT NULL,
    user       TEXT NOT NULL,
    scope_hash TEXT NOT NULL,
    token      TEXT NOT NULL,
    wait_id    TEXT,
    superseded INTEGER NOT NULL DEFAULT 0,
    deadline   INTEGER NOT NULL,
    PRIMARY KEY (env, tenant, team, user, scope_hash)
) WITHOUT ROWID;

INSERT INTO claims (env, tenant, team, user, scope_hash, token, wait_id, deadline)
    SELECT env, tenant, team, user, scope_hash, token, wait_id, deadline FROM older_claims;

DROP TABLE older_claims;

CREATE INDEX claims_by_deadline ON claims (deadline);

-- Costs a registration less than a statement of its own.
CREATE TRIGGER registration_supersedes
    AFTER INSERT ON sessions
    WHEN new.scope_hash IS NOT NULL
BEGIN
    UPDATE claims SET superseded = 1
        WHERE env = new.env AND tenant = new.tenant AND team = new.team AND user = new.user
            AND scope_hash = new.scope_hash;
END;

CREATE TABLE queue (
    place      INTEGER PRIMARY KEY,
    env        TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    team       TEXT NOT NULL,
    user       TEXT NOT NULL,
    scope_hash TEXT NOT NULL,
    token      TEXT NOT NULL UNIQUE,
    deadline   INTEGER NOT NULL
);

CREATE INDEX queue_by_scope ON queue (env, tenant, team, user, scope_hash);
