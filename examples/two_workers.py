"""Two workers get every message, one worker is killed, and each message is still handled once.

Run it from the root of the repository. It stores sessions in a temporary SQLite file, or on your
own Redis server if you pass its URL:

    pip install ".[redis]"
    python examples/two_workers.py
    python examples/two_workers.py --url redis://localhost

A user sends ten messages in a row. The platform delivers each one to both workers, as happens when
webhooks are retried, and delivers it again until it is acknowledged. The worker that gets the turn
handles the message. The other worker is refused: "claimed" while the first is still busy,
"duplicate" once it has finished. Only one of them starts the flow.

Halfway through, one worker is killed in the middle of its turn. Nothing of that turn was stored.
When the lease of its claim ends, the other worker takes the message and continues.

You will see a table of who handled which message. The exit code is 0 only if the flow stored every
message exactly once, in order.

The stored data is exact no matter where a worker is killed, because one step stores the flow's
memory, its next question and the delivery. An effect outside the store, such as a payment, is not
part of that step and may be repeated, so make effects idempotent.
"""

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    SessionCursor,
    SessionData,
    TenantCtx,
    UserId,
    WaitClaimedError,
)
from async_session_store.channels import Inbound

BURST = "margherita funghi diavola capricciosa marinara napoli bufala ortolana rucola salami"
MESSAGES = {f"{number:02} {text}": text for number, text in enumerate(BURST.split(), 1)}
HALFWAY = list(MESSAGES)[len(MESSAGES) // 2]

CTX = TenantCtx(env="demo", tenant_id="two-workers", user_id="alice")
LEASE = 1.5  # seconds; short, so that the claim of the killed worker ends soon
WORKERS = ("worker 1", "worker 2")


class Order(BaseModel):
    """What the flow remembers: who handled which message."""

    taken: list[dict[str, str]] = []


# --- A worker ---------------------------------------------------------------------------------


async def work(store: AsyncSessionStore, chat: str, me: str) -> None:
    """Handle every message, and retry each one until it can be acknowledged."""
    for delivery_id, text in MESSAGES.items():
        while True:
            await asyncio.sleep(random.uniform(0, 0.1))  # network latency
            try:
                await on_message(store, message(chat, delivery_id, text), me)
            except WaitClaimedError:
                report(delivery_id, "claimed")  # not acknowledged, so it is delivered again
            except DuplicateDeliveryError:
                report(delivery_id, "duplicate")
                break
            else:
                report(delivery_id, "handled")
                break


async def on_message(store: AsyncSessionStore, inbound: Inbound, me: str) -> None:
    """Add the message to the order, unless another worker has the turn."""
    async with store.turn(
        CTX, inbound, flow="order", memory=Order, ttl=60, lease=LEASE, wait=0.05
    ) as turn:
        turn.memory.taken.append({"delivery": inbound.delivery_id, "pizza": turn.text, "by": me})
        turn.ask("take_pizza")
        await asyncio.sleep(0.08)  # stands in for real work
        if inbound.delivery_id == HALFWAY and await is_chosen_to_die(store, inbound):
            report(inbound.delivery_id, "killed")
            signal.raise_signal(signal.SIGKILL)


def message(chat: str, delivery_id: str, text: str | None = None) -> Inbound:
    return Inbound(
        provider="demo",
        bot_id="two-workers",
        conversation=chat,
        user_id=UserId("alice"),
        delivery_id=delivery_id,
        text=text,
    )


async def is_chosen_to_die(store: AsyncSessionStore, inbound: Inbound) -> bool:
    """Return True to the first caller only, so that exactly one worker is killed."""
    mark = SessionData(
        tenant_ctx=CTX,
        flow_id="kill-one-worker",
        cursor=SessionCursor(node_pointer="killed"),
        context_json="{}",
    )
    scope = inbound.expecting(thread="kill-one-worker")
    return await store.register_wait_if_absent(CTX, "alice", scope, uuid4().hex, mark, ttl=60)


def report(delivery_id: str, what: str) -> None:
    print(f"{delivery_id}: {what}", flush=True)


async def worker(url: str, chat: str, me: str) -> None:
    async with AsyncSessionStore.from_url(url) as store:
        print("ready", flush=True)
        sys.stdin.readline()  # wait until both workers can start at once
        await work(store, chat, me)


# --- The parent: starts both workers, and checks what was stored ------------------------------


async def parent(url: str) -> None:
    chat = f"chat-{uuid4().hex[:8]}"  # each run has a new one
    print(f"{len(MESSAGES)} messages, 2 workers, a lease of {LEASE:g} s, {url.partition(':')[0]}\n")
    async with AsyncSessionStore.from_url(url) as store:
        reports, codes = await asyncio.to_thread(run_workers, url, chat)
        async with store.turn(CTX, message(chat, "end"), flow="order", memory=Order) as turn:
            taken = turn.memory.taken
            turn.end()
        await store.clear_waits_for_user(CTX, "alice")
    print_table(reports, Counter(entry["delivery"] for entry in taken))
    if sorted(codes) != [-signal.SIGKILL, 0]:
        sys.exit(
            f"one worker should be killed and the other should finish, but they exited with {codes}"
        )
    if [entry["delivery"] for entry in taken] != list(MESSAGES):
        sys.exit("not every message was handled exactly once, in order")
    killed, other = WORKERS if codes[0] else WORKERS[::-1]
    print(f"\n{killed} was killed, {other} finished, and every message was handled exactly once")


def run_workers(url: str, chat: str) -> tuple[list[str], list[int]]:
    """Run both workers at once. Return their reports and their exit codes."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--url", url, "--chat", chat, "--worker", me],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in WORKERS
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    reports = [process.communicate()[0] for process in processes]
    return reports, [process.returncode for process in processes]


def print_table(reports: list[str], stored: Counter[str]) -> None:
    row = "{:<16}{:<26}{:<26}{}".format
    print(row("message", *WORKERS, "stored"))
    for delivery_id in MESSAGES:
        cells = [summary(delivery_id, lines) for lines in reports]
        print(row(delivery_id, *cells, f"{stored[delivery_id]} x"))


def summary(delivery_id: str, lines: str) -> str:
    """Return what a worker reported about a message, in order: ``claimed x3, handled``."""
    counts = Counter(
        what
        for line in lines.splitlines()
        for reported_id, _, what in [line.partition(": ")]
        if reported_id == delivery_id
    )
    return ", ".join(f"{what} x{times}" if times > 1 else what for what, times in counts.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="URL of the store (default: a temporary SQLite file)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--chat", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(worker(options.url, options.chat, options.worker))
    elif options.url:
        asyncio.run(parent(options.url))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(parent(f"sqlite:///{quote(folder)}/bot.db"))
