"""The SQL that erases a user. The caller has begun a transaction."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from typing_extensions import override

from async_session_store._wire import Hidden
from async_session_store.abc import ErasedUser
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._kept import IS_KEPT, SCOPE_HASH
from async_session_store.backends.sqlite._queues import LIVE as IS_IN_LINE
from async_session_store.backends.sqlite._queues import QueueTable
from async_session_store.backends.sqlite._sql import OWNER, Execute
from async_session_store.models import EnvId, TenantId, UserId

FIRST_ROW: Final = -(2**63)
_ROWS: Final = 1000  # looked at in one step
_TEAMS: Final = 1000  # likewise
_SECURE_DELETE: Final = ("OFF", "ON", "FAST")  # by what the pragma returns

_OF_USER: Final = "env = ? AND tenant = ? AND user = ?"
_IS_LIVE: Final = "(deadline IS NULL OR deadline > ?)"
_LAST_ROW: Final = (
    "SELECT max(rowid) FROM (SELECT rowid FROM sessions WHERE rowid > ? ORDER BY rowid LIMIT ?)"
)
_FIND: Final = f"SELECT rowid FROM sessions WHERE rowid > ? AND rowid <= ? AND {_OF_USER}"
_COUNT_SESSIONS: Final = (
    f"SELECT total({_IS_LIVE} AND scope_hash IS NOT NULL),"
    f" total({_IS_LIVE} AND scope_hash IS NULL), total({IS_KEPT}) FROM sessions WHERE {{}}"
)
_SUPERSEDE: Final = (
    "UPDATE claims SET superseded = 1 WHERE (env, tenant, team, user, scope_hash, wait_id) IN"
    f" (SELECT env, tenant, team, user, {SCOPE_HASH}, wait_id FROM sessions WHERE {{}})"
)
_COUNT_CLAIMS: Final = f"SELECT count(*) FROM claims WHERE {_OF_USER} AND deadline > ?"
_COUNT_PLACES: Final = f"SELECT count(*) FROM queue WHERE {_OF_USER} AND {IS_IN_LINE}"
_DELETE: Final = "DELETE FROM {} WHERE {}"
# The teams of a tenant are few beside its deliveries. So a user's are found team by team, each by
# a search in the primary key, which begins with the team.
_NEXT_TEAM: Final = (
    "SELECT team FROM deliveries WHERE env = ? AND tenant = ? AND team > ? ORDER BY team LIMIT 1"
)
_HAS_DELIVERIES: Final = f"SELECT 1 FROM deliveries WHERE {OWNER} LIMIT 1"
_SOME_DELIVERIES: Final = f"FROM deliveries WHERE {OWNER} ORDER BY digest LIMIT ?"
_COUNT_DELIVERIES: Final = f"SELECT total(deadline > ?) FROM (SELECT deadline {_SOME_DELIVERIES})"
_DELETE_DELIVERIES: Final = (
    "DELETE FROM deliveries WHERE (env, tenant, team, user, digest) IN"
    f" (SELECT env, tenant, team, user, digest {_SOME_DELIVERIES})"
)


class User(NamedTuple):
    """A user of a tenant, in all its teams. The texts are those in the columns."""

    env: str
    tenant: str
    user: str

    @classmethod
    def of(cls, env: EnvId, tenant: TenantId, user: UserId) -> User:
        return cls(str(env), str(tenant), str(user))

    @override
    def __repr__(self) -> str:
        return f"User(env={self.env!r}, tenant={self.tenant!r}, user={Hidden(self.user)!r})"


class FoundRows(NamedTuple):
    """A user's sessions among those of one step, and the row after which the next step begins."""

    rows: tuple[int, ...]
    last_row: int | None
    """None if there are no more rows."""


class FoundTeams(NamedTuple):
    """The teams in which a user has deliveries, and the one after which the next step begins."""

    teams: tuple[str, ...]
    last_team: str | None
    """None if there are no more teams."""


