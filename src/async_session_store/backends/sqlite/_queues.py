"""The SQL of the queues for turns. The caller has begun a transaction."""

from __future__ import annotations

from typing import Final

from async_session_store.abc import PLACE_TTL
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._sql import OWNER, Execute, owner_columns
from async_session_store.models import Owner

# A row with a later deadline than any call can set is not a place: the clock was set back, or the
# row is damaged. (Texts and blobs are greater than all numbers.) It would hold up everyone forever.
_LONGEST: Final = 2 * PLACE_TTL
LIVE: Final = "queue.deadline BETWEEN ? AND ?"
_AT_SCOPE: Final = f"{OWNER} AND scope_hash = ?"
_IS_BEHIND: Final = (
    f"SELECT 1 FROM queue WHERE {_AT_SCOPE} AND token <> ? AND {LIVE}"
    " AND place < ifnull((SELECT place FROM queue WHERE token = ?), 9e99) LIMIT 1"
)
_TAKE: Final = (
    "INSERT INTO queue (env, tenant, team, user, scope_hash, token, deadline)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_KEEP: Final = (
    "UPDATE queue SET env = ?, tenant = ?, team = ?, user = ?, scope_hash = ?, deadline = ?"
    " WHERE token = ?"
)
_LEAVE: Final = "DELETE FROM queue WHERE token = ?"
_SWEEP: Final = f"DELETE FROM queue WHERE NOT {LIVE}"
# One pass over all places. A subquery for each place, which looks for others ahead of it, would go
# through the lost places again and again. Beside min(place), SQLite returns the token of that row.
_NEXT_IN_LINE: Final = (
    f"SELECT CAST(token AS BLOB), min(place) FROM queue WHERE {LIVE}"
    " AND NOT EXISTS (SELECT 1 FROM claims WHERE claims.env = queue.env"
    " AND claims.tenant = queue.tenant AND claims.team = queue.team"
    " AND claims.user = queue.user AND claims.scope_hash = queue.scope_hash"
    " AND claims.deadline > ?) GROUP BY env, tenant, team, user, scope_hash"
)


class QueueTable:
    """The places of callers that wait for their turn at a scope, in order of arrival.

    Args:
        execute: Executes one statement.
        clock: The clock that decides which places are lost.
    """

    def __init__(self, execute: Execute, clock: Clock) -> None:
        self._execute = execute
        self._clock = clock

    def is_behind(self, token: str, owner: Owner, scope_hash: str) -> bool:
        """Return whether a caller that arrived before a token waits at a scope."""
        columns = (*owner_columns(owner), scope_hash, token, *self.live(), token)
        return self._execute(_IS_BEHIND, columns).fetchone() is not None

    def keep(self, token: str, owner: Owner, scope_hash: str) -> None:
        """Renew a token's place, or append one. A place that moves keeps its rank."""
        place = (*owner_columns(owner), scope_hash)
        deadline = self._clock.after(PLACE_TTL)
        # A place that is renewed too late is still valid unless it was swept. The file may have
        # been locked for that long, and then nobody else could renew a place either.
        if not self._execute(_KEEP, (*place, deadline, token)).rowcount:
            self._execute(_TAKE, (*place, token, deadline))

    def leave(self, token: str) -> bool:
        """Give up the place of a token. Return whether it had one."""
        return self._execute(_LEAVE, (token,)).rowcount > 0

    def next_in_line(self) -> frozenset[str]:
        """Return the tokens whose turn it is: nobody is ahead of them, and no claim is held."""
        columns = (*self.live(), self._clock.now())
        return frozenset(_text(token) for token, _ in self._execute(_NEXT_IN_LINE, columns))

    def sweep(self) -> None:
        """Delete places that were lost some time ago."""
        first, last = self.live()
        self._execute(_SWEEP, (first - PLACE_TTL, last))

    def live(self) -> tuple[int, int]:
        """Return the first and the last deadline that a live place can have."""
        now = self._clock.now()
        return now + 1, now + _LONGEST


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")
