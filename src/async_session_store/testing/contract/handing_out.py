"""Section 8, Q5: expired waits as they fall due, and the turn of a user who did not answer."""

# ruff: noqa: PT012  # what a block does is part of what is expected of it

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    FlowMemoryError,
    InvalidInputError,
    ReplyScope,
    StoreUnavailableError,
    TenantMismatchError,
    WaitClaim,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claims import claim, record_of
from async_session_store.testing.contract.expired_waits import (
    claim_all,
    claim_one,
    expired,
    keep,
    keys_of,
)
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.taking_turns import Message, Order, Ticket

POLL = 0.05  # seconds
BUSY = 10.0  # seconds that a busy machine may take


async def begin_order(
    store: AsyncSessionStore, *, at: ReplyScope = A, pizza: str = "margherita"
) -> None:
    """Begin a flow whose question nobody answers."""
    message = Message(scope=at)
    async with store.turn(CTX, message, flow="order", memory=Order) as turn:
        turn.memory.pizza = pizza
        turn.ask("size", ttl=60, expired_ttl=600)


class HandingOut(Hooks):
    """Q5: ``expired_waits`` and ``expired_turn``."""

    # --- As they fall due ---------------------------------------------------------------------

    async def test_q5_they_are_handed_out_one_by_one(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(3):
            await keep(store, f"k{number}", ReplyScope(conversation=str(number)), ttl=10 + number)
        await self.advance(backend, 61)
        waits, handed_out = store.expired_waits(poll=POLL), list[str]()
        with anyio.fail_after(BUSY):
            async for one in waits:
                handed_out += keys_of([one])
                await one.complete()
                if len(handed_out) == 3:
                    waits.stop()
        assert handed_out == ["k0", "k1", "k2"]
        assert await claim_all(store) == []

    async def test_q5_it_waits_for_what_falls_due(self, store: AsyncSessionStore) -> None:
        began = time.monotonic()
        await keep(store, "k", A, ttl=0.3)
        with anyio.fail_after(BUSY):
            async for one in store.expired_waits(poll=POLL):
                assert keys_of([one]) == ["k"]
                break
        assert time.monotonic() - began > 0.29

    async def test_q5_no_claim_is_held_that_was_not_handed_out(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A)
        await keep(store, "k2", B, ttl=61)
        await self.advance(backend, 62)
        async for one in store.expired_waits(poll=POLL):
            assert keys_of(await claim_all(store)) == ["k2"]
            await one.complete()
            break

    @pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 13, 21])
    async def test_q5_r3_cancelled_it_holds_no_claim(
        self, backend: Backend, store: AsyncSessionStore, after: int
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        handed_out: list[WaitClaim] = []

        async def worker() -> None:
            async for one in store.expired_waits(poll=POLL):
                handed_out.append(one)  # those that came before it was cancelled
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker)
            for _ in range(after):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        for one in handed_out:
            await one.release()
        assert await expired(store) == ["k"]

    async def test_q5_workers_share_what_falls_due(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(12):
            await keep(store, f"k{number}", ReplyScope(conversation=str(number)))
        await self.advance(backend, 61)
        waits, handed_out = store.expired_waits(poll=POLL), list[str]()

        async def worker() -> None:
            async for one in waits:
                handed_out.extend(keys_of([one]))
                await one.complete()
                if len(handed_out) == 12:
                    waits.stop()

        with anyio.fail_after(BUSY):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(worker)
        assert sorted(handed_out) == sorted(f"k{number}" for number in range(12))

    async def test_q5_stopped_it_ends_at_once(self, store: AsyncSessionStore) -> None:
        waits = store.expired_waits(poll=60)
        handed_out: list[WaitClaim] = []

        async def worker() -> None:
            handed_out.extend([one async for one in waits])

        with anyio.fail_after(BUSY):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker)
                await anyio.sleep(0.1)
                waits.stop()
            await worker()  # and so does every later loop
        assert handed_out == []

    async def test_q5_what_is_given_back_does_not_come_faster_than_once_a_poll(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A)
        await keep(store, "k2", B)
        await self.advance(backend, 61)
        waits, handed_out = store.expired_waits(poll=0.4), list[str]()
        began = time.monotonic()
        with anyio.fail_after(BUSY):
            async for one in waits:
                handed_out += keys_of([one])
                await one.release()
                if len(handed_out) == 6:
                    break
        assert sorted(handed_out[:2]) == ["k1", "k2"]
        assert handed_out.count("k1") == handed_out.count("k2") == 3
        assert time.monotonic() - began > 0.7
        assert sorted(await expired(store)) == ["k1", "k2"]

    async def test_q5_q4_a_ctx_fences_it(self, backend: Backend, store: AsyncSessionStore) -> None:
        await keep(store, "theirs", A, of=ctx("u1", tenant="other"))
        await keep(store, "ours", A)
        await self.advance(backend, 61)
        async for one in store.expired_waits(SERVICE, poll=POLL):
            assert keys_of([one]) == ["ours"]
            await one.complete()
            break
        assert await expired(store) == ["theirs"]
        assert await expired(store, SERVICE) == []

    async def test_q5_r5_it_ends_with_the_store(self, backend: Backend) -> None:
        store = self.store_class(backend)
        with pytest.raises(StoreUnavailableError):
            async for _ in store.expired_waits(poll=POLL):
                pytest.fail("nothing is open")
        async with store:
            waits = store.expired_waits(poll=POLL)
            async with anyio.create_task_group() as tasks:

                async def worker() -> None:
                    with pytest.raises(StoreUnavailableError):
                        async for _ in waits:
                            pytest.fail("nothing is due")

                tasks.start_soon(worker)
                await anyio.sleep(3 * POLL)
                await store.aclose()

    @pytest.mark.parametrize("poll", [0, -1, None, "1", float("nan"), float("inf")])
    async def test_q5_a_poll_that_is_none_is_refused(
        self, store: AsyncSessionStore, poll: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="poll"):
            store.expired_waits(poll=poll)
        with pytest.raises(InvalidInputError, match="lease"):
            store.expired_waits(lease=0)

    # --- The turn of a user who did not answer ------------------------------------------------

    async def test_q5_n6_the_turn_has_the_question_and_the_memory(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        async with store.expired_turn(await claim_one(store), memory=Order) as turn:
            assert (turn.flow, turn.node, turn.is_new, turn.is_expired) == (
                *("order", "size", False),
                True,
            )
            assert (turn.inbound, turn.text) == (None, None)
            assert turn.memory.pizza == "margherita"
            assert turn.record is not None
            assert turn.record.scope == A
        assert turn.superseded is False
        async with store.turn(CTX, Message(), flow="order", memory=Order) as turn_of_reply:
            assert not turn_of_reply.is_expired

    @pytest.mark.parametrize("end", ["says nothing", "end"])
    async def test_q5_n6_it_ends_the_flow_unless_it_says_otherwise(
        self, backend: Backend, store: AsyncSessionStore, end: str
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        async with store.expired_turn(await claim_one(store), memory=Order) as turn:
            turn.memory.pizza = "changed"
            if end == "end":
                turn.end()
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("at", [None, B])
    async def test_q5_n6_it_may_ask_again(
        self, backend: Backend, store: AsyncSessionStore, at: ReplyScope | None
    ) -> None:
        await begin_order(store)
        key = (await listed(store))[0]
        await self.advance(backend, 61)
        async with store.expired_turn(await claim_one(store), memory=Order, ttl=100) as turn:
            turn.memory.toppings.append("reminded")
            turn.ask("reminded", at=at, expired_ttl=600)
        assert await find(store, at or A) == key
        message = Message(scope=at or A)
        async with store.turn(CTX, message, flow=None, memory=Order) as answered:
            assert answered is not None
            assert answered.node == "reminded"
            assert answered.memory == Order(pizza="margherita", toppings=["reminded"])
        await self.advance(backend, 101)
        async with store.expired_turn(await claim_one(store), memory=Order) as turn:
            assert turn.node == "reminded"

    async def test_q5_n6_kept_or_failed_it_is_handed_out_again(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        async with store.expired_turn(await claim_one(store), memory=Order) as turn:
            turn.memory.pizza = "changed"
            turn.keep()
        with pytest.raises(ZeroDivisionError):
            async with store.expired_turn(await claim_one(store), memory=Order) as turn:
                assert turn.memory.pizza == "margherita"
                turn.ask("again")
                raise ZeroDivisionError
        assert len(await expired(store)) == 1
        assert await find(store, A) is None

    async def test_q5_n2_it_is_superseded_by_what_the_user_began_since(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        await register(store, "hello", A)
        async with store.expired_turn(await claim_one(store), memory=Order) as turn:
            assert turn.is_overtaken is True
            turn.ask("again", ttl=60)
        assert turn.superseded is True
        assert await find(store, A) == "hello"
        assert await claim_all(store) == []

    async def test_q5_k4_its_claim_is_renewed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        async with store.expired_turn(await claim_one(store, lease=0.6), memory=Order) as turn:
            await anyio.sleep(1.5)
            assert await claim_all(store) == []
            assert not turn.lost

    async def test_q5_k4_a_claim_that_is_nearly_over_is_renewed_first(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        held = await claim_one(store, lease=1.5)
        await anyio.sleep(1)
        async with store.expired_turn(held, memory=Order):
            assert held.seconds_left > 1

    async def test_q5_k2_a_claim_that_is_over_begins_no_turn(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        held = await claim_one(store)
        await held.release()
        again = await claim_one(store)
        with pytest.raises(ClaimLostError):
            async with store.expired_turn(held, memory=Order) as turn:
                turn.ask("late")
        await again.complete()
        assert await listed(store) == []

    async def test_q5_n6_memory_that_does_not_fit_leaves_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, '{"pizza": 7}')
        await self.advance(backend, 61)
        with pytest.raises(FlowMemoryError):
            async with store.expired_turn(await claim_one(store), memory=Order) as turn:
                turn.memory.toppings.clear()
        async with store.expired_turn(await claim_one(store), memory=Ticket) as turn:
            assert turn.memory_as(Ticket) == Ticket()

    async def test_q5_f2_it_belongs_to_the_user_who_did_not_answer(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, of=ctx("u2", team="t"))
        await self.advance(backend, 61)
        held = await claim_one(store)
        async with store.expired_turn(held, memory=Order) as turn:
            turn.ask("again", ttl=60)
        record = await store.get_wait(ctx("u2", team="t"), "u2", A)
        assert record is not None
        assert (record.key, record.data.tenant_ctx) == ("k", ctx("u2", team="t"))
        with pytest.raises(TenantMismatchError):
            await store.register_wait(CTX, "u1", A, "k", data())

    async def test_q5_only_a_claim_on_an_expired_wait_has_such_a_turn(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        assert not held.is_expired
        no_claims: list[Any] = [held, held.record, None]
        for no_claim in no_claims:
            with pytest.raises((InvalidInputError, AttributeError)):
                async with store.expired_turn(no_claim, memory=Order):
                    pytest.fail("there is no such turn")
        await held.release()

    async def test_q5_n6_too_late_is_too_late(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        held = await claim_one(store)
        async with store.expired_turn(held, memory=Order) as turn:
            assert record_of(held).key
        for late in (turn.end, turn.keep, lambda: turn.ask("late")):
            with pytest.raises(InvalidInputError):
                late()
