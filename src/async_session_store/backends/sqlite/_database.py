"""An open database, and operations on it in transactions.

Everything here blocks. Threads may share a database, but only one of them may use it at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from async_session_store import _random
from async_session_store.backends.sqlite._claims import ClaimTable
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._compacting import Compaction
from async_session_store.backends.sqlite._copying import CopyTable
from async_session_store.backends.sqlite._erasing import ErasingTable
from async_session_store.backends.sqlite._expired import ExpiredTable
from async_session_store.backends.sqlite._faults import is_locked
from async_session_store.backends.sqlite._moving import MovingTable
from async_session_store.backends.sqlite._opening import open_database
from async_session_store.backends.sqlite._place import IN_MEMORY
from async_session_store.backends.sqlite._queues import QueueTable
from async_session_store.backends.sqlite._schema import Settings
from async_session_store.backends.sqlite._table import SessionTable
from async_session_store.errors import StoreUnavailableError

_AUTOCHECKPOINT: Final = 1000  # pages; SQLite's own default
# Inline writes never checkpoint. So after this many in a row, two writes go to the thread, where
# they may wait for the disk: one checkpoints the WAL, and the next restarts it.
_MAX_INLINE_WRITES: Final = 128
_MIN_THREAD_WRITES: Final = 2


class _Blocking(NamedTuple):
    """The pragmas that say what a statement may wait for."""

    busy_timeout: int
    """How long SQLite waits for a lock that another process holds, in milliseconds."""
    wal_autocheckpoint: int
    """The number of pages in the WAL at which a commit checkpoints it; 0 for never."""


_NONBLOCKING: Final = _Blocking(busy_timeout=0, wal_autocheckpoint=0)
_LOCK_PAUSES: Final = (0.0001, 0.0006)  # seconds, about as long as a transaction takes
_LONGEST_LOCK_PAUSE: Final = 0.003  # seconds


@dataclass(frozen=True, slots=True)
class Tables:
    """The operations of each table, and of the whole file."""

    sessions: SessionTable
    claims: ClaimTable
    queues: QueueTable
    expired: ExpiredTable
    erasing: ErasingTable
    moving: MovingTable
    copies: CopyTable
    compaction: Compaction


class Operation(NamedTuple):
    """An operation on the tables.

    ``writes`` says whether it changes them. If it ``may_run_inline``, it touches a few small rows,
    and takes microseconds unless it has to wait for a lock or the disk. If it is a ``single``
    statement that only reads, it needs no transaction. Every write gets one, so that it reads the
    clock when it has the lock (T4). A write that is not ``durable`` may be lost in a power failure,
    but not if only the process dies. One that is not ``transactional`` runs outside of any
    transaction, in the thread, and waits for no lock that another process holds.
    """

    run: Callable[[Tables], object]
    writes: bool
    may_run_inline: bool = True
    single: bool = False
    durable: bool = True
    transactional: bool = True


class _OperationFailedError(Exception):
    """An operation of a batch, or the commit, failed, and the batch was rolled back."""


class Database:
    """An open database file.

    Opening raises ``sqlite3.Error``, ``OSError``, or ``StoreUnavailableError`` for a file that does
    not belong to this library, which stays as it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._connection, self._watch = open_database(settings)
        self._busy_timeout = settings.busy_timeout
        self._may_block = True
        self._blocking: _Blocking | None = None
        # In memory there is nothing to sync, and each switch would cost a turn some microseconds.
        self._syncs = settings.synchronous == "FULL" and settings.path != IN_MEMORY
        self._is_syncing: bool | None = self._syncs
        self._thread_writes = 0  # in a row
        self._inline_writes = 0  # in a row
        self._clock = clock = Clock(settings.clock)
        execute = self._connection.execute
        sessions = SessionTable(execute, clock, max_document_bytes=settings.max_document_bytes)
        queues = QueueTable(execute, clock)
        claims = ClaimTable(execute, clock, sessions, queues)
        expired = ExpiredTable(execute, clock, sessions, claims, queues)
        erasing = ErasingTable(execute, clock, queues)
        moving = MovingTable(execute, clock, sessions, claims, queues)
        copies = CopyTable(execute, clock, sessions)
        compaction = Compaction(self._connection)
        self._tables = Tables(
            sessions, claims, queues, expired, erasing, moving, copies, compaction
        )

    def close(self) -> None:
        try:
            if self._watch is not None:
                self._watch.end()
        finally:
            self._connection.close()

    def run_batch(self, operations: Sequence[Operation]) -> list[object]:
        """Run the operations in one transaction. Return each one's result or exception.

        Raises ``sqlite3.Error`` or ``StoreUnavailableError`` if none of them was carried out.
        """
        self._may_block = True
        together = [operation for operation in operations if operation.transactional]
        if len(together) < len(operations):
            return self._run_apart(operations, together)
        writes = any(operation.writes for operation in operations)
        replies = self._run_all(operations, writes=writes)
        if writes:
            self._thread_writes += 1
            self._inline_writes = 0
        return replies

    def _run_apart(
        self, operations: Sequence[Operation], together: Sequence[Operation]
    ) -> list[object]:
        """Run a batch, and after it the operations that must not be in its transaction."""
        replies = iter(self.run_batch(together) if together else ())
        return [
            next(replies) if operation.transactional else self._run_outside(operation)
            for operation in operations
        ]

    def _run_outside(self, operation: Operation) -> object:
        try:
            return self._run_all([operation._replace(single=True)], writes=operation.writes)[0]
        except (sqlite3.Error, StoreUnavailableError) as error:
            return error

    def try_run_inline(self, operation: Operation) -> list[object]:
        """Run an operation like a batch of one. Return no results if it would have to wait.

        Never waits for a lock. Waits for the disk only to read pages that are not in memory, and to
        restart a WAL that another process has just checkpointed.
        """
        if not operation.may_run_inline or (operation.writes and not self._may_write_inline()):
            return []
        self._may_block = False
        try:
            replies = self._run_all([operation], writes=operation.writes)
        except sqlite3.OperationalError as error:
            if is_locked(error):
                return []
            raise
        if isinstance(replies[0], sqlite3.OperationalError) and is_locked(replies[0]):
            return []
        if operation.writes:
            self._inline_writes += 1
            self._thread_writes = 0
        return replies

    def _may_write_inline(self) -> bool:
        """Return whether a commit will not wait for the disk.

        Only commits that do not sync qualify, at ``NORMAL`` and in memory. There, inline writes are
        worth the extra rules: with one caller, a cycle of register, find, get, update and clear
        takes 0.33 ms with them and 1.19 ms without, which is 0.5 and 1.9 times that of aiosqlite.

        A commit that finds the WAL long checkpoints it, and the next one restarts it. Both wait for
        the disk, so both are left to the thread.
        """
        if self._syncs:
            return False
        if self._inline_writes:
            return self._inline_writes < _MAX_INLINE_WRITES
        return self._thread_writes >= _MIN_THREAD_WRITES

    def _set_blocking(self, *, writes: bool) -> None:
        blocking = _NONBLOCKING
        if self._may_block:
            # _begin_to_write does the waiting for a write. Once it has the lock, nothing waits.
            busy_timeout = 0 if writes else round(self._busy_timeout * 1000)
            blocking = _Blocking(busy_timeout, _AUTOCHECKPOINT)
        if blocking == self._blocking:
            return
        self._blocking = None  # as a signal handler may raise between the two statements
        self._connection.execute(f"PRAGMA busy_timeout = {blocking.busy_timeout}").close()
        self._connection.execute(
            f"PRAGMA wal_autocheckpoint = {blocking.wal_autocheckpoint}"
        ).close()
        self._blocking = blocking

    def _run_all(self, operations: Sequence[Operation], *, writes: bool) -> list[object]:
        self._roll_back()  # a signal handler that raised may have left a transaction open
        if self._watch is not None:
            self._watch.begin(writes=writes)
        if len(operations) == 1 and operations[0].single:
            self._set_blocking(writes=writes)
            replies = [self._perform(operations[0])]
        else:
            replies = self._run(operations, writes=writes)
        if self._watch is not None:
            self._watch.check(wrote=writes)
        return replies

    def _run(self, operations: Sequence[Operation], *, writes: bool) -> list[object]:
        try:
            self._set_blocking(writes=writes)
            if writes:
                self._set_durability(any(one.writes and one.durable for one in operations))
                self._begin_to_write()
            else:
                self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            return self._run_reads(operations, error)
        try:
            return self._finish(operations)
        except _OperationFailedError as failure:
            return self._run_each(operations, failure)

    def _set_durability(self, durable: bool) -> None:  # noqa: FBT001
        """Make the next commit sync, unless all of it may be lost in a power failure."""
        sync = self._syncs and durable
        if sync == self._is_syncing:
            return
        self._is_syncing = None  # as a signal handler may raise before the next line is done
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}").close()
        self._is_syncing = sync

    def _begin_to_write(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not self._may_block or not is_locked(error):
                raise
            self._wait_to_write()

    def _wait_to_write(self) -> None:
        """Begin a transaction as soon as no other process writes.

        SQLite's own busy handler sleeps longer and longer, up to 100 ms. With 8 processes that
        write all the time, one of them waited 0.9 s. When each of them retries often, the longest
        wait is 0.2 s on the same disk, and the throughput is the same.
        """
        began_at = time.monotonic()
        shortest, longest = _LOCK_PAUSES
        waited = 0.0
        while True:
            pause = _random.between(shortest, max(longest, waited / 20))
            time.sleep(min(pause, _LONGEST_LOCK_PAUSE))
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - began_at
                if not is_locked(error) or waited >= self._busy_timeout:
                    raise
            else:
                return

    def _run_each(
        self, operations: Sequence[Operation], failure: _OperationFailedError
    ) -> list[object]:
        """Run each operation in a transaction of its own, so that one failure fails no other."""
        if len(operations) == 1:
            return [failure.__cause__]
        replies: list[object] = []
        refused: sqlite3.Error | None = None
        for operation in operations:
            if refused is not None and operation.writes:
                replies.append(refused)
                continue
            try:
                replies += self._run([operation], writes=operation.writes)
            except sqlite3.Error as error:
                # Another process holds the lock. Later writes would time out as well.
                refused = error
                replies.append(error)
        return replies

    def _run_reads(self, operations: Sequence[Operation], error: sqlite3.Error) -> list[object]:
        """Run only the reads, if there are any: they do not need the lock for writing."""
        reads = [operation for operation in operations if not operation.writes]
        if not reads or len(reads) == len(operations):
            raise error
        replies = iter(self._run(reads, writes=False))
        return [error if operation.writes else next(replies) for operation in operations]

    def _finish(self, operations: Sequence[Operation]) -> list[object]:
        """Run the operations in the open transaction, and commit it."""
        try:
            replies = [self._perform(operation) for operation in operations]
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            raise _OperationFailedError from error
        except BaseException:  # raised by a signal handler, in the main thread
            self._roll_back()
            raise
        return replies

    def _perform(self, operation: Operation) -> object:
        self._clock.begin_operation()
        return operation.run(self._tables)

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself, for example because the disk is full.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
