"""The iterators over expired waits: outages, signals and threads."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from typing_extensions import override

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionStore,
    StoreUsageError,
    _ending,
    sync_claims,
)
from async_session_store.abc import ClaimKey, Outcome
from async_session_store.backends.memory import MemoryBackend
from async_session_store.expired_waits import HandOuts
from async_session_store.models import SessionKey
from async_session_store.testing.contract.builders import CTX, A, B, data
from async_session_store.testing.contract.expiry_builders import claim_all, keep
from async_session_store.testing.contract.turn_builders import Order
from redis_server import RedisServer, free_port

POLL = 0.05  # seconds
BUSY = 20.0  # seconds that a busy machine may take


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def interrupted(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Call something from a signal handler in the main thread."""
    before = signal.signal(signal.SIGUSR1, lambda *_: act())
    timer = threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGUSR1])
    timer.start()
    try:
        yield
        timer.join()
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def keep_now(store: SessionStore, key: str) -> None:
    """Register a wait that expires at once."""
    store.register_wait(CTX, "u1", A, key, data(), 0.001, expired_ttl=600)
    time.sleep(0.01)


async def becomes(values: list[str], expected: list[str]) -> None:
    with anyio.fail_after(BUSY):
        while values != expected:  # noqa: ASYNC110  # a list has no event
            await anyio.sleep(POLL)


@pytest.mark.anyio
async def test_q5_r4_the_loop_lasts_through_an_outage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"port": free_port(), "appendonly": "yes", "dir": str(tmp_path)}
    caplog.set_level(logging.WARNING)
    handed_out: list[str] = []

    async def work(store: AsyncSessionStore) -> None:
        async for claim in store.expired_waits(poll=POLL):
            async with store.expired_turn(claim, memory=Order) as turn:
                assert turn.record is not None
                handed_out.append(turn.record.key)

    with ExitStack() as servers:
        server = servers.enter_context(RedisServer.start(**options))
        async with AsyncSessionStore.from_url(server.url) as store:
            await keep(store, "k1", A, ttl=0.01)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work, store)
                await becomes(handed_out, ["k1"])
                await keep(store, "k2", B, ttl=1)
                servers.pop_all().close()
                await anyio.sleep(1)
                servers.enter_context(RedisServer.start(**options))
                await becomes(handed_out, ["k1", "k2"])
                assert await claim_all(store) == []
                tasks.cancel_scope.cancel()
    told = [record.message for record in caplog.records if "expired waits" in record.message]
    assert told == [
        "expired waits cannot be claimed; trying again",
        "expired waits can be claimed again",
    ]


def test_q5_a_loop_other_than_the_stores_is_refused() -> None:
    with RedisServer.start() as server:
        store = AsyncSessionStore.from_url(server.url)
        with closing(asyncio.new_event_loop()) as own, closing(asyncio.new_event_loop()) as other:
            own.run_until_complete(store.open())
            with pytest.raises(StoreUsageError, match="another event loop"):
                other.run_until_complete(anext(store.expired_waits(poll=POLL)))
            own.run_until_complete(store.aclose())


def test_q5_a_signal_handler_may_stop_the_loop() -> None:
    with SessionStore.from_url("memory://") as store:
        waits = store.expired_waits(poll=60)
        began = time.monotonic()
        with interrupted(0.3, waits.stop):
            assert list(waits) == []
        assert time.monotonic() - began < BUSY
        assert list(waits) == []


def test_q5_a_handler_that_raises_leaves_no_claim() -> None:
    class Interrupt(BaseException):
        pass

    def interrupt() -> None:
        raise Interrupt

    with SessionStore.from_url("memory://") as store:
        for number in range(30):
            keep_now(store, "k")
            try:
                with interrupted(0.001 * number % 0.01, interrupt):
                    for claim in store.expired_waits(lease=0.3, poll=POLL):
                        claim.release()
            except Interrupt:
                pass
            deadline = time.monotonic() + BUSY
            while not (claims := store.claim_expired()) and time.monotonic() < deadline:
                time.sleep(0.01)  # at worst, until the lease has passed
            assert claims[0].complete()


