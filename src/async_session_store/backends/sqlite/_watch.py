"""The files of an open database, watched: SQLite itself goes on writing where nobody reads.

A call is answered only when the database, its log and the log's index are those that any other
process would open.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from typing import Final, NoReturn

from async_session_store.backends.sqlite import _locks
from async_session_store.backends.sqlite._index import find_index
from async_session_store.backends.sqlite._locks import Identity, identity
from async_session_store.backends.sqlite._open_files import OPEN_FILES
from async_session_store.backends.sqlite._place import Place
from async_session_store.errors import StoreUnavailableError

_LOGGER: Final = logging.getLogger("async_session_store")
_CHECKPOINT_TIMEOUT: Final = 1000  # milliseconds
_UNKNOWN: Final = "whether this call was carried out is unknown, and the store refuses all others"
_REPLACED: Final = (
    f"the SQLite file was deleted or replaced while it was open; {_UNKNOWN}. Close it, delete the "
    "-wal and -shm that the old file has left, and open a new one"
)
_OVERWRITTEN: Final = (
    f"the SQLite file was overwritten while it was open; {_UNKNOWN}. Stop all processes that use "
    "the file, delete its -wal and -shm, put the copy in place once more, and start them"
)
_WRITTEN_BACK: Final = (
    f"the -wal or -shm of the SQLite file was deleted while it was open; {_UNKNOWN}. What they "
    "held was written back to the file. Close the store and open a new one"
)
_LOG_LOST: Final = (
    f"the -wal or -shm of the SQLite file was deleted or replaced while it was open; {_UNKNOWN}. "
    "What was stored since the last checkpoint may be lost. Close the store and open a new one"
)
_LOCKS_DROPPED: Final = (
    "this process closed a descriptor of the SQLite file's -shm during a call, which drops "
    f"SQLite's locks; {_UNKNOWN}. Close it and open a new one, and leave its files to SQLite"
)


class Watch:
    """The files that a connection has open, and the locks that keep them from being deleted.

    Args:
        place: Where the files are. They must all be there.
        connection: The connection that has opened them.
    """

    def __init__(self, place: Place, connection: sqlite3.Connection) -> None:
        self._place = place
        self._connection = connection
        self._refusal: str | None = None
        database, log, index = self._identities()
        if database is None or log is None or index is None:
            raise StoreUnavailableError("the SQLite file was deleted while it was opened")
        self.database, self.index = database, index
        self._opened = (database, log, index)
        self._index = find_index(index)
        self._progress = b"" if self._index is None else self._index.read_progress()
        self._content = _content(os.stat(place.path))  # noqa: PTH116
        OPEN_FILES.add(self)

    def begin(self) -> None:
        """Prepare for a call. Raise ``StoreUnavailableError`` if an earlier one found a loss."""
        if self._refusal is not None:
            raise StoreUnavailableError(self._refusal)
        if self._index is not None:
            self._index.rearm()

    def check(self) -> None:
        """Raise ``StoreUnavailableError`` if others do not see what this connection has written."""
        place, index = self._place, self._index
        progress = b"" if index is None else index.read_progress()
        try:
            # Each costs a microsecond or two; a Path's costs twice that.
            database, log, shared = map(os.stat, (place.path, place.log, place.index))
        except FileNotFoundError:
            self._refuse_lost_files()
        except OSError as error:
            raise StoreUnavailableError(
                f"the SQLite file cannot be looked at any more ({error.strerror}); "
                "whether this call was carried out is unknown"
            ) from error
        if self._opened != (
            (database.st_dev, database.st_ino),
            (log.st_dev, log.st_ino),
            (shared.st_dev, shared.st_ino),
        ):
            self._refuse_lost_files()
        content = _content(database)
        if content != self._content and index is not None:
            if progress == self._progress and not index.has_progressed(progress):
                self._refuse(_OVERWRITTEN)
            self._content = content
        if index is not None and index.lost_its_locks():
            self._refuse(_LOCKS_DROPPED)
        self._progress = progress

    def is_intact(self) -> bool:
        """Tell whether no loss was found yet, and none shows in the identities of the files."""
        return self._refusal is None and self._identities() == self._opened

    def end(self) -> None:
        """Let the connection checkpoint and delete its log when it closes, if that is still right.

        Otherwise SQLite would write the old log over a file that has taken the place of its own,
        and delete the new file's log.
        """
        is_good = self._refusal is None
        try:
            if is_good:
                self.check()
        except StoreUnavailableError as error:
            is_good = False
            _LOGGER.warning("found when a store was closed: %s", error)
        finally:
            OPEN_FILES.remove(self, for_clean_close=is_good)

    def abandon(self, reason: str) -> None:
        """Refuse all calls from now on."""
        self._refusal = reason

    # --- Losses -------------------------------------------------------------------------------

    def _refuse(self, reason: str) -> NoReturn:
        self.abandon(reason)
        raise StoreUnavailableError(reason)

    def _refuse_lost_files(self) -> NoReturn:
        if identity(self._place.path) != self.database:
            self._refuse(_REPLACED)
        self._refuse(_WRITTEN_BACK if self._write_back() else _LOG_LOST)

    def _write_back(self) -> bool:
        """Write a deleted log to its database, unless somebody may have gone on without it."""
        descriptors = filter(_locks.is_writable, _locks.descriptors(self.database))
        try:
            with _locks.others_kept_out(next(descriptors)):
                return self._is_only_deleted() and self._checkpoint()
        except (StopIteration, OSError, sqlite3.Error):
            return False

    def _is_only_deleted(self) -> bool:
        database, log, index = self._identities()
        return (
            database == self.database
            and log in {None, self._opened[1]}
            and index in {None, self.index}
            and (
                _content(os.stat(self._place.path)) == self._content  # noqa: PTH116
                or (self._index is not None and self._index.has_progressed(self._progress))
            )
        )

    def _checkpoint(self) -> bool:
        self._connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_TIMEOUT}").close()
        row = self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        busy, in_log, written = row
        return not busy and in_log == written

    def _identities(self) -> tuple[Identity | None, Identity | None, Identity | None]:
        place = self._place
        return identity(place.path), identity(place.log), identity(place.index)


def _content(status: os.stat_result) -> tuple[int, int]:
    """Return what changes whenever somebody writes to a file."""
    return status.st_mtime_ns, status.st_size
