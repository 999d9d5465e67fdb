"""Which calls run in the loop's own thread, and which in that of SQLite."""

# tests may block

from __future__ import annotations

import asyncio
import gc
import queue
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from sqlite_locks import locked

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionKey,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store._codec import encode_head
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.backends.sqlite._database import Database, Operation, Tables
from async_session_store.backends.sqlite._rows import Document
from async_session_store.backends.sqlite._schema import Settings
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    clear,
    context_of,
    data,
    find,
    listed,
    register,
)
from calls import CALLS, SEVERAL_SCOPES
from loops import turn_loop

pytestmark = pytest.mark.anyio

UNBOUNDED = {
    *("list_waits_for_user", "list_wait_records", "clear_waits_for_user", "find_by_user"),
}
INLINE_READS = {
    *("get_session", "get_record", "find_wait_by_scope", "get_wait", "explain", "ping"),
    "claim_expired",  # as nothing is due
}


class CountingQueue(queue.SimpleQueue[object]):
    """What is handed to SQLite's thread."""

    hops = 0

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002  # as it is
        CountingQueue.hops += 1
        super().put(item, block, timeout)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> type[CountingQueue]:
    monkeypatch.setattr("async_session_store.backends.sqlite._thread.SimpleQueue", CountingQueue)
    return CountingQueue


def open_store(
    path: Path | str, synchronous: Literal["FULL", "NORMAL"] = "NORMAL", busy_timeout: float = 5
) -> AsyncSessionStore:
    backend = SqliteBackend(path, synchronous=synchronous, busy_timeout=busy_timeout)
    return AsyncSessionStore(backend)


# --- Calls that come alone --------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:removed in 1.0:DeprecationWarning")
@pytest.mark.parametrize("path_of", [str, lambda _: ":memory:"], ids=["file", "memory"])
@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_w1_a_call_is_one_hop_or_none(
    hops: type[CountingQueue], path: Path, synchronous: Literal["FULL", "NORMAL"], path_of: Any
) -> None:
    async with open_store(path_of(path), synchronous) as store:
        syncs = synchronous == "FULL" and path_of is str
        for name, call in (*CALLS.items(), *SEVERAL_SCOPES.items()):
            for _ in range(3):  # two writes in the thread, and then one inline
                await register(store, "k", A)
            hops.hops = 0
            await call(store)
            runs_inline = name in INLINE_READS or (not syncs and name not in UNBOUNDED)
            assert hops.hops == (0 if runs_inline else 1), name


def watch(tables: Tables, statements: list[str]) -> None:
    """Note each statement that the backend executes from now on."""
    execute: Any = tables.sessions._execute
    execute.__self__.set_trace_callback(statements.append)


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_t4_a_read_that_comes_alone_is_one_statement_and_a_write_a_transaction(
    path: Path, synchronous: Literal["FULL", "NORMAL"]
) -> None:
    statements: list[str] = []
    clock = 1_700_000_000.0
    backend = SqliteBackend(path, synchronous=synchronous, clock=lambda: clock)
    async with AsyncSessionStore(backend) as store:
        await register(store, "first", B)
        await backend._reading(lambda tables: watch(tables, statements))
        for call, writes in (
            (lambda: register(store, "k", A, ttl=60), 1),
            (lambda: find(store, A), 0),
            (lambda: context_of(store, "k"), 0),
            (lambda: store.get_wait(CTX, "u1", A), 0),
            (lambda: listed(store), 0),
            # It supersedes a claim, and asks whether the file keeps any expired wait.
            (lambda: clear(store, A, "k"), 3),
            (lambda: clear(store, B), 3),
        ):
            statements.clear()
            assert await call() is not False
            # The lock comes first, as the clock is read when it is held.
            expected = ["BEGIN IMMEDIATE", *[""] * writes, "COMMIT"] if writes else [""]
            # The statements of a trigger are traced as the one that fired it.
            distinct = [each for each, _ in groupby(statements)]
            ran = [each for each in distinct if not each.startswith("PRAGMA")]
            assert [each if each in expected else "" for each in ran] == expected


async def test_a_large_document_is_written_in_sqlites_thread(
    hops: type[CountingQueue], path: Path
) -> None:
    async with open_store(path) as store:
        for size, expected in ((63 * 1024, 0), (64 * 1024, 1)):
            large = data("x" * size)
            for _ in range(2):
                await register(store, "k", A)
            hops.hops = 0
            await register(store, "k", A, "x" * size)
            assert hops.hops == expected
            await store.update_session("k", large)
            assert hops.hops == 2 * expected
            await store.create_session(CTX, large)
            assert hops.hops == 3 * expected


