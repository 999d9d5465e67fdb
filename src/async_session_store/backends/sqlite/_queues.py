"""The SQL of the queues for turns, inside a transaction begun elsewhere."""

from __future__ import annotations

from typing import Final

from async_session_store.abc import PLACE_TTL
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._table import OWNER, Execute, owner_columns
from async_session_store.models import Owner

_FIRST: Final = (
    "SELECT token, deadline, place < ifnull((SELECT place FROM queue WHERE token = ?), 9e99)"
    f" FROM queue WHERE {OWNER} AND scope_hash = ? ORDER BY place LIMIT 1"
)
_TAKE: Final = (
    "INSERT INTO queue (env, tenant, team, user, scope_hash, token, deadline)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_KEEP: Final = "UPDATE queue SET scope_hash = ?, deadline = ? WHERE token = ?"
_LEAVE: Final = "DELETE FROM queue WHERE token = ?"
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
    """The places of callers that wait for their turn at a scope, in the order of arrival.

    Args:
        execute: Executes one statement.
        clock: The clock that decides which places are lost.
    """

    def __init__(self, execute: Execute, clock: Clock) -> None:
        self._execute = execute
        self._clock = clock

    def is_behind(self, token: str, owner: Owner, scope_hash: str) -> bool:
        """Return whether someone who came before a token waits at a scope.

        Lost places at the front are dropped.
        """
        columns = (token, *owner_columns(owner), scope_hash)
        while first := self._execute(_FIRST, columns).fetchone():
            if first[1] > self._clock.now():
                return bool(first[2])
            self.leave(first[0])
        return False

    def keep(self, token: str, owner: Owner, scope_hash: str) -> None:
        """Keep the place of a token, which moves with its rank, or give it the last one."""
        deadline = self._clock.after(PLACE_TTL)
        # A place that is renewed too late is still good, if nobody has dropped it yet.
        if not self._execute(_KEEP, (scope_hash, deadline, token)).rowcount:
            self._execute(_TAKE, (*owner_columns(owner), scope_hash, token, deadline))

    def leave(self, token: str) -> bool:
        """Give up the place of a token. Return whether it had one."""
        return self._execute(_LEAVE, (token,)).rowcount > 0

    def next_in_line(self) -> frozenset[str]:
        """Return the tokens whose turn it is: no one is ahead of them, and no claim is held."""
        rows = self._execute(_NEXT_IN_LINE, (self._clock.now(),)).fetchall()
        return frozenset(token for (token,) in rows)

    def sweep(self) -> None:
        """Drop the places that were lost some time ago."""
        self._execute(_SWEEP, (self._clock.after(-PLACE_TTL),))
