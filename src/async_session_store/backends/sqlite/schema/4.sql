-- To version 4: remember only the digest of a delivery, however long its id is.
-- delivery_digest(scope_hash, delivery_id) is a function of the library; the digest has 15 bytes.

ALTER TABLE deliveries RENAME TO older_deliveries;
DROP INDEX deliveries_by_deadline;

CREATE TABLE deliveries (
    env      TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    team     TEXT NOT NULL,
    user     TEXT NOT NULL,
    digest   BLOB NOT NULL,
    deadline INTEGER NOT NULL,
    PRIMARY KEY (env, tenant, team, user, digest)
) WITHOUT ROWID;

INSERT INTO deliveries
    SELECT env, tenant, team, user, delivery_digest(scope_hash, delivery_id), deadline
    FROM older_deliveries;

DROP TABLE older_deliveries;

CREATE INDEX deliveries_by_deadline ON deliveries (deadline);
