"""Commands that cross from trio to the asyncio loop of a thread: order, interrupts, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from types import FrameType

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint
from redis.asyncio import Redis
from typing_extensions import override

from async_session_store import (
    AsyncSessionStore,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store._job_crossing import JobCrossing
from async_session_store._mailbox import Mailbox
from async_session_store.backends._job_queue import Job
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.redis._batches import Runner
from async_session_store.backends.redis._commands import Commands
from async_session_store.backends.redis._connection import Command
from async_session_store.backends.redis._crossed_commands import CrossedCommands
from loops import eventually
from opcodes import Interrupt, TaskTracer, steps
from scripted import Belongings, threads

pytestmark = pytest.mark.anyio

CALLERS = 48
SECONDS = 10.0


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = Belongings()
    yield
    before.assert_all_that_is_left()


class Server(Commands):
    """Commands to a server that answers when a test lets it. "fail" and "exit" end its loop."""

    def __init__(self) -> None:
        super().__init__(Redis(), 5.0, "channel", "channels", owns_client=False)
        self.gate = threading.Event()
        self.gate.set()
        self.is_closed = False
        self.received: list[str] = []
        self.batches: list[int] = []

    @asynccontextmanager
    @override
    async def _connection(self) -> AsyncGenerator[Runner[Command, object], None]:
        try:
            yield self
        finally:
            self.is_closed = True

    async def run_batch(self, jobs: list[Job[Command, object]]) -> None:
        names = [str(job.operation.arguments[0]) for job in jobs]
        self.batches.append(len(jobs))
        self.received += names
        while not self.gate.is_set():  # noqa: ASYNC110  # another thread sets it
            await asyncio.sleep(0.001)
        if "fail" in names:
            raise OSError("the connection broke")
        if "exit" in names:
            asyncio.get_running_loop().call_soon(sys.exit, 3)
            await asyncio.sleep(300)
        for job, name in zip(jobs, names, strict=True):
            job.succeed(name.upper())


class Connection:
    """The crossed commands of a server, and what each call of a task came to."""

    def __init__(self) -> None:
        self.server = Server()
        self.commands = CrossedCommands(self.server)
        self.outcomes: dict[str, object] = {}

    async def call(self, name: str) -> object:
        return await self.commands.submit(Command((name,)), 0)

    async def note(self, name: str) -> None:
        try:
            self.outcomes[name] = await self.call(name)
        except SessionStoreError as error:
            self.outcomes[name] = error

    async def hold(self, tasks: anyio.abc.TaskGroup) -> None:
        """Have the server keep its answer to "held" to itself."""
        self.server.gate.clear()
        tasks.start_soon(self.note, "held")
        await eventually(lambda: "held" in self.server.received)


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    connection = Connection()
    await connection.commands.open()
    yield connection
    connection.server.gate.set()
    await connection.commands.aclose()
    assert connection.server.is_closed


# --- Together, and in order -------------------------------------------------------------------


async def test_each_caller_gets_its_own_reply(connection: Connection) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(connection.note, f"c{number}")
    assert connection.outcomes == {f"c{number}": f"C{number}" for number in range(300)}


async def test_the_commands_of_a_turn_cross_with_one_wake_up_and_so_do_the_replies(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake_ups: list[str] = []
    run_posted = Mailbox.run_posted

    def counted(mailbox: Mailbox) -> None:
        wake_ups.append(threading.current_thread().name)
        run_posted(mailbox)

    monkeypatch.setattr(Mailbox, "run_posted", counted)
    async with anyio.create_task_group() as tasks:
        for number in range(CALLERS):
            tasks.start_soon(connection.note, f"c{number}")
    assert len(connection.outcomes) == CALLERS
    assert connection.server.batches == [CALLERS]
    assert sorted(wake_ups) == sorted(["async_session_store Redis", "MainThread"])


async def test_commands_are_sent_in_the_order_in_which_they_were_submitted(
    connection: Connection,
) -> None:
    names: list[str] = []

    async def submit(number: int) -> None:
        for turn in range(5):
            names.append(name := f"{number}-{turn}")
            await connection.call(name)
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(submit, number)
    assert connection.server.received == names


async def test_no_task_is_created_for_a_command(connection: Connection) -> None:
    count: list[int] = []
    run_batch = connection.server.run_batch

    async def counted(jobs: list[Job[Command, object]]) -> None:
        count.append(len(asyncio.all_tasks()))
        await run_batch(jobs)

    connection.server.run_batch = counted  # type: ignore[method-assign]
    async with anyio.create_task_group() as tasks:
        await connection.hold(tasks)
        for number in range(CALLERS):
            tasks.start_soon(connection.note, f"c{number}")
        await anyio.sleep(0.05)
        connection.server.gate.set()
    assert len(count) == 2
    assert count[0] == count[1]


def test_commands_cross_from_trio_as_the_guest_of_asyncio() -> None:
    async def use() -> list[object]:
        connection = Connection()
        await connection.commands.open()
        async with anyio.create_task_group() as tasks:
            for name in ("a", "b"):
                tasks.start_soon(connection.note, name)
        await connection.commands.aclose()
        return sorted(map(str, connection.outcomes.values()))

    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[object]] = loop.create_future()
        trio.lowlevel.start_guest_run(
            use,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda outcome: done.set_result(outcome.unwrap()),
        )
        return await done

    assert asyncio.run(main()) == ["A", "B"]


# --- Cancelling -------------------------------------------------------------------------------


async def test_r3_a_command_that_was_not_sent_when_its_caller_was_cancelled_is_never_sent(
    connection: Connection,
) -> None:
    async with anyio.create_task_group() as tasks:
        await connection.hold(tasks)
        with anyio.move_on_after(0.02) as scope:
            await connection.call("cancelled")
        assert scope.cancelled_caught
        connection.server.gate.set()
        assert await connection.call("later") == "LATER"
    assert connection.server.received == ["held", "later"]
    assert connection.outcomes == {"held": "HELD"}


async def test_r3_a_command_in_flight_finishes_without_its_cancelled_caller(
    connection: Connection,
) -> None:
    connection.server.gate.clear()
    with anyio.move_on_after(0.05) as scope:
        await connection.call("cancelled")
    assert scope.cancelled_caught
    threading.Timer(0.05, connection.server.gate.set).start()
    assert await connection.call("later") == "LATER"
    assert connection.server.received == ["cancelled", "later"]


async def test_r3_a_caller_that_is_cancelled_as_its_reply_comes_gets_one_of_the_two(
    connection: Connection,
) -> None:
    for number in range(200):
        replies: list[object] = []
        with anyio.move_on_after(number * 0.00001) as scope:
            replies.append(await connection.call("c"))
        assert scope.cancelled_caught == (not replies)
        assert await connection.call("later") == "LATER"


class TurnTracer(TaskTracer):
    """Raises where trio's KeyboardInterrupt can: not at the end of a turn either."""

    @override
    def _is_hit(self, frame: FrameType) -> bool:
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code.co_name == "before_io_wait":
                return False
            caller = caller.f_back
        return super()._is_hit(frame)


