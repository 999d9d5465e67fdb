"""How the calls of an event loop share a database: in batches, inline, and until it is closed."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import anyio
import pytest

from async_session_store import StoreUnavailableError, StoreUsageError
from async_session_store.backends.sqlite import _worker
from async_session_store.backends.sqlite._database import Operation
from async_session_store.backends.sqlite._worker import DatabaseWorker, open_worker
from loops import eventually
from scripted import threads

pytestmark = pytest.mark.anyio


class Scripted:
    """A database whose batches run when the test lets them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.inline: list[str] = []
        self.can_block = True
        self.gate = threading.Event()
        self.gate.set()
        self.is_closed = False

    def run_batch(self, operations: Sequence[Operation]) -> list[object]:
        self.batches.append([name_of(operation) for operation in operations])
        self.gate.wait(30)
        return [self._reply(name_of(operation)) for operation in operations]

    def try_run_inline(self, operation: Operation) -> list[object]:
        if self.can_block:
            return []
        self.inline.append(name_of(operation))
        return [self._reply(name_of(operation))]

    def close(self) -> None:
        self.is_closed = True

    def _reply(self, name: str) -> object:
        if name == "raise":
            raise KeyError(name)
        return StoreUnavailableError(name) if name == "fail" else name.upper()


def name_of(operation: Operation) -> str:
    name = operation.run(None)  # type: ignore[arg-type]  # this one needs no tables
    assert isinstance(name, str)
    return name


def operation(name: str) -> Operation:
    return Operation(lambda _: name, writes=True)


class Calls:
    """Calls that are under way together, and their outcomes in the order in which they ended."""

    def __init__(self, worker: DatabaseWorker) -> None:
        self._worker = worker
        self.outcomes: list[object] = []

    async def call(self, name: str) -> None:
        try:
            self.outcomes.append(await self._worker.submit(operation(name)))
        except (StoreUnavailableError, StoreUsageError) as error:
            self.outcomes.append(type(error))


@pytest.fixture
def database() -> Scripted:
    return Scripted()


@pytest.fixture
async def worker(database: Scripted) -> AsyncIterator[DatabaseWorker]:
    opened = await open_worker(lambda: database)
    yield opened
    database.gate.set()
    await opened.aclose()
    assert database.is_closed


async def call_all(worker: DatabaseWorker, names: str) -> list[object]:
    calls = Calls(worker)
    async with anyio.create_task_group() as tasks:
        for name in names.split():
            tasks.start_soon(calls.call, name)
    return calls.outcomes


async def until_held(database: Scripted, count: int = 1) -> None:
    await eventually(lambda: len(database.batches) == count)


# --- Batches ----------------------------------------------------------------------------------


async def test_calls_of_one_turn_are_one_batch(worker: DatabaseWorker, database: Scripted) -> None:
    assert sorted(map(str, await call_all(worker, "a b c"))) == ["A", "B", "C"]
    assert [sorted(batch) for batch in database.batches] == [["a", "b", "c"]]


async def test_calls_that_come_while_a_batch_runs_form_the_next(
    worker: DatabaseWorker, database: Scripted
) -> None:
    database.gate.clear()
    calls = Calls(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.call, "held")
        await until_held(database)
        for name in "abc":
            tasks.start_soon(calls.call, name)
            await anyio.lowlevel.checkpoint()
        database.gate.set()
    assert [sorted(batch) for batch in database.batches] == [["held"], ["a", "b", "c"]]
    assert len(calls.outcomes) == 4


async def test_a_lone_call_runs_inline_if_it_cannot_block(
    worker: DatabaseWorker, database: Scripted
) -> None:
    database.can_block = False
    await call_all(worker, "a b")
    assert (len(database.batches), database.inline) == (1, []), "they came together"
    await call_all(worker, "c")
    await call_all(worker, "d")
    assert database.inline == ["c", "d"]


async def test_no_call_runs_inline_while_a_batch_runs(
    worker: DatabaseWorker, database: Scripted
) -> None:
    await call_all(worker, "a")
    database.gate.clear()
    calls = Calls(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.call, "held")
        await until_held(database, 2)
        database.can_block = False
        tasks.start_soon(calls.call, "b")
        await anyio.sleep(0.01)
        assert database.inline == []
        database.gate.set()


async def test_an_idle_worker_keeps_nothing_of_what_it_ran(worker: DatabaseWorker) -> None:
    class Document:
        pass

    document = Document()
    kept = weakref.ref(document)
    await worker.submit(Operation(partial(lambda _document, _: "x", document), writes=True))
    del document
    gc.collect()
    assert kept() is None


# --- Errors -----------------------------------------------------------------------------------


