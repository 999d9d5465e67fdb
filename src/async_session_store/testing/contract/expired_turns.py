"""Q5: the turn of a user who did not answer."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

from typing import Any

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    FlowMemoryError,
    InvalidInputError,
    ReplyScope,
    TenantMismatchError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import claim, record_of
from async_session_store.testing.contract.expiry_builders import (
    begin_order,
    claim_all,
    claim_one,
    expired,
    keep,
)
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.turn_builders import Message, Order, Ticket


class ExpiredTurns(Hooks):
    """Q5: ``expired_turn``."""

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
    async def test_q5_n6_a_block_that_makes_no_call_ends_the_flow(
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

    async def test_q5_n6_a_kept_or_failed_one_is_handed_out_again(
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

    async def test_q5_n2_it_is_superseded_by_a_flow_that_the_user_began(
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

    async def test_q5_k4_a_claim_that_is_about_to_end_is_renewed_first(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await begin_order(store)
        await self.advance(backend, 61)
        held = await claim_one(store, lease=1.5)
        await anyio.sleep(1)
        async with store.expired_turn(held, memory=Order):
            assert held.seconds_left > 1

    async def test_q5_k2_a_claim_that_has_ended_begins_no_turn(
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

    async def test_q5_n6_memory_that_does_not_fit_leaves_the_expired_wait(
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

    async def test_q5_only_a_claim_on_an_expired_wait_begins_an_expired_turn(
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

    async def test_q5_n6_a_call_after_the_block_is_refused(
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
