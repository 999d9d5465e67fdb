"""Book a table in three questions: the flow that the chat bots in this folder share.

The flow does not depend on any platform. A bot passes it each message, with a function that sends a
text back. You can also talk to it in a terminal:

    pip install .
    SESSION_STORE_URL=sqlite:///booking.db python examples/booking.py

Write anything to start. The bot asks for a name, a date, and a final yes or no. Stop it with Ctrl-C
between any two lines and start it again: it continues where it left off. It answers /help at any
time.

If you do not answer within 30 minutes, it reminds you once. If you do not answer for another 30
minutes, it releases the table that it holds for you. To see each of these after 10 seconds, set
SESSION_WAIT_TTL_SECS=10.
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
REMIND_WITHIN = timedelta(days=1)  # a bot that was down at the deadline still reminds within a day

HELP = "I can book a table for you. Write anything to start."
TRY_AGAIN = "Sorry, that didn't work. Please send it again in a minute."
RELEASED = "I haven't heard from you, so I've released your table. Write anything to start again."

NOT_NOW = (WaitClaimedError, ClaimLostError, StoreUnavailableError, StoreTimeoutError)

Send = Callable[[str], Awaitable[object]]
SendTo = Callable[[Place, str], Awaitable[object]]

# The flows that hold a table. A real bot would use the restaurant's own system.
held: set[SessionKey] = set()

logger = logging.getLogger(__name__)


@dataclass
class Booking:
    """What the flow remembers from one message to the next."""

    name: str = ""
    day: str = ""
    is_reminded: bool = False  # whether the user was reminded of the current question


def ctx_of(provider: str) -> TenantCtx:
    """Return the context of a platform's bot. It has no user, because each message names its own.

    Each platform gets a team, so that a bot reminds only its own users if several share a store.
    """
    return TenantCtx(env="demo", tenant_id="trattoria", team_id=provider)


def setting(name: str) -> str:
    """Return a credential from the environment. Exit with a message if it is not set."""
    if value := os.environ.get(name):
        return value
    sys.exit(f"{name} is not set: the first lines of this example say where to get it")


# --- A user writes ----------------------------------------------------------------------------


async def handle(store: AsyncSessionStore, inbound: Inbound, send: Send) -> None:
    """Handle a user's message once, or ask the user to try again."""
    try:
        await take_turn(store, inbound, send)
    except DuplicateDeliveryError:
        pass  # it has already been answered
    except NOT_NOW:
        # Most platform libraries have acknowledged the message by now, so it will not come again.
        await send(TRY_AGAIN)


async def take_turn(store: AsyncSessionStore, inbound: Inbound, send: Send) -> None:
    """Resume the flow that waits for this message, or start one.

    If the answer cannot be sent, or the process dies, nothing is stored, and the message can be
    delivered again.
    """
    async with store.turn(
        ctx_of(inbound.provider), inbound, flow="booking", memory=Booking, ttl=TIME_TO_ANSWER
    ) as turn:
        answer, node = step(turn.node, turn.memory, turn.text or "")
        if turn.record is not None:  # a flow that is just starting holds no table yet
            hold_table(turn.record.key, node)
        await send(answer)
        if node is None:
            turn.end()
        elif node == turn.node:
            turn.keep()  # the question and its deadline stay as they are
        else:
            turn.memory.is_reminded = False
            turn.ask(node, expired_ttl=REMIND_WITHIN)


def step(node: str | None, memory: Booking, text: str) -> tuple[str, str | None]:
    """Return the bot's answer and the node to wait at, or None for the node if the flow ends."""
    text = text.strip()
    if text in ("/help", "help"):  # Slack keeps /commands for itself
        return HELP, node
    if node is None:
        return question("take_name", memory), "take_name"
    return NODES[node](memory, text)


def question(node: str, memory: Booking) -> str:
    return {
        "take_name": "What name should the booking be under?",
        "take_date": "What date would you like? Please write it like 2030-12-31.",
        "confirm": f"A table for {memory.name} on {memory.day}. Shall I book it, yes or no?",
    }[node]


def take_name(memory: Booking, text: str) -> tuple[str, str | None]:
    if not text:
        return "Please type a name.", "take_name"
    memory.name = text
    return f"Hello {text}. {question('take_date', memory)}", "take_date"


def take_date(memory: Booking, text: str) -> tuple[str, str | None]:
    try:
        memory.day = date.fromisoformat(text).isoformat()
    except ValueError:
        return "That's not a date. Please write it like 2030-12-31.", "take_date"
    return question("confirm", memory), "confirm"


def confirm(memory: Booking, text: str) -> tuple[str, str | None]:
    if text.lower() == "yes":
        return f"Done! Your table is booked for {memory.name} on {memory.day}.", None
    if text.lower() == "no":
        return "OK, I haven't booked anything.", None
    return "Please answer yes or no.", "confirm"


NODES = {node.__name__: node for node in (take_name, take_date, confirm)}


def hold_table(flow: SessionKey, node: str | None) -> None:
    """Hold a table while a flow waits for the final yes or no, and free it otherwise.

    A turn that fails runs again, and so does this call. That does no harm, because each table is
    held in the name of its flow.
    """
    if node == "confirm":
        held.add(flow)
    else:
        held.discard(flow)


# --- Nobody answers ---------------------------------------------------------------------------


@asynccontextmanager
async def reminders(store: AsyncSessionStore, provider: str, send: SendTo) -> AsyncIterator[None]:
    """Send reminders in the background. On exit, let the reminder that is being sent finish."""
    waits = store.expired_waits(ctx_of(provider))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remind, store, waits, send)
        yield
        waits.stop()


async def remind(store: AsyncSessionStore, waits: ExpiredWaits, send: SendTo) -> None:
    """Take the turns of users who did not answer in time, one after another."""
    async for claim in waits:
        try:
            await take_expired_turn(store, claim, send)
        except Exception:
            logger.exception("could not handle an expired wait; it will be handed out again")


async def take_expired_turn(store: AsyncSessionStore, claim: WaitClaim, send: SendTo) -> None:
    """Remind the user once, then release the table.

    If the user has started another booking, release this one's table without a word.
    """
    async with store.expired_turn(claim, memory=Booking, ttl=TIME_TO_ANSWER) as turn:
        if turn.is_overtaken:
            hold_table(turn.record.key, None)
            return
        text, node = nobody_answered(turn.node, turn.memory)
        hold_table(turn.record.key, node)
        await send(place(turn.record.scope), text)
        if node is not None:
            turn.ask(node, expired_ttl=REMIND_WITHIN)


def nobody_answered(node: str, memory: Booking) -> tuple[str, str | None]:
    """Return what to say and the node to wait at, or None for the node if the flow ends."""
    if memory.is_reminded:
        return RELEASED, None
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