def test_r3_trio_protects_the_end_of_a_turn_from_its_keyboard_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before_io_wait = JobCrossing.before_io_wait

    def interrupted(crossing: JobCrossing, timeout: float) -> None:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        before_io_wait(crossing, timeout)

    async def main() -> None:
        connection = Connection()
        await connection.commands.open()
        monkeypatch.setattr(JobCrossing, "before_io_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await connection.call("interrupted")
        assert await connection.call("later") == "LATER"
        await connection.commands.aclose()

    trio.run(main)


def test_r3_a_signal_handler_that_raises_at_the_end_of_a_turn_strands_no_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cross = JobCrossing._cross

    def interrupted(crossing: JobCrossing) -> None:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR1)
        cross(crossing)

    def time_out(*_: object) -> None:
        raise TimeoutError("the handler's")

    async def main() -> None:
        connection = Connection()
        await connection.commands.open()
        monkeypatch.setattr(JobCrossing, "_cross", interrupted)
        with anyio.fail_after(SECONDS):
            assert await connection.call("interrupted") == "INTERRUPTED"
            assert await connection.call("later") == "LATER"
        await connection.commands.aclose()

    handler = signal.signal(signal.SIGUSR1, time_out)
    try:
        trio.run(main)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert [record.name for record in caplog.records] == ["trio.abc.Instrument"]


