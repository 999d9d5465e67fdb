"""Giving space back to the disk: rewriting the file without unused pages, and emptying the log."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from typing import Final

from async_session_store.backends.sqlite._faults import is_locked
from async_session_store.backends.sqlite._place import find_place
from async_session_store.errors import StoreUnavailableError

_STEPS: Final = 100  # of SQLite's virtual machine, between two looks at the clock


def size_on_disk(path: str) -> int:
    """Return how many bytes a database file and its log take. A file that is missing takes none."""
    place = find_place(path)
    return _size(place.real) + _size(place.log)


def _size(path: str) -> int:
    with suppress(FileNotFoundError):
        return os.stat(path).st_size  # noqa: PTH116  # as everywhere in this folder
    return 0


class Compaction:
    """The statements that make a file and its log smaller. They run outside of transactions.

    Args:
        connection: The connection that has the file open. None of its statements may be running.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rewrite(self, max_pause: float) -> bool:
        """Rewrite the file without unused pages. Return False if another process is writing.

        SQLite copies the database to a temporary file, which can be interrupted, and from there to
        the log, which cannot and takes about as long. Nobody else can write meanwhile. So if the
        first half is not done in half of ``max_pause`` seconds, it stops, and nothing has changed.
        It raises ``StoreUnavailableError`` then.
        """
        # Rows keep their rowids, which erase_user needs between its steps: SQLite renumbers only
        # the rows of tables without any index.
        stop_at = time.monotonic() + max_pause / 2
        self._connection.set_progress_handler(lambda: time.monotonic() >= stop_at, _STEPS)
        try:
            self._connection.execute("VACUUM").close()
        except sqlite3.OperationalError as error:
            if is_locked(error):
                return False
            if "interrupted" in str(error):
                raise StoreUnavailableError(
                    "rewriting the SQLite file would keep others from writing for longer than "
                    "max_pause; nothing was changed. Stop the processes that use the file, and "
                    "allow a longer max_pause"
                ) from error
            raise
        finally:
            self._connection.set_progress_handler(None, 0)
        return True

    def empty_log(self) -> bool:
        """Write the log back to the file and empty it. Return whether nobody was in the way."""
        row = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not row[0]
