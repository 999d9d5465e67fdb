"""Blocks on asyncio: whom a lost lease cancels, what is counted, and what is left behind."""

# ruff: noqa: PT012  # what a block does is part of what is expected of it

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime

import anyio
import pytest
from typing_extensions import override

from async_session_store import AsyncSessionStore, ClaimLostError, StoreUsageError
from async_session_store.abc import ClaimKey
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, A, find, register
from async_session_store.testing.contract.claim_builders import is_claimed
from loops import eventually

pytestmark = pytest.mark.anyio

LEASE = 0.15


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": request.param}


class Renewing(MemoryBackend):
    """A backend whose renewals succeed, hang, come late, or raise an error that no backend should.

    A late renewal is granted, but its answer does not come.
    """

    def __init__(self) -> None:
        super().__init__()
        self.way = "well"
        self.renewals = 0

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        self.renewals += 1
        if self.way == "odd":
            raise ArithmeticError
        if self.way == "never":
            await anyio.sleep(60)
        renewed = await super().renew_claim(claim, lease)
        if self.way == "late":
            await anyio.sleep(60)
        return renewed


@pytest.fixture
def backend() -> Renewing:
    return Renewing()


@pytest.fixture
async def store(backend: Renewing) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore(backend) as store:
        await register(store, "k", A)
        yield store


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling() if sys.version_info >= (3, 11) else 0


# --- Whom a lost lease cancels ----------------------------------------------------------------


async def test_k4_asyncios_count_of_cancellations_stays_right(
    backend: Renewing, store: AsyncSessionStore
) -> None:
    backend.way = "never"
    for _ in range(3):
        with pytest.raises(ClaimLostError):
            async with store.resume_wait(CTX, "u1", A, lease=LEASE):
                await asyncio.sleep(60)
        assert cancellations() == 0
    await asyncio.sleep(0)


async def test_k4_a_cancellation_by_others_is_not_taken_for_a_lost_lease(
    backend: Renewing, store: AsyncSessionStore
) -> None:
    backend.way = "never"
    left: list[int] = []

    async def resume() -> None:
        try:
            async with store.resume_wait(CTX, "u1", A, lease=LEASE):
                try:
                    await asyncio.sleep(60)
                finally:
                    task.cancel()
                    await asyncio.sleep(60)
        finally:
            left.append(cancellations())

    task = asyncio.ensure_future(resume())
    (error,) = await asyncio.gather(task, return_exceptions=True)
    if sys.version_info >= (3, 11):
        assert isinstance(error, asyncio.CancelledError)
        assert left == [1]
    else:  # which keeps no count
        assert isinstance(error, (asyncio.CancelledError, ClaimLostError))
    assert not await is_claimed(store, A)


async def answer(store: AsyncSessionStore) -> AsyncGenerator[str, None]:
    async with store.resume_wait(CTX, "u1", A, lease=LEASE):
        yield "first"
        await asyncio.sleep(60)
        yield "more"


async def test_k4_a_generators_block_is_cancelled_while_its_own_task_is_at_work_in_it(
    backend: Renewing, store: AsyncSessionStore
) -> None:
    backend.way = "never"
    seen: list[str] = []
    with anyio.fail_after(10), pytest.raises(ClaimLostError):
        async for step in answer(store):
            seen.append(step)  # noqa: PERF401  # it raises
    assert seen == ["first"]
    assert cancellations() == 0
    assert not await is_claimed(store, A)


async def test_k4_a_block_that_moved_to_another_task_cancels_neither(
    backend: Renewing, store: AsyncSessionStore
) -> None:
    backend.way = "never"
    steps = answer(store)
    assert await steps.__anext__() == "first"
    other = asyncio.ensure_future(steps.__anext__())
    await asyncio.sleep(2.5 * LEASE)
    assert not other.done()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    assert await find(store, A) == "k"


async def test_k4_the_steps_of_a_streamed_answer_may_have_timeouts(
    store: AsyncSessionStore,
) -> None:
    async def stream() -> AsyncGenerator[int, None]:
        async with store.resume_wait(CTX, "u1", A, delivery_id="event"):
            for number in range(3):
                await asyncio.sleep(0.001)
                yield number

    seen: list[int] = []
    steps = stream()
    with pytest.raises(StopAsyncIteration):
        while True:
            seen.append(await asyncio.wait_for(steps.__anext__(), 30))
    assert seen == [0, 1, 2]
    assert await find(store, A) is None


async def test_k4_a_context_manager_may_be_left_in_another_task(store: AsyncSessionStore) -> None:
    block = store.resume_wait(CTX, "u1", A)
    await asyncio.ensure_future(block.__aenter__())
    assert await is_claimed(store, A)
    await asyncio.ensure_future(block.__aexit__(None, None, None))
    assert await find(store, A) is None


# --- A claim ends where its holder hears that it is lost --------------------------------------


async def test_k4_a_renewal_that_is_late_does_not_outlive_the_holders_claim(
    backend: Renewing, store: AsyncSessionStore
) -> None:
    backend.way = "late"
    with pytest.raises(ClaimLostError):
        async with store.resume_wait(CTX, "u1", A, lease=0.6):
            await asyncio.sleep(60)
    claim = await store.claim_wait(CTX, "u1", A)
    assert claim is not None


async def test_k4_whatever_a_renewal_raises_the_block_learns_of_a_lost_lease(
    backend: Renewing, store: AsyncSessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    backend.way = "odd"
    with anyio.fail_after(10), pytest.raises(ClaimLostError):
        async with store.resume_wait(CTX, "u1", A, lease=LEASE):
            await asyncio.sleep(60)
    assert "could not be renewed" in caplog.text
    caplog.clear()


# --- What is left -----------------------------------------------------------------------------


async def test_k4_a_block_leaves_nothing_for_the_garbage_collector(
    store: AsyncSessionStore,
) -> None:
    async def resume() -> None:
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
            wait.keep()

    await resume()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await resume()
        assert gc.collect() < 10
    finally:
        gc.enable()


async def test_k4_a_block_shorter_than_a_third_of_its_lease_costs_no_task(
    backend: Renewing, store: AsyncSessionStore
) -> None:
    tasks = asyncio.all_tasks()
    async with store.resume_wait(CTX, "u1", A):
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == tasks
    assert asyncio.all_tasks() == tasks
    assert backend.renewals == 0


async def test_k4_a_claim_that_nobody_can_end_is_given_back_not_renewed(
    backend: Renewing, store: AsyncSessionStore
) -> None:
    block = store.resume_wait(CTX, "u1", A, lease=0.9)
    await block.__aenter__()
    await asyncio.sleep(0.35)
    assert backend.renewals == 1
    del block
    gc.collect()
    claim = await store.claim_wait(CTX, "u1", A, wait=0.6)
    assert claim is not None
    assert backend.renewals == 1


async def test_r5_closing_ends_the_renewals(backend: Renewing) -> None:
    backend.way = "never"
    tasks = asyncio.all_tasks()
    store = await AsyncSessionStore(backend).open()
    await register(store, "k", A)
    with pytest.raises(StoreUsageError, match="closed"):
        async with store.resume_wait(CTX, "u1", A, lease=0.6):
            await eventually(lambda: backend.renewals == 1)
            assert len(asyncio.all_tasks()) == len(tasks) + 1
            await asyncio.ensure_future(store.aclose())
            assert asyncio.all_tasks() == tasks
            await asyncio.sleep(0.3)
    assert backend.renewals == 1
    assert asyncio.all_tasks() == tasks