class ErasingTable:
    """What is stored of a user, in all tables.

    Args:
        execute: Executes one statement.
        clock: The clock that decides what is live.
        queues: The table of queues.
    """

    def __init__(self, execute: Execute, clock: Clock, queues: QueueTable) -> None:
        self._execute = execute
        self._clock = clock
        self._queues = queues

    def find_sessions(self, user: User, after: int) -> FoundRows:
        """Look for a user's sessions among the next rows.

        No index has the sessions that wait nowhere. They are searched by their rows and not by
        their keys, as a row is found even if its key is damaged.
        """
        (last,) = self._execute(_LAST_ROW, (after, _ROWS)).fetchone()
        if last is None:
            return FoundRows((), None)
        found = self._execute(_FIND, (after, last, *user)).fetchall()
        return FoundRows(tuple(row for (row,) in found), last)

    def erase_sessions(self, user: User, rows: Sequence[int]) -> ErasedUser:
        """Delete rows that :meth:`find_sessions` found, unless they are another user's by now."""
        now = self._clock.now()
        theirs = f"rowid IN ({', '.join('?' * len(rows))}) AND {_OF_USER}"
        columns = (*rows, *user)
        counted = self._execute(_COUNT_SESSIONS.format(theirs), (now, now, now, now, *columns))
        waits, sessions, expired_waits = map(int, counted.fetchone())
        # A turn may have begun since the claims were erased. It must not go on where it was.
        self._execute(_SUPERSEDE.format(theirs), columns)
        self._overwrite(_DELETE.format("sessions", theirs), columns)
        return ErasedUser(waits=waits, sessions=sessions, expired_waits=expired_waits)

    def erase_claims(self, user: User) -> ErasedUser:
        """Delete a user's claims and places in queues."""
        (claims,) = self._execute(_COUNT_CLAIMS, (*user, self._clock.now())).fetchone()
        (places,) = self._execute(_COUNT_PLACES, (*user, *self._queues.live())).fetchone()
        for table in ("claims", "queue"):
            self._overwrite(_DELETE.format(table, _OF_USER), user)
        return ErasedUser(claims=claims, places=places)

    def find_teams(self, user: User, after: str | None) -> FoundTeams:
        """Look among the next teams for those in which a user has deliveries."""
        found: list[str] = []
        team = "" if after is None else self._next_team(user, after)
        for _ in range(_TEAMS):
            if team is None:
                break
            if self._execute(_HAS_DELIVERIES, (user.env, user.tenant, team, user.user)).fetchone():
                found.append(team)
            after, team = team, self._next_team(user, team)
        return FoundTeams(tuple(found), None if team is None else after)

    def _next_team(self, user: User, team: str) -> str | None:
        found = self._execute(_NEXT_TEAM, (user.env, user.tenant, team)).fetchone()
        return None if found is None else found[0]

    def erase_deliveries(self, user: User, team: str) -> tuple[ErasedUser, bool]:
        """Delete some of a user's deliveries. Return how many, and whether there may be more."""
        some = (user.env, user.tenant, team, user.user, _ROWS)
        (live,) = self._execute(_COUNT_DELIVERIES, (self._clock.now(), *some)).fetchone()
        deleted = self._overwrite(_DELETE_DELIVERIES, some)
        return ErasedUser(deliveries=int(live)), deleted == _ROWS

    def _overwrite(self, statement: str, columns: Sequence[object]) -> int:
        """Delete rows and overwrite them. Return how many were deleted."""
        with self._secure_delete():
            return self._execute(statement, tuple(columns)).rowcount

    @contextmanager
    def _secure_delete(self) -> Generator[None, None, None]:
        """Let SQLite overwrite what the block deletes. Others' deletions need not pay for it."""
        (before,) = self._execute("PRAGMA secure_delete", ()).fetchone()
        self._execute("PRAGMA secure_delete = ON", ()).fetchone()
        try:
            yield
        finally:
            self._execute(f"PRAGMA secure_delete = {_SECURE_DELETE[before]}", ()).fetchone()