def test_r3_q2_an_interrupted_call_gives_back_all_its_claims_in_the_time_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(MemoryBackend):
        @override
        async def release_claim(self, claim: ClaimKey) -> Outcome:
            await anyio.sleep(1)
            return await super().release_claim(claim)

    monkeypatch.setattr(_ending, "_TIMEOUT", 0.5)
    monkeypatch.setattr(sync_claims, "SyncWaitClaim", lambda *_: 1 / 0)  # after they were granted
    with SessionStore(Slow()) as store:
        for number in range(10):
            at = ReplyScope(conversation=str(number))
            store.register_wait(CTX, "u1", at, f"k{number}", data(), 0.001, expired_ttl=600)
        time.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            store.claim_expired(limit=10)
        assert time.monotonic() - began < 4


def test_q5_threads_share_the_waits_that_fall_due_and_all_stop() -> None:
    handed_out: list[str] = []

    def work() -> None:
        for claim in waits:
            with store.expired_turn(claim, memory=Order) as turn:
                assert turn.record is not None
                handed_out.append(turn.record.key)

    with SessionStore.from_url("memory://") as store:
        for number in range(20):
            keep_now(store, f"k{number}")
        waits = store.expired_waits(poll=POLL)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + BUSY
        while len(handed_out) < 20 and time.monotonic() < deadline:
            time.sleep(POLL)
        waits.stop()
        for thread in threads:
            thread.join(BUSY)
        assert not any(thread.is_alive() for thread in threads)
    assert sorted(handed_out) == sorted(f"k{number}" for number in range(20))


def test_q5_r5_a_closed_store_ends_the_loop() -> None:
    store = SessionStore.from_url("memory://").open()
    waits = store.expired_waits(poll=POLL)
    threading.Timer(0.2, store.close).start()
    with pytest.raises(StoreUsageError, match="closed"):
        list(waits)


def test_q5_r5_a_closed_store_ends_the_loop_though_its_portal_runs_on() -> None:
    with start_blocking_portal() as portal:
        with SessionStore.from_url("memory://", portal=portal) as store:
            waits = store.expired_waits(poll=POLL)
        with pytest.raises(StoreUsageError, match="closed"):
            next(waits)


@pytest.mark.anyio
async def test_q5_r7_a_loops_own_thread_is_refused() -> None:
    store = await anyio.to_thread.run_sync(SessionStore.from_url("memory://").open)
    waits = store.expired_waits(poll=POLL)
    with pytest.raises(StoreUsageError, match="event loop"):
        next(waits)
    await anyio.to_thread.run_sync(store.close)


class Garbage:
    """An object in a cycle, whose finalizer runs long enough for a switch of threads."""

    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        for _ in range(20):
            pass


def test_q5_r7_a_forked_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with SessionStore.from_url("memory://") as store:
        waits = store.expired_waits(poll=POLL)
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: 0)
            with pytest.raises(StoreUsageError, match="fork"):
                next(waits)


def test_q5_threads_may_ask_concurrently_which_waits_were_handed_out() -> None:
    hand_outs, errors = HandOuts(0.03), list[BaseException]()

    def ask(thread: int) -> None:
        try:
            for number in range(50_000):
                Garbage()
                hand_outs.comes_too_soon(SessionKey(f"{thread}-{number}"))
        except BaseException as error:  # noqa: BLE001  # of any kind
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []


def test_q5_waits_that_were_handed_out_are_remembered_for_a_while_only() -> None:
    hand_outs = HandOuts(0.05)
    keys = [SessionKey(f"k{number}") for number in range(100)]
    assert not any(map(hand_outs.comes_too_soon, keys))
    assert all(map(hand_outs.comes_too_soon, keys))
    time.sleep(0.06)
    assert not hand_outs.comes_too_soon(keys[0])
    assert len(hand_outs._handed_out) == 1
