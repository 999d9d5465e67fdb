"""The store for callers that are not async: threads, loops, interruptions, closing, leaks."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import anyio
import anyio.to_thread
import pytest
import redis
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from typing_extensions import override

from async_session_store import (
    ClaimLostError,
    ConflictError,
    InvalidInputError,
    ReplyScope,
    SessionData,
    SessionNotFoundError,
    SessionStore,
    StoreUnavailableError,
    StoreUsageError,
    SyncWaitClaim,
    WaitClaimedError,
    _backoff,
)
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, A, B, data
from async_session_store.testing.contract.turn_builders import Message, Order
from redis_server import RedisServer
from scripted import Belongings, Script, Scripted, threads

Use = Callable[[SessionStore], object]

LONG = 300.0
SHORT = 0.15


@pytest.fixture(autouse=True)
def nothing_is_left(redis_server: RedisServer) -> Iterator[None]:  # noqa: ARG001  # it has pipes
    before = Belongings()
    yield
    before.assert_all_that_is_left()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return server.url
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'bot.db'}"


@pytest.fixture
def store() -> Iterator[SessionStore]:
    with SessionStore(MemoryBackend()) as store:
        yield store


def open_store(url: str, name: str) -> SessionStore:
    return SessionStore.from_url(
        url, namespace=f"test:sync:{name}" if url.startswith("redis") else None
    )


def scripted_store(
    portal: BlockingPortal | None = None, **scripts: Script
) -> tuple[SessionStore, Scripted]:
    backend = Scripted(**scripts)
    return SessionStore(backend, portal=portal), backend


def register(store: SessionStore, key: str, context: str = "{}") -> None:
    store.register_wait(CTX, "u1", A, key, data(context), 600)


def context_of(store: SessionStore, key: str) -> str | None:
    found = store.get_session(key)
    return None if found is None else found.context_json


@contextmanager
def in_thread(call: Callable[[], object]) -> Iterator[Future[object]]:
    """Run a call in a thread of its own, which ends within seconds."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        yield future
        future.exception(timeout=5)


def error_of(call: Callable[[], object]) -> BaseException:
    # Not pytest.raises, which would hold KeyboardInterrupt for one of its own.
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # it is for the test, whatever it is
        return error
    raise AssertionError("it raised nothing")


class OddError(BaseException):
    """No Exception, as some frameworks have them."""


# --- Threads ----------------------------------------------------------------------------------


def test_r7_threads_share_a_store_and_each_gets_its_own_reply(url: str) -> None:
    start = threading.Barrier(12)

    def use(number: int) -> None:
        start.wait()
        for turn in range(15):
            text = f"{number} {turn}"
            key = store.create_session(CTX, data(text), ttl=60)
            assert context_of(store, key) == text
            store.update_session(key, data(f"{text}!"))
            assert context_of(store, key) == f"{text}!"
            store.remove_session(key)

    with open_store(url, "threads") as store, ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(use, number) for number in range(12)]:
            done.result(timeout=30)


def test_k1_of_many_threads_one_claims_and_all_get_their_turn(url: str) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def resume(number: int) -> None:
        with store.resume_wait(CTX, "u1", A, wait=30) as record:
            assert record is not None
            inside.append(number)
            seen.append(len(inside))
            time.sleep(0.002)
            inside.remove(number)
            register(store, "k", str(number))

    with open_store(url, "turns") as store, ThreadPoolExecutor(6) as pool:
        register(store, "k")
        for done in [pool.submit(resume, number) for number in range(6)]:
            done.result(timeout=30)
        store.clear_wait(CTX, "u1", A)
    assert seen == [1] * 6


async def by_asyncio_to_thread(call: Callable[[], object]) -> object:
    return await asyncio.to_thread(call)


async def by_run_in_executor(call: Callable[[], object]) -> object:
    return await asyncio.get_running_loop().run_in_executor(None, call)