async def test_the_log_is_emptied_in_sqlites_thread(hops: type[CountingQueue], path: Path) -> None:
    log = path.with_name("bot.db-wal")
    async with open_store(path) as store:
        await register(store, "k", A)
        hops.hops = 0
        for number in range(130 * 8):
            await store.update_session("k", data(f"{number}" + "x" * 16 * 1024))
        assert hops.hops == 2 * 8
        assert log.stat().st_size < 12 * 1024 * 1024
        assert await context_of(store, "k") == "1039" + "x" * 16 * 1024
    assert not log.exists()


async def test_a_caller_that_calls_on_and_on_lets_others_run(path: Path) -> None:
    async with open_store(path) as store:
        await register(store, "k", A)
        others = asyncio.ensure_future(longest_pause(1))
        while not others.done():
            assert await find(store, A) == "k"
        assert others.result() < 0.5


# --- Calls that come with others --------------------------------------------------------------


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_64_calls_at_once_share_hops(
    hops: type[CountingQueue], path: Path, synchronous: Literal["FULL", "NORMAL"]
) -> None:
    done: list[int] = []

    async def use(store: AsyncSessionStore, number: int) -> None:
        key, scope = f"k{number}", ReplyScope(conversation=str(number))
        assert await register(store, key, scope, key) is None
        assert await find(store, scope) == key
        assert await context_of(store, key) == key
        assert await clear(store, scope, key)
        done.append(number)

    async with open_store(path, synchronous) as store:
        hops.hops = 0
        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(use, store, number)
        assert len(done) == 64
        assert 3 <= hops.hops <= 16


async def test_r3_a_read_sees_the_outcome_of_a_write_that_was_cancelled(path: Path) -> None:
    async with open_store(path, "FULL") as store:
        await register(store, "k", A, "0")
        for number in range(100):
            write = asyncio.ensure_future(store.update_session("k", data(str(number))))
            await asyncio.sleep(0)
            write.cancel()
            await asyncio.wait([write])
            seen = await context_of(store, "k")
            await asyncio.sleep(0.001)
            assert await context_of(store, "k") == seen


# --- Syncing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("synchronous", "durable"), [("FULL", 2), ("NORMAL", 1)])
def test_a_commit_syncs_unless_a_power_loss_may_undo_all_of_it(
    path: Path, synchronous: str, durable: int
) -> None:
    def level(_: Tables) -> object:
        return database._connection.execute("PRAGMA synchronous").fetchone()[0]

    claims, saves = Operation(level, writes=True, durable=False), Operation(level, writes=True)
    database = Database(Settings(str(path), synchronous, 1, time.time, 1_000_000))
    assert database.run_batch([saves]) == [durable]
    assert database.run_batch([claims]) == [1]
    assert database.run_batch([claims, claims]) == [1, 1]
    assert database.run_batch([claims, saves]) == [durable, durable]
    assert database.run_batch([claims]) == [1]
    assert database.run_batch([saves]) == [durable]
    database.close()


def test_in_memory_no_commit_switches_synchronous_which_would_cost_time() -> None:
    database = Database(Settings(":memory:", "FULL", 1, time.time, 1_000_000))
    statements: list[str] = []
    database._connection.set_trace_callback(statements.append)
    for durable in (True, False, True):
        database.run_batch([Operation(lambda _: None, writes=True, durable=durable)])
    assert not any("synchronous" in statement for statement in statements)
    database.close()


# --- Interruptions ----------------------------------------------------------------------------


class InterruptedConnection:
    """Is interrupted before or after it has executed a statement."""

    def __init__(self, connection: sqlite3.Connection, statement: str, *, before: bool) -> None:
        self._connection = connection
        self._statement: str | None = statement
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        is_it = statement == self._statement
        if is_it:
            self._statement = None
            if self._before:
                raise KeyboardInterrupt
        cursor = self._connection.execute(statement, *arguments)
        if is_it:
            raise KeyboardInterrupt
        return cursor


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("statement", ["PRAGMA synchronous = NORMAL", "BEGIN IMMEDIATE"])
def test_r3_a_write_syncs_after_an_interrupted_claim(
    path: Path, statement: str, *, before: bool
) -> None:
    def level(_: Tables) -> object:
        return database._connection.execute("PRAGMA synchronous").fetchone()[0]

    claims, saves = Operation(level, writes=True, durable=False), Operation(level, writes=True)
    database = Database(Settings(str(path), "FULL", 1, time.time, 1_000_000))
    interrupted: Any = InterruptedConnection(database._connection, statement, before=before)
    database._connection = interrupted
    with pytest.raises(KeyboardInterrupt):
        database.run_batch([claims])
    assert database.run_batch([saves]) == [2]
    assert database.run_batch([claims]) == [1]
    assert database.run_batch([saves]) == [2]
    database.close()


