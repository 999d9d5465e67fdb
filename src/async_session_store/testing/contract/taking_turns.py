"""N6: ``turn``, the block that a bot's author writes."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    FlowMemoryError,
    InvalidInputError,
    ReplyScope,
    TenantMismatchError,
    Turn,
    WaitClaimedError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    clear,
    ctx,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import claim, seen
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.turn_builders import (
    Message,
    Order,
    Ticket,
    order,
    pause,
    toppings,
    waiting,
)


class Fragile:
    """A message whose attributes raise after a number of reads."""

    text = None
    delivery_id = None

    def __init__(self, good_reads: int) -> None:
        self._good_reads = good_reads

    @property
    def user_id(self) -> str:
        self._read()
        return "u1"

    @property
    def scope(self) -> ReplyScope:
        self._read()
        return A

    def scopes(self) -> tuple[ReplyScope, ...]:
        return (self.scope,)

    def _read(self) -> None:
        if self._good_reads == 0:
            raise KeyError
        self._good_reads -= 1


SAID: dict[str, Callable[[Turn[Any, Any]], None]] = {
    "nothing": lambda _: None,
    "keep": lambda turn: turn.keep(),
    "ask": lambda turn: turn.ask("take_size"),
    "end": lambda turn: turn.end(),
}

said: pytest.MarkDecorator = pytest.mark.parametrize("say", SAID.values(), ids=SAID.keys())


class TakingTurns(Hooks):
    """N6: what the block of ``turn`` gets, and what it leaves."""

    async def test_n6_a_flow_of_two_questions(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        assert await order(store, Message("hi", "1")) == "Which pizza?"
        first = await waiting(store)
        assert first.data.flow_id == "order"
        assert first.data.cursor.node_pointer == "take_pizza"
        assert first.data.tenant_ctx == CTX
        assert first.scope == A
        assert first.expires_at is not None
        assert await order(store, Message("funghi", "2")) == "What size?"
        assert (await waiting(store)).key == first.key
        assert await order(store, Message("large", "3")) == "One large funghi."
        assert await listed(store) == []
        await self.advance(backend, 100_000)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_n6_k6_no_message_is_handled_twice(self, store: AsyncSessionStore) -> None:
        for number, text in enumerate(["hi", "funghi", "large"]):
            await order(store, Message(text, str(number)))
            before = await seen(store)
            for repeated in range(number + 1):
                with pytest.raises(DuplicateDeliveryError):
                    await order(store, Message(text, str(repeated)))
            assert await seen(store) == before

    @said
    async def test_n6_what_a_resumed_turn_leaves(
        self, store: AsyncSessionStore, say: Callable[[Turn[Any, Any]], None]
    ) -> None:
        await order(store, Message("hi", "1"))
        before = await waiting(store)
        async with store.turn(SERVICE, Message("funghi", "2"), flow="order", memory=Order) as turn:
            turn.memory.pizza = "lost unless asked"
            say(turn)
        assert not turn.superseded
        after = await store.get_wait(CTX, "u1", A)
        if say is SAID["end"]:
            assert after is None
            assert await listed(store) == []
        elif say is SAID["ask"]:
            assert after is not None
            assert after.data.cursor.node_pointer == "take_size"
            assert "lost unless asked" in after.data.context_json
        else:
            assert after == before
        with pytest.raises(DuplicateDeliveryError):
            await order(store, Message("funghi", "2"))

    @said
    async def test_n6_what_a_turn_that_begins_a_flow_leaves(
        self, store: AsyncSessionStore, say: Callable[[Turn[Any, Any]], None]
    ) -> None:
        async with store.turn(CTX, Message("hi", "1"), flow="order", memory=Order) as turn:
            assert turn.is_new
            assert turn.node is None
            assert turn.record is None
            assert turn.flow == "order"
            say(turn)
        assert not turn.superseded
        assert (await find(store, A) is not None) == (say is SAID["ask"])
        with pytest.raises(DuplicateDeliveryError):
            await order(store, Message("hi", "1"))

    @said
    @pytest.mark.parametrize("begun", [True, False], ids=["begun", "resumed"])
    async def test_n6_a_block_that_raises_changes_nothing(
        self, store: AsyncSessionStore, say: Callable[[Turn[Any, Any]], None], *, begun: bool
    ) -> None:
        if not begun:
            await order(store, Message("hi", "1"))
        before = await seen(store)
        with pytest.raises(KeyError):
            async with store.turn(
                SERVICE, Message("funghi", "2"), flow="order", memory=Order
            ) as turn:
                say(turn)
                raise KeyError
        assert await seen(store) == before
        await order(store, Message("funghi", "2"))

    async def test_n6_the_last_call_of_a_block_counts(self, store: AsyncSessionStore) -> None:
        async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
            turn.end()
            turn.ask("take_pizza", at=B)
            turn.ask("take_size", at=C)
        assert (await waiting(store, C)).data.cursor.node_pointer == "take_size"
        assert await find(store, B) is None

    @pytest.mark.parametrize("late", list(SAID.values())[1:], ids=list(SAID)[1:])
    async def test_n6_a_call_after_the_block_is_refused(
        self, store: AsyncSessionStore, late: Callable[[Turn[Any, Any]], None]
    ) -> None:
        async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
            turn.ask("take_pizza")
        with pytest.raises(InvalidInputError, match="ended"):
            late(turn)

    async def test_n6_a_message_is_read_before_anything_is_claimed(
        self, store: AsyncSessionStore
    ) -> None:
        for good_reads in range(10):
            message = Fragile(good_reads)
            with suppress(KeyError):
                async with store.turn(CTX, message, flow="order", memory=Order):
                    pass
            begun = await store.claim_wait(CTX, "u1", A, begin_at=A)
            assert begun is not None
            await begun.release()

    async def test_n6_where_and_for_how_long_a_question_waits(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        message = Message("hi", scope=A, more=(C,))
        async with store.turn(CTX, message, flow="order", memory=Order, ttl=60) as turn:
            turn.ask("take_pizza")
        assert (await waiting(store)).scope == A
        async with store.turn(CTX, message, flow="order", memory=Order, ttl=60) as turn:
            turn.ask("take_size", at=B, ttl=600)
        assert await find(store, A) is None
        await self.advance(backend, 61)
        assert await find(store, B) is not None
        await self.advance(backend, 600)
        assert await find(store, B) is None

    async def test_n6_a_turn_resumes_whatever_flow_waits(self, store: AsyncSessionStore) -> None:
        await pause(store, '{"subject": "cold pizza"}', flow="support", at=B)
        message = Message("hi", "1", scope=A, more=(B,))
        async with store.turn(SERVICE, message, flow="order", memory=Order) as turn:
            assert not turn.is_new
            assert turn.flow == "support"
            with pytest.raises(FlowMemoryError, match=r"'support'.*'order'.*memory_as"):
                _ = turn.memory
            assert turn.memory_as(Ticket).subject == "cold pizza"
            turn.memory_as(Ticket).subject = "warm"
            with pytest.raises(InvalidInputError, match="Ticket"):
                turn.memory_as(Order)
            turn.ask("more")
        record = await waiting(store, A)
        assert record.data.flow_id == "support"
        assert record.data.context_json == '{"subject":"warm"}'

    async def test_n6_without_a_flow_none_begins(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with store.turn(CTX, Message("hi", "1"), flow=None, memory=Order) as turn:
            assert turn is None
        assert await self.leftovers(backend) == []
        await pause(store, '{"pizza": "funghi"}')
        async with store.turn(CTX, Message("hi", "1"), flow=None, memory=Order) as turn:
            assert turn is not None
            assert turn.memory.pizza == "funghi"
            turn.end()
        assert await listed(store) == []

    @pytest.mark.parametrize("wrong", ["hi", {"text": "secret"}, CTX, None], ids=type)
    async def test_n6_f8_a_value_that_is_not_a_message_is_refused(
        self, backend: Backend, store: AsyncSessionStore, wrong: Any
    ) -> None:
        async with (
            self.refused(backend, InvalidInputError, "inbound: .* has no"),
            store.turn(CTX, wrong, flow="order", memory=Order),
        ):
            pytest.fail("the block ran")

    async def test_n6_f4_a_context_with_another_user_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with (
            self.refused(backend, TenantMismatchError, "F4"),
            store.turn(ctx("u2"), Message("hi", "1"), flow="order", memory=Order),
        ):
            pytest.fail("the block ran")

    async def test_n6_f7_each_user_has_a_flow_of_their_own(self, store: AsyncSessionStore) -> None:
        for user in ("u1", "u2"):
            await order(store, Message("hi", user_id=user))
        await order(store, Message("funghi", user_id="u2"))
        assert (await waiting(store)).data.cursor.node_pointer == "take_pizza"

    @pytest.mark.parametrize(
        ("wrong", "match"),
        [
            ({"node": 7}, "node"),
            ({"node": "a", "at": "b"}, "at: give a ReplyScope"),
            ({"node": "a", "ttl": 0}, "ttl"),
        ],
        ids=["node", "at", "ttl"],
    )
    async def test_n6_a_wrong_question_is_refused_where_it_is_asked(
        self, store: AsyncSessionStore, wrong: dict[str, Any], match: str
    ) -> None:
        async with store.turn(CTX, Message("hi", "1"), flow="order", memory=Order) as turn:
            turn.ask("take_pizza")
            with pytest.raises(InvalidInputError, match=match):
                turn.ask(**wrong)
        assert (await waiting(store)).data.cursor.node_pointer == "take_pizza"

    async def test_n6_n2_a_turn_learns_that_its_wait_was_cleared(
        self, store: AsyncSessionStore
    ) -> None:
        await order(store, Message("hi", "1"))
        async with store.turn(CTX, Message("funghi"), flow="order", memory=Order) as turn:
            turn.ask("take_size")
            await clear(store, A)
        assert turn.superseded
        assert await find(store, A) is None

    async def test_n6_n4_three_quick_messages_are_handled_in_order(
        self, store: AsyncSessionStore
    ) -> None:
        answers: list[str] = []

        async def take(number: int, text: str) -> None:
            async with store.turn(
                SERVICE, Message(text, str(number)), flow="order", memory=Order
            ) as turn:
                await anyio.sleep(0.1)
                turn.memory.toppings.append(text)
                turn.ask("more")
                answers.append(text)

        async with anyio.create_task_group() as tasks:
            for number, text in enumerate(["name", "age", "town"]):
                tasks.start_soon(take, number, text)
                await anyio.sleep(0.03)
        assert answers == ["name", "age", "town"]
        assert await toppings(store) == ["name", "age", "town"]

    async def test_n6_k1_a_turn_waits_no_longer_than_its_wait(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        with pytest.raises(WaitClaimedError):
            async with store.turn(CTX, Message(), flow="order", memory=Order, wait=0.05):
                pytest.fail("the block ran")
        await held.release()