async def by_anyio_to_thread(call: Callable[[], object]) -> object:
    return await anyio.to_thread.run_sync(call)


async def by_trio_to_thread(call: Callable[[], object]) -> object:
    return await trio.to_thread.run_sync(call)


@pytest.mark.parametrize(
    ("library", "run"),
    [
        ("asyncio", by_asyncio_to_thread),
        ("asyncio", by_run_in_executor),
        ("asyncio", by_anyio_to_thread),
        ("trio", by_anyio_to_thread),
        ("trio", by_trio_to_thread),
    ],
)
def test_r7_a_worker_thread_of_an_app_that_runs_a_loop_may_call(
    library: str, run: Callable[[Callable[[], object]], object]
) -> None:
    def use() -> object:
        with SessionStore(MemoryBackend()) as store:
            register(store, "k", "asked")
            with store.resume_wait(CTX, "u1", A) as record:
                assert record is not None
                return record.data.context_json

    assert anyio.run(run, use, backend=library) == "asked"


# --- In a thread that runs a loop -------------------------------------------------------------


def in_an_asyncio_task(call: Callable[[], object]) -> object:
    async def main() -> object:
        return call()

    return asyncio.run(main())


def in_a_callback_of_asyncio(call: Callable[[], object]) -> object:
    async def main() -> object:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[object] = loop.create_future()
        loop.call_soon(lambda: done.set_result(error_of(call)))
        raise_(await done)

    return asyncio.run(main())


def in_a_trio_task(call: Callable[[], object]) -> object:
    async def main() -> object:
        return call()

    return trio.run(main)


def in_a_callback_of_trio(call: Callable[[], object]) -> object:
    async def main() -> object:
        errors: list[BaseException] = []
        done = trio.Event()

        def callback() -> None:
            errors.append(error_of(call))
            done.set()

        trio.lowlevel.current_trio_token().run_sync_soon(callback)
        await done.wait()
        raise_(errors[0])

    return trio.run(main)


def raise_(error: object) -> None:
    assert isinstance(error, BaseException)
    raise error


IN_A_LOOP = [
    in_an_asyncio_task,
    in_a_callback_of_asyncio,
    in_a_trio_task,
    in_a_callback_of_trio,
]


def resume(store: SessionStore) -> None:
    with store.resume_wait(CTX, "u1", A):
        pass


USES: dict[str, Use] = {
    "open": lambda _: SessionStore(MemoryBackend()).open(),
    "close": lambda store: store.close(),
    "ping": lambda store: store.ping(),
    "get_session": lambda store: store.get_session("k"),
    "edit_session": lambda store: store.edit_session("k", lambda data: data),
    "claim_wait": lambda store: store.claim_wait(CTX, "u1", A, wait=LONG),
    "resume_wait": resume,
}


@pytest.mark.parametrize("run", IN_A_LOOP)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_r7_a_thread_that_runs_a_loop_is_refused_at_once(
    store: SessionStore, run: Callable[[Callable[[], object]], object], use: Use
) -> None:
    register(store, "k")
    begun = time.monotonic()
    with pytest.raises(StoreUsageError, match="await AsyncSessionStore"):
        run(lambda: use(store))
    assert time.monotonic() - begun < 5
    assert context_of(store, "k") == "{}"


@pytest.mark.parametrize("run", IN_A_LOOP)
def test_r7_a_claim_is_not_ended_from_there_either(
    store: SessionStore, run: Callable[[Callable[[], object]], object]
) -> None:
    register(store, "k")
    claim = store.claim_wait(CTX, "u1", A)
    assert claim is not None
    for use in (claim.complete, claim.release, claim.renew):
        with pytest.raises(StoreUsageError, match="await AsyncSessionStore"):
            run(use)
    assert claim.complete()


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_r7_its_own_thread_is_refused_instead_of_a_dead_lock(use: Use) -> None:
    errors: list[BaseException] = []

    async def call_myself() -> None:
        errors.append(error_of(lambda: use(store)))
        asyncio.get_running_loop().call_soon(lambda: errors.append(error_of(lambda: use(store))))
        await asyncio.sleep(0.01)

    store, _ = scripted_store(odd=call_myself)
    with store, in_thread(lambda: store.get_session("odd")) as done:
        assert done.result(timeout=5) is None
    assert [type(error) for error in errors] == [StoreUsageError] * 2
    assert all("await AsyncSessionStore" in str(error) for error in errors)