@pytest.mark.parametrize("run", [Database.try_run_inline, lambda one, two: one.run_batch([two])])
def test_r3_an_interrupted_write_is_rolled_back_and_ends_with_it(
    path: Path, run: Callable[[Database, Operation], list[object]]
) -> None:
    def write(tables: Tables, key: str) -> None:
        document = Document(CTX.owner, encode_head(data()), "{}")
        tables.sessions.insert(SessionKey(key), document, None)

    def interrupted(tables: Tables) -> None:
        write(tables, "interrupted")
        raise KeyboardInterrupt

    database = Database(Settings(str(path), "NORMAL", 1, time.time, 1_000_000))
    for key in "abc":
        database.run_batch([Operation(partial(write, key=key), writes=True)])
    with pytest.raises(KeyboardInterrupt):
        run(database, Operation(interrupted, writes=True))
    assert run(database, Operation(partial(write, key="d"), writes=True)) == [None]
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT key FROM sessions").fetchall() == [*zip("abcd", strict=True)]
    database.close()


@pytest.mark.parametrize("caller_is_first", [True, False])
@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_r5_what_a_caller_calls_as_the_loop_ends_keeps_off_the_busy_connection(
    path: Path, turns: int, *, caller_is_first: bool
) -> None:
    """Tasks are cancelled in any order."""

    async def call_and_clean_up() -> None:
        try:
            await store.update_session("k", data("new"))
        finally:
            await find(store, A)

    before = asyncio.all_tasks()
    store = await AsyncSessionStore(SqliteBackend(path, busy_timeout=20)).open()
    await register(store, "k", A)
    with locked(path):
        caller = asyncio.ensure_future(call_and_clean_up())
        await asyncio.sleep(0.05)
        tasks = [caller, *(asyncio.all_tasks() - before - {caller})]
        for task in tasks if caller_is_first else reversed(tasks):
            task.cancel()
            await turn_loop(turns)
        begun = time.monotonic()
        with pytest.raises(StoreUsageError, match="closed"):
            await caller
        assert time.monotonic() - begun < 5
    await asyncio.wait(tasks)


@pytest.mark.parametrize("is_open", [True, False])
def test_r5_a_store_that_is_dropped_with_its_loop_leaves_other_tasks_alone(
    path: Path, *, is_open: bool
) -> None:
    """The garbage collector may find it in any task of any loop."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it says that a task is still pending
    opening = loop.create_task(AsyncSessionStore(SqliteBackend(path)).open())
    if is_open:
        loop.run_until_complete(opening)
    else:
        loop.run_until_complete(asyncio.sleep(0))
    dropped: list[object] = [loop, opening]
    loop.close()
    del loop, opening

    async def drop() -> None:
        await asyncio.sleep(0.1)  # SQLite's thread is idle by now
        with anyio.move_on_after(0.05) as scope:
            dropped.clear()
            gc.collect()
            await anyio.sleep(5)
        assert scope.cancelled_caught

    asyncio.run(drop())


# --- Locks ------------------------------------------------------------------------------------


async def longest_pause(seconds: float) -> float:
    """How long the loop stood still at most, in so many seconds."""
    longest, end = 0.0, time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - before)
    return longest


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_r4_the_loop_goes_on_while_a_call_waits_for_a_lock(
    path: Path, synchronous: Literal["FULL", "NORMAL"]
) -> None:
    async with open_store(path, synchronous, busy_timeout=20) as store:
        await register(store, "k", A, "old")
        with locked(path) as release:
            write = asyncio.ensure_future(store.update_session("k", data("new")))
            assert await longest_pause(0.5) < 5
            assert not write.done()
            release()
            await write
        assert await context_of(store, "k") == "new"


async def test_r4_at_normal_too_a_writer_waits_for_the_lock_until_its_time_is_over(
    path: Path,
) -> None:
    async with open_store(path, busy_timeout=0.2) as store:
        await register(store, "k", A, "old")
        held = await store.claim_wait(CTX, "u1", A)
        assert held is not None
        with locked(path):
            for write in (
                lambda: store.update_session("k", data("new")),
                lambda: register(store, "new", B),
                lambda: store.clear_wait(CTX, "u1", A),
                held.complete,
            ):
                begun = time.monotonic()
                with pytest.raises(StoreUnavailableError, match="nothing was written"):
                    await write()
                assert 0.2 <= time.monotonic() - begun < 5
                assert await context_of(store, "k") == "old"
        assert await held.complete()