async def test_a_failed_call_leaves_the_others_of_its_batch_alone(
    worker: DatabaseWorker, database: Scripted
) -> None:
    assert set(await call_all(worker, "a fail b")) == {"A", "B", StoreUnavailableError}
    assert len(database.batches) == 1


async def test_a_batch_that_raises_fails_each_of_its_callers_and_no_other(
    worker: DatabaseWorker,
) -> None:
    assert await call_all(worker, "a raise") == [StoreUnavailableError] * 2
    assert await call_all(worker, "b") == ["B"]


# --- Cancelling -------------------------------------------------------------------------------


async def test_r3_a_call_that_is_cancelled_before_it_begins_never_runs(
    worker: DatabaseWorker, database: Scripted
) -> None:
    database.gate.clear()
    calls = Calls(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.call, "held")
        await until_held(database)
        with anyio.move_on_after(0.01):
            await calls.call("cancelled")
        tasks.start_soon(calls.call, "later")
        await anyio.sleep(0.01)
        database.gate.set()
    assert database.batches == [["held"], ["later"]]


async def test_r3_a_call_that_is_cancelled_after_it_began_finishes_alone(
    worker: DatabaseWorker, database: Scripted
) -> None:
    database.gate.clear()
    with anyio.move_on_after(0.05) as scope:
        await worker.submit(operation("held"))
    assert scope.cancelled_caught
    database.gate.set()
    assert await call_all(worker, "later") == ["LATER"]
    assert database.batches == [["held"], ["later"]]


# --- Opening and closing ----------------------------------------------------------------------


async def test_r5_an_opening_that_fails_leaves_no_thread() -> None:
    before = threads()

    def refuse() -> Scripted:
        raise OSError(2, "No such file")

    with pytest.raises(StoreUnavailableError, match="No such file"):
        await open_worker(refuse)
    await eventually(lambda: threads() <= before)


async def test_r3_an_opening_that_is_cancelled_closes_what_it_opened(database: Scripted) -> None:
    before = threads()
    gate = threading.Event()

    def open_late() -> Scripted:
        gate.wait(30)
        return database

    async def let_it_open() -> None:
        await anyio.sleep(0.1)
        gate.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_it_open)
        with anyio.move_on_after(0.05) as scope:
            await open_worker(open_late)
    assert scope.cancelled_caught
    assert database.is_closed
    await eventually(lambda: threads() <= before)


async def test_r5_closing_runs_what_waits_and_takes_no_more(
    worker: DatabaseWorker, database: Scripted
) -> None:
    database.gate.clear()
    calls = Calls(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.call, "held")
        await until_held(database)
        tasks.start_soon(calls.call, "waiting")
        await anyio.sleep(0.01)
        tasks.start_soon(worker.aclose)
        tasks.start_soon(worker.aclose)
        await anyio.sleep(0.01)
        with pytest.raises(StoreUsageError, match="closed"):
            worker.submit(operation("late"))
        assert not database.is_closed
        database.gate.set()
    assert database.batches == [["held"], ["waiting"]]
    assert database.is_closed


async def test_r4_closing_is_bounded(
    worker: DatabaseWorker, database: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker, "CLOSE_TIMEOUT", 0.1)
    database.gate.clear()
    calls = Calls(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.call, "held")
        await until_held(database)
        tasks.start_soon(calls.call, "waiting")
        await anyio.sleep(0.01)
        with anyio.fail_after(5):
            await worker.aclose()
    assert set(calls.outcomes) == {StoreUnavailableError, StoreUsageError}
    database.gate.set()
    await eventually(lambda: database.is_closed)


async def test_r4_closing_again_after_the_time_is_up_waits_no_second_time(
    worker: DatabaseWorker, database: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker, "CLOSE_TIMEOUT", 1)
    database.gate.clear()
    calls = Calls(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.call, "held")
        await until_held(database)
        begun = time.monotonic()
        await worker.aclose()
        await worker.aclose()
        assert time.monotonic() - begun < 1.9
    database.gate.set()
    await eventually(lambda: database.is_closed)


async def test_r7_a_forked_process_that_has_no_thread_waits_for_none(
    worker: DatabaseWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker._thread, "_process", -1)
        assert await call_all(worker, "a b") == [StoreUsageError] * 2
        assert await call_all(worker, "c") == [StoreUsageError]
    assert await call_all(worker, "d") == ["D"]


async def test_r5_a_worker_that_is_dropped_closes_its_database(database: Scripted) -> None:
    before = threads()
    dropped: list[Callable[[], object]] = [(await open_worker(lambda: database)).aclose]
    dropped.clear()
    gc.collect()
    await eventually(lambda: database.is_closed and threads() <= before)
