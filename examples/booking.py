"""The flow that the chat bots beside this file share: book a table, in three questions.

It knows no platform: a bot hands it what came in, and a function that sends a text back. Talk to it
in a terminal; end it with Ctrl-C between any two lines, start it again, and it goes on:

    pip install .
    SESSION_STORE_URL=sqlite:///booking.db python examples/booking.py

You will see it ask for a name, for a date, and for a yes. /help is answered at any time.

If you do not answer, it reminds you once, and then lets go of the table that it holds for you. That
takes 30 minutes each, or as many seconds as SESSION_WAIT_TTL_SECS says: set it to 10 to see it.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import uuid4

import anyio

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    ExpiredWaits,
    SessionKey,
    StoreTimeoutError,
    StoreUnavailableError,
    TenantCtx,
    UserId,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.channels import Inbound, Place, place

TIME_TO_ANSWER = timedelta(seconds=float(os.environ.get("SESSION_WAIT_TTL_SECS") or 1800))
REMIND_WITHIN = timedelta(days=1)  # so the bot may be down that long, and reminds when it is back

HELP = "I book tables. Write anything to begin."
TRY_AGAIN = "I could not take that in. Please write it again in a minute."
LET_GO = "I did not hear from you, so I let the table go. Write anything to begin again."

NOT_NOW = (WaitClaimedError, ClaimLostError, StoreUnavailableError, StoreTimeoutError)

Send = Callable[[str], Awaitable[object]]
SendTo = Callable[[Place, str], Awaitable[object]]

held: set[SessionKey] = set()  # which flows hold a table: stands for the restaurant's own system

logger = logging.getLogger(__name__)


@dataclass
class Booking:
    """What the flow remembers from one message to the next."""

    name: str = ""
    day: str = ""
    is_reminded: bool = False  # of the question that was asked last


def ctx_of(provider: str) -> TenantCtx:
    """Whose bot; the message says who writes.

    Each platform is a team: if several bots share a store, each reminds its own users.
    """
    return TenantCtx(env="demo", tenant_id="trattoria", team_id=provider)


def setting(name: str) -> str:
    """Read what the platform gave you; end the program if you have not set it."""
    if value := os.environ.get(name):
        return value
    sys.exit(f"{name} is not set: the first lines of this example say where to get it")


# --- A user writes ----------------------------------------------------------------------------


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
    async with store.turn(
        ctx_of(inbound.provider), inbound, flow="booking", memory=Booking, ttl=TIME_TO_ANSWER
    ) as turn:
        answer, node = step(turn.node, turn.memory, turn.text or "")
        if turn.record is not None:
            hold_table(turn.record.key, node)
        await send(answer)
        if node is None:
            turn.end()
        elif node == turn.node:
            turn.keep()  # the same question, and the time to answer it runs on
        else:
            turn.memory.is_reminded = False
            turn.ask(node, expired_ttl=REMIND_WITHIN)


def step(node: str | None, memory: Booking, text: str) -> tuple[str, str | None]:
    """Return the answer, and the question that it asks, or None if the flow ends."""
    text = text.strip()
    if text in ("/help", "help"):  # Slack keeps what begins with a slash to itself
        return HELP, node
    if node is None:
        return question("take_name", memory), "take_name"
    return NODES[node](memory, text)


def question(node: str, memory: Booking) -> str:
    return {
        "take_name": "Which name is the table for?",
        "take_date": "For which date? Write it like 2030-12-31.",
        "confirm": f"A table for {memory.name} on {memory.day}: yes or no?",
    }[node]


def take_name(memory: Booking, text: str) -> tuple[str, str | None]:
    if not text:
        return "Please write a name.", "take_name"
    memory.name = text
    return f"Hello {text}. {question('take_date', memory)}", "take_date"


def take_date(memory: Booking, text: str) -> tuple[str, str | None]:
    try:
        memory.day = date.fromisoformat(text).isoformat()
    except ValueError:
        return "That is no date. Write it like 2030-12-31.", "take_date"
    return question("confirm", memory), "confirm"


def confirm(memory: Booking, text: str) -> tuple[str, str | None]:
    if text.lower() == "yes":
        return f"Booked for {memory.name} on {memory.day}.", None
    if text.lower() == "no":
        return "Nothing is booked.", None
    return "Please write yes or no.", "confirm"


NODES = {node.__name__: node for node in (take_name, take_date, confirm)}


def hold_table(flow: SessionKey, node: str | None) -> None:
    """Hold a table while a flow waits for a yes, and no longer.

    A turn that fails is taken again, and this with it. So it names the flow: there is one table to
    hold or to free, however often.
    """
    if node == "confirm":
        held.add(flow)
    else:
        held.discard(flow)


# --- Nobody answers ---------------------------------------------------------------------------


@asynccontextmanager
async def reminders(store: AsyncSessionStore, provider: str, send: SendTo) -> AsyncIterator[None]:
    """Remind in the background. At the end, finish the reminder that is being sent."""
    waits = store.expired_waits(ctx_of(provider))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remind, store, waits, send)
        yield
        waits.stop()


async def remind(store: AsyncSessionStore, waits: ExpiredWaits, send: SendTo) -> None:
    """Take the turns of the users who do not answer, one after the other."""
    async for claim in waits:
        try:
            await take_expired_turn(store, claim, send)
        except Exception:
            logger.exception("a wait that expired will be handed out again")


async def take_expired_turn(store: AsyncSessionStore, claim: WaitClaim, send: SendTo) -> None:
    """Remind the user, or let go; of a user who has begun anew, let go without a word."""
    async with store.expired_turn(claim, memory=Booking, ttl=TIME_TO_ANSWER) as turn:
        if turn.is_overtaken:
            hold_table(turn.record.key, None)
            return
        said, node = nobody_answered(turn.node, turn.memory)
        hold_table(turn.record.key, node)
        await send(place(turn.record.scope), said)
        if node is not None:
            turn.ask(node, expired_ttl=REMIND_WITHIN)


def nobody_answered(node: str, memory: Booking) -> tuple[str, str | None]:
    """Return what to say, and the question that is asked again, or None if the flow ends."""
    if memory.is_reminded:
        return LET_GO, None
    memory.is_reminded = True
    return f"Are you still there? {question(node, memory)}", node


# --- In a terminal ----------------------------------------------------------------------------


async def main() -> None:
    async def show(answer: str) -> None:
        print(answer, flush=True)

    async def show_at(_place: Place, reminder: str) -> None:
        await show(reminder)

    async with AsyncSessionStore.from_env() as store, reminders(store, "terminal", show_at):
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
