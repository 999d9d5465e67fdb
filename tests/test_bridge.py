"""Backends that need asyncio, in apps that run on trio: cancelling, errors, closing, leaks."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
import redis
import trio
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    StoreUsageError,
    WaitClaimedError,
)
from async_session_store._mailbox import Mailbox
from async_session_store.backends.memory import MemoryBackend
from async_session_store.bridge import AsyncioBridge
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    context_of,
    data,
    find,
    listed,
    register,
)
from calls import CALLS, MORE_REGISTRATIONS
from loops import eventually
from redis_server import RedisServer
from scripted import Belongings, Scripted, threads

pytestmark = pytest.mark.anyio

LONG = 300.0


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture(autouse=True)
def nothing_is_left(redis_server: RedisServer) -> Iterator[None]:  # noqa: ARG001  # it has pipes
    before = Belongings()
    yield
    before.assert_all_that_is_left()


def inner_store(**scripts: Callable[[], Awaitable[object]]) -> tuple[AsyncSessionStore, Scripted]:
    backend = Scripted(**scripts)
    return AsyncSessionStore(backend), backend


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bot.db'}"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


def open_store(url: str, name: str) -> AsyncSessionStore:
    namespace = f"test:bridge:{name}" if url.startswith("redis") else None
    return AsyncSessionStore.from_url(url, namespace=namespace)


@pytest.fixture
def redis_store(redis_server: RedisServer) -> AsyncSessionStore:
    return open_store(redis_server.url, "store")


class OddError(BaseException):
    """No Exception, as some frameworks have them."""


# --- When there is a bridge -------------------------------------------------------------------


async def test_a_backend_that_needs_asyncio_runs_there() -> None:
    loops: list[object] = []

    async def note_loop() -> None:
        loops.append(asyncio.get_running_loop())

    before = threads()
    store, _ = inner_store(open=note_loop, k=note_loop, close=note_loop)
    async with store:
        await register(store, "k", A, "asked")
        assert await context_of(store, "k") == "asked"
        assert [thread.name for thread in threads() - before] == ["async_session_store bridge"]
    assert len(loops) == 3
    assert len(set(loops)) == 1


async def test_redis_on_trio_needs_one_thread(redis_store: AsyncSessionStore) -> None:
    before = threads()
    async with redis_store as store:
        await register(store, "k", A, "asked")
        assert await context_of(store, "k") == "asked"
        assert [thread.name for thread in threads() - before] == ["async_session_store Redis"]
        await store.remove_session("k")


async def test_memory_on_trio_needs_no_thread() -> None:
    before = threads()
    async with AsyncSessionStore(MemoryBackend()):
        assert threads() == before


async def test_sqlite_on_trio_needs_only_its_own_thread(tmp_path: Path) -> None:
    before = threads()
    async with AsyncSessionStore.from_url(f"sqlite:///{tmp_path / 'bot.db'}"):
        assert [thread.name for thread in threads() - before] == ["async-session-store SQLite"]


def test_trio_as_the_guest_of_asyncio_gets_a_bridge() -> None:
    """An asyncio loop runs in this thread, but the caller's tasks are trio's."""

    async def use() -> int:
        store, backend = inner_store()
        async with store:
            await store.ping()
        return backend.events.count("ping")

    async def main() -> int:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        trio.lowlevel.start_guest_run(
            use,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda outcome: done.set_result(outcome.unwrap()),
        )
        return await done

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_under_asyncio_a_bridge_may_be_put_in_by_hand() -> None:
    backend = Scripted(slow=lambda: asyncio.sleep(LONG))
    async with AsyncSessionStore(AsyncioBridge(backend)) as store:
        await register(store, "k", A, "asked")
        assert await context_of(store, "k") == "asked"
        with anyio.move_on_after(0.01) as scope:
            await store.get_session("slow")
        assert scope.cancelled_caught
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(store.get_session("slow"), 0.01)
        assert await context_of(store, "k") == "asked"


async def test_each_operation_crosses_once(
    redis_store: AsyncSessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossings: list[object] = []
    post = Mailbox.post

    def counted(mailbox: Mailbox, act: Callable[[], object]) -> None:
        if threading.current_thread() is threading.main_thread():
            crossings.append(act)
        post(mailbox, act)

    monkeypatch.setattr(Mailbox, "post", counted)
    async with redis_store as store:
        for name, call in {**CALLS, **MORE_REGISTRATIONS}.items():
            with suppress(SessionStoreError):
                await store.remove_session("new")
            await register(store, "k", A)
            crossings.clear()
            if name == "find_by_user":
                with pytest.warns(DeprecationWarning, match="find_wait_by_scope"):
                    await call(store)
            else:
                await call(store)
            assert len(crossings) == 1, name


async def test_many_calls_at_once_get_their_own_replies(url: str) -> None:
    async def write_and_read(store: AsyncSessionStore, number: int) -> None:
        key = await store.create_session(CTX, data(f"text {number}"), ttl=60)
        await checkpoint()
        assert await context_of(store, key) == f"text {number}"

    async with open_store(url, "replies") as store, anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(write_and_read, store, number)


# --- Cancelling -------------------------------------------------------------------------------


class Slow:
    """An inner call that waits, and takes its time to clean up when it is cancelled."""

    def __init__(self, clean_up: Callable[[], object] = lambda: None) -> None:
        self.seen: list[str] = []
        self._clean_up = clean_up

    async def __call__(self) -> None:
        self.seen.append("begun")
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            self.seen.append("cleaned up")
            self._clean_up()
            raise


async def test_r3_cancelling_reaches_the_inner_call_and_waits_for_its_end() -> None:
    slow = Slow()
    store, _ = inner_store(slow=slow)
    async with store:
        with anyio.move_on_after(0.02) as scope:
            await store.get_session("slow")
        assert slow.seen == ["begun", "cleaned up"]
        assert scope.cancelled_caught
        assert await store.get_session("other") is None


@pytest.mark.parametrize("error", [ValueError(), StoreTimeoutError(), SystemExit(), OddError()])
async def test_r3_an_error_while_cleaning_up_replaces_no_cancellation(
    error: BaseException,
) -> None:
    def fail() -> None:
        raise error

    slow = Slow(fail)
    store, _ = inner_store(slow=slow)
    async with store:
        with anyio.move_on_after(0.02) as scope:
            await store.get_session("slow")
        assert slow.seen == ["begun", "cleaned up"]
        assert scope.cancelled_caught
        await store.ping()


async def test_r3_an_inner_call_that_ends_well_nonetheless_replaces_no_cancellation() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(LONG)

    store, _ = inner_store(slow=stubborn)
    async with store:
        with anyio.move_on_after(0.02) as scope:
            await store.get_session("slow")
        assert scope.cancelled_caught
        await store.ping()


async def test_r3_a_time_out_of_the_caller_is_the_callers() -> None:
    store, _ = inner_store(slow=Slow())
    async with store:
        with pytest.raises(TimeoutError), anyio.fail_after(0.02):
            await store.get_session("slow")
        await store.ping()


async def test_r3_a_cancelled_call_leaves_other_calls_alone() -> None:
    gate = threading.Event()

    slow = Slow()
    store, backend = inner_store(slow=slow, gated=lambda: eventually(gate.is_set))
    async with store:
        await register(store, "gated", A, "its own")
        replies: list[str | None] = []

        async def read() -> None:
            replies.append(await context_of(store, "gated"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            with anyio.move_on_after(0.02):
                await store.get_session("slow")
            assert replies == []
            gate.set()
        assert replies == ["its own"]
        assert backend.events.count("gated") == 1


async def test_r3_what_is_cancelled_before_it_begins_still_comes_back() -> None:
    store, _ = inner_store()
    async with store:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.get_session("k")
        assert scope.cancelled_caught
        await store.ping()


async def test_r3_no_task_of_a_cancelled_call_is_left() -> None:
    tasks: list[int] = []

    async def count() -> None:
        tasks.append(len(asyncio.all_tasks()))

    store, _ = inner_store(slow=Slow(), count=count)
    async with store:
        await store.get_session("count")
        for _ in range(3):
            with anyio.move_on_after(0.01):
                await store.get_session("slow")
        await store.get_session("count")
    assert tasks[0] == tasks[1]


# --- Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError("away"),
        RuntimeError("mine"),
        StopAsyncIteration(),
        SystemExit(3),
        KeyboardInterrupt(),
        OddError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_r1_an_error_comes_out_as_it_is_and_to_its_caller_only(error: BaseException) -> None:
    cause = OSError("driver")
    raised = threading.Event()

    async def fail() -> None:
        try:
            raise error from cause
        finally:
            raised.set()

    async def wait() -> None:
        await eventually(raised.is_set)
        await asyncio.sleep(0.01)

    store, _ = inner_store(fail=fail, wait=wait)
    replies: list[str | None] = []

    async def read() -> None:
        replies.append(await context_of(store, "wait"))

    async with store:
        await register(store, "wait", A, "unharmed")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            caught = await error_of(store.get_session("fail"))
        assert caught is error
        assert caught.__cause__ is cause
        assert caught.__context__ is cause or caught.__context__ is None
        assert replies == ["unharmed"]
        assert await context_of(store, "wait") == "unharmed"


async def error_of(call: Awaitable[object]) -> BaseException:
    # Not pytest.raises, which would hold KeyboardInterrupt for one of its own.
    try:
        await call
    except BaseException as error:  # noqa: BLE001  # it is for the test, whatever it is
        return error
    raise AssertionError("it raised nothing")


async def test_a_cancellation_that_nobody_asked_for_is_a_clear_error() -> None:
    async def cancel_myself() -> None:
        raise asyncio.CancelledError

    store, _ = inner_store(odd=cancel_myself)
    async with store:
        with pytest.raises(StoreUnavailableError, match="unknown"):
            await store.get_session("odd")
        await store.ping()


# What ended the loop is reported by the thread's excepthook.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_r5_a_loop_that_a_callback_ended_fails_all_calls_and_hangs_none() -> None:
    async def end_the_loop() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.sleep(LONG)

    store, _ = inner_store(end=end_the_loop, slow=lambda: asyncio.sleep(LONG))
    errors: list[BaseException] = []

    async def read(key: str) -> None:
        errors.append(await error_of(store.get_session(key)))

    with anyio.fail_after(5):
        await store.open()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(read, "slow")
            await anyio.sleep(0.02)
            tasks.start_soon(read, "end")
        await read("later")
        with suppress(StoreUsageError):
            await store.aclose()
    assert [type(error) for error in errors] == [StoreUnavailableError] * 6 + [StoreUsageError]


# --- Opening and closing ----------------------------------------------------------------------


async def test_r5_a_failing_open_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    before = Belongings()
    store = AsyncSessionStore.from_url(f"sqlite:///{tmp_path / 'missing' / 'bot.db'}")
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await store.open()
        before.assert_all_that_is_left()
    (tmp_path / "missing").mkdir()
    async with store:
        await store.ping()


async def test_r5_an_open_that_is_cancelled_leaves_nothing() -> None:
    slow = Slow()
    store, backend = inner_store(open=slow)
    before = threads()
    with anyio.move_on_after(0.05) as scope:
        await store.open()
    assert scope.cancelled_caught
    assert slow.seen == ["begun", "cleaned up"]
    assert threads() == before
    del backend.scripts["open"]
    async with store:
        await store.ping()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_r5_under_asyncio_too_an_open_that_is_cancelled_leaves_nothing() -> None:
    for turns in range(12):
        bridge = AsyncioBridge(Scripted(open=lambda: asyncio.sleep(0.01)))
        opening = asyncio.ensure_future(bridge.open(max_document_bytes=1000))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()


async def test_r5_closing_finishes_what_runs() -> None:
    """As the backend finishes its calls when it is closed, the callers get their replies."""
    finished = threading.Event()

    async def finish() -> None:
        finished.set()
        await asyncio.sleep(0.02)

    store, _ = inner_store(gated=lambda: eventually(finished.is_set), close=finish)
    await store.open()
    await register(store, "gated", A, "mine")
    replies: list[str | None] = []

    async def read() -> None:
        replies.append(await context_of(store, "gated"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.sleep(0.01)
        await store.aclose()
    assert replies == ["mine"]


async def test_r5_a_call_that_closing_cuts_off_gets_a_clear_error() -> None:
    slow = Slow()
    store, backend = inner_store(slow=slow)
    errors: list[BaseException] = []

    async def read() -> None:
        errors.append(await error_of(store.get_session("slow")))

    with anyio.fail_after(5):
        await store.open()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(read)
            await anyio.sleep(0.02)
            await store.aclose()
        errors.append(await error_of(store.get_session("slow")))
    assert [type(error) for error in errors] == [StoreUnavailableError] * 5 + [StoreUsageError]
    assert all("outcome is unknown" in str(error) for error in errors[:5])
    assert slow.seen == ["begun"] * 5 + ["cleaned up"] * 5
    assert backend.events.count("close") == 1


async def test_r5_calls_that_race_with_closing_get_a_reply_or_a_clear_error(url: str) -> None:
    for number in range(15):
        store = await open_store(url, "closing").open()
        await register(store, "k", A, "asked")

        async def read_until_closed(store: AsyncSessionStore = store) -> None:
            with suppress(StoreUnavailableError, StoreUsageError):
                while True:
                    assert await context_of(store, "k") == "asked"

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(read_until_closed)
                await anyio.sleep(0.0005 * number)
                await store.aclose()


async def test_r5_closing_outlasts_cancellation() -> None:
    store, backend = inner_store(close=lambda: asyncio.sleep(0.02))
    await store.open()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    assert backend.events == ["open", "close"]
    assert not [thread for thread in threads() if "bridge" in thread.name]


async def test_r5_a_backend_that_fails_to_close_leaves_no_thread() -> None:
    async def fail() -> None:
        raise StoreUnavailableError("closing failed")

    store, _ = inner_store(close=fail)
    await store.open()
    with pytest.raises(StoreUnavailableError, match="closing failed"):
        await store.aclose()
    assert not [thread for thread in threads() if "bridge" in thread.name]


async def test_r5_a_bridge_that_is_not_open_is_a_clear_error() -> None:
    bridge = AsyncioBridge(MemoryBackend())
    with pytest.raises(StoreUsageError, match="not open"):
        await bridge.ping()
    await bridge.aclose()
    await bridge.open(max_document_bytes=1000)
    await bridge.ping()
    await bridge.aclose()
    with pytest.raises(StoreUsageError, match="not open"):
        await bridge.ping()


async def test_r6_nothing_is_left_at_the_server(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.unix_url) as client:
        address = f"redis://127.0.0.1:{redis_server.port}/?client_name=bridge"

        def connections() -> int:
            return [one["name"] for one in client.client_list()].count("bridge")

        async with AsyncSessionStore.from_url(address, namespace="test:bridge") as store:
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(listed, store)
            assert connections() == 1
        await eventually(lambda: not connections())


# --- Cancelling at any point, on real storage -------------------------------------------------


async def test_r3_a_call_that_is_cancelled_at_any_time_happens_wholly_or_not_at_all(
    url: str,
) -> None:
    chance = random.Random(7)
    async with open_store(url, "writes") as store, open_store(url, "writes") as other:
        await register(store, "k", A, "0")
        expected = "0"
        cancelled = 0
        for number in range(150):
            with anyio.move_on_after(chance.uniform(0, 0.004)) as scope:
                await register(store, "k", A, str(number))
            state = await context_of(store, "k")
            assert state in (expected, str(number))
            assert await context_of(other, "k") == state
            assert await find(other, A) == "k"
            expected = str(number) if state == str(number) else expected
            cancelled += scope.cancelled_caught
        assert cancelled > 10
        await store.remove_session("k")


async def test_r3_no_call_gets_the_reply_of_a_cancelled_one(url: str) -> None:
    chance = random.Random(8)
    async with open_store(url, "replies") as store:
        keys = [await store.create_session(CTX, data(f"{n}"), ttl=60) for n in range(8)]

        async def read(number: int) -> None:
            for _ in range(25):
                with anyio.move_on_after(chance.uniform(0, 0.008)):
                    assert await context_of(store, keys[number]) == str(number)

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(read, number)
        for number, key in enumerate(keys):
            assert await context_of(store, key) == str(number)


async def test_r3_a_cancelled_resumption_leaves_no_claim(url: str) -> None:
    chance = random.Random(9)
    async with open_store(url, "claims") as store, open_store(url, "claims") as other:
        outcomes: set[bool] = set()
        for _ in range(60):
            await register(other, "k", A)
            with anyio.move_on_after(chance.uniform(0, 0.01)):
                async with store.resume_wait(CTX, "u1", A, lease=LONG) as record:
                    assert record is not None
                    await store.get_session(record.key)
            claim = await other.claim_wait(CTX, "u1", A)
            outcomes.add(claim is None)
            if claim is not None:
                await claim.complete()
        assert outcomes == {True, False}


async def test_k1_waiting_for_a_turn_can_be_cancelled(url: str) -> None:
    async with open_store(url, "turns") as store:
        await register(store, "k", A)
        held = await store.claim_wait(CTX, "u1", A)
        assert held is not None
        with pytest.raises(WaitClaimedError):
            await store.claim_wait(CTX, "u1", A, wait=0.01)
        with anyio.move_on_after(0.05) as scope:
            await store.claim_wait(CTX, "u1", A, wait=LONG)
        assert scope.cancelled_caught
        assert await held.complete()
