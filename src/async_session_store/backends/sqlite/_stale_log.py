"""Detection of a WAL that belongs to another database file, which was at this path before.

SQLite finds a WAL only by its name, and would apply it to whatever file is there now.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from typing import Final
from urllib.parse import quote

from async_session_store.backends.sqlite import _locks
from async_session_store.backends.sqlite._locks import Identity, identity
from async_session_store.backends.sqlite._open_files import OPEN_FILES
from async_session_store.backends.sqlite._place import Place
from async_session_store.errors import StoreUnavailableError

_PAUSE: Final = 0.005  # seconds


def check_log(place: Place, timeout: float) -> None:
    """Raise ``StoreUnavailableError`` if the WAL beside a file seems to belong to another file.

    Another process may be just opening or closing the file. So the WAL is refused only if it still
    seems so after ``timeout`` seconds.

    On a system without lasting locks (:mod:`_locks`), nothing is checked. There we cannot find out
    whether this process has the file open, and reading such a file would drop SQLite's locks.
    """
    if not _locks.are_supported():
        return
    give_up_at = time.monotonic() + timeout
    while reason := _found_stale(place):
        if time.monotonic() >= give_up_at:
            raise StoreUnavailableError(
                f"the -wal and -shm beside the SQLite file are not its own: {reason}. Stop all "
                "processes that use it. If another file was put in its place (a back-up by mv or "
                "cp, say), delete its -wal and -shm, and open it again. If it was moved with them, "
                "or if that is unclear, keep a copy of the -wal, and run PRAGMA "
                "wal_checkpoint(TRUNCATE) on the file with sqlite3"
            )
        time.sleep(_PAUSE)


def _found_stale(place: Place) -> str | None:
    with OPEN_FILES.being_opened:
        return _looks_stale(place)


def _looks_stale(place: Place) -> str | None:
    database, index = identity(place.real), identity(place.index)
    if database is None or _locks.descriptors(database):
        return None  # new, or open in this process, so that SQLite opened both files together
    if index is not None and not _is_in_use(place.real) and _index_is_in_use(place.index, index):
        return "they are in use, and the file is not"
    if _size(place.log) and not _may_be_own(place.real, database):
        return "its content comes from another file"
    return None


def _is_in_use(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _locks.database_is_in_use(descriptor)
    finally:
        os.close(descriptor)


def _index_is_in_use(path: str, index: Identity) -> bool:
    if _locks.descriptors(index):
        return True  # by this process: closing a descriptor of our own would drop its locks
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return _locks.index_is_in_use(descriptor)
        finally:
            os.close(descriptor)
    return False


def _size(path: str) -> int:
    with suppress(FileNotFoundError):
        return os.stat(path).st_size  # noqa: PTH116
    return 0


def _may_be_own(path: str, database: Identity) -> bool:
    """Return whether the database records this file's inode, or none.

    The record may be in the WAL only: SQLite cannot checkpoint while somebody reads the file. The
    WAL is the file's own if the inode that it records is this one.
    """
    return _inode_in_file(path) in {None, str(database.inode)} or (
        _inode_in_log(path, database) == str(database.inode)
    )


def _inode_in_file(path: str) -> str | None:
    """Return the recorded inode, read without the WAL."""
    url = f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(url, uri=True)) as connection:
            return _read_inode(connection)
    except sqlite3.Error:
        return None  # not our file, or of an older version, or just being written


def _inode_in_log(path: str, database: Identity) -> str | None:
    """Return the recorded inode, read with the WAL, which stays as it is."""
    try:
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            _locks.hold_database(_locks.descriptors(database))  # else closing would apply the WAL
            return _read_inode(connection)
    except sqlite3.Error:
        return None  # just being written, or not the WAL of such a file


def _read_inode(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT inode FROM file").fetchone()
    return None if row is None else str(row[0])