def test_k4_a_block_that_is_collected_in_its_own_thread_freezes_no_loop() -> None:
    """The garbage collector runs in any thread, also in the one that runs the store's loop."""

    def resume() -> Generator[None, None, None]:
        with store.resume_wait(CTX, "u1", A):
            yield

    blocks: list[Generator[None, None, None]] = []

    async def collect() -> None:
        blocks.clear()
        gc.collect()

    store, _ = scripted_store(collect=collect)
    with store:
        register(store, "k")
        blocks.append(resume())
        next(blocks[0])
        begun = time.monotonic()
        store.get_session("collect")
        assert time.monotonic() - begun < 5


# --- Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError("away"),
        TimeoutError("mine"),
        RuntimeError("mine"),
        StopIteration(),
        SystemExit(3),
        KeyboardInterrupt(),
        OddError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_r1_an_error_comes_out_as_it_is_and_to_its_caller_only(error: BaseException) -> None:
    cause = OSError("driver")
    gate = threading.Event()

    async def fail() -> None:
        raise error from cause

    store, backend = scripted_store(fail=fail, gated=lambda: asyncio.to_thread(gate.wait))
    with store:
        register(store, "gated", "unharmed")
        with in_thread(lambda: context_of(store, "gated")) as other:
            assert backend.reading.wait(5)
            caught = error_of(lambda: store.get_session("fail"))
            gate.set()
            assert other.result(timeout=5) == "unharmed"
        if isinstance(error, StopIteration):
            assert isinstance(caught, RuntimeError), "as Python has it for each coroutine"
        else:
            assert caught is error
            assert caught.__cause__ is cause
        assert context_of(store, "gated") == "unharmed"


def test_a_cancellation_that_nobody_asked_for_is_a_clear_error() -> None:
    async def cancel_myself() -> None:
        raise asyncio.CancelledError

    store, _ = scripted_store(odd=cancel_myself)
    with store:
        with pytest.raises(StoreUnavailableError, match="unknown"):
            store.get_session("odd")
        store.ping()


# What ended the loop is reported by the thread's excepthook.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_r5_a_loop_that_a_callback_ended_fails_all_calls_and_hangs_none(
    error: type[BaseException],
) -> None:
    def end() -> None:
        raise error

    async def end_the_loop() -> None:
        asyncio.get_running_loop().call_soon(end)
        await asyncio.sleep(LONG)

    store, backend = scripted_store(end=end_the_loop, slow=lambda: asyncio.sleep(LONG))
    store.open()
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(store.get_session, "slow") for _ in range(5)]
        assert backend.reading.wait(5)
        calls.append(pool.submit(store.get_session, "end"))
        errors = [call.exception(timeout=5) for call in calls]
    while [thread for thread in threads() if thread.name == "async_session_store"]:
        time.sleep(0.01)
    errors.append(error_of(lambda: store.get_session("later")))
    assert [type(error) for error in errors] == [StoreUnavailableError] * 6 + [StoreUsageError]
    store.close()


# --- Turns ------------------------------------------------------------------------------------


def test_n6_a_message_is_read_in_the_callers_thread(store: SessionStore) -> None:
    """Its attributes may be lazy: an ORM's connection belongs to one thread."""
    readers: set[Thread] = set()

    class Lazy(Message):
        @override
        def scopes(self) -> tuple[ReplyScope, ...]:
            readers.add(threading.current_thread())
            return super().scopes()

    with store.turn(CTX, Lazy("hi"), flow="order", memory=Order) as turn:
        turn.ask("take_pizza", at=B)
    assert readers == {threading.current_thread()}