# Python complains of a coroutine that was interrupted between its call and its await.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_r3_a_call_that_is_interrupted_at_any_opcode_holds_up_no_other_and_never_runs_late(
    connection: Connection,
) -> None:
    number, tracer = 0, TurnTracer(0)
    while tracer.left <= 0:
        number += 1
        tracer = TurnTracer(number)
        connection.server.received.clear()
        with anyio.fail_after(SECONDS), suppress(Interrupt), tracer.tracing():
            await connection.call("interrupted")
        with anyio.fail_after(SECONDS):
            assert await connection.call("later") == "LATER", number
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.note, "a")
                tasks.start_soon(connection.note, "b")
        received = connection.server.received
        assert "interrupted" not in received[received.index("later") :], number
    assert number > steps(50)
    assert not connection.server._queue._waiting


async def test_r3_the_reply_to_an_interrupted_call_is_nobody_elses(connection: Connection) -> None:
    number, tracer = 0, TurnTracer(0)
    while tracer.left <= 0:
        number += 1
        tracer = TurnTracer(number)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.note, f"beside {number}")
            await checkpoint()
            with suppress(Interrupt), tracer.tracing():
                future = connection.commands.submit(Command(("interrupted",)), 0)
        assert connection.outcomes == {f"beside {number}": f"BESIDE {number}"}
        connection.outcomes.clear()
    with anyio.fail_after(SECONDS):
        assert await future == "INTERRUPTED"
    assert number > steps(20)


# --- Errors, and ends -------------------------------------------------------------------------


async def test_r1_each_caller_gets_an_error_of_its_own(connection: Connection) -> None:
    async with anyio.create_task_group() as tasks:
        for name in ("a", "fail", "b"):
            tasks.start_soon(connection.note, name)
    errors = list(connection.outcomes.values())
    assert [type(error) for error in errors] == [StoreUnavailableError] * 3
    assert len(set(map(id, errors))) == 3
    assert await connection.call("later") == "LATER"


