"""K4, R5: blocks that begin, take their steps and end in different tasks."""

# ruff: noqa: PT012  # the steps of a block are part of what a test expects to raise

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    ResumedWait,
    SessionStoreError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, BlockError, find, register
from async_session_store.testing.contract.claim_builders import claim, is_claimed, try_claim
from async_session_store.testing.contract.hooks import Hooks

SHORT_LEASE = 0.3
RENEWED_LEASE = 0.9  # a busy machine may be late

_T = TypeVar("_T")


async def in_a_task(call: Callable[[], Awaitable[_T]]) -> _T:
    """Make a call in a task of its own. Return its result, or raise its error outside any group."""
    results: list[_T] = []
    errors: list[BaseException] = []

    async def run() -> None:
        try:
            results.append(await call())
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001  # the caller gets it, whatever it is
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
    for error in errors:
        raise error
    return results[0]


async def answer(
    store: AsyncSessionStore,
    *,
    lease: float = 30,
    delivery_id: str | None = None,
    fail: bool = False,
) -> AsyncGenerator[str, None]:
    """Stream an answer from within a block."""
    async with store.resume_wait(CTX, "u1", A, lease=lease, delivery_id=delivery_id) as record:
        assert record is not None
        yield record.key
        await checkpoint()
        yield "more"
        if fail:
            raise BlockError


class MovingBlocks(Hooks):
    """K4, R5: ``resume_wait`` with its steps in different tasks."""

    async def test_k4_a_block_whose_steps_are_tasks_completes(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        steps = answer(store, delivery_id="event")
        assert await in_a_task(steps.__anext__) == "k"
        assert await is_claimed(store, A)
        assert await in_a_task(steps.__anext__) == "more"
        with pytest.raises(StopAsyncIteration):
            await in_a_task(steps.__anext__)
        assert await find(store, A) is None
        await register(store, "k", A)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")

    async def test_k4_each_step_may_have_a_timeout(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        seen: list[str] = []
        steps = answer(store)
        with pytest.raises(StopAsyncIteration):
            while True:
                with anyio.fail_after(30):
                    seen.append(await steps.__anext__())
        assert seen == ["k", "more"]
        assert await find(store, A) is None

    async def test_k4_a_block_that_raises_in_another_task_releases(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        steps = answer(store, delivery_id="event", fail=True)
        for _ in range(2):
            await in_a_task(steps.__anext__)
        with pytest.raises(BlockError):
            await in_a_task(steps.__anext__)
        assert await find(store, A) == "k"
        assert await (await claim(store, A, delivery_id="event")).complete()

    async def test_k4_a_block_that_is_closed_in_another_task_releases(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        steps = answer(store)
        await in_a_task(steps.__anext__)
        await in_a_task(steps.aclose)
        assert await find(store, A) == "k"
        assert not await is_claimed(store, A)

    async def test_k4_a_lost_lease_comes_out_in_the_task_that_ends_the_block(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        steps = answer(store, lease=SHORT_LEASE)
        for _ in range(2):
            await in_a_task(steps.__anext__)
        await self.advance(backend, 1)
        theirs = await claim(store, A)
        with pytest.raises(ClaimLostError):
            await in_a_task(steps.__anext__)
        assert await theirs.complete()

    async def test_k4_the_claim_is_renewed_whatever_task_the_block_is_in(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        steps = answer(store, lease=RENEWED_LEASE)
        await in_a_task(steps.__anext__)
        await anyio.sleep(1.2 * RENEWED_LEASE)
        assert await is_claimed(store, A)
        await in_a_task(steps.__anext__)
        await anyio.sleep(1.2 * RENEWED_LEASE)
        with pytest.raises(StopAsyncIteration):
            await in_a_task(steps.__anext__)
        assert await find(store, A) is None

    async def test_k4_a_lost_lease_cancels_nothing_outside_the_block(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        steps = answer(store, lease=SHORT_LEASE)
        async for _ in steps:
            await self.advance(backend, 1)
            await anyio.sleep(2 * SHORT_LEASE)  # meanwhile the block is suspended at its yield
            break
        await steps.aclose()
        assert await find(store, A) == "k"
        assert not await is_claimed(store, A)

    async def test_k4_a_block_may_run_inside_a_context_manager(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        @asynccontextmanager
        async def resumed() -> AsyncGenerator[ResumedWait | None, None]:
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE) as record:
                yield record

        await register(store, "k", A)
        with pytest.raises(BlockError):
            async with resumed():
                raise BlockError
        assert not await is_claimed(store, A)
        with anyio.fail_after(10), pytest.raises(ClaimLostError):
            async with resumed():
                await self.advance(backend, 1)
                await anyio.sleep(60)
                pytest.fail("the block went on")
        with anyio.fail_after(10), pytest.raises(ClaimLostError):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(resumed())
                await self.advance(backend, 1)
                await anyio.sleep(60)
                pytest.fail("the block went on")
        async with resumed() as record:
            assert record is not None
        assert await find(store, A) is None

    async def test_r5_a_block_that_outlives_its_store_gets_an_error(self, backend: Backend) -> None:
        store = await self.store_class(backend).open()
        await register(store, "k", A)
        with pytest.raises(SessionStoreError, match="closed"):
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE):
                await anyio.sleep(SHORT_LEASE / 2)
                await store.aclose()
                await anyio.sleep(SHORT_LEASE)

    async def test_k4_a_block_may_be_entered_again(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        block = store.resume_wait(CTX, "u1", A)
        async with block as wait:
            assert wait is not None
        async with block as wait:
            assert wait is None
        await register(store, "k", A)
        async with block as wait:
            assert wait is not None
        assert await find(store, A) is None
