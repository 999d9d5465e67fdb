-- To version 6: waits that are kept for a worker after their deadline, for expired_ttl milliseconds.
-- due is when such a wait is due: at its deadline, or since it was given back. It is NULL unless the
-- row waits at a scope, has a deadline and is kept.
-- If another session is registered at the scope of such a wait, its scope_hash becomes
-- <scope_hash>:<key>, so that no look-up finds it there, and it can still be found by its scope.

ALTER TABLE sessions ADD COLUMN expired_ttl INTEGER;
ALTER TABLE sessions ADD COLUMN due INTEGER;

CREATE INDEX sessions_by_due ON sessions (due) WHERE due IS NOT NULL;

CREATE INDEX sessions_by_team_and_due ON sessions (env, tenant, team, due) WHERE due IS NOT NULL;

-- By when a row may be deleted: a sweep must not read those that are kept past their deadline again
-- and again. Without an expired_ttl, with one below zero, or with a deadline that is no number (which
-- is greater than all numbers), that is the deadline. A function in here would cost each row that is
-- written a microsecond.
DROP INDEX sessions_by_deadline;

CREATE INDEX sessions_by_end
    ON sessions (
        CASE
            WHEN deadline + expired_ttl > deadline THEN deadline + expired_ttl
            ELSE deadline
        END
    )
    WHERE deadline IS NOT NULL;

-- Whether an expired wait was claimed. A caller that was cancelled looks for its claims by token.
ALTER TABLE claims ADD COLUMN is_expired INTEGER;

CREATE INDEX claims_on_expired_waits ON claims (token) WHERE is_expired IS NOT NULL;
