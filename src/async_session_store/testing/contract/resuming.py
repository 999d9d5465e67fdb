"""K4: a claim for the length of a block."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    WaitClaimedError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    BlockError,
    C,
    clear,
    context_of,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import claim, is_claimed, try_claim
from async_session_store.testing.contract.hooks import Hooks

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

SHORT_LEASE = 0.6


class _BlockEnd(BaseException):
    """An error that is not an ``Exception``."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "an exception": lambda: BlockError("text"),
    "a group": lambda: ExceptionGroup("group", [BlockError(), ValueError()]),
    "a group of a group": lambda: BaseExceptionGroup("", [ExceptionGroup("", [ValueError()])]),
    "no exception": lambda: _BlockEnd("text"),
    "an interrupt": KeyboardInterrupt,
    "an exit": lambda: SystemExit(3),
    "stop iteration": lambda: StopIteration(7),
    "stop async iteration": lambda: StopAsyncIteration(7),
    "a runtime error": lambda: RuntimeError("generator raised StopIteration"),
    "an error of the store": lambda: WaitClaimedError("text"),
    "a lost claim": lambda: ClaimLostError("text"),
    "a time-out": lambda: TimeoutError("text"),
}


class Resuming(Hooks):
    """K4: ``resume_wait``."""

    async def test_k4_a_block_gets_the_record_and_completes_the_claim(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        expected = await store.get_record("k")
        async with store.resume_wait(CTX, "u1", A) as record:
            assert record == expected
            assert await is_claimed(store, A)
            assert await context_of(store, "k") == "state"
        assert await store.get_session("k") is None
        assert await self.leftovers(backend) == []

    async def test_k4_a_block_gets_none_where_no_wait_is_live(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with store.resume_wait(CTX, "u1", [A, B]) as record:
            assert record is None
            await register(store, "k", A)
            assert not await is_claimed(store, A)
        assert await find(store, A) == "k"
        with pytest.raises(BlockError):
            async with store.resume_wait(CTX, "u1", B, delivery_id="event") as record:
                assert record is None
                raise BlockError
        await clear(store, A)
        assert await self.leftovers(backend) == []

    async def test_k4_w4_the_first_scope_with_a_live_wait_is_resumed(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", B)
        await register(store, "k2", C)
        async with store.resume_wait(CTX, "u1", [A, B, C]) as record:
            assert record is not None
            assert record.key == "k1"
        assert await listed(store) == ["k2"]

    async def test_k4_it_is_refused_or_waits_like_a_claim(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        with pytest.raises(WaitClaimedError):
            async with store.resume_wait(CTX, "u1", A):
                pytest.fail("the block ran")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held.release)
            async with store.resume_wait(CTX, "u1", A, wait=30) as record:
                assert record is not None
        assert await listed(store) == []

    @pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS.keys())
    async def test_k4_a_blocks_error_comes_out_as_it_is_and_the_wait_is_released(
        self, backend: Backend, store: AsyncSessionStore, make: Callable[[], BaseException]
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        before = sorted(await self.leftovers(backend)), await store.get_record("k")
        error, cause = make(), KeyError("cause")
        caught: BaseException | None = None
        try:
            async with store.resume_wait(CTX, "u1", A, delivery_id="event"):
                raise error from cause  # noqa: TRY301
        except BaseException as raised:  # noqa: BLE001  # the test is about exactly these
            caught = raised
        assert caught is error
        assert caught.__cause__ is cause
        assert (sorted(await self.leftovers(backend)), await store.get_record("k")) == before
        assert await (await claim(store, A, delivery_id="event")).complete()

    async def test_k4_the_blocks_error_comes_before_a_lost_claim(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        with pytest.raises(BlockError):
            async with store.resume_wait(CTX, "u1", A):
                await self.advance(backend, 31)
                raise BlockError
        assert await find(store, A) == "k"

    async def test_k4_blocks_may_be_nested(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        await register(store, "k2", B)
        async with store.resume_wait(CTX, "u1", A), store.resume_wait(CTX, "u1", B) as inner:
            assert inner is not None
            assert inner.key == "k2"
            with pytest.raises(WaitClaimedError):
                async with store.resume_wait(CTX, "u1", [C, A, B]):
                    pytest.fail("the block ran")
            assert await is_claimed(store, A)
            assert await is_claimed(store, B)
        assert await self.leftovers(backend) == []

    async def test_k4_an_inner_block_that_raises_leaves_the_outer_one_alone(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        await register(store, "k2", B)
        async with store.resume_wait(CTX, "u1", A):
            with pytest.raises(BlockError):
                async with store.resume_wait(CTX, "u1", B):
                    raise BlockError
            assert await is_claimed(store, A)
            assert not await is_claimed(store, B)
        assert await listed(store) == ["k2"]

    async def test_k4_many_blocks_may_run_at_once(self, store: AsyncSessionStore) -> None:
        resumed: list[str] = []

        async def resume(number: int) -> None:
            scope = A.model_copy(update={"thread": str(number % 10)})
            with suppress(WaitClaimedError):
                async with store.resume_wait(CTX, "u1", scope) as record:
                    if record is not None:
                        await checkpoint()
                        resumed.append(record.key)

        for number in range(10):
            await register(store, f"k{number}", A.model_copy(update={"thread": str(number)}))
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(resume, number)
        assert sorted(resumed) == [f"k{number}" for number in range(10)]
        assert await listed(store) == []

    async def test_k4_the_claim_is_renewed_while_the_block_runs(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE):
            with pytest.raises(WaitClaimedError):
                await try_claim(store, A, wait=1.5 * SHORT_LEASE)
        assert await listed(store) == []

    async def test_k4_it_is_not_renewed_after_the_block(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        with pytest.raises(BlockError):
            async with store.resume_wait(CTX, "u1", A, lease=SHORT_LEASE):
                raise BlockError
        held = await claim(store, A, lease=SHORT_LEASE)
        await anyio.sleep(1.2 * SHORT_LEASE)
        with pytest.raises(ClaimLostError):
            await held.complete()

    async def test_k4_a_block_that_ends_before_its_loss_is_noticed_raises(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        with pytest.raises(ClaimLostError):
            async with store.resume_wait(CTX, "u1", A, delivery_id="event"):
                await self.advance(backend, 31)
        assert await find(store, A) == "k"
        assert await (await claim(store, A, delivery_id="event")).complete()

    async def test_k4_the_next_question_stays(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "first", ttl=60)
        for number in range(3):
            async with store.resume_wait(CTX, "u1", A, delivery_id=str(number)) as record:
                assert record is not None
                await register(store, record.key, A, f"question {number}", ttl=60)
            assert await find(store, A) == "k"
            assert await context_of(store, "k") == f"question {number}"
            with pytest.raises(DuplicateDeliveryError):
                async with store.resume_wait(CTX, "u1", A, delivery_id=str(number)):
                    pytest.fail("the block ran")
        async with store.resume_wait(CTX, "u1", A):
            await register(store, "another", A, "state")
        assert await listed(store) == ["another"]
        async with store.resume_wait(CTX, "u1", A):
            await register(store, "another", B, "state")
        assert await find(store, B) == "another"

    async def test_k4_a_wait_that_the_block_updates_is_completed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        async with store.resume_wait(CTX, "u1", A) as record:
            assert record is not None
            await store.update_session(record.key, data("new"), if_match=record.etag)
            await store.touch_session(record.key, 60)
        assert await self.leftovers(backend) == []

    async def test_k4_a_block_may_remove_or_clear_its_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        async with store.resume_wait(CTX, "u1", A) as record:
            assert record is not None
            await store.remove_session(record.key)
        await register(store, "k", A)
        async with store.resume_wait(CTX, "u1", A):
            assert await clear(store, A, "k")
        assert await self.leftovers(backend) == []

    async def test_k4_k6_a_delivery_is_handled_once(self, store: AsyncSessionStore) -> None:
        handled: list[str] = []
        refused: list[str] = []
        await register(store, "k", A)

        async def deliver(delivery_id: str) -> None:
            try:
                async with store.resume_wait(
                    CTX, "u1", A, wait=30, delivery_id=delivery_id, dedupe_ttl=600
                ) as record:
                    assert record is not None
                    handled.append(delivery_id)
                    await register(store, "k", A, f"after {delivery_id}")
            except DuplicateDeliveryError:
                refused.append(delivery_id)

        async with anyio.create_task_group() as tasks:
            for delivery_id in "abcabcabc":
                tasks.start_soon(deliver, delivery_id)
        assert sorted(handled) == ["a", "b", "c"]
        assert sorted(refused) == sorted("abcabc")
        assert await find(store, A) == "k"
