"""The database: its file, and operations on it in transactions.

Everything here blocks. Threads may share it, but only one at a time may use it.
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
from async_session_store.backends.sqlite._expired import ExpiredWaits
from async_session_store.backends.sqlite._faults import is_locked
from async_session_store.backends.sqlite._opening import open_database
from async_session_store.backends.sqlite._place import IN_MEMORY
from async_session_store.backends.sqlite._queues import QueueTable
from async_session_store.backends.sqlite._schema import Settings
from async_session_store.backends.sqlite._table import SessionTable

_LONG_LOG: Final = 1000  # pages
_WRITES_AT_ONCE: Final = 128  # in a row, before some that may find the log long
_WRITES_BEFORE: Final = 2  # that may wait: one that may empty the log, and one that begins it anew


class _Patience(NamedTuple):
    """What to wait for: a lock, and the disk when a commit finds the log long and empties it."""

    busy_timeout: int
    """How long SQLite waits for a lock that another process holds, in milliseconds."""
    long_log: int
    """From how many pages on the log is long; 0 for never."""


_NO_PATIENCE: Final = _Patience(busy_timeout=0, long_log=0)
_LOCK_PAUSES: Final = (0.0001, 0.0006)  # seconds, about as long as a transaction takes
_LONGEST_LOCK_PAUSE: Final = 0.003  # seconds


@dataclass(frozen=True, slots=True)
class Tables:
    """What the database holds."""

    sessions: SessionTable
    claims: ClaimTable
    queues: QueueTable
    expired: ExpiredWaits


class Operation(NamedTuple):
    """What to do with the tables, and whether that changes them.

    A ``brief`` operation touches few rows, and takes microseconds if they are small and it need not
    wait for a lock or the disk. A ``single`` statement that only reads needs no transaction. Writes
    get one, so that they read the clock when they have the lock (T4). What is not ``durable`` may
    be lost with the power, but never with the process.
    """

    run: Callable[[Tables], object]
    writes: bool
    brief: bool = True
    single: bool = False
    durable: bool = True


class _OperationFailedError(Exception):
    """An operation of a batch, or its commit, failed; the batch was rolled back."""


class Database:
    """An open database file.

    Opening raises ``sqlite3.Error``, ``OSError``, or ``StoreUnavailableError`` for a file that is
    not this library's, which it leaves as it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._connection, self._watch = open_database(settings)
        self._busy_timeout = settings.busy_timeout
        self._waits = True
        self._patience: _Patience | None = None
        # In memory there is nothing to sync, and each switch would cost a turn some microseconds.
        self._syncs = settings.synchronous == "FULL" and settings.path != IN_MEMORY
        self._is_syncing: bool | None = self._syncs
        self._writes_that_waited = 0  # in a row
        self._written_at_once = 0
        self._clock = clock = Clock(settings.clock)
        execute = self._connection.execute
        sessions = SessionTable(execute, clock, max_document_bytes=settings.max_document_bytes)
        queues = QueueTable(execute, clock)
        claims = ClaimTable(execute, clock, sessions, queues)
        expired = ExpiredWaits(execute, clock, sessions, claims, queues)
        self._tables = Tables(sessions, claims, queues, expired)

    def close(self) -> None:
        try:
            if self._watch is not None:
                self._watch.end()
        finally:
            self._connection.close()

    def run_batch(self, operations: Sequence[Operation]) -> list[object]:
        """Run the operations in one transaction; what each returned, or the exception it raised.

        Raises ``sqlite3.Error`` or ``StoreUnavailableError`` if none of them was carried out.
        """
        self._waits = True
        writes = any(operation.writes for operation in operations)
        replies = self._run_all(operations, writes=writes)
        if writes:
            self._writes_that_waited += 1
            self._written_at_once = 0
        return replies

    def try_run_inline(self, operation: Operation) -> list[object]:
        """Run an operation like a batch of one, or do nothing and give nothing if it must wait.

        Never waits for a lock. Waits for the disk only to read what is not in memory, and to begin
        a log that another process has just emptied.
        """
        if not operation.brief or (operation.writes and not self._may_write_at_once()):
            return []
        self._waits = False
        try:
            replies = self._run_all([operation], writes=operation.writes)
        except sqlite3.OperationalError as error:
            if is_locked(error):
                return []
            raise
        if isinstance(replies[0], sqlite3.OperationalError) and is_locked(replies[0]):
            return []
        if operation.writes:
            self._written_at_once += 1
            self._writes_that_waited = 0
        return replies

    def _may_write_at_once(self) -> bool:
        """Whether a commit will not wait for the disk.

        The commit that finds the log long empties it, and the next one begins it anew; both wait.
        """
        if self._syncs:
            return False
        if self._written_at_once:
            return self._written_at_once < _WRITES_AT_ONCE
        return self._writes_that_waited >= _WRITES_BEFORE

    def _set_patience(self, *, writes: bool) -> None:
        patience = _NO_PATIENCE
        if self._waits:
            # _begin_to_write does the waiting for a write. Once it has the lock, nothing waits.
            busy_timeout = 0 if writes else round(self._busy_timeout * 1000)
            patience = _Patience(busy_timeout, _LONG_LOG)
        if patience == self._patience:
            return
        self._patience = None  # as a signal handler may raise between the two
        self._connection.execute(f"PRAGMA busy_timeout = {patience.busy_timeout}").close()
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {patience.long_log}").close()
        self._patience = patience

    def _run_all(self, operations: Sequence[Operation], *, writes: bool) -> list[object]:
        self._roll_back()  # what a signal handler that raised has left
        if self._watch is not None:
            self._watch.begin(writes=writes)
        if len(operations) == 1 and operations[0].single:
            self._set_patience(writes=False)
            replies = [self._perform(operations[0])]
        else:
            replies = self._run(operations, writes=writes)
        if self._watch is not None:
            self._watch.check(wrote=writes)
        return replies

    def _run(self, operations: Sequence[Operation], *, writes: bool) -> list[object]:
        try:
            self._set_patience(writes=writes)
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
        """Let the next commit sync, unless all of it may be lost with the power."""
        sync = self._syncs and durable
        if sync == self._is_syncing:
            return
        self._is_syncing = None  # as a signal handler may raise between the two
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}").close()
        self._is_syncing = sync

    def _begin_to_write(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not self._waits or not is_locked(error):
                raise
            self._wait_to_write()

    def _wait_to_write(self) -> None:
        """Begin a transaction once no other process is in one that writes.

        SQLite's own busy handler sleeps longer and longer, up to 100 ms. With 8 processes that
        write all the time, one of them then waited 0.9 s. When each retries often, the longest wait
        was 0.2 s on the same disk, and the throughput is the same.
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
        """Run each operation alone, so that only those fail that must."""
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
                # The lock cannot be had now: what writes after this need not wait for it too.
                refused = error
                replies.append(error)
        return replies

    def _run_reads(self, operations: Sequence[Operation], error: sqlite3.Error) -> list[object]:
        """Run what does not need the lock that the error says cannot be had."""
        reads = [operation for operation in operations if not operation.writes]
        if not reads or len(reads) == len(operations):
            raise error
        replies = iter(self._run(reads, writes=False))
        return [error if operation.writes else next(replies) for operation in operations]

    def _finish(self, operations: Sequence[Operation]) -> list[object]:
        """Run the operations in the transaction that was begun, and end it."""
        try:
            replies = [self._perform(operation) for operation in operations]
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            raise _OperationFailedError from error
        except BaseException:  # of a signal handler, in the main thread
            self._roll_back()
            raise
        return replies

    def _perform(self, operation: Operation) -> object:
        self._clock.begin_operation()
        return operation.run(self._tables)

    def _roll_back(self) -> None:
        # After a full disk, for one, SQLite has rolled back already.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
