"""The SQL that reads and writes copies. The caller has begun a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from async_session_store.abc import (
    CopyName,
    CopyPage,
    DeliveryCopy,
    DeliveryName,
    SessionCopy,
    SessionName,
    Unreadable,
)
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._kept import IS_KEPT
from async_session_store.backends.sqlite._rows import (
    COLUMNS_OF_ANY_OWNER,
    Wait,
    row_of_any_owner,
    session_key,
)
from async_session_store.backends.sqlite._sql import (
    OWNER,
    Execute,
    decoded,
    owner_columns,
    stored_owner,
)
from async_session_store.backends.sqlite._table import SessionTable
from async_session_store.models import SessionKey

_MAX_READ_BYTES: Final = 4 * 1024 * 1024

# Every blob is greater than every text, so these bounds leave out keys that are no texts.
_NEXT_KEYS: Final = (
    "SELECT CAST(key AS BLOB) FROM sessions"
    " WHERE key > CAST(? AS TEXT) AND key < x'' ORDER BY key LIMIT ?"
)
# Texts are selected as blobs, as in _rows.py. A row with values of other types is no delivery.
_NEXT_DELIVERIES: Final = (
    "SELECT CAST(env AS BLOB), CAST(tenant AS BLOB), CAST(team AS BLOB), CAST(user AS BLOB), digest"
    " FROM deliveries WHERE (env, tenant, team, user, digest)"
    " > (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?)"
    " AND typeof(env) = 'text' AND typeof(tenant) = 'text' AND typeof(team) = 'text'"
    " AND typeof(user) = 'text' AND typeof(digest) = 'blob'"
    " ORDER BY env, tenant, team, user, digest LIMIT ?"
)
_SELECT: Final = (
    f"SELECT CASE WHEN typeof(expired_ttl) = 'integer' AND expired_ttl > 0 THEN expired_ttl END,"
    f" {COLUMNS_OF_ANY_OWNER} FROM sessions"
    f" WHERE key = ? AND (deadline IS NULL OR deadline > ? OR {IS_KEPT})"
)
_DELETE_AT_KEY: Final = "DELETE FROM sessions WHERE key = ?"
_DELIVERY_DEADLINE: Final = (
    f"SELECT deadline FROM deliveries WHERE {OWNER} AND digest = ? AND typeof(deadline) = 'integer'"
)
_PUT_DELIVERY: Final = (
    "INSERT OR REPLACE INTO deliveries (env, tenant, team, user, digest, deadline)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_DROP_DELIVERY: Final = f"DELETE FROM deliveries WHERE {OWNER} AND digest = ?"

_DeliveryColumns: TypeAlias = "tuple[bytes, bytes, bytes, bytes, bytes]"


class StoredCopy(NamedTuple):
    """A session to store as it is elsewhere."""

    wait: Wait
    """The wait, with the document. Its time to live does not count."""
    deadline: int | None
    waits: bool
    """Whether it waits, or has waited until it expired, at the scope of ``wait``."""


class After(NamedTuple):
    """Where the next page of names begins: after this key, or after this delivery."""

    key: bytes = b""
    delivery: _DeliveryColumns | None = None


class CopyTable:
    """All tables that are copied.

    Args:
        execute: Executes one statement.
        clock: The clock that decides what is live.
        sessions: The table of sessions.
    """

    def __init__(self, execute: Execute, clock: Clock, sessions: SessionTable) -> None:
        self._execute = execute
        self._clock = clock
        self._sessions = sessions

    def now(self) -> int:
        return self._clock.now()

    def page(self, after: After, limit: int) -> CopyPage:
        """Return the names of the next sessions, and after the last one those of deliveries."""
        if after.delivery is None:
            keys = [key for (key,) in self._execute(_NEXT_KEYS, (after.key, limit)).fetchall()]
            names = [SessionName(key) for key in map(session_key, keys) if key is not None]
            rest = After(keys[-1]) if keys else After(delivery=(b"", b"", b"", b"", b""))
            return CopyPage(tuple(names), rest)
        rows = self._execute(_NEXT_DELIVERIES, (*after.delivery, limit)).fetchall()
        deliveries = [name for name in map(_delivery_name, rows) if name is not None]
        return CopyPage(tuple(deliveries), After(delivery=rows[-1]) if rows else None)

    def read(
        self, names: Sequence[CopyName]
    ) -> tuple[SessionCopy | DeliveryCopy | Unreadable | None, ...]:
        found: list[SessionCopy | DeliveryCopy | Unreadable | None] = []
        read = 0
        for name in names:
            if isinstance(name, DeliveryName):
                found.append(self._delivery(name))
                continue
            copy = self._session(name.key)
            found.append(copy)
            read += len(copy.data.context_json) if isinstance(copy, SessionCopy) else 0
            if read >= _MAX_READ_BYTES:
                break
        return tuple(found)

    def _session(self, key: SessionKey) -> SessionCopy | Unreadable | None:
        now = self._clock.now()
        selected = self._execute(_SELECT, (str(key), now, now, now)).fetchone()
        if selected is None or (row := row_of_any_owner(selected[1:])) is None:
            return None
        record = self._sessions.reader.record(row)
        if isinstance(record, Unreadable):
            return record
        # An expired wait may have been moved aside (see _kept.py).
        scope_hash = (decoded(row.scope_hash) or "").partition(":")[0] or None
        deadline = row.deadline if isinstance(row.deadline, int) else None
        return SessionCopy(key, record.data, scope_hash, record.scope, deadline, selected[0])

    def _delivery(self, name: DeliveryName) -> DeliveryCopy | None:
        columns = (*owner_columns(name.owner), name.digest)
        (deadline,) = self._execute(_DELIVERY_DEADLINE, columns).fetchone() or (0,)
        return DeliveryCopy(name, deadline) if deadline > self._clock.now() else None

    def put(self, copies: Sequence[StoredCopy | DeliveryCopy]) -> None:
        for copy in copies:
            if isinstance(copy, StoredCopy):
                ttl = None if copy.deadline is None else copy.deadline - self._clock.now()
                self._drop_session(copy.wait.key)
                self._sessions.put_copy(copy.wait._replace(ttl=ttl), waits=copy.waits)
            else:
                place = (*owner_columns(copy.name.owner), copy.name.digest)
                self._execute(_PUT_DELIVERY, (*place, copy.deadline))

    def drop(self, names: Sequence[CopyName]) -> None:
        for name in names:
            if isinstance(name, SessionName):
                self._drop_session(name.key)
            else:
                columns = (*owner_columns(name.owner), name.digest)
                self._execute(_DROP_DELIVERY, columns)

    def _drop_session(self, key: SessionKey) -> None:
        self._sessions.delete(key, None)  # supersedes a claim on it
        self._execute(_DELETE_AT_KEY, (str(key),))  # it had expired and was not kept


def _delivery_name(row: _DeliveryColumns) -> DeliveryName | None:
    """Return the delivery that a row names, or None if its owner is damaged."""
    *owner, digest = row
    env, tenant, team, user = map(decoded, owner)
    if env is None or tenant is None or team is None or user is None:
        return None
    return DeliveryName(stored_owner((env, tenant, team, user)), digest)
