"""Opening a database file: checking it, preparing it, and watching it from then on."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from async_session_store.backends.sqlite import _locks
from async_session_store.backends.sqlite._locks import identity
from async_session_store.backends.sqlite._open_files import OPEN_FILES
from async_session_store.backends.sqlite._place import (
    IN_MEMORY,
    Place,
    check_place,
    create_private,
    find_place,
)
from async_session_store.backends.sqlite._schema import (
    Settings,
    check_sqlite,
    prepare,
    record_file,
)
from async_session_store.backends.sqlite._stale_log import check_log
from async_session_store.backends.sqlite._watch import Watch
from async_session_store.errors import StoreUnavailableError


class Opened(NamedTuple):
    """A connection, and the watch on its files, which is None in memory."""

    connection: sqlite3.Connection
    watch: Watch | None


def open_database(settings: Settings) -> Opened:
    """Open a database.

    Raises ``sqlite3.Error``, ``OSError``, or ``StoreUnavailableError`` for a file that must not be
    opened, which stays as it is.
    """
    check_sqlite()
    if settings.path == IN_MEMORY:
        connection = _connect(IN_MEMORY, settings)
        prepare(connection, settings)
        return Opened(connection, None)
    place = find_place(settings.path)
    with OPEN_FILES.being_opened:
        create_private(place)
    check_place(place)
    return _open_file(place, settings)


def _open_file(place: Place, settings: Settings) -> Opened:
    file = identity(place.real)
    if file is None:
        raise StoreUnavailableError("the SQLite file was deleted while it was being opened")
    OPEN_FILES.check(file)
    check_log(place, settings.busy_timeout)
    has_log = identity(place.log) is not None
    with OPEN_FILES.being_opened:
        connection = _connect(place.real, settings)
    try:
        prepare(connection, settings)
        record_file(connection, file.inode)
        return Opened(connection, Watch(place, connection))
    except BaseException:
        if has_log:
            # Keep SQLite from checkpointing when it closes: the file may be another application's.
            _locks.hold_database(_locks.descriptors(file))
        connection.close()
        raise


def _connect(path: str, settings: Settings) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=settings.busy_timeout, isolation_level=None, check_same_thread=False
    )
