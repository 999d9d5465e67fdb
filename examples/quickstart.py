"""A flow pauses in one process, the process is killed, and another process resumes it.

Run it from the root of the repository, as it is or with a Redis server of yours:

    pip install ".[redis]"
    python examples/quickstart.py
    python examples/quickstart.py --url redis://localhost

You will see three processes at work. The parent plays the chat platform and its user. Process 1
takes the user's first turn: it asks a question, which stores where the flow paused, and is killed.
Process 2, which never heard of process 1, gets the reply. Its turn finds the paused flow by who
wrote and where, and goes on. The exit code is 0 only if that worked.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote
from uuid import uuid4

from async_session_store import AsyncSessionStore, TenantCtx, UserId
from async_session_store.channels import Inbound

CTX = TenantCtx(env="demo", tenant_id="quickstart")  # whose bot this is


@dataclass
class Order:
    """What the flow remembers."""

    pizza: str = ""


def message(text: str) -> Inbound:
    """Return a message as the platform delivers it: who wrote, where and what."""
    return Inbound(
        provider="demo",
        bot_id="pizza",
        conversation="chat-42",
        user_id=UserId("alice"),
        delivery_id=uuid4().hex,  # a platform repeats it if it delivers the message again
        text=text,
    )


async def ask(store: AsyncSessionStore) -> None:
    """Process 1: begin a flow, ask its question, and die."""
    first = message("margherita")
    ttl = timedelta(minutes=30)
    async with store.turn(CTX, first, flow="order-pizza", memory=Order, ttl=ttl) as turn:
        turn.memory.pizza = turn.text  # what to remember
        say('bot: "Margherita, good choice. Small or large?"')
        turn.ask("take_size")  # where to go on
    say("stored: order-pizza waits in chat-42 for 30 minutes")
    say("kill -9, with the store still open")
    os.kill(os.getpid(), signal.SIGKILL)


async def answer(store: AsyncSessionStore, reply: str) -> None:
    """Process 2: find the paused flow, go on where it paused, and end it."""
    inbound = message(reply)
    async with store.turn(CTX, inbound, flow=None, memory=Order) as turn:
        if turn is None:
            sys.exit("no flow waits in chat-42")
        say(f"{turn.flow} waits in chat-42, until {turn.record.expires_at:%H:%M:%S} UTC")
        say(f"resume at {turn.node}, with {turn.memory}")
        say(f'bot: "One {turn.text} {turn.memory.pizza} is on its way."')
        turn.end()
    say(f"the flow has ended; alice's waits: {await store.list_waits_for_user(CTX, 'alice')}")


def parent(url: str) -> None:
    """Start process 1, see it die, and hand the user's reply to process 2."""
    command = [sys.executable, __file__, "--url", url]
    say(f"sessions are stored in {url.partition(':')[0]}")
    say('alice: "margherita"')
    if subprocess.run([*command, "--role", "ask"], check=False).returncode != -signal.SIGKILL:
        sys.exit("process 1 was not killed where it should be")
    say("process 1 is dead, and all that it had in memory is gone")
    say('alice: "large"')
    if subprocess.run([*command, "--role", "answer", "large"], check=False).returncode != 0:
        sys.exit("process 2 did not resume the flow")
    say("done: process 2 finished what process 1 had begun")


async def child(role: str, url: str, reply: str) -> None:
    async with AsyncSessionStore.from_url(url) as store:
        await (ask(store) if role == "ask" else answer(store, reply))


def say(what: str) -> None:
    number = {"ask": 1, "answer": 2}.get(options.role)
    who = f"process {number} (pid {os.getpid()})" if number else "parent"
    print(f"{who:<24}{what}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="of the store; else a SQLite file in a temporary folder")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("reply", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        asyncio.run(child(options.role, options.url, options.reply))
    elif options.url:
        parent(options.url)
    else:
        with tempfile.TemporaryDirectory() as folder:
            parent(f"sqlite:///{quote(folder)}/bot.db")
