"""The database file: created for its owner alone, and watched, as SQLite does not watch it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from async_session_store.errors import StoreUnavailableError

IN_MEMORY: Final = ":memory:"
_MODE: Final = stat.S_IRUSR | stat.S_IWUSR


def create_private(path: str) -> None:
    """Create the file with the mode 0600 if it does not exist.

    An existing file is not opened: closing it again would drop the locks that another connection
    of this process holds on it.
    """
    if path == IN_MEMORY:
        return
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE))


class FileIdentity:
    """The file that a connection opened. SQLite goes on writing to it after it was unlinked."""

    def __init__(self, path: str) -> None:
        self._path = None if path == IN_MEMORY else str(Path(path).absolute())
        self._opened = self._current()

    def check(self) -> None:
        """Raise ``StoreUnavailableError`` if another file, or none, is at the path now."""
        if self._current() != self._opened:
            raise StoreUnavailableError(
                "the SQLite file was deleted or replaced while it was open, so what is written is "
                "lost; put it back or open a new store"
            )

    def _current(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            status = os.stat(self._path)  # noqa: PTH116  # half the time of a Path's
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino
