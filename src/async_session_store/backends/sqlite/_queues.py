"""The SQL of queues for a turn, inside a transaction begun elsewhere."""

from __future__ import annotations

from typing import Final

from async_session_store.abc import PLACE_TTL
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._table import OWNER, Execute, owner_columns
from async_session_store.models import Owner

_PLACE_OF: Final = "SELECT scope_hash FROM queue WHERE token = ? AND deadline > ?"
_FIRST: Final = (
    f"SELECT token, deadline FROM queue WHERE {OWNER} AND scope_hash = ? ORDER BY place LIMIT 1"
)
_TAKE: Final = (
    "INSERT INTO queue (env, tenant, team, user, scope_hash, token, deadline)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_KEEP: Final = (
    f"UPDATE queue SET deadline = ? WHERE {OWNER} AND scope_hash = ? AND token = ? AND deadline > ?"
)
_LEAVE: Final = "DELETE FROM queue WHERE token = ? AND deadline > ?"
_DROP: Final = "DELETE FROM queue WHERE token = ?"
_SWEEP: Final = "DELETE FROM queue WHERE deadline <= ?"
_SAME_SCOPE: Final = " AND ".join(
    f"other.{column} = queue.{column}" for column in ("env", "tenant", "team", "user", "scope_hash")
)
_NEXT_IN_LINE: Final = (
    "SELECT token FROM queue WHERE deadline > ?1"
    f" AND NOT EXISTS (SELECT 1 FROM claims AS other WHERE {_SAME_SCOPE} AND other.deadline > ?1)"
    f" AND NOT EXISTS (SELECT 1 FROM queue AS other WHERE {_SAME_SCOPE}"
    " AND other.place < queue.place AND other.deadline > ?1)"
)


class QueueTable:
    """The places of those who wait for their turn at a scope, in the order of arrival.

    Args:
        execute: Executes one statement.
        clock: Tells which places are lost.
    """

    def __init__(self, execute: Execute, clock: Clock) -> None:
        self._execute = execute
        self._clock = clock

    def is_behind(self, token: str, owner: Owner, scope_hash: str) -> bool:
        """Return whether someone else is ahead of a token at a scope.

        Lost places at the front are dropped.
        """
        place = (*owner_columns(owner), scope_hash)
        while first := self._execute(_FIRST, place).fetchone():
            if first[1] > self._clock.now():
                return bool(first[0] != token)
            self._execute(_DROP, (first[0],))
        return False

    def place_of(self, token: str) -> str | None:
        """Return the scope where a token has a place, or None."""
        found = self._execute(_PLACE_OF, (token, self._clock.now())).fetchone()
        return None if found is None else found[0]

    def keep(self, token: str, owner: Owner, scope_hash: str) -> None:
        """Keep the place that a token has at a scope, or give it the last one there."""
        place, deadline = (*owner_columns(owner), scope_hash), self._clock.after(PLACE_TTL)
        if not self._execute(_KEEP, (deadline, *place, token, self._clock.now())).rowcount:
            self._execute(_DROP, (token,))
            self._execute(_TAKE, (*place, token, deadline))

    def leave(self, token: str) -> bool:
        """Give up the place of a token. Return whether it had one."""
        return self._execute(_LEAVE, (token, self._clock.now())).rowcount > 0

    def next_in_line(self) -> frozenset[str]:
        """Return the tokens whose turn it is: no one is ahead of them, and no claim is held."""
        rows = self._execute(_NEXT_IN_LINE, (self._clock.now(),)).fetchall()
        return frozenset(token for (token,) in rows)

    def sweep(self) -> None:
        """Drop the places that were lost some time ago."""
        self._execute(_SWEEP, (self._clock.after(-PLACE_TTL),))
