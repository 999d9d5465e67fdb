"""Calls that cross to a loop together: they share its wake-ups, and nothing else."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import partial

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from async_session_store import (
    AsyncSessionStore,
    SessionStore,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store._crossed_futures import Replies
from async_session_store._loop_calls import LoopCall, LoopCalls
from async_session_store._mailbox import Mailbox
from async_session_store.backends.memory import MemoryBackend
from loops import eventually
from opcodes import Interrupt, TaskTracer, steps
from scripted import Belongings, Scripted

CALLERS = 48
LONG = 300.0
SECONDS = 10.0


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = Belongings()
    yield
    before.assert_all_that_is_left()


class Traffic:
    """How much is posted, by any thread, and how often a thread is woken to run it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.posts = 0
        self.wake_ups: Counter[str] = Counter()
        post, run_posted = Mailbox.post, Mailbox.run_posted

        def counted_post(mailbox: Mailbox, act: Callable[[], object]) -> None:
            post(mailbox, act)
            self.posts += 1

        def counted_run(mailbox: Mailbox) -> None:
            self.wake_ups[threading.current_thread().name] += 1
            run_posted(mailbox)

        monkeypatch.setattr(Mailbox, "post", counted_post)
        monkeypatch.setattr(Mailbox, "run_posted", counted_run)

    def wait_for_posts(self, number: int) -> None:
        end = time.monotonic() + SECONDS
        while self.posts < number:
            assert time.monotonic() < end, self.posts
            time.sleep(0.001)

    def clear(self) -> None:
        self.posts = 0
        self.wake_ups.clear()


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    return Traffic(monkeypatch)


class Held:
    """A backend whose loop stands still from a call for "hold" until it is let go."""

    def __init__(self) -> None:
        self._gate = threading.Event()
        self.backend = Scripted(
            hold=self._hold,
            slow=lambda: asyncio.sleep(LONG),
            exit=partial(_raise, SystemExit(3)),
            interrupt=partial(_raise, KeyboardInterrupt()),
            end=self._end,
        )

    def let_go(self) -> None:
        self._gate.set()

    @property
    def is_held(self) -> bool:
        return self.backend.reading.is_set()

    async def _hold(self) -> None:
        assert self._gate.wait(SECONDS)

    async def _end(self) -> None:
        """End the loop as soon as it is let go, before it takes what was posted meanwhile."""

        def end() -> None:
            assert self._gate.wait(SECONDS)
            sys.exit(3)

        asyncio.get_running_loop().call_soon(end)
        await asyncio.sleep(LONG)


async def _raise(error: BaseException) -> None:
    raise error


# --- Tasks ------------------------------------------------------------------------------------


class Errors:
    """What each call of a task raised, or None."""

    def __init__(self, store: AsyncSessionStore) -> None:
        self._store = store
        self.of: dict[str, BaseException | None] = {}

    async def read(self, key: str) -> None:
        try:
            await self._store.get_session(key)
        except BaseException as error:  # noqa: BLE001  # it is for the test, whatever it is
            self.of[key] = error
        else:
            self.of[key] = None


@pytest.mark.anyio
async def test_many_tasks_cross_with_one_wake_up_and_few_bring_their_replies(
    traffic: Traffic,
) -> None:
    held = Held()
    async with AsyncSessionStore(held.backend) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(store.get_session, "hold")
        await eventually(lambda: held.is_held)
        traffic.clear()
        for number in range(CALLERS):
            tasks.start_soon(store.get_session, f"k{number}")
        await eventually(lambda: traffic.posts == CALLERS)
        held.let_go()
        await eventually(lambda: len(held.backend.events) == 2 + CALLERS)
        await eventually(lambda: traffic.posts == 2 * CALLERS + 1)
        assert traffic.wake_ups.pop("async_session_store bridge") == 1
        assert 1 <= sum(traffic.wake_ups.values()) <= CALLERS / 3


@pytest.mark.anyio
async def test_r3_a_task_that_is_cancelled_while_its_call_waits_to_cross_holds_up_no_other() -> (
    None
):
    held = Held()
    async with AsyncSessionStore(held.backend) as store, anyio.create_task_group() as tasks:
        errors = Errors(store)
        tasks.start_soon(store.get_session, "hold")
        await eventually(lambda: held.is_held)
        tasks.start_soon(errors.read, "before")
        with anyio.move_on_after(0.05) as scope:
            threading.Timer(0.2, held.let_go).start()
            await store.get_session("cancelled")
        assert scope.cancelled_caught
        await errors.read("after")
        await eventually(lambda: "before" in errors.of)
    assert errors.of == {"before": None, "after": None}
    assert "cancelled" not in held.backend.events, "nobody waited for it when it could begin"


