"""Rows of the table of sessions, and their contents as values of the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import ValidationError

from async_session_store import _codec
from async_session_store.abc import Outcome, Unreadable
from async_session_store.backends._time import utc_from_ms
from async_session_store.backends.sqlite._sql import (
    OWNER_TEXTS,
    decoded,
    owner_columns,
    stored_owner,
)
from async_session_store.models import Owner, SessionData, SessionKey, SessionRecord

_T = TypeVar("_T")

# Texts are selected as blobs. The driver raises for a text that is not UTF-8, so a whole list would
# fail because of one row. A blob can be read, and then rejected as a document or a key.
KEY: Final = "CASE typeof(sessions.key) WHEN 'text' THEN CAST(sessions.key AS BLOB) END"
_OWNER_COLUMNS: Final = "sessions.env, sessions.tenant, sessions.team, sessions.user"
CONTENT: Final = (
    "CAST(sessions.scope_hash AS BLOB), CAST(sessions.wait_id AS BLOB),"
    " CASE typeof(sessions.deadline) WHEN 'text' THEN 'text' ELSE sessions.deadline END,"
    " CAST(sessions.document AS BLOB), CAST(sessions.context_json AS BLOB),"
    " CAST(sessions.scope AS BLOB)"
)
COLUMNS: Final = f"{KEY}, {_OWNER_COLUMNS}, {CONTENT}"
# For rows that were not selected by their owner, which may be damaged too. See row_of_any_owner.
COLUMNS_OF_ANY_OWNER: Final = f"{KEY}, {OWNER_TEXTS}, {CONTENT}"


class Document(NamedTuple):
    """Session data as it is stored."""

    owner: Owner
    head: bytes
    context_json: str

    @property
    def size(self) -> int:
        """The number of bytes, if the context is ASCII."""
        return len(self.head) + len(self.context_json)


class Wait(NamedTuple):
    """A wait to register, as it is stored. The document has its owner."""

    scope_hash: str
    scope: bytes | None
    """None if it is not known."""
    key: SessionKey
    document: Document
    ttl: int | None
    expired_ttl: int | None


class Row(NamedTuple):
    """A session as it is stored."""

    key: SessionKey
    env: str
    tenant: str
    team: str
    user: str
    scope_hash: bytes | None
    wait_id: bytes | None
    deadline: object
    head: bytes | None
    context_json: bytes | None
    scope: bytes | None

    def belongs_to(self, owner: Owner) -> bool:
        return (self.env, self.tenant, self.team, self.user) == owner_columns(owner)


class RowReader:
    """Reads and checks the documents of rows.

    Args:
        max_document_bytes: A larger document is unreadable.
    """

    def __init__(self, max_document_bytes: int) -> None:
        self._max_document_bytes = max_document_bytes

    def data(self, row: Row) -> SessionData | Unreadable:
        return self._examined(row, _codec.decode_split)

    def _examined(self, row: Row, examine: Callable[[bytes, str, int], _T]) -> _T | Unreadable:
        """Return ``examine`` applied to a row's head and context, or why they are unreadable."""
        if row.head is None or row.context_json is None:
            return _unreadable(row, "it is incomplete")
        if row.deadline is not None and not isinstance(row.deadline, int):
            return _unreadable(row, "its deadline is not a whole number")
        try:
            return examine(row.head, row.context_json.decode(), self._max_document_bytes)
        except UnicodeDecodeError:
            return _unreadable(row, "its context_json is not UTF-8")
        except _codec.UnreadableDocumentError as error:
            return _unreadable(row, str(error))

    def record(self, row: Row) -> SessionRecord | Unreadable:
        data = self.data(row)
        if isinstance(data, Unreadable):
            return data
        # An older version of the library leaves the scope when it detaches a session.
        stored = None if row.scope_hash is None else row.scope
        scope = None if stored is None else _codec.decode_scope(stored)
        return SessionRecord(row.key, data, etag(row), self.expires_at(row), scope)

    def expires_at(self, row: Row) -> datetime | None:
        return utc_from_ms(row.deadline) if isinstance(row.deadline, int) else None

    def refusal(self, row: Row, owner: Owner) -> Outcome | None:
        """Return why a session of this owner cannot replace a row, or None if it can."""
        if not row.belongs_to(owner):
            return Outcome.FOREIGN
        unreadable = self._examined(row, _codec.check_split)
        return None if unreadable is None else Outcome.UNREADABLE


def as_row(columns: Sequence[Any] | None) -> Row | None:
    """Return the selected columns as a row, or None without columns or with an invalid key."""
    key = None if columns is None else session_key(columns[0])
    return None if columns is None or key is None else Row(key, *columns[1:])


def row_of_any_owner(columns: Sequence[Any]) -> Row | None:
    """Return a row like :func:`as_row`. If its owner is damaged, its document is unreadable."""
    owner = [decoded(column) for column in columns[1:5]]
    if None not in owner:
        return as_row((columns[0], *owner, *columns[5:]))
    row = as_row((columns[0], "", "", "", "", *columns[5:]))
    return row and row._replace(head=None)


def session_key(stored: bytes | None) -> SessionKey | None:
    """Return a selected key, or None if no call can have used it."""
    try:
        return None if stored is None else SessionKey(stored.decode())
    except (UnicodeDecodeError, ValidationError):
        return None


def _unreadable(row: Row, reason: str) -> Unreadable:
    return Unreadable(row.key, stored_owner(row[1:5]), reason)


def etag(row: Row) -> str:
    return _codec.etag(row.head or b"", b"\n", row.context_json or b"")
