-- To version 2: claims on scopes, and the deliveries that were handled.
-- A wait has an identity of its own: registering it again gives it a new one.
-- A claim holds the identity of the wait that was claimed. It is on the scope, so that it outlives
-- the wait; that is why it is no part of the row of the session.

ALTER TABLE sessions ADD COLUMN wait_id TEXT;

UPDATE sessions SET wait_id = lower(hex(randomblob(16))) WHERE scope_hash IS NOT NULL;

CREATE TABLE claims (
    env        TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    team       TEXT NOT NULL,
    user       TEXT NOT NULL,
    scope_hash TEXT NOT NULL,
    token      TEXT NOT NULL,
    wait_id    TEXT NOT NULL,
    deadline   INTEGER NOT NULL,
    PRIMARY KEY (env, tenant, team, user, scope_hash)
) WITHOUT ROWID;

CREATE INDEX claims_by_deadline ON claims (deadline);

CREATE TABLE deliveries (
    env         TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    team        TEXT NOT NULL,
    user        TEXT NOT NULL,
    scope_hash  TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    deadline    INTEGER NOT NULL,
    PRIMARY KEY (env, tenant, team, user, scope_hash, delivery_id)
) WITHOUT ROWID;

CREATE INDEX deliveries_by_deadline ON deliveries (deadline);