# --- Editing ----------------------------------------------------------------------------------


def test_e3_the_function_runs_in_the_callers_thread_and_may_use_the_store(url: str) -> None:
    with open_store(url, "edit") as store:
        key = store.create_session(CTX, data("1"), ttl=60)

        def change(current: SessionData) -> SessionData:
            assert threading.current_thread() is threading.main_thread()
            assert context_of(store, key) == current.context_json
            return data(current.context_json + "!")

        assert store.edit_session(key, change).context_json == "1!"
        assert context_of(store, key) == "1!"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_e3_what_the_function_raises_comes_out_and_nothing_is_written(
    store: SessionStore, error: type[BaseException]
) -> None:
    mine = error()

    def fail(_current: SessionData) -> SessionData:
        raise mine

    key = store.create_session(CTX, data("1"))
    assert error_of(lambda: store.edit_session(key, fail)) is mine
    assert context_of(store, key) == "1"


def test_e3_no_change_of_another_thread_is_overwritten(url: str) -> None:
    def increment(current: SessionData) -> SessionData:
        return data(str(int(current.context_json) + 1))

    def edit() -> None:
        for _ in range(8):
            store.edit_session(key, increment)

    with open_store(url, "increments") as store, ThreadPoolExecutor(4) as pool:
        key = store.create_session(CTX, data("0"), ttl=60)
        for done in [pool.submit(edit) for _ in range(4)]:
            done.result(timeout=30)
        assert context_of(store, key) == "32"


def test_e3_it_gives_up_after_20_conflicts(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backoff, "_LONGEST_PAUSE", 0.001)
    key = store.create_session(CTX, data("0"))
    seen: list[str] = []

    def change(current: SessionData) -> SessionData:
        seen.append(current.context_json)
        store.update_session(key, data(f"theirs {len(seen)}"))
        return data("mine")

    with pytest.raises(ConflictError, match="20 times"):
        store.edit_session(key, change)
    assert seen == ["0", *(f"theirs {number}" for number in range(1, 20))]
    with pytest.raises(SessionNotFoundError):
        store.edit_session("missing", change)


# --- Resuming ---------------------------------------------------------------------------------


def test_k4_a_block_that_ends_well_completes(url: str) -> None:
    with open_store(url, "resume") as store:
        register(store, "k", "asked")
        with store.resume_wait(CTX, "u1", A) as record:
            assert record is not None
            assert (record.key, record.data.context_json) == ("k", "asked")
            assert record.etag
            assert record.expires_at is not None
            assert not record.lost
            with pytest.raises(WaitClaimedError):
                store.claim_wait(CTX, "u1", A)
        assert store.get_session("k") is None
        with store.resume_wait(CTX, "u1", A) as record:
            assert record is None


@pytest.mark.parametrize(
    "error", [ValueError, StoreUnavailableError, SystemExit, KeyboardInterrupt, GeneratorExit]
)
def test_k4_a_block_that_raises_releases_and_its_own_error_comes_out(
    store: SessionStore, error: type[BaseException]
) -> None:
    mine, cause = error(), OSError("mine too")

    def resume() -> None:
        with store.resume_wait(CTX, "u1", A):
            raise mine from cause

    register(store, "k", "asked")
    caught = error_of(resume)
    assert caught is mine
    assert caught.__cause__ is cause
    assert_not_claimed(store)
    assert context_of(store, "k") == "asked"


def assert_not_claimed(store: SessionStore) -> None:
    claim = store.claim_wait(CTX, "u1", A)
    assert claim is not None
    claim.release()


def test_k4_an_error_of_a_block_where_nothing_waits_comes_out(store: SessionStore) -> None:
    mine = ValueError()

    def resume() -> None:
        with store.resume_wait(CTX, "u1", A) as record:
            assert record is None
            raise mine

    assert error_of(resume) is mine