@pytest.mark.anyio
async def test_r1_r3_calls_that_cross_together_share_neither_errors_nor_their_time() -> None:
    held = Held()
    async with AsyncSessionStore(held.backend) as store, anyio.create_task_group() as tasks:
        errors = Errors(store)
        tasks.start_soon(store.get_session, "hold")
        await eventually(lambda: held.is_held)
        for key in ("slow", "exit", "k1", "interrupt", "k2"):
            tasks.start_soon(errors.read, key)
        await anyio.sleep(0.05)
        held.let_go()
        await eventually(lambda: len(errors.of) == 4)
        assert {key: type(error) for key, error in errors.of.items()} == {
            "exit": SystemExit,
            "interrupt": KeyboardInterrupt,
            "k1": type(None),
            "k2": type(None),
        }
        tasks.cancel_scope.cancel()


# What ended the loop is reported by the thread's excepthook.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.anyio
async def test_r5_calls_that_wait_to_cross_when_the_loop_ends_hang_none() -> None:
    held = Held()
    store = AsyncSessionStore(held.backend)
    errors = Errors(store)
    with anyio.fail_after(SECONDS):
        await store.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errors.read, "end")
            await eventually(lambda: held.is_held)
            await anyio.sleep(0.05)
            for number in range(5):
                tasks.start_soon(errors.read, f"k{number}")
            await anyio.sleep(0.05)
            held.let_go()
        with suppress(StoreUsageError):
            await store.aclose()
    assert len(errors.of) == 6
    assert {type(error) for error in errors.of.values()} <= {
        StoreUnavailableError,
        StoreUsageError,
        type(None),
    }
    assert isinstance(errors.of["end"], StoreUnavailableError)


# Python complains of a coroutine that was interrupted between its call and its await.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.anyio
async def test_r3_a_task_that_is_interrupted_at_any_opcode_leaves_nothing_behind() -> None:
    tasks: list[int] = []

    async def count() -> None:
        tasks.append(len(asyncio.all_tasks()))

    backend = Scripted(count=count)
    number, tracer = 0, TaskTracer(0)
    async with AsyncSessionStore(backend) as store:
        while tracer.left <= 0:
            number += 1
            tracer = TaskTracer(number)
            with anyio.fail_after(SECONDS), suppress(Interrupt), tracer.tracing():
                await store.get_session("k")
            with anyio.fail_after(SECONDS):
                await store.get_session("count")
    assert number > steps(100)
    assert set(tasks) == {tasks[-1]}, "a call ran on without its caller"


def test_r5_replies_that_wait_for_a_turn_of_a_loop_that_has_ended_are_not_lost() -> None:
    wake_ups: list[Callable[[], None]] = []
    seen: list[str] = []
    loop = asyncio.new_event_loop()
    replies = Replies(loop, Mailbox(wake_ups.append))
    replies.add(partial(seen.append, "before the end"))
    loop.close()
    replies.add(partial(seen.append, "after it"))
    assert wake_ups == []
    replies.send()
    replies.send()
    replies.add(partial(seen.append, "later"))
    for wake_up in wake_ups:
        wake_up()
    assert seen == ["before the end", "after it", "later"]


# --- Threads ----------------------------------------------------------------------------------


@contextmanager
def threads_of(
    store: SessionStore, traffic: Traffic
) -> Iterator[Callable[..., list[Future[object]]]]:
    """Have each of some calls wait to cross in a thread of its own."""
    with ThreadPoolExecutor(CALLERS + 1) as pool:

        def read(*keys: str) -> list[Future[object]]:
            posts = traffic.posts
            calls: list[Future[object]] = [pool.submit(store.get_session, key) for key in keys]
            traffic.wait_for_posts(posts + len(keys))
            return calls

        yield read


def test_r7_many_threads_cross_with_few_wake_ups(traffic: Traffic) -> None:
    held = Held()
    with SessionStore(held.backend) as store, threads_of(store, traffic) as read:
        calls = read("hold")
        assert held.backend.reading.wait(SECONDS)
        traffic.clear()
        calls += read(*(f"k{number}" for number in range(CALLERS)))
        held.let_go()
        for call in calls:
            call.result(timeout=SECONDS)
        # Not exactly one: a thread that posts while another sends the wake-up sends one too.
        assert 1 <= traffic.wake_ups["async_session_store"] <= CALLERS / 3