# What ended the loop is reported by the thread's excepthook.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_r5_a_loop_that_a_callback_ended_fails_all_commands_and_hangs_none() -> None:
    connection = Connection()
    with anyio.fail_after(SECONDS):
        await connection.commands.open()
        async with anyio.create_task_group() as tasks:
            await connection.hold(tasks)
            for name in ("exit", "c1", "c2"):
                tasks.start_soon(connection.note, name)
            await anyio.sleep(0.05)
            connection.server.gate.set()
            await eventually(lambda: "exit" in connection.server.received)
            for name in ("c3", "c4"):
                tasks.start_soon(connection.note, name)
        await eventually(lambda: not redis_threads())
        await connection.note("afterwards")
        await connection.note("once more")
        with suppress(StoreUsageError):
            await connection.commands.aclose()
    outcomes = connection.outcomes
    assert outcomes.pop("held") == "HELD"
    assert {type(outcomes.pop(name)) for name in ("exit", "c1", "c2")} == {StoreUnavailableError}
    assert {type(outcomes.pop(name)) for name in ("c3", "c4")} <= {
        StoreUnavailableError,
        StoreUsageError,
    }
    assert list(map(str, outcomes.values())) == ["the event loop of this store has ended"] * 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_r5_commands_that_cross_with_one_that_ends_the_loop_do_not_hang() -> None:
    """On Python 3.12 or newer, the first one is sent before the next one is taken."""
    connection = Connection()

    async def exits(_: list[Job[Command, object]]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # nobody awaits a burst
        raise SystemExit(3)

    with anyio.fail_after(SECONDS):
        await connection.commands.open()
        assert await connection.call("alone") == "ALONE"
        connection.server.run_batch = exits  # type: ignore[method-assign]
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(connection.note, f"c{number}")
        with suppress(StoreUsageError):
            await connection.commands.aclose()
    assert set(connection.outcomes) == {"c0", "c1", "c2"}
    errors = list(connection.outcomes.values())
    assert all(isinstance(error, SessionStoreError) for error in errors)
    assert len(set(map(id, errors))) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_r5_commands_that_have_not_begun_when_the_loop_ends_were_not_sent() -> None:
    """The other loop takes them only after its end."""
    connection = Connection()
    await connection.commands.open()
    crossing = connection.commands._crossing
    assert crossing is not None
    stalled, go_on = threading.Event(), threading.Event()

    def stall() -> None:
        stalled.set()
        assert go_on.wait(SECONDS)
        crossing.calls.loop.stop()

    crossing.calls.loop.call_soon_threadsafe(stall)
    await eventually(stalled.is_set)
    with anyio.fail_after(SECONDS), suppress(StoreUsageError):
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(connection.note, f"c{number}")
            await anyio.sleep(0.05)
            go_on.set()
        await connection.commands.aclose()
    assert connection.server.received == []
    assert len(connection.outcomes) == 5
    for error in connection.outcomes.values():
        assert isinstance(error, StoreUsageError)


async def test_r5_commands_that_no_task_of_the_loop_can_fail_any_more_are_failed() -> None:
    connection = Connection()
    await connection.commands.open()
    crossing = connection.commands._crossing
    assert crossing is not None
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            await connection.hold(tasks)
            tasks.start_soon(connection.note, "waiting")
            await anyio.sleep(0.05)
            crossing.calls.loop.call_soon_threadsafe(crossing.calls.end)
        connection.server.gate.set()
        with suppress(StoreUsageError):
            await connection.commands.aclose()
    assert isinstance(connection.outcomes["held"], StoreUnavailableError)
    assert isinstance(connection.outcomes["waiting"], StoreUsageError)


def test_r5_replies_after_the_end_of_trios_loop_are_dropped() -> None:
    connection = Connection()

    async def main() -> None:
        await connection.commands.open()
        connection.server.gate.clear()
        with anyio.move_on_after(0.05):
            await connection.call("in flight")
        trio.lowlevel.spawn_system_task(connection.note, "abandoned")
        await anyio.sleep(0.05)

    trio.run(main)
    crossing = connection.commands._crossing
    assert crossing is not None
    connection.server.gate.set()
    crossing._thread.stop()
    assert not redis_threads()
    assert connection.outcomes == {}


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_r5_closing_after_the_end_of_trios_loop_ends_the_thread(loop: str) -> None:
    connection = Connection()

    async def use() -> None:
        await connection.commands.open()
        assert await connection.call("c") == "C"

    async def close() -> None:
        with anyio.fail_after(SECONDS):
            await connection.commands.aclose()

    trio.run(use)
    anyio.run(close, backend=loop)
    assert connection.server.is_closed
    assert not redis_threads()


async def test_r5_closing_finishes_commands_and_then_refuses_others() -> None:
    connection = Connection()
    await connection.commands.open()
    connection.server.gate.clear()
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(connection.note, f"c{number}")
        await eventually(lambda: bool(connection.server.received))
        threading.Timer(0.05, connection.server.gate.set).start()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await connection.commands.aclose()
    assert connection.outcomes == {f"c{number}": f"C{number}" for number in range(5)}
    assert not redis_threads()
    with pytest.raises(StoreUsageError, match="closed"):
        await connection.call("later")
    await connection.commands.aclose()


async def test_r5_a_command_that_was_submitted_before_the_closing_is_sent_before_it() -> None:
    connection = Connection()
    await connection.commands.open()
    future = connection.commands.submit(Command(("first",)), 0)
    await connection.commands.aclose()
    assert await future == "FIRST"


def test_r3_closing_that_is_interrupted_loses_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    post = Mailbox.post

    def interrupted(mailbox: Mailbox, act: Callable[[], object]) -> None:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        post(mailbox, act)

    async def main() -> None:
        connection = Connection()
        await connection.commands.open()
        future = connection.commands.submit(Command(("first",)), 0)
        monkeypatch.setattr(Mailbox, "post", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await connection.commands.aclose()
        with anyio.fail_after(SECONDS):
            assert await future == "FIRST"
        await connection.commands.aclose()

    trio.run(main)


async def test_r7_a_forked_process_is_refused(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(StoreUsageError, match="fork"):
        await connection.call("c")
    monkeypatch.undo()
    assert await connection.call("later") == "LATER"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Yield the URL of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0?socket_timeout=0.2"


async def test_r5_an_open_that_is_cancelled_or_fails_leaves_no_thread(silent_server: str) -> None:
    store = AsyncSessionStore.from_url(silent_server)
    with anyio.move_on_after(0.05) as scope:
        await store.open()
    assert scope.cancelled_caught
    assert not redis_threads()
    with pytest.raises(StoreTimeoutError):
        await store.open()
    assert not redis_threads()


async def test_a_backend_that_is_not_open_is_a_clear_error() -> None:
    with pytest.raises(StoreUsageError, match="not open"):
        await RedisBackend(Redis()).ping()


def redis_threads() -> list[threading.Thread]:
    return [thread for thread in threads() if "Redis" in thread.name]
