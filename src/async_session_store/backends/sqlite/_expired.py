"""The SQL that hands out expired waits to workers. The caller has begun a transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from async_session_store.abc import Claimed, ClaimKey, Unreadable
from async_session_store.backends._time import utc_from_ms
from async_session_store.backends.sqlite._claims import ClaimTable
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._kept import IS_KEPT, SCOPE_HASH
from async_session_store.backends.sqlite._queues import LIVE as IS_IN_LINE
from async_session_store.backends.sqlite._queues import QueueTable
from async_session_store.backends.sqlite._rows import CONTENT, KEY, Row, session_key
from async_session_store.backends.sqlite._sql import (
    OWNER_TEXTS,
    Execute,
    decoded,
    owner_columns,
    text,
)
from async_session_store.backends.sqlite._table import SessionTable
from async_session_store.models import Owner, SessionRecord

_MAX_SKIPPED: Final = 256  # rows in one transaction


# A blob never equals a text, so no claim can be held on an owner or a scope that is not a text.
_COLUMNS: Final = (
    f"sessions.rowid, {text(SCOPE_HASH, 'scope_hash')}, {KEY}, {OWNER_TEXTS}, {CONTENT}"
)
_SAME_OWNER: Final = (
    "{0}.env = sessions.env AND {0}.tenant = sessions.tenant"
    " AND {0}.team = sessions.team AND {0}.user = sessions.user"
)
_SAME_SCOPE: Final = f"{_SAME_OWNER} AND {{0}}.scope_hash = {SCOPE_HASH}"
_IS_HELD: Final = "typeof(claims.deadline) = 'integer' AND claims.deadline > ?"
_DUE: Final = (
    "due <= ? AND NOT EXISTS"
    f" (SELECT 1 FROM claims WHERE {_SAME_SCOPE.format('claims')} AND {_IS_HELD})"
    f" AND NOT EXISTS (SELECT 1 FROM queue WHERE {_SAME_SCOPE.format('queue')} AND {IS_IN_LINE})"
)
_TEAM: Final = "env = ? AND tenant = ? AND team = ?"
# Without a hint, SQLite searches all due waits of a team for those of one user. It is quicker to go
# through the user's own waits, which are few.
_OF_ALL: Final = "INDEXED BY sessions_by_due WHERE"
_OF_TEAM: Final = f"INDEXED BY sessions_by_team_and_due WHERE {_TEAM} AND"
_OF_USER: Final = (
    f"INDEXED BY sessions_by_scope WHERE {_TEAM} AND user = ? AND scope_hash IS NOT NULL AND"
)
_IS_DUE: Final = (
    f"SELECT EXISTS (SELECT 1 FROM sessions {{}} {_DUE}),"
    " EXISTS (SELECT 1 FROM claims WHERE is_expired IS NOT NULL)"
)
_FIND_DUE: Final = f"SELECT {IS_KEPT}, {_COLUMNS} FROM sessions {{}} {_DUE} ORDER BY due LIMIT ?"
_HOLDS: Final = f"token = ? AND is_expired IS NOT NULL AND {_IS_HELD}"
_HOLDS_ANY: Final = f"SELECT 1 FROM claims WHERE {_HOLDS}"
_FIND_HELD: Final = (
    f"SELECT claims.deadline, {IS_KEPT}, {_COLUMNS} FROM claims LEFT JOIN sessions"
    f" ON {_SAME_OWNER.format('claims')} AND sessions.scope_hash >= claims.scope_hash"
    " AND sessions.scope_hash < claims.scope_hash || ';'"
    f" AND sessions.wait_id = claims.wait_id WHERE {_HOLDS}"
)
_CORRECT_DUE: Final = (
    "UPDATE sessions SET due = CASE WHEN typeof(deadline) = 'integer' AND deadline > ?"
    " AND expired_ttl IS NOT NULL AND scope_hash IS NOT NULL THEN deadline END WHERE rowid = ?"
)
_NEVER_DUE: Final = "UPDATE sessions SET due = NULL WHERE rowid = ?"


class _StoredRow(NamedTuple):
    """A row that is due, or on which a claim is held. Texts that are not valid are None."""

    is_kept: bool
    rowid: int
    scope_hash: str | None
    key: bytes | None
    owner: tuple[str | None, ...]
    content: tuple[Any, ...]

    @classmethod
    def of(cls, columns: Sequence[Any]) -> _StoredRow:
        is_kept, rowid, scope_hash, key, *others = columns
        owner = tuple(map(decoded, others[:4]))
        return cls(bool(is_kept), rowid, decoded(scope_hash), key, owner, tuple(others[4:]))

    @property
    def place(self) -> tuple[str | None, ...]:
        return *self.owner, self.scope_hash


class _Claimable(NamedTuple):
    """An expired wait that can be claimed, or is claimed already."""

    claim: ClaimKey
    record: SessionRecord
    wait_id: bytes


class ExpiredTable:
    """The expired waits in the table of sessions, as workers claim them.

    Args:
        execute: Executes one statement.
        clock: The clock that decides which waits are due.
        sessions: The table of sessions.
        claims: The table of claims.
        queues: The table of queues.
    """

    def __init__(
        self,
        execute: Execute,
        clock: Clock,
        sessions: SessionTable,
        claims: ClaimTable,
        queues: QueueTable,
    ) -> None:
        self._execute = execute
        self._clock = clock
        self._sessions = sessions
        self._claims = claims
        self._queues = queues

    def is_due(self, fence: Owner | None, tokens: Sequence[str]) -> bool:
        """Return whether :meth:`claim` would find anything."""
        within, columns = _within(fence)
        found = self._execute(_IS_DUE.format(within), (*columns, *self._times())).fetchone()
        is_due, any_is_held = found
        if is_due or not any_is_held:
            return bool(is_due)
        now = self._clock.now()
        return any(self._execute(_HOLDS_ANY, (token, now)).fetchone() for token in tokens)

    def claim(
        self, fence: Owner | None, tokens: Sequence[str], lease: int
    ) -> tuple[Claimed | Unreadable, ...] | None:
        """Claim due waits. Return None if the caller must call again, in another transaction."""
        self._claims.sweep_a_few()
        found: list[Claimed | Unreadable] = []
        free = deque[str]()
        for token in tokens:
            held = self._held(token)
            if held is None:
                free.append(token)
            else:
                found += held
        skipped = 0
        # The loop ends: each pass uses up tokens, or corrects the rows that it skips, so they are
        # not due. The next pass does not select a wait at the scope of one that was just claimed.
        while free and (due := self._due(fence, len(free))):
            handed_out = self._hand_out(due, free, lease)
            found += handed_out
            skipped += len(due) - len(handed_out)
            if skipped >= _MAX_SKIPPED:
                return tuple(found) or None
        return tuple(found)

    def _held(self, token: str) -> tuple[Claimed, ...] | None:
        """Return the wait that a token has claimed already, or None if the token holds no claim."""
        now = self._clock.now()
        columns = self._execute(_FIND_HELD, (now, now, token, now)).fetchone()
        if columns is None:
            return None
        deadline, *row = columns
        held = _StoredRow.of(row)
        claimable = self._examined(held, token) if held.is_kept else None
        if not isinstance(claimable, _Claimable):
            return ()  # it has been ended since, or is damaged
        return (self._claimed(claimable, utc_from_ms(deadline)),)

    def _due(self, fence: Owner | None, limit: int) -> list[_StoredRow]:
        within, fenced = _within(fence)
        now = self._clock.now()
        columns = (now, now, *fenced, *self._times(), limit)
        return [_StoredRow.of(row) for row in self._execute(_FIND_DUE.format(within), columns)]

    def _times(self) -> tuple[int, ...]:
        now = self._clock.now()
        return now, now, *self._queues.live()

    def _hand_out(
        self, due: Sequence[_StoredRow], free: deque[str], lease: int
    ) -> list[Claimed | Unreadable]:
        """Claim waits, at most one at each scope. Remove the used tokens from ``free``."""
        handed_out: list[Claimed | Unreadable] = []
        claimed = set[object]()
        for one in due:
            if not one.is_kept:
                # Its time is over, or an older version of the library has moved its deadline.
                self._execute(_CORRECT_DUE, (self._clock.now(), one.rowid))
            elif one.place not in claimed:
                item = self._hand_out_one(one, free[0], lease)
                if isinstance(item, Claimed):
                    claimed.add(one.place)
                if item is not None:
                    handed_out.append(item)
                    free.popleft()
        return handed_out

    def _hand_out_one(self, one: _StoredRow, token: str, lease: int) -> Claimed | Unreadable | None:
        claimable = self._examined(one, token)
        if not isinstance(claimable, _Claimable):
            self._execute(_NEVER_DUE, (one.rowid,))
            return claimable
        lease_ends_at = self._claims.hold(claimable.claim, claimable.wait_id, lease)
        return self._claimed(claimable, lease_ends_at)

    def _claimed(self, claimable: _Claimable, lease_ends_at: datetime) -> Claimed:
        claim, record, _ = claimable
        is_overtaken = self._sessions.find_wait(claim.owner, [claim.scope_hash]) is not None
        return Claimed(claim, record, lease_ends_at, is_overtaken)

    def _examined(self, found: _StoredRow, token: str) -> _Claimable | Unreadable | None:
        """Return the wait to claim, or None if the row is not a session."""
        key = session_key(found.key)
        if key is None:
            return None
        env, tenant, team, user = found.owner
        if env is None or tenant is None or team is None or user is None:
            return Unreadable(key, None, "its owner is not a text")
        row = Row(key, env, tenant, team, user, *found.content)
        record = self._sessions.reader.record(row)
        if isinstance(record, Unreadable):
            return record
        if row.wait_id is None or found.scope_hash is None:
            return Unreadable(key, record.data.owner, "its wait has no identity or no scope")
        if not row.belongs_to(record.data.owner):
            return Unreadable(key, None, "its owner is not that of its document")
        claim = ClaimKey(record.data.owner, found.scope_hash, token, key, is_expired=True)
        return _Claimable(claim, record, row.wait_id)


def _within(fence: Owner | None) -> tuple[str, tuple[str, ...]]:
    """Return the SQL that finds only the waits within a fence, and its parameters."""
    if fence is None:
        return _OF_ALL, ()
    columns = owner_columns(fence)
    return (_OF_TEAM, columns[:3]) if fence.user is None else (_OF_USER, columns)
