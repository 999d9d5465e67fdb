"""The database files that this process has open, and those its parent had open at the fork.

All connections of a process to one file share SQLite's locks and its index of the WAL. They also
share the locks that are taken here: the first store takes them, and the last one releases them.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from async_session_store.backends.sqlite import _locks
from async_session_store.backends.sqlite._locks import Identity
from async_session_store.errors import StoreUnavailableError, StoreUsageError

if TYPE_CHECKING:
    from async_session_store.backends.sqlite._watch import Watch

_FORKED: Final = (
    "this process was forked while a store was open on this SQLite file, and SQLite does not "
    "survive a fork; close the store before forking, or spawn the process"
)


class OpenFiles:
    """The files that stores of this process have open.

    A thread holds ``being_opened`` while it reads a file before SQLite opens it. Otherwise another
    thread could let SQLite open the file meanwhile, and closing it here would drop SQLite's locks.
    """

    def __init__(self) -> None:
        self.being_opened = threading.Lock()
        self._lock = threading.Lock()
        self._watches: dict[Identity, WeakSet[Watch]] = {}
        self._inherited: set[Identity] = set()

    def check(self, database: Identity) -> None:
        """Raise ``StoreUsageError`` for a file that the parent had open at the fork.

        Raise ``StoreUnavailableError`` if another store of this process has lost its files.
        """
        if database in self._inherited:
            raise StoreUsageError(_FORKED)
        if not all(watch.is_intact() for watch in self._stores(database)):
            raise StoreUnavailableError(
                "another store of this process has this SQLite file open, and its -wal or -shm was "
                "deleted or replaced; close that store first"
            )

    def add(self, watch: Watch) -> None:
        with self._lock:
            self._watches.setdefault(watch.database, WeakSet()).add(watch)
            _locks.hold_database(_locks.descriptors(watch.database))
            _locks.hold_index(_locks.descriptors(watch.index))

    def remove(self, watch: Watch, *, for_clean_close: bool) -> None:
        """Forget a store. If it is the last one of its file and closes cleanly, release the locks.

        Otherwise they last until SQLite closes its descriptors.
        """
        with self._lock:
            stores = self._watches.get(watch.database)
            if stores is None:
                return  # it belongs to the parent process
            stores.discard(watch)
            if stores:
                return
            del self._watches[watch.database]
            if for_clean_close:
                _locks.release_database(_locks.descriptors(watch.database))
                _locks.release_index(_locks.descriptors(watch.index))

    def _stores(self, database: Identity) -> set[Watch]:
        return set(self._watches.get(database, ()))

    def disown(self) -> None:
        """In a forked child, refuse the parent's stores, and new stores on the parent's files."""
        # Threads that exist only in the parent may have held the locks.
        self.being_opened, self._lock = threading.Lock(), threading.Lock()
        for database in list(self._watches):
            for watch in self._stores(database):
                watch.abandon()
                self._inherited.add(database)
        self._watches = {}


OPEN_FILES = OpenFiles()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=OPEN_FILES.disown)
