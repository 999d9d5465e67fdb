"""The index of the WAL (``-shm``), read through SQLite's own descriptor of it.

A descriptor of our own would have to be closed at some point, and that would drop SQLite's locks.
"""

from __future__ import annotations

import os
from typing import Final

from async_session_store.backends.sqlite import _locks
from async_session_store.backends.sqlite._locks import Identity, Tripwire

# From https://www.sqlite.org/walformat.html: the salts of the WAL, how many of its pages have been
# written to the database, and how many a checkpoint has attempted to write.
_READ_FROM: Final = 32
_READ_TO: Final = 132
_SALTS: Final = slice(0, 8)
_WRITTEN: Final = slice(64, 68)
_ATTEMPTED: Final = slice(96, 100)


class Index:
    """The index that this process's connections to one database share."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._tripwire = Tripwire(descriptor)

    def rearm(self) -> None:
        """Set the tripwire again. It shows whether SQLite's locks on the index were dropped."""
        if not self._tripwire.is_intact():
            self._tripwire.set()

    def disarm(self) -> None:
        """Remove the tripwire. Otherwise it lasts for as long as any store has the index open."""
        self._tripwire.unset()

    def lost_its_locks(self) -> bool:
        return not self._tripwire.is_intact()

    def read_progress(self) -> bytes:
        """Return bytes that every checkpoint changes before it writes to the database."""
        found = os.pread(self._descriptor, _READ_TO - _READ_FROM, _READ_FROM)
        return found[_SALTS] + found[_WRITTEN] + found[_ATTEMPTED]

    def checkpoint_is_running(self) -> bool:
        return _locks.checkpoint_is_running(self._descriptor)

    def has_progressed(self, since: bytes) -> bool:
        """Return whether a checkpoint has written to the database since its progress was read."""
        return self.checkpoint_is_running() or self.read_progress() != since


def find_index(file: Identity) -> Index | None:
    """Return the index that this process has open, or None if it cannot be found."""
    writable = [each for each in _locks.descriptors(file) if _locks.is_writable(each)]
    return Index(writable[0]) if writable else None
