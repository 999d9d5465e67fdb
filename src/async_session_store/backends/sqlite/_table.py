"""The SQL: each operation on the table of sessions, inside a transaction begun elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from async_session_store import _codec, _random
from async_session_store.abc import Found, Outcome, Registration, Unreadable
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.models import (
    EnvId,
    Owner,
    SessionData,
    SessionKey,
    SessionRecord,
    TeamId,
    TenantId,
    UserId,
)

_SWEEP: Final = 4  # expired sessions deleted with each session that is written

Execute: TypeAlias = "Callable[[str, dict[str, object]], sqlite3.Cursor]"

# As blobs, texts that are no UTF-8 can be read too (and then found to be no document).
_SELECT: Final = (
    "SELECT key, env, tenant, team, user, scope_hash, wait_id, deadline,"
    " CAST(document AS BLOB), CAST(context_json AS BLOB) FROM sessions "
)
_LIVE: Final = "(deadline IS NULL OR deadline > :now)"
OWNER: Final = "env = :env AND tenant = :tenant AND team = :team AND user = :user"


_Columns: TypeAlias = (
    "tuple[str, str, str, str, str, str | None, str | None, int | None, bytes | None, bytes | None]"
)


@dataclass(frozen=True, slots=True)
class Document:
    """Session data as it is stored."""

    owner: Owner
    head: bytes
    context_json: str


@dataclass(frozen=True, slots=True)
class Row:
    """A session as it is stored."""

    key: SessionKey
    owner: Owner
    scope_hash: str | None
    wait_id: str | None
    deadline: int | None
    head: bytes | None
    context_json: bytes | None


class SessionTable:
    """The sessions in a database.

    Args:
        execute: Executes one statement.
        clock: Tells what is live.
        max_document_bytes: A larger document is unreadable.
    """

    def __init__(self, execute: Execute, clock: Clock, *, max_document_bytes: int) -> None:
        self._execute = execute
        self._clock = clock
        self._max_document_bytes = max_document_bytes

    def ping(self) -> None:
        self._execute("SELECT 1 FROM sessions LIMIT 1", {})

    def insert(self, key: SessionKey, document: Document, ttl: int | None) -> None:
        self.sweep(_SWEEP)
        self._write(key, document, ttl, None)

    def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        row = self._live(key)
        return None if row is None else self._data(row)

    def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        row = self._live(key)
        return None if row is None else self.record(row)

    def replace(
        self, key: SessionKey, document: Document, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        row = self._visible(key, viewer)
        if row is None:
            return Outcome.MISSING
        refusal = self._refusal(row, document.owner)
        if refusal is not None:
            return refusal
        if if_match is not None and if_match != _etag(row):
            return Outcome.CHANGED
        self._execute(
            "UPDATE sessions SET document = CAST(:head AS TEXT), context_json = :context_json"
            " WHERE key = :key",
            {"key": key, "head": document.head, "context_json": document.context_json},
        )
        return Outcome.DONE

    def delete(self, key: SessionKey, viewer: Owner | None) -> Outcome:
        if self._visible(key, viewer) is None:
            return Outcome.MISSING
        self._delete(key)
        return Outcome.DONE

    def touch(self, key: SessionKey, ttl: int | None, viewer: Owner | None) -> Outcome:
        if self._visible(key, viewer) is None:
            return Outcome.MISSING
        self._execute(
            "UPDATE sessions SET deadline = :deadline WHERE key = :key",
            {"key": key, "deadline": self._deadline(ttl)},
        )
        return Outcome.DONE

    def put_wait(
        self,
        owner: Owner,
        scope_hash: str,
        key: SessionKey,
        document: Document,
        ttl: int | None,
        *,
        only_if_absent: bool,
    ) -> Registration:
        self.sweep(_SWEEP)
        before = self._live(key)
        refusal = None if before is None else self._refusal(before, owner)
        if refusal is not None:
            return Registration(refusal)
        holder = self._waiting(owner, scope_hash)
        if holder is not None and only_if_absent:
            return Registration(Outcome.TAKEN)
        detached = None if holder is None or holder.key == key else holder.key
        if detached is not None:
            self._execute(
                "UPDATE sessions SET scope_hash = NULL WHERE key = :key", {"key": detached}
            )
        self._write(key, document, ttl, scope_hash)
        return Registration(Outcome.DONE, detached)

    def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        row = self.first_waiting(owner, scope_hashes)
        return None if row is None else row.key

    def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        row = self.first_waiting(owner, scope_hashes)
        return None if row is None else self.record(row)

    def list_waits(self, owner: Owner) -> Found[SessionKey]:
        return Found(tuple(row.key for row in self._all_waiting(owner)))

    def list_wait_records(self, owner: Owner) -> Found[SessionRecord]:
        found = [self.record(row) for row in self._all_waiting(owner)]
        return Found(
            tuple(item for item in found if isinstance(item, SessionRecord)),
            tuple(item.key for item in found if isinstance(item, Unreadable)),
        )

    def delete_wait(self, owner: Owner, scope_hash: str, session_key: SessionKey | None) -> bool:
        row = self._waiting(owner, scope_hash)
        if row is None or session_key not in (None, row.key):
            return False
        self._delete(row.key)
        return True

    def delete_waits(self, owner: Owner) -> int:
        return self._execute(
            f"DELETE FROM sessions WHERE {OWNER} AND scope_hash IS NOT NULL AND {_LIVE}",
            owner_columns(owner) | {"now": self._clock.now()},
        ).rowcount

    def sweep(self, limit: int) -> int:
        """Delete at most ``limit`` expired sessions; how many."""
        return self._execute(
            "DELETE FROM sessions WHERE rowid IN"
            " (SELECT rowid FROM sessions WHERE deadline <= :now ORDER BY deadline LIMIT :limit)",
            {"now": self._clock.now(), "limit": limit},
        ).rowcount

    # --- Looking up ---------------------------------------------------------------------------

    def _live(self, key: SessionKey) -> Row | None:
        return self._first(f"WHERE key = :key AND {_LIVE}", {"key": key})

    def _visible(self, key: SessionKey, viewer: Owner | None) -> Row | None:
        row = self._live(key)
        return row if row is None or viewer is None or viewer.sees(row.owner) else None

    def _waiting(self, owner: Owner, scope_hash: str) -> Row | None:
        return self._first(
            f"WHERE {OWNER} AND scope_hash = :scope_hash AND {_LIVE}",
            owner_columns(owner) | {"scope_hash": scope_hash},
        )

    def first_waiting(self, owner: Owner, scope_hashes: Sequence[str]) -> Row | None:
        for scope_hash in scope_hashes:
            row = self._waiting(owner, scope_hash)
            if row is not None:
                return row
        return None

    def _all_waiting(self, owner: Owner) -> list[Row]:
        return self._all(
            f"WHERE {OWNER} AND scope_hash IS NOT NULL AND {_LIVE} ORDER BY key",
            owner_columns(owner),
        )

    def _first(self, condition: str, parameters: dict[str, object]) -> Row | None:
        rows = self._all(condition, parameters)
        return rows[0] if rows else None

    def _all(self, condition: str, parameters: dict[str, object]) -> list[Row]:
        cursor = self._execute(_SELECT + condition, parameters | {"now": self._clock.now()})
        return list(map(_row, cursor))

    # --- Reading a row ------------------------------------------------------------------------

    def _data(self, row: Row) -> SessionData | Unreadable:
        if row.head is None or row.context_json is None:
            return Unreadable(row.key, row.owner, "it is incomplete")
        try:
            return _codec.decode_split(
                row.head, row.context_json.decode(), self._max_document_bytes
            )
        except UnicodeDecodeError:
            return Unreadable(row.key, row.owner, "its context_json is no UTF-8")
        except _codec.UnreadableDocumentError as error:
            return Unreadable(row.key, row.owner, str(error))

    def record(self, row: Row) -> SessionRecord | Unreadable:
        data = self._data(row)
        if isinstance(data, Unreadable):
            return data
        expires_at = None if row.deadline is None else self._clock.utc(row.deadline)
        return SessionRecord(row.key, data, _etag(row), expires_at)

    def _refusal(self, row: Row, owner: Owner) -> Outcome | None:
        if row.owner != owner:
            return Outcome.FOREIGN
        return Outcome.UNREADABLE if isinstance(self._data(row), Unreadable) else None

    # --- Changing -----------------------------------------------------------------------------

    def _write(
        self, key: SessionKey, document: Document, ttl: int | None, scope_hash: str | None
    ) -> None:
        """Write a session, in place of one with its key, and of an expired one at the scope."""
        self._execute(
            "INSERT OR REPLACE INTO sessions"
            " (key, env, tenant, team, user, scope_hash, wait_id, deadline, document, context_json)"
            " VALUES (:key, :env, :tenant, :team, :user, :scope_hash, :wait_id, :deadline,"
            " CAST(:head AS TEXT), :context_json)",
            owner_columns(document.owner)
            | {
                "key": key,
                "scope_hash": scope_hash,
                "wait_id": None if scope_hash is None else _random.unique_id(),
                "deadline": self._deadline(ttl),
                "head": document.head,
                "context_json": document.context_json,
            },
        )

    def _delete(self, key: SessionKey) -> None:
        self._execute("DELETE FROM sessions WHERE key = :key", {"key": key})

    def _deadline(self, ttl: int | None) -> int | None:
        return None if ttl is None else self._clock.after(ttl)


def owner_columns(owner: Owner) -> dict[str, object]:
    return {
        "env": owner.env,
        "tenant": owner.tenant,
        "team": owner.team or "",
        "user": owner.user or "",
    }


def _row(values: _Columns) -> Row:
    key, env, tenant, team, user, scope_hash, wait_id, deadline, head, context_json = values
    # Compared, and never given away: so not validated.
    owner = Owner(
        cast("EnvId", env),
        cast("TenantId", tenant),
        cast("TeamId | None", team or None),
        cast("UserId | None", user or None),
    )
    return Row(SessionKey(key), owner, scope_hash, wait_id, deadline, head, context_json)


def _etag(row: Row) -> str:
    return _codec.etag(row.head or b"", b"\n", row.context_json or b"")
