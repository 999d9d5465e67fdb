"""A watch on the files of an open database: SQLite keeps writing to files that were replaced.

A call is answered only if the database, its WAL and the index of the WAL are the very files that
any other process would open now.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

from async_session_store.backends.sqlite import _locks
from async_session_store.backends.sqlite._index import find_index
from async_session_store.backends.sqlite._locks import Identity, identity
from async_session_store.backends.sqlite._open_files import OPEN_FILES
from async_session_store.backends.sqlite._place import Place
from async_session_store.backends.sqlite._schema import record_file
from async_session_store.errors import StoreUnavailableError, StoreUsageError

_LOGGER: Final = logging.getLogger("async_session_store")
_CHECKPOINT_TIMEOUT: Final = 1000  # milliseconds
_UNKNOWN: Final = "whether this call was carried out is unknown"


class Loss(NamedTuple):
    """A loss of files: what happened, and what to do about it."""

    what: str
    advice: str


_REPLACED: Final = Loss(
    "the SQLite file was deleted or replaced while it was open",
    "Close the store and open a new one. If another file was put in its place, delete the -wal and "
    "-shm that the old file has left first",
)
_LED_ELSEWHERE: Final = Loss(
    "the path of the SQLite file no longer leads to the file that was opened",
    "Close the store and open a new one. Leave the files as they are: nothing is wrong with them",
)
_OVERWRITTEN: Final = Loss(
    "the SQLite file was overwritten while it was open",
    "Close the store and open a new one, if nothing but the time of the file changed (touch does "
    "that). Only if a copy was put there, stop all processes that use it, delete its -wal and "
    "-shm, and put the copy in place once more",
)
_WRITTEN_BACK: Final = Loss(
    "the -wal or -shm of the SQLite file was deleted while it was open, and what they held was "
    "written back to the file",
    "Close the store and open a new one",
)
_LOG_LOST: Final = Loss(
    "the -wal or -shm of the SQLite file was deleted or replaced while it was open, and what was "
    "stored since the last checkpoint may be lost",
    "Close the store and open a new one",
)
_FORKED: Final = Loss(
    "this process was forked after the store was opened", "Close stores before forking"
)
_LOCKS_DROPPED: Final = Loss(
    "this process closed a descriptor of the SQLite file's -shm during a call, which drops "
    "SQLite's locks",
    "Close the store, open a new one, and leave its files to SQLite",
)


class Watch:
    """The files that a connection has open, and the locks that keep others from deleting them.

    Args:
        place: The paths of the files, all of which must exist.
        connection: The connection that has opened them.
    """

    def __init__(self, place: Place, connection: sqlite3.Connection) -> None:
        self._place = place
        self._connection = connection
        self._loss: Loss | None = None
        database, log, index = self._identities()
        if database is None or log is None or index is None:
            raise StoreUnavailableError("the SQLite file was deleted while it was being opened")
        self.database, self.index = database, index
        self._opened = (database, log, index)
        if _locks.are_supported() and not all(map(_locks.descriptors, self._opened)):
            raise StoreUnavailableError("the SQLite file was replaced while it was being opened")
        self._index = find_index(index)
        self._progress: bytes = b"" if self._index is None else self._index.read_progress()
        self._content: tuple[int, int] = _content(os.stat(place.path))  # noqa: PTH116
        OPEN_FILES.add(self)

    def begin(self, *, writes: bool) -> None:
        """Prepare for a call.

        Raise ``StoreUnavailableError`` if an earlier call found a loss, and ``StoreUsageError`` in
        a forked process.
        """
        if self._loss is not None:
            what, advice = self._loss
            refusal = StoreUsageError if self._loss is _FORKED else StoreUnavailableError
            raise refusal(f"{what}. Nothing was done. {advice}")
        if writes and self._index is not None:
            self._index.rearm()

    def check(self, *, wrote: bool) -> None:
        """Raise ``StoreUnavailableError`` if others would open other files than this connection.

        The index and its locks are checked only after writes: this runs for each call, and each
        file takes one or two microseconds.
        """
        try:
            self._check_files(wrote=wrote)
        except OSError as error:
            raise StoreUnavailableError(
                f"the SQLite file can no longer be checked ({error.strerror}); {_UNKNOWN}"
            ) from error

    def _check_files(self, *, wrote: bool) -> None:
        progress = self._index.read_progress() if wrote and self._index else self._progress
        place, opened = self._place, self._opened
        try:
            database, log = os.stat(place.path), os.stat(place.log)  # noqa: PTH116  # see above
            index = os.stat(place.index) if wrote else None  # noqa: PTH116
        except FileNotFoundError:
            self._refuse_lost_files()
        if (
            (database.st_dev, database.st_ino) != opened[0]
            or (log.st_dev, log.st_ino) != opened[1]
            or (index is not None and (index.st_dev, index.st_ino) != opened[2])
        ):
            self._refuse_lost_files()
        if _content(database) != self._content or progress != self._progress:
            self._check_content()
        if wrote and self._index is not None and self._index.lost_its_locks():
            self._refuse(_LOCKS_DROPPED)

    def _check_content(self) -> None:
        """Raise ``StoreUnavailableError`` if anything but a checkpoint wrote to the file.

        While a checkpoint runs, nothing is remembered. If its process is killed, the last changes
        of the file come without further progress in the index, and would look like an overwrite.
        """
        index = self._index
        if index is None:
            return
        # In this order: a checkpoint shows in the index before it writes to the file.
        progress, is_running = index.read_progress(), index.checkpoint_is_running()
        content = _content(os.stat(self._place.path))  # noqa: PTH116
        if content != self._content and not index.has_progressed(self._progress):
            self._refuse(_OVERWRITTEN)
        if not is_running and not index.has_progressed(progress):
            self._progress, self._content = progress, content
            with suppress(sqlite3.Error):  # if it is locked, the next checkpoint does this
                # A backup that was restored through SQLite brought along the inode of another file.
                record_file(self._connection, self.database.inode)

    def is_intact(self) -> bool:
        """Return whether no loss was found, and the files are still the same."""
        return self._loss is None and self._identities() == self._opened

    def end(self) -> None:
        """Let the connection checkpoint and delete its WAL when it closes, if that is safe.

        If its file was replaced, SQLite would otherwise apply the old WAL to the new file, and
        delete the WAL of that file.
        """
        is_good = False
        try:
            if self._loss is None:
                self.check(wrote=True)
                is_good = True
        except StoreUnavailableError:
            if self._loss is not None:
                _LOGGER.warning("noticed while closing a store: %s", self._loss.what)
        finally:
            OPEN_FILES.remove(self, for_clean_close=is_good)
            if self._index is not None:
                self._index.disarm()

    def abandon(self) -> None:
        """Refuse all calls in a forked process."""
        self._loss = _FORKED

    # --- Losses -------------------------------------------------------------------------------

    def _refuse(self, loss: Loss) -> NoReturn:
        self._loss = loss
        raise StoreUnavailableError(f"{loss.what}; {_UNKNOWN}. {loss.advice}")

    def _refuse_lost_files(self) -> NoReturn:
        if identity(self._place.path) != self.database:
            is_there = identity(self._place.real) == self.database
            self._refuse(_LED_ELSEWHERE if is_there else _REPLACED)
        self._refuse(_WRITTEN_BACK if self._write_back() else _LOG_LOST)

    def _write_back(self) -> bool:
        """Checkpoint a deleted WAL, unless others may have opened the file. Return success."""
        descriptors = filter(_locks.is_writable, _locks.descriptors(self.database))
        try:
            with _locks.excluding_others(next(descriptors)):
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
    """Return values that change whenever somebody writes to the file."""
    return status.st_mtime_ns, status.st_size
