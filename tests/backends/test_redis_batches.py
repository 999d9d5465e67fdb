"""The worker that runs many callers' operations batch by batch, and its queue."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from async_session_store import StoreUnavailableError, StoreUsageError
from async_session_store.backends._job_queue import Job, JobQueue
from async_session_store.backends.redis import _batches
from async_session_store.backends.redis._batches import BatchWorker, Runner
from loops import turn_loop

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Connection:
    """A connection whose batches run when the test lets them."""

    def __init__(self, max_in_flight: int = 100, max_bytes_in_flight: int = 100) -> None:
        self.batches: list[list[str]] = []
        self.events: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.connecting: Callable[[], Awaitable[None]] | None = None
        queue = JobQueue[str, str](
            max_in_flight=max_in_flight, max_bytes_in_flight=max_bytes_in_flight
        )
        self.worker = BatchWorker(queue, self._connect)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Runner[str, str]]:
        if self.connecting is not None:
            await self.connecting()
        self.events.append("open")
        try:
            yield self
        finally:
            self.events.append("closed")

    async def run_batch(self, jobs: list[Job[str, str]]) -> None:
        self.batches.append([job.operation for job in jobs])
        self.begun.set()
        await self.gate.wait()
        for job in jobs:
            if job.operation.startswith("fail"):
                job.fail(KeyError(job.operation))
            elif job.operation == "raise":
                raise OSError(job.operation)
            else:
                job.succeed(job.operation.upper())

    def call(self, operation: str, size: int = 0) -> asyncio.Task[str]:
        async def submit() -> str:
            return await self.worker.submit(operation, size)

        return asyncio.create_task(submit())

    async def hold(self) -> asyncio.Task[str]:
        """Begin a batch that runs until the gate is set."""
        self.gate.clear()
        self.begun.clear()
        call = self.call("held")
        await self.begun.wait()
        return call


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    connection = Connection()
    await connection.worker.wait_until_open()
    yield connection
    connection.gate.set()
    await connection.worker.aclose()
    assert connection.events == ["open", "closed"]


# --- Batches ----------------------------------------------------------------------------------


async def test_each_caller_gets_its_own_reply(connection: Connection) -> None:
    calls = [connection.call(f"c{number}") for number in range(50)]
    assert await asyncio.gather(*calls) == [f"C{number}" for number in range(50)]


async def test_calls_that_come_while_a_batch_runs_form_the_next_in_their_order(
    connection: Connection,
) -> None:
    held = await connection.hold()
    calls = []
    for number in range(10):
        calls.append(connection.call(f"c{number}"))
        await turn_loop(number % 3)
    assert connection.batches == [["held"]]
    connection.gate.set()
    await asyncio.gather(held, *calls)
    assert connection.batches == [["held"], [f"c{number}" for number in range(10)]]


async def test_a_batch_is_of_so_many_calls_at_most() -> None:
    connection = Connection(max_in_flight=4)
    held = await connection.hold()
    calls = [connection.call(f"c{number}") for number in range(10)]
    await turn_loop(1)
    connection.gate.set()
    await asyncio.gather(held, *calls)
    assert [len(batch) for batch in connection.batches] == [1, 4, 4, 2]
    await connection.worker.aclose()


async def test_r4_a_batch_writes_so_many_bytes_and_one_call_more_at_most() -> None:
    connection = Connection(max_bytes_in_flight=10)
    held = await connection.hold()
    calls = [connection.call(f"c{size}", size) for size in (4, 4, 4, 9, 9, 1, 0, 0, 9, 1)]
    await turn_loop(1)
    connection.gate.set()
    await asyncio.gather(held, *calls)
    assert connection.batches == [
        ["held"],
        ["c4", "c4", "c4"],
        ["c9", "c9"],
        ["c1", "c0", "c0", "c9"],
        ["c1"],
    ]
    await connection.worker.aclose()


async def test_r4_a_call_that_may_be_refused_for_its_size_goes_alone() -> None:
    connection = Connection(max_bytes_in_flight=10)
    held = await connection.hold()
    calls = [connection.call(f"c{size}", size) for size in (0, 10, 4, 30, 30, 1, 1)]
    await turn_loop(1)
    connection.gate.set()
    await asyncio.gather(held, *calls)
    assert connection.batches == [
        ["held"],
        ["c0"],
        ["c10"],
        ["c4"],
        ["c30"],
        ["c30"],
        ["c1", "c1"],
    ]
    await connection.worker.aclose()


async def test_an_idle_worker_keeps_nothing_of_what_it_ran(connection: Connection) -> None:
    class Document(str):
        __slots__ = ("__weakref__",)

    document = Document("large")
    kept = weakref.ref(document)
    assert await connection.worker.submit(document) == "LARGE"
    connection.batches.clear()
    del document
    await turn_loop(1)
    assert kept() is None


async def test_calls_one_after_the_other_are_batches_of_their_own(connection: Connection) -> None:
    for number in range(3):
        await connection.worker.submit(f"c{number}")
    assert connection.batches == [["c0"], ["c1"], ["c2"]]


async def test_r4_no_caller_waits_for_a_burst_that_died_alone(connection: Connection) -> None:
    held = await connection.hold()
    waiting = [connection.call(name) for name in "ab"]
    await turn_loop(1)
    burst = connection.worker._burst
    assert burst is not None
    burst.cancel()
    with anyio.fail_after(5):
        results = await asyncio.gather(held, *waiting, return_exceptions=True)
    never_begun = [StoreUsageError] * 2
    assert [type(result) for result in results] == [StoreUnavailableError, *never_begun]
    assert len(set(map(id, results))) == 3
    with pytest.raises(StoreUsageError, match="closed"):
        await connection.worker.submit("late")


# --- Errors -----------------------------------------------------------------------------------


async def test_a_failed_call_leaves_the_others_of_its_batch_alone(connection: Connection) -> None:
    calls = [connection.call(name) for name in ("a", "fail", "b")]
    one, failed, two = await asyncio.gather(*calls, return_exceptions=True)
    assert (one, two) == ("A", "B")
    assert isinstance(failed, KeyError)
    assert connection.batches == [["a", "fail", "b"]]


async def test_an_exception_of_a_batch_fails_what_it_left_unsettled(
    connection: Connection,
) -> None:
    calls = [connection.call(name) for name in ("a", "fail", "raise", "b", "c")]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[0] == "A"
    assert isinstance(results[1], KeyError)
    for result in results[2:]:
        assert isinstance(result, StoreUnavailableError)
        assert "outcome is unknown" in str(result)
        assert isinstance(result.__cause__, OSError)
    assert len(set(map(id, results))) == 5, "each caller raises an exception of its own"
    assert await connection.worker.submit("d") == "D"


# --- Cancellation -----------------------------------------------------------------------------


async def test_r3_a_call_that_is_cancelled_before_it_begins_never_runs(
    connection: Connection,
) -> None:
    held = await connection.hold()
    one, two, three = (connection.call(name) for name in ("one", "two", "three"))
    await turn_loop(1)
    two.cancel()
    connection.gate.set()
    assert await asyncio.gather(held, one, three) == ["HELD", "ONE", "THREE"]
    assert connection.batches == [["held"], ["one", "three"]]
    assert two.cancelled()


async def test_r3_the_reply_to_a_cancelled_call_goes_to_nobody(connection: Connection) -> None:
    held = await connection.hold()
    held.cancel()
    later = connection.call("later")
    await turn_loop(2)
    assert held.cancelled()
    assert not later.done()
    connection.gate.set()
    assert await later == "LATER"
    assert connection.batches == [["held"], ["later"]]


async def test_r3_an_error_for_a_cancelled_call_goes_to_nobody(connection: Connection) -> None:
    connection.gate.clear()
    calls = [connection.call(name) for name in ("fail", "raise", "b")]
    await connection.begun.wait()
    calls[0].cancel()
    calls[1].cancel()
    await turn_loop(2)
    connection.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [
        asyncio.CancelledError,
        asyncio.CancelledError,
        StoreUnavailableError,
    ]


async def test_r3_only_cancelled_calls_are_no_batch(connection: Connection) -> None:
    held = await connection.hold()
    calls = [connection.call("x") for _ in range(5)]
    await turn_loop(1)
    for call in calls:
        call.cancel()
    connection.gate.set()
    await held
    assert await connection.worker.submit("y") == "Y"
    assert connection.batches == [["held"], ["y"]]


# --- Opening ----------------------------------------------------------------------------------


async def test_what_opening_raises_comes_out() -> None:
    connection = Connection()

    async def refuse() -> None:
        raise StoreUnavailableError("no")

    connection.connecting = refuse
    with pytest.raises(StoreUnavailableError, match="no"):
        await connection.worker.wait_until_open()
    with pytest.raises(StoreUsageError, match="closed"):
        await connection.worker.submit("x")
    await connection.worker.aclose()
    assert connection.events == []


async def test_r3_opening_that_is_cancelled_closes_what_it_opened() -> None:
    before = asyncio.all_tasks()
    connection = Connection()
    connecting = asyncio.Event()

    async def connect() -> None:
        connecting.set()
        await asyncio.sleep(0.05)

    connection.connecting = connect
    opening = asyncio.ensure_future(connection.worker.wait_until_open())
    await connecting.wait()
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert connection.events in ([], ["open", "closed"])
    assert asyncio.all_tasks() == before


# --- When it cannot be used ---------------------------------------------------------


async def test_r5_a_closed_worker_is_refused(connection: Connection) -> None:
    await connection.worker.aclose()
    with pytest.raises(StoreUsageError, match="closed"):
        await connection.worker.submit("x")
    await connection.worker.aclose()


async def test_r5_closing_runs_what_waits_and_takes_no_more(connection: Connection) -> None:
    held = await connection.hold()
    waiting = connection.call("waiting")
    await turn_loop(1)
    closing = asyncio.ensure_future(connection.worker.aclose())
    await turn_loop(2)
    late = connection.call("late")
    await turn_loop(2)
    assert not closing.done()
    connection.gate.set()
    assert await asyncio.gather(held, waiting) == ["HELD", "WAITING"]
    with pytest.raises(StoreUsageError, match="closed"):
        await late
    await closing
    assert connection.batches == [["held"], ["waiting"]]


@pytest.mark.parametrize("native", [True, False], ids=["task.cancel", "cancel scope"])
async def test_r5_closing_outlasts_cancellation(connection: Connection, *, native: bool) -> None:
    held = await connection.hold()
    ended: list[str] = []

    async def close() -> None:
        with anyio.CancelScope() as scope:
            if not native:
                scope.cancel()
            try:
                await connection.worker.aclose()
            finally:
                ended.extend(connection.events)

    closing = asyncio.ensure_future(close())
    for _ in range(3):
        await turn_loop(2)
        if native:
            closing.cancel()
    await turn_loop(2)
    assert not closing.done()
    connection.gate.set()
    assert await held == "HELD"
    await asyncio.wait([closing])
    assert closing.cancelled() == native
    assert ended == ["open", "closed"]


async def test_r4_closing_is_bounded(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_batches, "CLOSE_TIMEOUT", 0.1)
    held = await connection.hold()
    begun = time.monotonic()
    await connection.worker.aclose()
    assert time.monotonic() - begun < 5
    with pytest.raises(StoreUnavailableError, match="unknown"):
        await held


def test_a_loop_that_ends_takes_the_worker_along() -> None:
    connections: list[Connection] = []
    calls: list[asyncio.Task[str]] = []

    async def main() -> None:
        connection = Connection()
        connections.append(connection)
        calls.append(await connection.hold())
        calls.append(connection.call("waiting"))
        await turn_loop(1)

    asyncio.run(main())
    assert connections[0].batches == [["held"]]
    assert connections[0].events == ["open", "closed"]
    assert all(call.cancelled() for call in calls)


def test_callers_hear_that_the_worker_was_cancelled() -> None:
    async def main() -> None:
        connection = Connection()
        calls = [await connection.hold(), connection.call("waiting")]
        await turn_loop(1)
        connection.worker._task.cancel()
        held, waiting = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(held, StoreUnavailableError)
        assert "unknown" in str(held)
        assert isinstance(waiting, StoreUsageError)
        assert "nothing was done" in str(waiting)
        with suppress(asyncio.CancelledError):
            await connection.worker._task
        with pytest.raises(StoreUsageError, match="closed"):
            await connection.worker.submit("x")

    asyncio.run(main())
