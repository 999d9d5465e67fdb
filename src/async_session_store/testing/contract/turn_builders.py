"""Messages, flows and their memory, for ``turn``."""

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
    """The memory of the flow ``order``."""

    pizza: str | None = None
    toppings: list[str] = []


class Ticket(BaseModel):
    """The memory of another flow."""

    subject: str = ""


@dataclass(frozen=True)
class Message:
    """A message of a class of our own: it has what ``turn`` reads, but is not an ``Inbound``."""

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
    """Register a waiting flow with this text as its memory, as another deployment may have."""
    cursor = SessionCursor(node_pointer="take_pizza")
    stored = SessionData(tenant_ctx=CTX, flow_id=flow, cursor=cursor, context_json=context_json)
    await store.register_wait(CTX, "u1", at, "k", stored, ttl=600)


async def waiting(store: AsyncSessionStore, at: ReplyScope = A) -> SessionRecord:
    """Return the record of the flow that waits at the scope. There must be one."""
    record = await store.get_wait(CTX, "u1", at)
    assert record is not None
    return record


async def toppings(store: AsyncSessionStore, at: ReplyScope = A) -> list[str]:
    """Return the toppings in the memory of the waiting flow."""
    return Order.model_validate_json((await waiting(store, at)).data.context_json).toppings
