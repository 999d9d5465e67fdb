"""The flow that the chat bots beside this file share: book a table, in three questions.

It knows no platform: a bot hands it what came in, and a function that sends a text back. Talk to it
in a terminal; end it with Ctrl-C between any two lines, start it again, and it goes on:

    SESSION_STORE_URL=sqlite:///booking.db python examples/booking.py

You will see it ask for a name, for a date, and for a yes. /help is answered at any time.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from uuid import uuid4

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    SessionCursor,
    SessionData,
    SessionRecord,
    StoreTimeoutError,
    StoreUnavailableError,
    TenantCtx,
    UserId,
    WaitClaimedError,
)
from async_session_store.channels import Inbound

TIME_TO_ANSWER = timedelta(minutes=30)
TIME_TO_TAKE_TURNS = timedelta(seconds=10)

HELP = "I book tables. Write anything to begin."
TRY_AGAIN = "I could not take that in. Please write it again in a minute."

NOT_NOW = (WaitClaimedError, ClaimLostError, StoreUnavailableError, StoreTimeoutError)

Send = Callable[[str], Awaitable[object]]
Memory = dict[str, str]


async def handle(store: AsyncSessionStore, inbound: Inbound, send: Send) -> None:
    """Take a user's turn: send the answer, and wait for the next one where this one came from."""
    try:
        await take_turn(store, inbound, send)
    except DuplicateDeliveryError:
        pass  # it was answered when it came first
    except NOT_NOW:
        await send(TRY_AGAIN)  # the libraries of most platforms have acknowledged it by now


async def take_turn(store: AsyncSessionStore, inbound: Inbound, send: Send) -> None:
    """Resume the flow that this turn answers; if there is none, let one begin."""
    ctx = TenantCtx(env="demo", tenant_id="trattoria", user_id=inbound.user_id)
    while True:
        async with store.resume_wait(
            ctx,
            inbound.user_id,
            inbound.scopes(),
            wait=TIME_TO_TAKE_TURNS,
            delivery_id=inbound.delivery_id,
        ) as wait:
            if wait is not None:
                await go_on(store, inbound, wait, send)
                return
        # A flow begins with a wait, so that of two first messages at once only one begins it.
        start = paused_at(ctx, "ask_name", {})
        await store.register_wait_if_absent(
            ctx, inbound.user_id, inbound.scope, uuid4().hex, start, TIME_TO_ANSWER
        )


async def go_on(
    store: AsyncSessionStore, inbound: Inbound, wait: SessionRecord, send: Send
) -> None:
    """Answer, and only then move on: if the answer cannot be sent, the same turn may come again."""
    ctx, memory = wait.data.tenant_ctx, json.loads(wait.data.context_json)
    answer, node = step(wait.data.cursor.node_pointer, memory, inbound.text or "")
    await send(answer)
    if node is not None:
        paused = paused_at(ctx, node, memory)
        await store.register_wait(
            ctx, inbound.user_id, inbound.scope, wait.key, paused, TIME_TO_ANSWER
        )


def paused_at(ctx: TenantCtx, node: str, memory: Memory) -> SessionData:
    cursor = SessionCursor(node_pointer=node)
    return SessionData(
        tenant_ctx=ctx, flow_id="booking", cursor=cursor, context_json=json.dumps(memory)
    )


def step(node: str, memory: Memory, text: str) -> tuple[str, str | None]:
    """What to answer, and the node that waits for the next turn: None where the flow ends."""
    text = text.strip()
    if text in ("/help", "help"):  # Slack keeps what begins with a slash to itself
        return HELP, node
    return NODES[node](memory, text)


def ask_name(_memory: Memory, _text: str) -> tuple[str, str | None]:
    return "Which name is the table for?", "take_name"


def take_name(memory: Memory, text: str) -> tuple[str, str | None]:
    if not text:
        return "Please write a name.", "take_name"
    memory["name"] = text
    return f"Hello {text}. For which date? Write it like 2030-12-31.", "take_date"


def take_date(memory: Memory, text: str) -> tuple[str, str | None]:
    try:
        memory["date"] = date.fromisoformat(text).isoformat()
    except ValueError:
        return "That is no date. Write it like 2030-12-31.", "take_date"
    return f"A table for {memory['name']} on {memory['date']}: yes or no?", "confirm"


def confirm(memory: Memory, text: str) -> tuple[str, str | None]:
    if text.lower() == "yes":
        return f"Booked for {memory['name']} on {memory['date']}.", None
    if text.lower() == "no":
        return "Nothing is booked.", None
    return "Please write yes or no.", "confirm"


NODES = {node.__name__: node for node in (ask_name, take_name, take_date, confirm)}


async def main() -> None:
    async def show(answer: str) -> None:
        print(answer, flush=True)

    async with AsyncSessionStore.from_env() as store:
        while line := await asyncio.to_thread(sys.stdin.readline):
            inbound = Inbound(
                provider="terminal",
                bot_id="booking",
                conversation="terminal",
                user_id=UserId("me"),
                delivery_id=uuid4().hex,
                text=line,
            )
            await handle(store, inbound, show)


if __name__ == "__main__":
    asyncio.run(main())
