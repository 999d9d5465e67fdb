"""The flow that the chat bots beside this file share: book a table, in three questions.

It knows no platform: a bot hands it what came in, and a function that sends a text back. Talk to it
in a terminal; end it with Ctrl-C between any two lines, start it again, and it goes on:

    SESSION_STORE_URL=sqlite:///booking.db python examples/booking.py

You will see it ask for a name, for a date, and for a yes. /help is answered at any time.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import uuid4

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    StoreTimeoutError,
    StoreUnavailableError,
    TenantCtx,
    UserId,
    WaitClaimedError,
)
from async_session_store.channels import Inbound

CTX = TenantCtx(env="demo", tenant_id="trattoria")  # whose bot; the message says who writes
TIME_TO_ANSWER = timedelta(minutes=30)

HELP = "I book tables. Write anything to begin."
TRY_AGAIN = "I could not take that in. Please write it again in a minute."

NOT_NOW = (WaitClaimedError, ClaimLostError, StoreUnavailableError, StoreTimeoutError)

Send = Callable[[str], Awaitable[object]]


@dataclass
class Booking:
    """What the flow remembers from one message to the next."""

    name: str = ""
    day: str = ""


async def handle(store: AsyncSessionStore, inbound: Inbound, send: Send) -> None:
    """Take a user's turn, once; or ask the user to try again."""
    try:
        await take_turn(store, inbound, send)
    except DuplicateDeliveryError:
        pass  # it was answered the first time
    except NOT_NOW:
        await send(TRY_AGAIN)  # the libraries of most platforms have acknowledged it by now


async def take_turn(store: AsyncSessionStore, inbound: Inbound, send: Send) -> None:
    """Resume the flow that waits for this message, or begin one.

    If the answer cannot be sent, or the process dies, the turn has not happened: the message can
    come again.
    """
    async with store.turn(CTX, inbound, flow="booking", memory=Booking, ttl=TIME_TO_ANSWER) as turn:
        answer, node = step(turn.node, turn.memory, turn.text or "")
        await send(answer)
        if node is None:
            turn.end()
        elif node == turn.node:
            turn.keep()  # the same question, and the time to answer it runs on
        else:
            turn.ask(node)


def step(node: str | None, memory: Booking, text: str) -> tuple[str, str | None]:
    """Return the answer, and the question that it asks, or None if the flow ends."""
    text = text.strip()
    if text in ("/help", "help"):  # Slack keeps what begins with a slash to itself
        return HELP, node
    if node is None:
        return "Which name is the table for?", "take_name"
    return NODES[node](memory, text)


def take_name(memory: Booking, text: str) -> tuple[str, str | None]:
    if not text:
        return "Please write a name.", "take_name"
    memory.name = text
    return f"Hello {text}. For which date? Write it like 2030-12-31.", "take_date"


def take_date(memory: Booking, text: str) -> tuple[str, str | None]:
    try:
        memory.day = date.fromisoformat(text).isoformat()
    except ValueError:
        return "That is no date. Write it like 2030-12-31.", "take_date"
    return f"A table for {memory.name} on {memory.day}: yes or no?", "confirm"


def confirm(memory: Booking, text: str) -> tuple[str, str | None]:
    if text.lower() == "yes":
        return f"Booked for {memory.name} on {memory.day}.", None
    if text.lower() == "no":
        return "Nothing is booked.", None
    return "Please write yes or no.", "confirm"


NODES = {node.__name__: node for node in (take_name, take_date, confirm)}


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
