"""K4, R3: blocks that are cancelled, by a lost lease or from outside."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

import sys
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    WaitClaim,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    BlockError,
    context_of,
    find,
    register,
)
from async_session_store.testing.contract.claim_builders import claim, is_claimed
from async_session_store.testing.contract.hooks import Hooks

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

SHORT_LEASE = 0.3


class CancelledBlocks(Hooks):
    """K4, R3: ``resume_wait`` and cancellation, which only async callers know."""

    async def test_k4_a_lost_lease_cancels_the_block(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        others: list[WaitClaim] = []
        with anyio.fail_after(10), pytest.raises(ClaimLostError):
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE, delivery_id="event"):
                await self.advance(backend, 1)
                others.append(await claim(store, A))
                await anyio.sleep(60)
                pytest.fail("the block went on")
        assert await context_of(store, "k") == "state"
        assert await is_claimed(store, A)
        assert await others[0].complete()

    async def test_k4_a_lost_lease_ends_a_block_that_catches_cancellation(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        caught: list[BaseException] = []
        with anyio.fail_after(10), pytest.raises(ClaimLostError):
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE):
                await self.advance(backend, 1)
                try:
                    await anyio.sleep(60)
                except anyio.get_cancelled_exc_class() as error:
                    caught.append(error)
        assert len(caught) == 1
        assert await find(store, A) == "k"
        assert not await is_claimed(store, A)

    async def test_k4_an_error_raised_by_a_cancelled_block_comes_out(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        with anyio.fail_after(10), pytest.raises(BlockError):
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE):
                await self.advance(backend, 1)
                try:
                    await anyio.sleep(60)
                finally:
                    raise BlockError
        assert await find(store, A) == "k"

    async def test_k4_a_lost_lease_cancels_the_tasks_of_the_block(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)

        async def fail_when_cancelled() -> None:
            try:
                await anyio.sleep(60)
            finally:
                raise BlockError

        with anyio.fail_after(10), pytest.raises(ClaimLostError):
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE):
                await self.advance(backend, 1)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.sleep, 60)
                    await anyio.sleep(60)
        with anyio.fail_after(10), pytest.raises(ExceptionGroup) as caught:
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE):
                await self.advance(backend, 1)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fail_when_cancelled)
                    tasks.start_soon(anyio.sleep, 60)
                    await anyio.sleep(60)
        assert caught.group_contains(BlockError)
        assert await find(store, A) == "k"

    async def test_k4_a_block_that_is_cancelled_releases_the_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        before = sorted(await self.leftovers(backend)), await store.get_record("k")
        with anyio.move_on_after(0.05) as scope:
            async with store.resume_wait(CTX, "u1", A, delivery_id="event"):
                await anyio.sleep(60)
        assert scope.cancelled_caught
        assert (sorted(await self.leftovers(backend)), await store.get_record("k")) == before
        assert await (await claim(store, A, delivery_id="event")).complete()

    async def test_k4_a_block_in_a_task_group_that_fails_releases_the_wait(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        entered = anyio.Event()

        async def resume() -> None:
            async with store.resume_wait(CTX, "u1", A):
                entered.set()
                await anyio.sleep(60)

        async def fail() -> None:
            await entered.wait()
            raise BlockError

        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(resume)
                tasks.start_soon(fail)
        assert [type(error) for error in caught.value.exceptions] == [BlockError]
        assert await find(store, A) == "k"
        assert not await is_claimed(store, A)

    @pytest.mark.parametrize("turns", range(25))
    async def test_k4_r3_a_block_may_be_cancelled_after_any_number_of_loop_turns(
        self, backend: Backend, store: AsyncSessionStore, turns: int
    ) -> None:
        await register(store, "k", A)
        ran = 0

        async def resume() -> None:
            nonlocal ran
            async with store.resume_wait(CTX, "u1", A, wait=30):
                ran += 1
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(resume)
            for _ in range(turns):
                await checkpoint()
            tasks.cancel_scope.cancel()
        if await find(store, A) is None:
            assert ran == 1
        else:
            assert await (await claim(store, A)).complete()
        assert await self.leftovers(backend) == []

    async def test_k4_a_cancellation_that_the_block_catches_still_counts(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        with anyio.move_on_after(0.05) as scope:
            async with store.resume_wait(CTX, "u1", A):
                with suppress(anyio.get_cancelled_exc_class()):
                    await anyio.sleep(60)
            await checkpoint()
            pytest.fail("the block went on")
        assert scope.cancelled_caught
        assert await find(store, A) is None or not await is_claimed(store, A)