def test_k4_the_lease_is_renewed_while_the_block_runs(url: str) -> None:
    with open_store(url, "renewed") as store:
        register(store, "k")
        with store.resume_wait(CTX, "u1", A, lease=0.6) as record:
            assert record is not None
            time.sleep(0.9)
            assert not record.lost
            with pytest.raises(WaitClaimedError):
                store.claim_wait(CTX, "u1", A)
        assert store.get_session("k") is None


class Frozen(MemoryBackend):
    """Renews no claim, as if the process had been stopped."""

    @override
    async def renew_claim(self, claim: object, lease: int) -> None:
        await asyncio.sleep(LONG)


def test_k4_a_lost_lease_can_be_asked_for_and_raises_at_the_end() -> None:
    with SessionStore(Frozen()) as store:
        register(store, "k", "asked")

        def resume() -> None:
            with store.resume_wait(CTX, "u1", A, lease=SHORT) as record:
                assert record is not None
                end = time.monotonic() + 5
                while not record.lost:
                    assert time.monotonic() < end
                    time.sleep(0.01)
                next_claims.append(store.claim_wait(CTX, "u1", A, lease=LONG, wait=1))
                register(store, "k", "theirs")

        next_claims: list[SyncWaitClaim | None] = []
        assert type(error_of(resume)) is ClaimLostError
        assert context_of(store, "k") == "theirs"
        (theirs,) = next_claims
        assert theirs is not None
        with pytest.raises(WaitClaimedError):
            store.claim_wait(CTX, "u1", A)
        theirs.release()
        with pytest.raises(ClaimLostError):
            theirs.complete()


def test_k4_an_error_of_a_block_whose_lease_is_lost_comes_out() -> None:
    mine = ValueError()
    with SessionStore(Frozen()) as store:
        register(store, "k")

        def resume() -> None:
            with store.resume_wait(CTX, "u1", A, lease=SHORT):
                time.sleep(2 * SHORT)
                raise mine

        assert error_of(resume) is mine
        assert_not_claimed(store)


@pytest.mark.parametrize("shared", [False, True], ids=["own thread", "portal"])
def test_k4_closing_while_a_block_runs(*, shared: bool) -> None:
    mine = ValueError()

    def resume(error: BaseException | None) -> None:
        with store.resume_wait(CTX, "u1", A):
            store.close()
            if error is not None:
                raise error

    with start_blocking_portal() as portal:
        for error in (None, mine):
            store = SessionStore(MemoryBackend(), portal=portal if shared else None).open()
            register(store, "k")
            begun = time.monotonic()
            caught = error_of(lambda error=error: resume(error))
            assert time.monotonic() - begun < 5
            assert caught is error or isinstance(caught, StoreUsageError)
            assert error is None or caught is error


def test_k6_a_delivery_is_handled_once(store: SessionStore) -> None:
    register(store, "k")
    with store.resume_wait(CTX, "u1", A, delivery_id="event-1"):
        register(store, "k", "asked again")
    with (
        pytest.raises(ConflictError, match="handled before"),
        store.resume_wait(CTX, "u1", A, delivery_id="event-1"),
    ):
        pass
    assert context_of(store, "k") == "asked again"


# --- A portal of the caller -------------------------------------------------------------------


def test_r6_stores_share_the_thread_of_a_portal_and_leave_it_alone(tmp_path: Path) -> None:
    with start_blocking_portal() as portal:
        before = threads()
        one = SessionStore(MemoryBackend(), portal=portal).open()
        two = SessionStore.from_url(f"sqlite:///{tmp_path / 'bot.db'}", portal=portal).open()
        assert len(threads() - before) == 1, "SQLite's"
        register(one, "k", "one")
        register(two, "k", "two")
        one.close()
        with pytest.raises(StoreUsageError, match="closed"):
            one.get_session("k")
        assert context_of(two, "k") == "two"
        two.close()
        assert portal.call(lambda: "alive") == "alive"
        assert portal.call(count_tasks) == 2, "the portal's, and this one"


