"""N6: the memory of a flow, which a turn reads and saves."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from async_session_store import AsyncSessionStore, FlowMemoryError, InvalidInputError, SessionData
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, clear
from async_session_store.testing.contract.claim_builders import claim, seen
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.turn_builders import (
    Message,
    Order,
    order,
    pause,
    waiting,
)


class Needy(BaseModel):
    """A memory type that has no default, so no flow can begin with it."""

    pizza: str


@dataclass
class Plain:
    """The memory of ``order`` as a dataclass."""

    pizza: str | None = None
    toppings: list[str] = field(default_factory=list[str])


class Loose(TypedDict, total=False):
    """The memory of ``order`` as a dict."""

    pizza: str | None
    toppings: list[str]


UNFIT: dict[str, tuple[str, str | None]] = {
    "a field of another type": ('{"pizza": ["secret"]}', "pizza"),
    "another field of another type": ('{"toppings": "secret"}', "toppings"),
    "a list": ('["secret"]', None),
    "no JSON": ("secret", None),
    "an item": ('{"toppings": [{"secret": "secret"}]}', "toppings"),
}


class FlowMemory(Hooks):
    """N6: ``turn.memory``."""

    async def test_n6_memory_is_saved_as_it_is_when_the_block_ends(
        self, store: AsyncSessionStore
    ) -> None:
        async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
            turn.ask("take_pizza")
            turn.memory.toppings.append("olives")
        async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
            assert turn.memory.toppings == ["olives"]

    async def test_n6_memory_that_is_not_touched_stays_as_it_was(
        self, store: AsyncSessionStore
    ) -> None:
        text = '{"pizza":"funghi", "a field of tomorrow": [1]}'
        await pause(store, text)
        async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
            turn.ask("take_size")
        assert (await waiting(store)).data.context_json == text

    async def test_n6_memory_may_be_replaced_even_if_it_does_not_fit(
        self, store: AsyncSessionStore
    ) -> None:
        await pause(store, '{"toppings": "written by another deployment"}')
        async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
            turn.memory = Order(pizza="funghi")
            turn.memory.toppings.append("olives")
            turn.ask("take_size")
        async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
            assert turn.memory == Order(pizza="funghi", toppings=["olives"])
        await clear(store, A)
        await pause(store, "{}", flow="support")
        with pytest.raises(FlowMemoryError, match="'support'"):
            async with store.turn(CTX, Message("hi"), flow="order", memory=Order) as turn:
                turn.memory = Order()

    @pytest.mark.parametrize("kind", [Order, Plain, Loose, dict[str, Any]], ids=str)
    async def test_n6_memory_may_be_a_model_a_dataclass_or_a_dict(
        self, store: AsyncSessionStore, kind: type[Any]
    ) -> None:
        async with store.turn(CTX, Message("hi"), flow="order", memory=kind) as turn:
            memory = turn.memory
            if isinstance(memory, dict):
                memory.update(pizza="funghi", toppings=["olives"])
            else:
                memory.pizza, memory.toppings = "funghi", ["olives"]
            turn.ask("take_size")
        async with store.turn(CTX, Message("large"), flow="order", memory=Order) as resumed:
            assert resumed.memory == Order(pizza="funghi", toppings=["olives"])

    @pytest.mark.parametrize("kind", [Needy, int.__add__, None, "Order"], ids=str)
    async def test_n6_a_type_that_cannot_begin_is_refused_at_once(
        self, backend: Backend, store: AsyncSessionStore, kind: Any
    ) -> None:
        async with (
            self.refused(backend, InvalidInputError, "memory"),
            store.turn(CTX, Message("hi", "1"), flow="order", memory=kind),
        ):
            pytest.fail("the block ran")

    @pytest.mark.parametrize(("text", "field"), UNFIT.values(), ids=UNFIT.keys())
    async def test_n6_f8_an_error_of_memory_names_only_the_flow_and_the_field(
        self, store: AsyncSessionStore, text: str, field: str | None
    ) -> None:
        await pause(store, text)
        before = await seen(store)
        with pytest.raises(FlowMemoryError) as caught:
            async with store.turn(CTX, Message("hi", "1"), flow="order", memory=Order) as turn:
                turn.ask("take_size")
                _ = turn.memory
        error = caught.value
        assert (error.flow, error.field) == ("order", field)
        assert "'order'" in str(error)
        assert "secret" not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
        assert await seen(store) == before
        await (await claim(store, A, delivery_id="1")).release()

    async def test_n6_f8_memory_that_cannot_be_saved_changes_nothing(
        self, store: AsyncSessionStore
    ) -> None:
        await pause(store, '{"pizza": "funghi"}')
        before = await seen(store)
        for wrong in ({"pizza": ["secret"]}, {"toppings": [object()]}, {"toppings": 7}):
            with pytest.raises(FlowMemoryError) as caught:
                async with store.turn(CTX, Message("hi", "1"), flow="order", memory=Order) as turn:
                    vars(turn.memory).update(wrong)
                    turn.ask("take_size")
            assert caught.value.flow == "order"
            assert "secret" not in f"{caught.value!r} {caught.value.__context__!r}"
            assert await seen(store) == before
        await (await claim(store, A, delivery_id="1")).release()

    async def test_n6_m3_fields_that_a_peer_wrote_stay(self, store: AsyncSessionStore) -> None:
        stored = SessionData.model_validate_json(
            '{"tenant_ctx": {"env": "prod", "tenant": "acme", "user": "u1", "attributes":'
            ' {"lang": "en"}}, "flow_id": "order", "pack_id": "pack", "cursor":'
            ' {"node_pointer": "take_pizza"}, "context_json": "{}", "tomorrow": 1}'
        )
        await store.register_wait(CTX, "u1", A, "k", stored)
        await order(store, Message("funghi", "1"))
        after = (await waiting(store)).data
        assert after.pack_id == "pack"
        assert after.tenant_ctx == stored.tenant_ctx
        assert after.model_extra == {"tomorrow": 1}
        assert after.cursor.node_pointer == "take_size"
