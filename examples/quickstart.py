"""A flow pauses in one process, the process is killed, and another process resumes it.

Run it from the root of the repository, as it is or with a Redis server of yours:

    python examples/quickstart.py
    python examples/quickstart.py --url redis://localhost

You will see three processes at work. The parent plays the chat platform and its user. Process 1
asks a question, stores where the flow paused, and is killed. Process 2, which never heard of
process 1, gets the user's reply, finds the paused flow by the place the reply came from, and goes
on. The exit code is 0 only if that worked.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from datetime import timedelta
from urllib.parse import quote

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
    derive_session_key,
)

# The platform tells both processes whose bot it is, who writes, and in which chat.
CTX = TenantCtx(env="demo", tenant_id="quickstart", user_id="alice")
CHAT = ReplyScope(conversation="chat-42")


async def ask(store: AsyncSessionStore) -> None:
    """Process 1: ask, store the paused flow, and die."""
    say('bot: "Margherita, good choice. Small or large?"')
    paused = SessionData(
        tenant_ctx=CTX,
        flow_id="order-pizza",
        cursor=SessionCursor(node_pointer="take_size"),  # where to go on
        context_json=json.dumps({"pizza": "margherita"}),  # what to remember
    )
    key = derive_session_key(CTX, "chat-42", "order-pizza")
    await store.register_wait(CTX, "alice", CHAT, key, paused, ttl=timedelta(minutes=30))
    say(f"stored session {key:.8}..., which waits at chat-42 for 30 minutes")
    say("kill -9, with the store still open")
    os.kill(os.getpid(), signal.SIGKILL)


async def answer(store: AsyncSessionStore, reply: str) -> None:
    """Process 2: find the paused flow, go on where it paused, and clear the wait."""
    record = await store.get_wait(CTX, "alice", CHAT)
    if record is None:
        sys.exit("no flow waits at chat-42")
    say(f"session {record.key:.8}... waits at chat-42, until {record.expires_at:%H:%M:%S} UTC")
    node, context = record.data.cursor.node_pointer, json.loads(record.data.context_json)
    say(f"resume {record.data.flow_id} at {node}, with {context}")
    say(f'bot: "{NODES[node](context, reply)}"')
    await store.clear_wait(CTX, "alice", CHAT, session_key=record.key)
    say(f"cleared the wait; alice's waits: {await store.list_waits_for_user(CTX, 'alice')}")


def take_size(context: dict[str, str], reply: str) -> str:
    return f"One {reply} {context['pizza']} is on its way."


NODES = {"take_size": take_size}  # a flow of one node


def parent(url: str) -> None:
    """Start process 1, see it die, and hand the user's reply to process 2."""
    command = [sys.executable, __file__, "--url", url]
    say(f"sessions are stored in {url.partition(':')[0]}")
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