async def count_tasks() -> int:
    return len(asyncio.all_tasks())


def test_r6_a_failing_open_leaves_the_portal_alone(tmp_path: Path) -> None:
    with start_blocking_portal() as portal:
        before = Belongings()
        store = SessionStore.from_url(f"sqlite:///{tmp_path / 'missing' / 'bot.db'}", portal=portal)
        with pytest.raises(StoreUnavailableError):
            store.open()
        before.assert_all_that_is_left()
        (tmp_path / "missing").mkdir()
        with store:
            store.ping()
        assert portal.call(lambda: "alive") == "alive"


def test_r5_a_portal_that_was_stopped_is_a_clear_error() -> None:
    with start_blocking_portal() as portal:
        pass
    with pytest.raises(StoreUsageError, match="portal"):
        SessionStore(MemoryBackend(), portal=portal).open()


def test_what_is_no_portal_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="portal"):
        SessionStore(MemoryBackend(), portal=start_blocking_portal())  # type: ignore[arg-type]


def test_a_portal_of_trio_is_refused() -> None:
    with start_blocking_portal("trio") as portal:
        with pytest.raises(InvalidInputError, match="portal"):
            SessionStore(MemoryBackend(), portal=portal).open()
        assert portal.call(lambda: "alive") == "alive"


def test_r5_a_portal_that_ends_before_the_store_fails_its_calls() -> None:
    with start_blocking_portal() as portal, ThreadPoolExecutor(1) as pool:
        store, backend = scripted_store(portal, slow=lambda: asyncio.sleep(LONG))
        store.open()
        call = pool.submit(store.get_session, "slow")
        assert backend.reading.wait(5)
        portal.call(portal.stop)
        assert isinstance(call.exception(timeout=5), StoreUnavailableError)
    with pytest.raises(StoreUsageError, match="has ended"):
        store.get_session("k")
    store.close()
    store.close()


def test_r5_a_loop_that_stands_still_for_good_is_refused() -> None:
    """It would take calls, and never begin them: it has ended, and is not closed yet."""
    loop = asyncio.new_event_loop()
    portals: Future[BlockingPortal] = Future()

    async def serve() -> None:
        async with BlockingPortal() as portal:
            portals.set_result(portal)
            await portal.sleep_until_stopped()

    thread = Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    portal = portals.result(timeout=5)
    store = SessionStore(MemoryBackend(), portal=portal).open()
    portal.call(portal.stop)
    thread.join(5)
    with in_thread(lambda: store.get_session("k")) as call:
        assert isinstance(call.exception(timeout=5), StoreUsageError)
    with pytest.raises(StoreUsageError, match="has ended"):
        next(store.expired_waits(poll=0.01))
    loop.close()


# --- Opening and closing ----------------------------------------------------------------------


def test_r5_a_store_is_opened_once() -> None:
    store = SessionStore(MemoryBackend())
    with pytest.raises(StoreUsageError, match="not open"):
        store.ping()
    with store:
        with pytest.raises(StoreUsageError, match="already opened"):
            store.open()
        store.ping()
    store.close()
    for use in (store.ping, store.open):
        with pytest.raises(StoreUsageError, match="closed"):
            use()
    never_opened = SessionStore(MemoryBackend())
    never_opened.close()
    with pytest.raises(StoreUsageError, match="closed"):
        never_opened.open()


def test_r5_of_threads_that_open_one_wins() -> None:
    store, backend = scripted_store(open=lambda: asyncio.sleep(0.02))
    start = threading.Barrier(4)

    def open_it() -> SessionStore:
        start.wait()
        return store.open()

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(open_it) for _ in range(4)]
        errors = [call.exception(timeout=5) for call in calls]
    assert errors.count(None) == 1
    assert sum(isinstance(error, StoreUsageError) for error in errors) == 3
    assert backend.events == ["open"]
    store.ping()
    store.close()


