"""R3: a claim is ended however often asyncio itself cancels its holder; no shield stops that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from typing_extensions import override

from async_session_store import AsyncSessionStore, DuplicateDeliveryError
from async_session_store.abc import Claimed, Outcome, Queued, Unreadable
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, A, B, find, register
from async_session_store.testing.contract.claim_builders import is_claimed, try_claim
from async_session_store.testing.contract.turn_builders import Message, Order, waiting

pytestmark = pytest.mark.anyio

STEPS = range(30)  # of the loop, more than any of these calls takes


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Suspending(MemoryBackend):
    """A backend that suspends before and after each step of a claim, like one with I/O."""

    @override
    async def claim_wait(
        self, *args: Any, **options: Any
    ) -> Claimed | Queued | Unreadable | Outcome:
        return await suspending(super().claim_wait(*args, **options))

    @override
    async def complete_claim(self, *args: Any, **options: Any) -> Outcome:
        return await suspending(super().complete_claim(*args, **options))

    @override
    async def release_claim(self, *args: Any) -> Outcome:
        return await suspending(super().release_claim(*args))


async def suspending(call: Awaitable[Any]) -> Any:
    try:
        await checkpoint()
    except BaseException:
        call.close()  # type: ignore[attr-defined]  # it is a coroutine, which was never begun
        raise
    result = await call
    await checkpoint()
    return result


@pytest.fixture
async def store() -> AsyncSessionStore:
    return await AsyncSessionStore(Suspending()).open()


async def cancel_twice(steps: int, act: Callable[[], Awaitable[object]]) -> bool:
    """Cancel a call after some steps, and again after the next. Return whether it ended well."""

    async def run() -> None:
        await act()

    task = asyncio.create_task(run())
    for _ in range(steps):
        await asyncio.sleep(0)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await task
    return not task.cancelled()


@pytest.mark.parametrize("steps", STEPS)
async def test_r3_k1_a_claim_is_given_back(store: AsyncSessionStore, steps: int) -> None:
    await register(store, "k", A)

    async def claim_and_give_back() -> None:
        async with store.resume_wait(CTX, "u1", [B, A]) as wait:
            assert wait is not None
            await asyncio.sleep(0)
            wait.keep()

    await cancel_twice(steps, claim_and_give_back)
    assert not await is_claimed(store, A)
    assert await find(store, A) == "k"


@pytest.mark.parametrize("steps", STEPS)
async def test_r3_n1_the_calls_of_a_turn_take_effect_together_with_its_delivery(
    store: AsyncSessionStore, steps: int
) -> None:
    await register(store, "k", A, "{}")

    async def take_turn() -> None:
        async with store.turn(CTX, Message("hi", "1"), flow="order", memory=Order) as turn:
            turn.memory.toppings.append("olives")
            turn.ask("take_size")

    ended_well = await cancel_twice(steps, take_turn)
    assert not await is_claimed(store, A)
    was_taken = (await waiting(store)).data.cursor.node_pointer == "take_size"
    assert was_taken or not ended_well
    if was_taken:
        with pytest.raises(DuplicateDeliveryError):
            await take_turn()
    else:
        await take_turn()
    assert await try_claim(store, A) is not None


async def test_r3_a_storage_that_raises_cancellation_by_itself_hangs_nobody() -> None:
    class Cancelling(MemoryBackend):
        @override
        async def release_claim(self, *args: Any) -> Outcome:
            raise asyncio.CancelledError

    store = await AsyncSessionStore(Cancelling()).open()
    await register(store, "k", A)

    with pytest.raises(asyncio.CancelledError):
        async with store.resume_wait(CTX, "u1", A):
            raise KeyError
