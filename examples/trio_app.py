"""Several conversations run at once in one trio nursery. Between messages they wait in the store.

Run it from the root of the repository. It stores sessions in a temporary SQLite file, or on your
own Redis server if you pass its URL:

    pip install ".[trio,redis]"
    python examples/trio_app.py
    python examples/trio_app.py --url redis://localhost

The program opens the store exactly as it would under asyncio.

Each person is a task that writes, reads the bot's answer, thinks, and writes again. The bot handles
each message in a new task, which ends once the bot has asked its next question. So no task of the
bot waits for a reply. The flow waits in the store, and the task that gets the reply resumes it.

You will see the messages of all people interleaved, and where each flow pauses. The exit code is 0
only if everyone got the pizza that they ordered.
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
CHAT = f"chat-{uuid4().hex[:8]}"  # everyone writes in this chat; each run has a new one


@dataclass(frozen=True)
class Message:
    user: str
    text: str
    answer_to: trio.MemorySendChannel[str]


# --- The flow: each node takes a turn, decides what comes next, and returns the answer ---------


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
    """Resume the flow that waits for this person, or start one. Pause at the next question."""
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
    thinking_time: float  # seconds before each message

    async def order(
        self, outbox: trio.MemorySendChannel[Message], received: dict[str, str]
    ) -> None:
        """Write, read the answer, think, and write again."""
        answer_to, answers = trio.open_memory_channel[str](1)
        async with outbox:
            for text in ("hi", self.pizza, self.size):
                await trio.sleep(self.thinking_time)
                say(self.name, text)
                await outbox.send(Message(self.name, text, answer_to))
                received[self.name] = await answers.receive()


PEOPLE = [
    Person("alice", "margherita", "large", thinking_time=0.3),
    Person("bob", "funghi", "small", thinking_time=0.1),
    Person("carol", "diavola", "large", thinking_time=0.2),
]


# --- The app ----------------------------------------------------------------------------------


async def main(url: str) -> None:
    print(f"{len(PEOPLE)} people in one chat, one nursery, {url.partition(':')[0]}\n")
    received: dict[str, str] = {}
    outbox, inbox = trio.open_memory_channel[Message](0)
    async with AsyncSessionStore.from_url(url) as store, trio.open_nursery() as nursery:
        nursery.start_soon(bot, store, inbox)
        async with outbox:  # when the last person has closed theirs, the bot ends
            for person in PEOPLE:
                nursery.start_soon(person.order, outbox.clone(), received)
    if received != {person.name: f"One {person.size} {person.pizza}." for person in PEOPLE}:
        sys.exit(f"somebody got a pizza that they did not order: {received}")
    print("\nevery flow paused twice, was resumed by other tasks, and ended with the right pizza")


def say(who: str, what: str, state: str = "") -> None:
    print(f"{who:<14}{what:<24}{state}".rstrip(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="URL of the store (default: a temporary SQLite file)")
    options = parser.parse_args()
    if options.url:
        trio.run(main, options.url)
    else:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(main, f"sqlite:///{quote(folder)}/bot.db")
