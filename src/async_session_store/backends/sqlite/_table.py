"""The SQL of each operation on the table of sessions. The caller has begun a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from async_session_store import _random
from async_session_store.abc import (
    Fence,
    Listing,
    Outcome,
    PlacedPage,
    PlacedSession,
    Registration,
    SessionPage,
    StoredSession,
    Unreadable,
)
from async_session_store.backends.sqlite._clock import Clock, SweepPause
from async_session_store.backends.sqlite._kept import END, IS_KEPT, KeptRows, hash_of_scope
from async_session_store.backends.sqlite._rows import (
    COLUMNS,
    COLUMNS_OF_ANY_OWNER,
    KEY,
    Document,
    Row,
    RowReader,
    Wait,
    as_row,
    etag,
    row_of_any_owner,
    session_key,
)
from async_session_store.backends.sqlite._sql import (
    OWNER,
    Execute,
    OwnerColumns,
    owner_columns,
    stored_owner,
)
from async_session_store.models import Owner, SessionData, SessionKey, SessionRecord

_SWEEP: Final = 4  # expired sessions deleted with each session that is written

_LIVE: Final = "(deadline IS NULL OR deadline > ?)"
_AT_KEY: Final = f"key = ? AND {_LIVE}"
_AT_SCOPE: Final = f"{OWNER} AND scope_hash = ? AND {_LIVE}"
_WAITING: Final = f"{OWNER} AND scope_hash IS NOT NULL AND {_LIVE}"

_SELECT: Final = f"SELECT {COLUMNS} FROM sessions WHERE "
_SELECT_AT_KEY: Final = _SELECT + _AT_KEY
_SELECT_AT_SCOPE: Final = _SELECT + _AT_SCOPE
_SELECT_WAITING: Final = f"{_SELECT}{_WAITING} ORDER BY key"
_OWNER_AT_KEY: Final = f"SELECT env, tenant, team, user FROM sessions WHERE {_AT_KEY}"
_KEY_AT_SCOPE: Final = f"SELECT {KEY} FROM sessions WHERE {_AT_SCOPE}"
_KEYS_WAITING: Final = f"SELECT {KEY} FROM sessions WHERE {_WAITING} ORDER BY key"
_VALUES: Final = (
    " (env, tenant, team, user, key, scope_hash, wait_id,"
    " deadline, expired_ttl, due, document, context_json, scope)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT))"
)
_INSERT_OR_REPLACE: Final = f"INSERT OR REPLACE INTO sessions{_VALUES}"
_INSERT_IF_FREE: Final = f"INSERT OR IGNORE INTO sessions{_VALUES}"
_REPLACE_WAIT: Final = (
    "UPDATE sessions SET wait_id = ?, deadline = ?, expired_ttl = ?, due = ?,"
    " document = CAST(? AS TEXT), context_json = ?, scope = CAST(? AS TEXT) WHERE key = ?"
)
_REPLACE: Final = "UPDATE sessions SET document = CAST(? AS TEXT), context_json = ? WHERE key = ?"
_TOUCH: Final = (
    "UPDATE sessions SET deadline = ?, due = CASE WHEN expired_ttl IS NOT NULL THEN ? END"
    f" WHERE {_AT_KEY}"
)
# A detached session waits nowhere, so it is not kept for a worker either.
_DETACH: Final = (
    "UPDATE sessions SET scope_hash = NULL, scope = NULL, expired_ttl = NULL, due = NULL"
    " WHERE key = ?"
)
_IN_THE_WAY: Final = (
    f"SELECT {KEY}, {_LIVE}, expired_ttl IS NOT NULL FROM sessions WHERE {OWNER} AND scope_hash = ?"
)
_DELETE_AT_KEY: Final = f"DELETE FROM sessions WHERE {_AT_KEY}"
_DELETE_AT_SCOPE: Final = f"DELETE FROM sessions WHERE {_AT_SCOPE}"
_DELETE_KEY_AT_SCOPE: Final = f"{_DELETE_AT_SCOPE} AND key = ?"
_DELETE_WAITING: Final = f"DELETE FROM sessions WHERE {_WAITING}"
_DELETE_EXPIRED: Final = (
    "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions"
    f" WHERE deadline IS NOT NULL AND {END} <= ? ORDER BY {END} LIMIT ?)"
)
# Every blob is greater than every text, so these bounds leave out keys that are no texts.
_LAST_OF_PAGE: Final = (
    "SELECT CAST(max(key) AS BLOB) FROM (SELECT key FROM sessions"
    " WHERE key > CAST(? AS TEXT) AND key < x'' ORDER BY key LIMIT ?)"
)
_ON_PAGE: Final = "key > CAST(? AS TEXT) AND key <= CAST(? AS TEXT)"
_SELECT_PAGE: Final = f"SELECT {COLUMNS_OF_ANY_OWNER} FROM sessions WHERE {_ON_PAGE}"
_PAGE: Final = f"{_SELECT_PAGE} AND {_LIVE}{{}} ORDER BY key"
_PAGE_OF_PLACES: Final = f"{_SELECT_PAGE} AND ({_LIVE} OR {IS_KEPT}){{}} ORDER BY key"
_MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
_SUPERSEDE: Final = f"UPDATE claims SET superseded = 1 WHERE {OWNER} AND scope_hash = ?"
_SUPERSEDE_AT_KEY: Final = (
    "UPDATE claims SET superseded = 1 WHERE (env, tenant, team, user, scope_hash) ="
    f" (SELECT env, tenant, team, user, scope_hash FROM sessions WHERE {_AT_KEY})"
)
_SUPERSEDE_ALL: Final = (
    f"UPDATE claims SET superseded = 1 WHERE {OWNER} AND scope_hash IN"
    f" (SELECT scope_hash FROM sessions WHERE {_WAITING})"
)


class SessionTable:
    """The table of sessions.

    Args:
        execute: Executes one statement.
        clock: The clock that decides which sessions are live.
        max_document_bytes: A larger document is unreadable.
    """

    def __init__(self, execute: Execute, clock: Clock, *, max_document_bytes: int) -> None:
        self._execute = execute
        self._clock = clock
        self.reader = RowReader(max_document_bytes)
        self._pause = SweepPause(clock)
        self._kept = KeptRows(execute, clock)

    def ping(self) -> None:
        self._execute("SELECT 1 FROM sessions LIMIT 1", ())

    def insert(self, key: SessionKey, document: Document, ttl: int | None) -> None:
        self.sweep_a_few()
        place = (*owner_columns(document.owner), str(key), None, None)
        times = (self._deadline(ttl), None, None)
        content = (document.head, document.context_json, None)
        self._execute(_INSERT_OR_REPLACE, place + times + content)

    def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        row = self.live(key)
        return None if row is None else self.reader.data(row)

    def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        row = self.live(key)
        return None if row is None else self.reader.record(row)

    def replace(
        self, key: SessionKey, document: Document, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        row = self.live(key)
        if row is None or (viewer is not None and not viewer.sees(stored_owner(row[1:5]))):
            return Outcome.MISSING
        refusal = self.reader.refusal(row, document.owner)
        if refusal is not None:
            return refusal
        if if_match is not None and if_match != etag(row):
            return Outcome.CHANGED
        self._execute(_REPLACE, (document.head, document.context_json, str(key)))
        return Outcome.DONE

    def delete(self, key: SessionKey, viewer: Owner | None) -> Outcome:
        if viewer is None or self._sees(viewer, key):
            columns = (str(key), self._clock.now())
            self._execute(_SUPERSEDE_AT_KEY, columns)
            if self._execute(_DELETE_AT_KEY, columns).rowcount:
                return Outcome.DONE
        self._kept.end_at_key(key, viewer)
        return Outcome.MISSING

    def touch(self, key: SessionKey, ttl: int | None, viewer: Owner | None) -> Outcome:
        if viewer is not None and not self._sees(viewer, key):
            return Outcome.MISSING
        deadline = self._deadline(ttl)
        columns = (deadline, deadline, str(key), self._clock.now())
        return _done(self._execute(_TOUCH, columns))

    def put_wait(self, wait: Wait, *, only_if_absent: bool) -> Registration:
        self.sweep_a_few()
        if self._write_wait(_INSERT_IF_FREE, wait).rowcount:
            return Registration(Outcome.DONE)
        before = self.live(wait.key)
        refusal = None if before is None else self.reader.refusal(before, wait.document.owner)
        if refusal is not None:
            return Registration(refusal)
        if only_if_absent and self.find_wait(wait.document.owner, [wait.scope_hash]) is not None:
            return Registration(Outcome.TAKEN)
        return self.put(wait, before)

    def put(self, wait: Wait, before: Row | None) -> Registration:
        """Register a wait in place of the session with its key, and of the one at its scope."""
        if before is not None and before.scope_hash is not None:
            self._execute(_SUPERSEDE_AT_KEY, (str(wait.key), self._clock.now()))
            if before.scope_hash == wait.scope_hash.encode():
                self.replace_wait(wait)
                return Registration(Outcome.DONE)
        detached = self._make_room(wait.document.owner, wait.scope_hash)
        if before is None and self._write_wait(_INSERT_IF_FREE, wait).rowcount:
            return Registration(Outcome.DONE, detached)
        if before is None:
            self._kept.supersede(wait.key)
        # This also replaces an expired session at the scope. A trigger supersedes the claim there.
        self._write_wait(_INSERT_OR_REPLACE, wait)
        return Registration(Outcome.DONE, detached)

    def put_copy(self, wait: Wait, *, waits: bool) -> None:
        """Store a session of another storage under an unused key.

        If its deadline has passed, it is an expired wait. Store it like one that was moved aside.
        """
        if waits and wait.ttl is not None and wait.ttl <= 0:
            wait = wait._replace(scope_hash=f"{wait.scope_hash}:{wait.key}")
        elif waits:
            self._make_room(wait.document.owner, wait.scope_hash)
        else:
            self.insert(wait.key, wait.document, wait.ttl)
            return
        self._write_wait(_INSERT_OR_REPLACE, wait)

    def _make_room(self, owner: Owner, scope_hash: str) -> SessionKey | None:
        """Detach the live session at a scope, and return its key. Move an expired wait aside."""
        columns = (self._clock.now(), *owner_columns(owner), scope_hash)
        found: tuple[Any, ...] | None = self._execute(_IN_THE_WAY, columns).fetchone()
        stored, is_live, is_kept = found or (None, False, False)
        holder = session_key(stored)
        if holder is None:
            return None
        if is_live:
            self._execute(_DETACH, (str(holder),))
            return holder
        if is_kept:
            self._kept.move_aside(owner, scope_hash)
        return None

    def replace_wait(self, wait: Wait) -> None:
        """Register a wait in place of one with the same scope and key."""
        content = (wait.document.head, wait.document.context_json, wait.scope)
        columns = (_new_wait_id(), *self._times(wait), *content, str(wait.key))
        self._execute(_REPLACE_WAIT, columns)

    def remove(self, key: SessionKey) -> None:
        """Remove a live session without superseding the claim on it."""
        self._execute(_DELETE_AT_KEY, (str(key), self._clock.now()))

    def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        found = self._first_at(_KEY_AT_SCOPE, owner, scope_hashes)
        return None if found is None else found[0]

    def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        row = self.first_waiting(owner, scope_hashes)
        return None if row is None else self.reader.record(row)

    def list_waits(self, owner: Owner) -> Listing[SessionKey]:
        columns = (*owner_columns(owner), self._clock.now())
        rows = self._execute(_KEYS_WAITING, columns).fetchall()
        return Listing(tuple(key for (stored,) in rows if (key := session_key(stored)) is not None))

    def list_wait_records(self, owner: Owner) -> Listing[SessionRecord]:
        columns = (*owner_columns(owner), self._clock.now())
        rows = map(as_row, self._execute(_SELECT_WAITING, columns).fetchall())
        found = [self.reader.record(row) for row in rows if row is not None]
        return Listing(
            tuple(item for item in found if isinstance(item, SessionRecord)),
            tuple(item.key for item in found if isinstance(item, Unreadable)),
        )

    def read_page(self, fence: Fence | None, after: bytes, limit: int) -> SessionPage:
        """Return the live sessions within a fence among those with the next keys."""
        now = self._clock.now()
        rows, cursor = self._page(_PAGE, (now,), fence, after, limit)
        sessions: list[StoredSession] = []
        unreadable: list[SessionKey] = []
        for row in rows:
            record = self.reader.record(row)
            if isinstance(record, Unreadable):
                unreadable.append(record.key)
            else:
                sessions.append(StoredSession(record, row.scope_hash is not None))
        return SessionPage(tuple(sessions), tuple(unreadable), cursor)

    def read_places(self, fence: Fence, after: bytes, limit: int) -> PlacedPage:
        """Return the live sessions and expired waits within a fence, and where they wait."""
        now = self._clock.now()
        rows, cursor = self._page(_PAGE_OF_PLACES, (now, now, now), fence, after, limit)
        sessions: list[PlacedSession] = []
        unreadable: list[Unreadable] = []
        for row in rows:
            record = self.reader.record(row)
            if isinstance(record, Unreadable):
                unreadable.append(record)
                continue
            is_expired = isinstance(row.deadline, int) and row.deadline <= now
            scope_hash = None if row.scope_hash is None else hash_of_scope(row.scope_hash)
            waits = row.scope_hash is not None
            sessions.append(PlacedSession(record, scope_hash, waits, is_expired))
        return PlacedPage(tuple(sessions), tuple(unreadable), cursor)

    def _page(
        self,
        statement: str,
        times: tuple[int, ...],
        fence: Fence | None,
        after: bytes,
        limit: int,
    ) -> tuple[list[Row], bytes | None]:
        """Return the rows of a page, and the key after which the next one begins."""
        (last,) = self._execute(_LAST_OF_PAGE, (after, limit)).fetchone()
        if last is None:
            return [], None
        within, columns = _within(fence)
        cursor = self._execute(statement.format(within), (after, last, *times, *columns))
        rows: list[Row] = []
        read = 0
        for selected in cursor:
            row = row_of_any_owner(selected)
            if row is None:
                continue
            rows.append(row)
            read += len(row.head or b"") + len(row.context_json or b"")
            if read >= _MAX_PAGE_BYTES:
                cursor.close()
                return rows, selected[0]
        return rows, last

    def delete_wait(self, owner: Owner, scope_hash: str, session_key: SessionKey | None) -> bool:
        columns = (*owner_columns(owner), scope_hash, self._clock.now())
        if session_key is None:
            deleted = self._execute(_DELETE_AT_SCOPE, columns).rowcount > 0
        else:
            with_key = (*columns, str(session_key))
            deleted = self._execute(_DELETE_KEY_AT_SCOPE, with_key).rowcount > 0
        if deleted:
            self._execute(_SUPERSEDE, columns[:5])
        self._kept.end_at_scope(owner, scope_hash, session_key)
        return deleted

    def delete_waits(self, owner: Owner) -> int:
        place = owner_columns(owner)
        columns = (*place, self._clock.now())
        self._execute(_SUPERSEDE_ALL, (*place, *columns))
        deleted = self._execute(_DELETE_WAITING, columns).rowcount
        self._kept.end_all(owner)
        return deleted

    def sweep(self, limit: int) -> int:
        """Delete at most ``limit`` expired sessions. Return how many were deleted."""
        return self._execute(_DELETE_EXPIRED, (self._clock.now(), limit)).rowcount

    # --- Looking up ---------------------------------------------------------------------------

    def live(self, key: SessionKey) -> Row | None:
        return as_row(self._execute(_SELECT_AT_KEY, (str(key), self._clock.now())).fetchone())

    def is_live(self, key: SessionKey) -> bool:
        return self._owner_columns(key) is not None

    def _sees(self, viewer: Owner, key: SessionKey) -> bool:
        columns = self._owner_columns(key)
        return columns is not None and viewer.sees(stored_owner(columns))

    def _owner_columns(self, key: SessionKey) -> OwnerColumns | None:
        columns = (str(key), self._clock.now())
        found: OwnerColumns | None = self._execute(_OWNER_AT_KEY, columns).fetchone()
        return found

    def first_waiting(self, owner: Owner, scope_hashes: Sequence[str]) -> Row | None:
        found = self._first_at(_SELECT_AT_SCOPE, owner, scope_hashes)
        return None if found is None else Row._make(found)

    def _first_at(
        self, statement: str, owner: Owner, scope_hashes: Sequence[str]
    ) -> tuple[Any, ...] | None:
        """Return the first scope's row that has a valid key, with the decoded key in front."""
        for scope_hash in scope_hashes:
            columns = (*owner_columns(owner), scope_hash, self._clock.now())
            found: tuple[Any, ...] | None = self._execute(statement, columns).fetchone()
            key = None if found is None else session_key(found[0])
            if found is not None and key is not None:
                return (key, *found[1:])
        return None

    # --- Changing -----------------------------------------------------------------------------

    def sweep_a_few(self) -> None:
        if self._pause.is_over() and self.sweep(_SWEEP) < _SWEEP:
            self._pause.begin()

    def _write_wait(self, statement: str, wait: Wait) -> sqlite3.Cursor:
        document = wait.document
        place = (*owner_columns(document.owner), str(wait.key), wait.scope_hash, _new_wait_id())
        content = (document.head, document.context_json, wait.scope)
        return self._execute(statement, place + self._times(wait) + content)

    def _times(self, wait: Wait) -> tuple[object, ...]:
        """Return a wait's deadline, how long it is kept after that, and when it is due."""
        deadline = self._deadline(wait.ttl)
        return deadline, wait.expired_ttl, None if wait.expired_ttl is None else deadline

    def _deadline(self, ttl: int | None) -> int | None:
        return None if ttl is None else self._clock.after(ttl)


def _within(fence: Fence | None) -> tuple[str, tuple[str, ...]]:
    """Return the SQL that finds only the sessions within a fence, and its parameters."""
    if fence is None:
        return "", ()
    tenant = (str(fence.env), str(fence.tenant))
    if fence.team is None:
        return " AND env = ? AND tenant = ?", tenant
    return " AND env = ? AND tenant = ? AND team = ?", (*tenant, str(fence.team))


def _new_wait_id() -> str:
    return _random.stamp().hex()


def _done(cursor: sqlite3.Cursor) -> Outcome:
    return Outcome.DONE if cursor.rowcount else Outcome.MISSING