def test_r1_r3_threads_that_cross_together_share_neither_errors_nor_their_time(
    traffic: Traffic,
) -> None:
    held = Held()
    store = SessionStore(held.backend).open()
    with threads_of(store, traffic) as read:
        calls = read("hold")
        assert held.backend.reading.wait(SECONDS)
        slow, *others = read("slow", "exit", "k1", "interrupt", "k2")
        held.let_go()
        errors = [call.exception(timeout=SECONDS) for call in (*calls, *others)]
        assert [type(error) for error in errors] == [
            type(None),
            SystemExit,
            type(None),
            KeyboardInterrupt,
            type(None),
        ]
        assert not slow.done()
        store.close()
        assert isinstance(slow.exception(timeout=SECONDS), StoreUnavailableError)


# What ended the loop is reported by the thread's excepthook.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_r5_threads_that_wait_to_cross_when_the_loop_ends_do_not_hang(traffic: Traffic) -> None:
    held = Held()
    store = SessionStore(held.backend).open()
    with threads_of(store, traffic) as read:
        calls = read("end")
        assert held.backend.reading.wait(SECONDS)
        time.sleep(0.05)
        calls += read(*(f"k{number}" for number in range(5)))
        held.let_go()
        errors = [call.exception(timeout=SECONDS) for call in calls]
    assert {type(error) for error in errors} <= {StoreUnavailableError, StoreUsageError, type(None)}
    assert isinstance(errors[0], StoreUnavailableError)
    store.close()


def test_r5_closing_while_the_loop_ends_is_no_error() -> None:
    store = SessionStore(Scripted()).open()
    crossing = store._crossing
    assert crossing is not None
    assert crossing._calls is not None
    call = crossing.call

    def call_too_late(*args: object) -> object:
        assert crossing._calls is not None
        crossing._calls.refuse()
        return call(*args)  # type: ignore[arg-type]

    crossing.call = call_too_late  # type: ignore[method-assign, assignment]
    store.close()
    assert not crossing.is_open


def test_r5_a_loop_that_has_ended_cuts_off_all_that_it_was_handed() -> None:
    async def never() -> None:
        await asyncio.sleep(LONG)

    async def begin() -> None:
        begun.begin()
        await asyncio.sleep(0.01)
        calls.refuse()
        late.begin()
        await asyncio.sleep(0.01)
        assert ended == ["late"]

    def new_call(name: str) -> LoopCall[None]:
        return LoopCall(calls, never, Context(), partial(ended.append, name))

    ended: list[str] = []
    loop = asyncio.new_event_loop()
    calls = LoopCalls(loop, Context())
    begun, late, posted, refused = (
        new_call(name) for name in ("begun", "late", "posted", "refused")
    )
    loop.run_until_complete(begin())
    posted.begin()
    loop.set_exception_handler(lambda *_: None)  # it says that a task is still pending
    loop.close()
    calls.end()
    refused.begin()
    refused.cancel()
    assert ended == ["late", "posted", "begun", "refused"]
    errors = [call.outcome.error for call in (late, posted, begun, refused) if call.outcome]
    assert [type(error) for error in errors] == [
        StoreUsageError,  # nothing was written
        StoreUsageError,
        StoreUnavailableError,  # it may have been
        StoreUsageError,
    ]


def test_r5_a_wake_up_that_a_portals_loop_lost_is_sent_again() -> None:
    """A signal handler that raises in the main thread can interrupt a loop there as it wakes up."""
    loop = asyncio.new_event_loop()
    portals: Future[BlockingPortal] = Future()

    async def serve() -> None:
        async with BlockingPortal() as portal:
            portals.set_result(portal)
            await portal.sleep_until_stopped()

    def lose_it(mailbox: Mailbox) -> None:
        Mailbox.run_posted = run_posted  # type: ignore[method-assign]  # once
        lost.append(mailbox)

    lost: list[Mailbox] = []
    run_posted = Mailbox.run_posted
    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    portal = portals.result(timeout=SECONDS)
    with SessionStore(MemoryBackend(), portal=portal) as store:
        Mailbox.run_posted = lose_it  # type: ignore[method-assign]  # once
        assert store.get_session("k") is None
        assert len(lost) == 1
    portal.call(portal.stop)
    thread.join(SECONDS)
    loop.close()
