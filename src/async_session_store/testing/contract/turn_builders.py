"""Flows, messages and memory for ``turn``."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionRecord,
    UserId,
)
from async_session_store.testing.contract.builders import CTX, SERVICE, A


class Order(BaseModel):
    """What the flow of these tests remembers."""

    pizza: str | None = None
    toppings: list[str] = []


class Ticket(BaseModel):
    """What another flow remembers."""

    subject: str = ""


@dataclass(frozen=True)
class Message:
    """A message that is no ``Inbound``."""

    text: str | None = None
    delivery_id: str | None = None
    scope: ReplyScope = A
    user_id: UserId | str = "u1"
    more: tuple[ReplyScope, ...] = ()

    def scopes(self) -> tuple[ReplyScope, ...]:
        return (*self.more, self.scope)


async def order(store: AsyncSessionStore, message: Message) -> str:
    """Take one turn of a flow with two questions."""
    async with store.turn(SERVICE, message, flow="order", memory=Order, ttl=1800) as turn:
        if turn.is_new:
            turn.ask("take_pizza")
            return "Which pizza?"
        if turn.node == "take_pizza":
            turn.memory.pizza = turn.text
            turn.ask("take_size")
            return "What size?"
        turn.end()
        return f"One {turn.text} {turn.memory.pizza}."


async def pause(
    store: AsyncSessionStore, context_json: str, *, flow: str = "order", at: ReplyScope = A
) -> None:
    """Leave a flow that waits, as some deployment wrote it."""
    cursor = SessionCursor(node_pointer="take_pizza")
    stored = SessionData(tenant_ctx=CTX, flow_id=flow, cursor=cursor, context_json=context_json)
    await store.register_wait(CTX, "u1", at, "k", stored, ttl=600)


async def waiting(store: AsyncSessionStore, at: ReplyScope = A) -> SessionRecord:
    record = await store.get_wait(CTX, "u1", at)
    assert record is not None
    return record


async def toppings(store: AsyncSessionStore, at: ReplyScope = A) -> list[str]:
    """Give what the flow that waits remembers."""
    return Order.model_validate_json((await waiting(store, at)).data.context_json).toppings
