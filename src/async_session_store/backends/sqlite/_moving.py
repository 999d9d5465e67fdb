"""The SQL that moves sessions to other owners and scopes. The caller has begun a transaction."""

from __future__ import annotations

from typing import Final

from async_session_store.abc import Outcome, SessionMove
from async_session_store.backends.sqlite._claims import ClaimTable
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._kept import IS_KEPT, SCOPE_HASH, KeptRows
from async_session_store.backends.sqlite._queues import QueueTable
from async_session_store.backends.sqlite._rows import COLUMNS, Document, Row, as_row, etag
from async_session_store.backends.sqlite._sql import Execute, owner_columns
from async_session_store.backends.sqlite._table import SessionTable

_IS_LIVE: Final = "(deadline IS NULL OR deadline > ?)"
_FIND: Final = (
    f"SELECT {IS_KEPT}, CAST({SCOPE_HASH} AS BLOB), {COLUMNS} FROM sessions"
    f" WHERE key = ? AND ({_IS_LIVE} OR {IS_KEPT})"
)
# A row that has the new place is past its deadline, and not kept. It may be deleted.
_MOVE: Final = (
    "UPDATE OR REPLACE sessions SET user = ?, scope_hash = ?, scope = CAST(? AS TEXT),"
    " document = CAST(? AS TEXT), context_json = ? WHERE key = ?"
)


class MovingTable:
    """The moves of sessions in the table of sessions.

    Args:
        execute: Executes one statement.
        clock: The clock that decides what is live.
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
        self._kept = KeptRows(execute, clock)

    def move(self, move: SessionMove, document: Document) -> Outcome:
        now = self._clock.now()
        columns = (now, now, str(move.key), now, now, now)
        is_expired, scope_hash, *selected = self._execute(_FIND, columns).fetchone() or (0, None)
        row = as_row(selected or None)
        if row is None:
            return Outcome.MISSING
        if not self._is_as_read(row, scope_hash, move):
            return Outcome.CHANGED
        if is_expired:
            return self._move_expired(move, document)
        return self._move_live(move, document)

    def _is_as_read(self, row: Row, scope_hash: bytes | None, move: SessionMove) -> bool:
        expected = None if move.scope_hash is None else move.scope_hash.encode()
        return row.belongs_to(move.owner) and scope_hash == expected and etag(row) == move.etag

    def _move_expired(self, move: SessionMove, document: Document) -> Outcome:
        if self._is_in_use(move):
            return Outcome.CLAIMED
        # Aside, whatever waits at the new scope: no look-up has to find it there.
        self._write(move, document, f"{move.new_scope_hash}:{move.key}")
        return Outcome.DONE

    def _move_live(self, move: SessionMove, document: Document) -> Outcome:
        owner, new_hash = document.owner, move.new_scope_hash
        if move.scope_hash is None or new_hash is None:
            self._write(move, document, None)
            return Outcome.DONE
        if self._is_in_use(move):
            return Outcome.CLAIMED
        if self._sessions.find_wait(owner, [new_hash]) is not None:
            return Outcome.TAKEN
        if self._claims.is_held(owner, new_hash):
            return Outcome.CLAIMED
        self._kept.move_aside(owner, new_hash)
        self._write(move, document, new_hash)
        return Outcome.DONE

    def _is_in_use(self, move: SessionMove) -> bool:
        owner, scope_hash = move.owner, move.scope_hash or ""
        nobody = ""
        return self._claims.is_held(owner, scope_hash) or self._queues.is_behind(
            nobody, owner, scope_hash
        )

    def _write(self, move: SessionMove, document: Document, scope_hash: str | None) -> None:
        *_, user = owner_columns(document.owner)
        scope = None if move.new_scope is None else move.new_scope.encoded
        content = (scope, document.head, document.context_json)
        self._execute(_MOVE, (user, scope_hash, *content, str(move.key)))
