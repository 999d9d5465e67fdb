"""Several conversations at once in one trio nursery; between two messages each is in the store.

Run it from the root of the repository, as it is or with a Redis server of yours:

    pip install ".[trio,redis]"
    python examples/trio_app.py
    python examples/trio_app.py --url redis://localhost

The store is opened as it would be under asyncio.

Each person is a task: it writes, reads the bot's answer, thinks, and writes again. The bot handles
each message in a task of its own, which ends when it has asked its next question. So no task of
the bot waits for a reply: the flow waits in the store, and the task that gets the reply resumes it.

You will see the messages, mixed as they come, and where each flow pauses. The exit code is 0 only
if every person got the pizza that they ordered.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote
from uuid import uuid4

try:
    import trio
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install '.[trio]'")

from async_session_store import AsyncSessionStore, TenantCtx, Turn, UserId
from async_session_store.channels import Inbound

CTX = TenantCtx(env="demo", tenant_id="trio-app")
CHAT = f"chat-{uuid4().hex[:8]}"  # all write here; a new one for each run


@dataclass(frozen=True)
class Message:
    user: str
    text: str
    answer_to: trio.MemorySendChannel[str]


# --- The flow: each node takes a turn, says what comes next, and gives the answer --------------


@dataclass
class Order:
    """What the flow remembers."""

    pizza: str = ""


PizzaTurn = Turn[Inbound, Order]


def start(turn: PizzaTurn) -> str:
    turn.ask("take_pizza")
    return "Which pizza?"


def take_pizza(turn: PizzaTurn) -> str:
    turn.memory.pizza = turn.text
    turn.ask("take_size")
    return "Small or large?"


def take_size(turn: PizzaTurn) -> str:
    turn.end()
    return f"One {turn.text} {turn.memory.pizza}."


NODES: dict[str | None, Callable[[PizzaTurn], str]] = {
    None: start,
    "take_pizza": take_pizza,
    "take_size": take_size,
}


# --- The bot ----------------------------------------------------------------------------------


async def bot(store: AsyncSessionStore, inbox: trio.MemoryReceiveChannel[Message]) -> None:
    """Handle each message in a task of its own."""
    async with trio.open_nursery() as nursery:
        async for message in inbox:
            nursery.start_soon(on_message, store, message)


async def on_message(store: AsyncSessionStore, message: Message) -> None:
    """Resume the flow that waits for this person, or begin one; pause at the next question."""
    inbound = Inbound(
        provider="demo",
        bot_id="pizza",
        conversation=CHAT,
        user_id=UserId(message.user),
        delivery_id=uuid4().hex,
        text=message.text,
    )
    async with store.turn(
        CTX, inbound, flow="order-pizza", memory=Order, ttl=timedelta(minutes=30)
    ) as turn:
        answer = NODES[turn.node](turn)
    wait = await store.get_wait(CTX, inbound.user_id, inbound.scopes())
    say(
        f"bot to {message.user}",
        answer,
        f"paused at {wait.data.cursor.node_pointer}" if wait else "done",
    )
    await message.answer_to.send(answer)


# --- The people -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    name: str
    pizza: str
    size: str
    thinks: float  # seconds before each reply

    async def order(self, outbox: trio.MemorySendChannel[Message], got: dict[str, str]) -> None:
        """Write, read the answer, think, and write again."""
        answer_to, answers = trio.open_memory_channel[str](1)
        async with outbox:
            for text in ("hi", self.pizza, self.size):
                await trio.sleep(self.thinks)
                say(self.name, text)
                await outbox.send(Message(self.name, text, answer_to))
                got[self.name] = await answers.receive()


PEOPLE = [
    Person("alice", "margherita", "large", thinks=0.3),
    Person("bob", "funghi", "small", thinks=0.1),
    Person("carol", "diavola", "large", thinks=0.2),
]


# --- The app ----------------------------------------------------------------------------------


async def main(url: str) -> None:
    print(f"{len(PEOPLE)} people in one chat, one nursery, {url.partition(':')[0]}\n")
    got: dict[str, str] = {}
    outbox, inbox = trio.open_memory_channel[Message](0)
    async with AsyncSessionStore.from_url(url) as store, trio.open_nursery() as nursery:
        nursery.start_soon(bot, store, inbox)
        async with outbox:  # the bot ends when the last person has left
            for person in PEOPLE:
                nursery.start_soon(person.order, outbox.clone(), got)
    if got != {person.name: f"One {person.size} {person.pizza}." for person in PEOPLE}:
        sys.exit(f"somebody got what they did not order: {got}")
    print("\nevery flow paused twice, was resumed by another task, and ended with the right pizza")


def say(who: str, what: str, state: str = "") -> None:
    print(f"{who:<14}{what:<24}{state}".rstrip(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="of the store; else a SQLite file in a temporary folder")
    options = parser.parse_args()
    if options.url:
        trio.run(main, options.url)
    else:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(main, f"sqlite:///{quote(folder)}/bot.db")
