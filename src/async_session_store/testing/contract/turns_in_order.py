"""N4: callers get their turns in the order of arrival."""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    ReplyScope,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, B, C, clear, find, register
from async_session_store.testing.contract.claim_builders import claim, try_claim
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.next_waits import ask

ARRIVAL = 0.08
"""Seconds between callers, enough for the storage to give each caller its place."""

WAIT = 30.0

HELD_UP = 0.8
"""Bound on a delay in seconds. A busy machine takes less, a place that nobody renews more."""


async def take_turns_in_order(
    stores: Sequence[AsyncSessionStore], count: int, *, begin: bool = False
) -> list[int]:
    """Let callers arrive one after the other while the first holds the claim.

    Return their numbers in the order in which they got their turns.
    """
    order: list[int] = []

    async def caller(number: int) -> None:
        held = await stores[number % len(stores)].claim_wait(
            CTX, "u1", A, wait=WAIT, begin_at=A if begin else None
        )
        assert held is not None
        order.append(number)
        if number == 0:
            await anyio.sleep(ARRIVAL * count)
        assert await held.complete(ask(context=str(number)))

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(caller, number)
            await anyio.sleep(ARRIVAL)
    return order


class TurnsInOrder(Hooks):
    """N4: the queue at a scope."""

    async def test_n4_first_come_first_served(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        assert await take_turns_in_order([store], 6) == list(range(6))
        await clear(store, A)
        await self.advance(backend, 3)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_n4_n3_first_messages_are_served_in_order_too(
        self, store: AsyncSessionStore
    ) -> None:
        assert await take_turns_in_order([store], 5, begin=True) == list(range(5))

    async def test_n4_a_newcomer_overtakes_nobody(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        order: list[str] = []

        async def waits(name: str) -> None:
            granted = await claim(store, A, wait=WAIT)
            order.append(name)
            await granted.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits, "first")
            await anyio.sleep(ARRIVAL)
            await held.release()
            tasks.start_soon(waits, "second")
        assert order == ["first", "second"]

    @pytest.mark.parametrize("lease", [30, 0.4], ids=["released", "expired"])
    async def test_n4_the_next_in_line_starts_promptly(
        self, store: AsyncSessionStore, lease: float
    ) -> None:
        await register(store, "k", A)
        late: list[float] = []

        async def second(free_at: list[float]) -> None:
            granted = await claim(store, A, wait=WAIT)
            late.append(time.monotonic() - free_at[0])
            await granted.release()

        for _ in range(3):  # a busy machine may delay one of them
            held = await claim(store, A, lease=lease)
            free_at = [time.monotonic() + lease]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(second, free_at)
                await anyio.sleep(0.15)
                if lease > 1:
                    free_at[0] = time.monotonic()
                    await held.release()
        assert min(late) < 0.1

    async def test_n4_a_caller_that_gives_up_holds_nobody_up(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        granted: list[float] = []
        freed = 0.0

        async def gives_up() -> None:
            with pytest.raises(WaitClaimedError):
                await claim(store, A, wait=0.2)

        async def stays() -> None:
            claimed = await claim(store, A, wait=WAIT)
            granted.append(time.monotonic())
            await claimed.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gives_up)
            await anyio.sleep(ARRIVAL)
            tasks.start_soon(stays)
            await anyio.sleep(0.3)
            freed = time.monotonic()
            await held.release()
        assert granted[0] - freed < HELD_UP

    async def test_n4_k6_a_repetition_that_waits_is_refused_when_the_first_is_handled(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A, delivery_id="event")
        outcomes: list[str] = []

        async def repetition() -> None:
            with pytest.raises(DuplicateDeliveryError):
                await claim(store, A, wait=WAIT, delivery_id="event")
            outcomes.append("duplicate")

        async def next_message() -> None:
            granted = await claim(store, A, wait=WAIT, delivery_id="event 2")
            outcomes.append("next")
            await granted.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(repetition)
            await anyio.sleep(ARRIVAL)
            tasks.start_soon(next_message)
            await anyio.sleep(ARRIVAL)
            assert await held.complete(ask())
        assert sorted(outcomes) == ["duplicate", "next"]

    async def test_n4_a_waiting_caller_follows_the_flow_to_its_next_scope(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        granted: list[WaitClaim] = []

        async def waits(*scopes: ReplyScope) -> None:
            granted.append(await claim(store, *scopes, wait=WAIT))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits, A, B)
            await anyio.sleep(ARRIVAL)
            assert await held.complete(ask(B))
        assert granted[0].record is not None
        assert granted[0].record.scope == B
        await granted[0].release()

    async def test_n4_nobody_overtakes_callers_that_follow_a_moving_flow(
        self, store: AsyncSessionStore
    ) -> None:
        """Waiting callers follow the flow one after the other while others arrive."""
        await register(store, "k", A)
        order: list[int] = []

        async def caller(number: int) -> None:
            held = await claim(store, B, A, wait=WAIT)
            order.append(number)
            await anyio.sleep(2 * ARRIVAL)
            assert await held.complete(ask(A if number % 2 else B))

        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(caller, number)
                await anyio.sleep(ARRIVAL)
        assert order == list(range(16))

    async def test_n4_a_caller_whose_wait_was_completed_finds_nothing(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        found: list[WaitClaim | None] = []

        async def waits() -> None:
            found.append(await try_claim(store, A, wait=WAIT))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            await anyio.sleep(ARRIVAL)
            assert await held.complete()
        assert found == [None]


class CancelledTurns(Hooks):
    """N4, R3: callers that are cancelled in the queue, as only async callers can be."""

    async def test_n4_a_caller_that_waits_elsewhere_holds_nobody_up(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(store, "other", B)
        held = await claim(store, A)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: try_claim(store, A, wait=WAIT))
            await anyio.sleep(ARRIVAL)
            await (await claim(store, B, A)).release()
            tasks.cancel_scope.cancel()
        await held.release()

    async def test_n4_a_cancelled_caller_holds_nobody_up(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        granted: list[float] = []
        freed = 0.0

        async def leaves(scope: anyio.CancelScope) -> None:
            with scope:
                await claim(store, A, wait=WAIT)

        async def stays() -> None:
            claimed = await claim(store, A, wait=WAIT)
            granted.append(time.monotonic())
            await claimed.release()

        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(leaves, scope)
            await anyio.sleep(ARRIVAL)
            tasks.start_soon(stays)
            await anyio.sleep(ARRIVAL)
            scope.cancel()
            await anyio.sleep(ARRIVAL)
            freed = time.monotonic()
            await held.release()
        assert granted[0] - freed < HELD_UP

    async def test_n4_f7_nobody_waits_for_another_user(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: try_claim(store, A, wait=WAIT))
            await anyio.sleep(ARRIVAL)
            for scope in (B, C):
                await register(store, f"at {scope.conversation}", scope)
                with anyio.fail_after(5):
                    await (await claim(store, scope)).release()
            tasks.cancel_scope.cancel()
        await held.release()
        assert await find(store, A) == "k"

    async def test_n4_a_lost_place_holds_nobody_up(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        """A caller that died leaves a place that nobody renews."""
        await register(store, "k", A)
        held = await claim(store, A)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: try_claim(store, A, wait=WAIT))
                await anyio.sleep(ARRIVAL)
                scope.cancel()
        await self.advance(backend, 2)
        await held.release()
        await (await claim(store, A)).release()


class SharedTurns(Hooks):
    """N4: the queue of two stores on one storage."""

    async def test_n4_first_come_first_served_by_two_stores(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        assert await take_turns_in_order([store, other], 6) == list(range(6))

    async def test_n4_the_other_store_starts_promptly(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        late: list[float] = []
        for _ in range(5):
            held = await claim(store, A)
            granted_at, freed_at = [0.0], 0.0

            async def second(granted_at: list[float] = granted_at) -> None:
                granted = await claim(other, A, wait=WAIT)
                granted_at[0] = time.monotonic()
                await granted.release()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(second)
                await anyio.sleep(0.1)
                freed_at = time.monotonic()
                await held.release()
            late.append(granted_at[0] - freed_at)
        assert sorted(late)[1] < 0.1
