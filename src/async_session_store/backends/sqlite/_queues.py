"""The SQL of queues for a turn, inside a transaction begun elsewhere."""

from __future__ import annotations

from typing import Final

from async_session_store.abc import PLACE_TTL
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._table import OWNER, Execute, owner_columns
from async_session_store.models import Owner

# A deadline that no call can have set is that of no place: the clock was set back, or the row is
# damaged. (Texts and blobs are greater than all numbers.) It would hold everyone up for ever.
_LONGEST: Final = 2 * PLACE_TTL
_LIVE: Final = "deadline BETWEEN ? AND ?"
_AT_SCOPE: Final = f"{OWNER} AND scope_hash = ?"
_PLACE_OF: Final = f"SELECT CAST(scope_hash AS BLOB) FROM queue WHERE token = ? AND {_LIVE}"
_IS_BEHIND: Final = (
    f"SELECT token <> ? FROM queue WHERE {_AT_SCOPE} AND (token = ? OR {_LIVE})"
    " ORDER BY place LIMIT 1"
)
_TAKE: Final = (
    "INSERT INTO queue (env, tenant, team, user, scope_hash, token, deadline)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_KEEP: Final = f"UPDATE queue SET deadline = ? WHERE {_AT_SCOPE} AND token = ?"
_LEAVE: Final = "DELETE FROM queue WHERE token = ?"
_SWEEP: Final = f"DELETE FROM queue WHERE NOT {_LIVE}"
# In one pass: a place that looks for others ahead of it would meet the lost ones again and again.
# Beside min(place), SQLite gives the token of the row that has it.
_NEXT_IN_LINE: Final = (
    f"SELECT CAST(token AS BLOB), min(place) FROM queue WHERE {_LIVE}"
    " AND NOT EXISTS (SELECT 1 FROM claims WHERE claims.env = queue.env"
    " AND claims.tenant = queue.tenant AND claims.team = queue.team"
    " AND claims.user = queue.user AND claims.scope_hash = queue.scope_hash"
    " AND claims.deadline > ?) GROUP BY env, tenant, team, user, scope_hash"
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
        """Return whether someone else is ahead of a token at a scope."""
        place = (*owner_columns(owner), scope_hash)
        columns = (token, *place, token, *self._live())
        found = self._execute(_IS_BEHIND, columns).fetchone()
        return found is not None and bool(found[0])

    def place_of(self, token: str) -> str | None:
        """Return the scope where a token has a place, or None."""
        found = self._execute(_PLACE_OF, (token, *self._live())).fetchone()
        return None if found is None else _text(found[0])

    def keep(self, token: str, owner: Owner, scope_hash: str) -> None:
        """Keep the place that a token has at a scope, or give it the last one there."""
        place, deadline = (*owner_columns(owner), scope_hash), self._clock.after(PLACE_TTL)
        # A place that was kept too late is still good if it was not swept: the file may have been
        # locked for that long, and then nobody else could keep theirs.
        if not self._execute(_KEEP, (deadline, *place, token)).rowcount:
            self.leave(token)
            self._execute(_TAKE, (*place, token, deadline))

    def leave(self, token: str) -> bool:
        """Give up the place of a token. Return whether it had one."""
        return self._execute(_LEAVE, (token,)).rowcount > 0

    def next_in_line(self) -> frozenset[str]:
        """Return the tokens whose turn it is: no one is ahead of them, and no claim is held."""
        columns = (*self._live(), self._clock.now())
        return frozenset(_text(token) for token, _ in self._execute(_NEXT_IN_LINE, columns))

    def sweep(self) -> None:
        """Drop the places that were lost some time ago."""
        first, last = self._live()
        self._execute(_SWEEP, (first - PLACE_TTL, last))

    def _live(self) -> tuple[int, int]:
        """Return the first and the last deadline that a live place can have."""
        now = self._clock.now()
        return now + 1, now + _LONGEST


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")
