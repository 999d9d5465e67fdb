"""The SQL of the rows of expired waits. The caller has begun a transaction.

Such a row is past its deadline, but must not be deleted yet. If another session has been registered
at its scope, it was moved aside: its ``scope_hash`` is then that of the scope, a colon and its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from async_session_store.abc import ClaimKey
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._sql import (
    OWNER,
    OWNER_TEXTS,
    Execute,
    decoded,
    owner_columns,
    stored_owner,
)
from async_session_store.models import Owner, SessionKey

# The expression of the index sessions_by_end.
END: Final = (
    "CASE WHEN sessions.deadline + expired_ttl > sessions.deadline"
    " THEN sessions.deadline + expired_ttl ELSE sessions.deadline END"
)
IS_KEPT: Final = f"(sessions.deadline <= ? AND {END} > ? AND sessions.scope_hash IS NOT NULL)"
# The scope at which a row waited, even if it was moved aside.
SCOPE_HASH: Final = (
    "substr(sessions.scope_hash, 1, instr(sessions.scope_hash || ':', ':') - 1)"  # without ":key"
)

_AT_KEY: Final = f"key = ? AND {IS_KEPT}"
_WAITED_AT_SCOPE: Final = f"{OWNER} AND scope_hash >= ? AND scope_hash < ? || ';'"  # ":" + 1
_AT_SCOPE: Final = f"{_WAITED_AT_SCOPE} AND {IS_KEPT}"
_KEY_AT_SCOPE: Final = f"key = ? AND {_AT_SCOPE}"
_OF_OWNER: Final = f"{OWNER} AND {IS_KEPT}"
_CLAIMED: Final = (
    f"{_AT_KEY} AND wait_id = (SELECT wait_id FROM claims"
    f" WHERE {OWNER} AND scope_hash = ? AND deadline > ? AND token = ?)"
)
_ROW: Final = "rowid = ?"
_SUPERSEDE: Final = (
    "UPDATE claims SET superseded = 1"
    " WHERE (env, tenant, team, user, scope_hash, wait_id) ="
    f" (SELECT env, tenant, team, user, {SCOPE_HASH}, wait_id FROM sessions WHERE {{}})"
)
_SUPERSEDE_AT_KEY: Final = _SUPERSEDE.format(_AT_KEY)
_SUPERSEDE_ROW: Final = _SUPERSEDE.format(_ROW)
# If nobody has asked to keep a wait, an index answers this without reading any row.
_ARE_ANY: Final = "SELECT 1 FROM sessions WHERE due IS NOT NULL LIMIT 1"
_FIND: Final = "SELECT rowid FROM sessions WHERE {}"
_FIND_AT_SCOPE: Final = _FIND.format(_AT_SCOPE)
_FIND_KEY_AT_SCOPE: Final = _FIND.format(_KEY_AT_SCOPE)
_FIND_OF_OWNER: Final = _FIND.format(_OF_OWNER)
_FIND_AT_KEY: Final = f"SELECT rowid, {OWNER_TEXTS} FROM sessions WHERE {_AT_KEY}"
_DELETE: Final = "DELETE FROM sessions WHERE {}"
_DELETE_ROW: Final = _DELETE.format(_ROW)
_MOVE_ASIDE: Final = (
    "UPDATE sessions SET scope_hash = scope_hash || ':' || key"
    f" WHERE {OWNER} AND scope_hash = ? AND {IS_KEPT}"
)
_FIND_CLAIMED: Final = f"SELECT 1 FROM sessions WHERE {_CLAIMED}"
_DELETE_CLAIMED: Final = _DELETE.format(_CLAIMED)
_GIVE_BACK: Final = f"UPDATE sessions SET due = ? WHERE {_CLAIMED}"


class KeptRows:
    """The rows of expired waits.

    Args:
        execute: Executes one statement.
        clock: The clock that decides which waits are expired waits.
    """

    def __init__(self, execute: Execute, clock: Clock) -> None:
        self._execute = execute
        self._clock = clock

    # --- The wait of a claim that is still held -----------------------------------------------

    def is_claimed(self, claim: ClaimKey) -> bool:
        """Return whether the claimed wait is now an expired wait."""
        return self._execute(_FIND_CLAIMED, self._claimed(claim)).fetchone() is not None

    def remove(self, claim: ClaimKey) -> bool:
        """Remove the claimed wait if it is an expired wait. Return whether it was."""
        return self._execute(_DELETE_CLAIMED, self._claimed(claim)).rowcount > 0

    def give_back(self, claim: ClaimKey) -> bool:
        """Make the claimed wait due from now on. Return whether it is an expired wait."""
        columns = (self._clock.now(), *self._claimed(claim))
        return self._execute(_GIVE_BACK, columns).rowcount > 0

    def _claimed(self, claim: ClaimKey) -> tuple[object, ...]:
        key, now = claim.session_key, self._clock.now()
        place = (*owner_columns(claim.owner), claim.scope_hash)
        return None if key is None else str(key), now, now, *place, now, claim.token

    # --- Ending expired waits -----------------------------------------------------------------

    def end_at_key(self, key: SessionKey, viewer: Owner | None) -> None:
        """End the expired wait with a key, if the viewer sees it."""
        found = self._execute(_FIND_AT_KEY, self._at_key(key)).fetchone()
        if found is not None and (viewer is None or _sees(viewer, found[1:])):
            self._end(found[0])

    def end_at_scope(self, owner: Owner, scope_hash: str, key: SessionKey | None) -> None:
        """End all expired waits that waited at a scope, or only the one with the key."""
        place = (*owner_columns(owner), scope_hash, scope_hash)
        if key is None:
            self._end_all(_FIND_AT_SCOPE, place)
        else:
            self._end_all(_FIND_KEY_AT_SCOPE, (str(key), *place))

    def end_all(self, owner: Owner) -> None:
        """End all expired waits of an owner."""
        self._end_all(_FIND_OF_OWNER, owner_columns(owner))

    def _end_all(self, statement: str, columns: tuple[object, ...]) -> None:
        if self._execute(_ARE_ANY, ()).fetchone() is None:
            return
        now = self._clock.now()
        for (row,) in self._execute(statement, (*columns, now, now)).fetchall():
            self._end(row)

    def _end(self, row: int) -> None:
        self._execute(_SUPERSEDE_ROW, (row,))
        self._execute(_DELETE_ROW, (row,))

    def supersede(self, key: SessionKey) -> None:
        """Supersede the claim on an expired wait whose key is about to be registered again."""
        self._execute(_SUPERSEDE_AT_KEY, self._at_key(key))

    def move_aside(self, owner: Owner, scope_hash: str) -> None:
        """Move an expired wait aside, so that another session can be registered at its scope."""
        now = self._clock.now()
        self._execute(_MOVE_ASIDE, (*owner_columns(owner), scope_hash, now, now))

    def _at_key(self, key: SessionKey) -> tuple[object, ...]:
        now = self._clock.now()
        return str(key), now, now


def hash_of_scope(stored: bytes) -> str | None:
    """Return the hash of the scope where a row waited, even if the row was moved aside.

    None if it is damaged.
    """
    return decoded(stored.partition(b":")[0])


def _sees(viewer: Owner, owner_texts: Sequence[bytes | None]) -> bool:
    """Return whether a viewer sees a row. If its owner is not valid, nobody does."""
    env, tenant, team, user = map(decoded, owner_texts)
    if env is None or tenant is None or team is None or user is None:
        return False
    return viewer.sees(stored_owner((env, tenant, team, user)))
