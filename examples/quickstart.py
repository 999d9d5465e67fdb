"""A flow pauses in one process, that process is killed, and another process resumes the flow.

Run it from the root of the repository. It stores sessions in a temporary SQLite file, or on your
own Redis server if you pass its URL:

    pip install ".[redis]"
    python examples/quickstart.py
    python examples/quickstart.py --url redis://localhost

You will see the output of three processes. The parent plays the chat platform and its user.
Process 1 gets the user's first message. It asks a question, stores where the flow paused, and is
killed. Process 2, which knows nothing about process 1, gets the reply. Its turn finds the paused
flow by its user and chat, and finishes it. The exit code is 0 only if that worked.
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
    """Return a message as the platform delivers it: who wrote it, where, and what it says."""
    return Inbound(
        provider="demo",
        bot_id="pizza",
        conversation="chat-42",
        user_id=UserId("alice"),
        delivery_id=uuid4().hex,  # a platform that delivers a message again repeats this id
        text=text,
    )


async def ask(store: AsyncSessionStore) -> None:
    """Process 1: start a flow, ask its question, and die."""
    first = message("margherita")
    ttl = timedelta(minutes=30)
    async with store.turn(CTX, first, flow="order-pizza", memory=Order, ttl=ttl) as turn:
        turn.memory.pizza = turn.text  # what to remember
        say('bot: "Margherita, good choice. Small or large?"')
        turn.ask("take_size")  # where to continue
    say("stored: order-pizza waits in chat-42 for up to 30 minutes")
    say("kill -9, with the store still open")
    os.kill(os.getpid(), signal.SIGKILL)


async def answer(store: AsyncSessionStore, reply: str) -> None:
    """Process 2: find the paused flow, continue where it paused, and end it."""
    inbound = message(reply)
    async with store.turn(CTX, inbound, flow=None, memory=Order) as turn:
        if turn is None:
            sys.exit("no flow is waiting in chat-42")
        say(f"found {turn.flow}, waiting in chat-42 until {turn.record.expires_at:%H:%M:%S} UTC")
        say(f"resuming at {turn.node} with {turn.memory}")
        say(f'bot: "One {turn.text} {turn.memory.pizza} is on its way."')
        turn.end()
    say(f"the flow has ended; alice's open waits: {await store.list_waits_for_user(CTX, 'alice')}")


def parent(url: str) -> None:
    """Start process 1, check that it was killed, and hand the user's reply to process 2."""
    command = [sys.executable, __file__, "--url", url]
    say(f"sessions are stored in {url.partition(':')[0]}")
    say('alice: "margherita"')
    if subprocess.run([*command, "--role", "ask"], check=False).returncode != -signal.SIGKILL:
        sys.exit("process 1 should have killed itself, but did not")
    say("process 1 is dead, and everything in its memory is gone")
    say('alice: "large"')
    if subprocess.run([*command, "--role", "answer", "large"], check=False).returncode != 0:
        sys.exit("process 2 did not resume the flow")
    say("done: process 2 finished what process 1 started")


async def child(role: str, url: str, reply: str) -> None:
    async with AsyncSessionStore.from_url(url) as store:
        await (ask(store) if role == "ask" else answer(store, reply))


def say(what: str) -> None:
    number = {"ask": 1, "answer": 2}.get(options.role)
    who = f"process {number} (pid {os.getpid()})" if number else "parent"
    print(f"{who:<24}{what}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="URL of the store (default: a temporary SQLite file)")
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