@pytest.mark.parametrize(
    "url", ["sqlite:////missing/bot.db", "redis://127.0.0.1:1/", "redis://localhost:1/"]
)
def test_r5_a_failing_open_leaves_nothing(url: str) -> None:
    before = Belongings()
    store = SessionStore.from_url(url)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            store.open()
        before.assert_all_that_is_left()


def test_r5_a_failing_open_may_be_tried_again(tmp_path: Path) -> None:
    store = SessionStore.from_url(f"sqlite:///{tmp_path / 'missing' / 'bot.db'}")
    with pytest.raises(StoreUnavailableError):
        store.open()
    (tmp_path / "missing").mkdir()
    with store:
        store.ping()


def test_r5_closing_finishes_what_runs() -> None:
    finished = threading.Event()
    closing = threading.Event()

    async def finish() -> None:
        closing.set()
        await asyncio.to_thread(finished.wait)

    store, backend = scripted_store(gated=lambda: asyncio.to_thread(closing.wait), close=finish)
    store.open()
    register(store, "gated", "mine")
    with in_thread(lambda: context_of(store, "gated")) as call:
        assert backend.reading.wait(5)
        with in_thread(store.close) as closed:
            assert call.result(timeout=5) == "mine"
            finished.set()
            closed.result(timeout=5)


def test_r5_calls_that_race_with_closing_get_a_reply_or_a_clear_error(url: str) -> None:
    chance = random.Random(5)

    def use(number: int) -> int:
        replies = 0
        with suppress(StoreUnavailableError, StoreUsageError):
            while True:
                key = store.create_session(CTX, data(str(number)), ttl=60)
                assert context_of(store, key) == str(number)
                replies += 1
        return replies

    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            store = open_store(url, "closing").open()
            calls = [pool.submit(use, number) for number in range(4)]
            time.sleep(chance.uniform(0, 0.005))
            store.close()
            for call in calls:
                call.result(timeout=5)


def test_r5_closing_cuts_off_who_waits_for_a_turn(url: str) -> None:
    store = open_store(url, "cut-off").open()
    register(store, "k")
    store.claim_wait(CTX, "u1", A, lease=2)
    with in_thread(lambda: store.claim_wait(CTX, "u1", A, wait=LONG)) as call:
        time.sleep(0.05)
        store.close()
        assert isinstance(call.exception(timeout=5), StoreUsageError)
    with open_store(url, "cut-off") as store:
        store.clear_wait(CTX, "u1", A)


def test_r5_threads_that_close_at_once_all_return() -> None:
    for _ in range(10):
        store = SessionStore(MemoryBackend()).open()
        with ThreadPoolExecutor(4) as pool:
            for call in [pool.submit(store.close) for _ in range(4)]:
                call.result(timeout=5)


def test_r6_nothing_is_left_at_the_server(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.unix_url) as client:

        def connections() -> int:
            return [one["name"] for one in client.client_list()].count("sync")

        address = f"redis://127.0.0.1:{redis_server.port}/?client_name=sync"
        with (
            SessionStore.from_url(address, namespace="test:sync") as store,
            ThreadPoolExecutor(8) as pool,
        ):
            for call in [pool.submit(store.list_waits_for_user, CTX, "u1") for _ in range(40)]:
                call.result(timeout=5)
            assert connections() == 1
        end = time.monotonic() + 5
        while connections():
            assert time.monotonic() < end
            time.sleep(0.01)


def test_no_task_of_a_call_is_left() -> None:
    counts: list[int] = []

    async def count() -> None:
        counts.append(await count_tasks())

    store, _ = scripted_store(count=count)
    with store:
        store.get_session("count")
        for _ in range(20):
            register(store, "k")
            with store.resume_wait(CTX, "u1", A):
                pass
        store.get_session("count")
    assert counts[0] == counts[1]
