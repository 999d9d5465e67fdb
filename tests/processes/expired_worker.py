"""A process that handles waits: it replies at their deadlines, or reports expired ones.

Run as ``python expired_worker.py TASK URL NAMESPACE``. It prints "ready", begins after a line, and
prints what it did as JSON. For the task "reply", the line holds the time at which the first wait
expires, in milliseconds since the epoch.
"""

from __future__ import annotations

import json
import random
import sys
import time

import anyio
import anyio.to_thread

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    NewWait,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
    WaitClaim,
)

ASKED = ReplyScope(conversation="asked")
ANSWERED = ReplyScope(conversation="answered")
REPORTED = ReplyScope(conversation="reported")
SPREAD = 3.0
"""Seconds between the first deadline and the last."""
TASKS = 8
"""Waits that a process handles at once."""
JITTER = 0.004
"""Longest time in seconds between a deadline and its reply, before or after."""
GIVEN_BACK = 0.1
"""Chance that a process releases an expired wait, and chance that it keeps it."""


def ctx(number: int) -> TenantCtx:
    return TenantCtx(env="test", tenant_id="acme", user_id=f"user-{number}")


def data(number: int) -> SessionData:
    cursor = SessionCursor(node_pointer="ask")
    return SessionData(
        tenant_ctx=ctx(number), flow_id="flow", cursor=cursor, context_json=str(number)
    )


def deadline(start: float, number: int, count: int) -> float:
    return start + SPREAD * number / count


async def reply(store: AsyncSessionStore, start: float, count: int) -> list[int]:
    """Reply to every other wait at its deadline. Return the waits that were answered."""
    answered: list[int] = []

    async def answer(number: int) -> None:
        chance = random.Random(number)
        at = deadline(start, number, count) + chance.uniform(-JITTER, JITTER)
        await anyio.sleep(max(0.0, at - time.time()))
        claim = await store.claim_wait(ctx(number), f"user-{number}", ASKED, wait=10)
        if claim is not None:
            await anyio.sleep(chance.choice([0, 0, JITTER]))
            if await claim.complete(NewWait(ANSWERED, data(number))):
                answered.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(0, count, 2):
            tasks.start_soon(answer, number)
    return answered


async def report(store: AsyncSessionStore, lease: float) -> list[int]:
    """Handle the waits that expire until a line comes. Return the waits that were reported."""
    waits = store.expired_waits(lease=lease, poll=0.2)
    reported: list[int] = []
    chance = random.Random()

    async def handle(claim: WaitClaim) -> None:
        assert claim.record is not None
        drawn = chance.random()
        if drawn < GIVEN_BACK:
            await claim.release()
            return
        if drawn < 2 * GIVEN_BACK:
            await claim.complete(KEEP)
            return
        number = int(claim.record.data.context_json)
        if await claim.complete(NewWait(REPORTED, data(number))):
            reported.append(number)

    async def work() -> None:
        async for claim in waits:
            await handle(claim)

    async with anyio.create_task_group() as tasks:
        for _ in range(TASKS):
            tasks.start_soon(work)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        waits.stop()
    return reported


async def main(task: str, url: str, namespace: str) -> None:
    name, _, argument = task.partition(":")
    async with AsyncSessionStore.from_url(url, namespace=namespace or None) as store:
        print("ready", flush=True)
        line = await anyio.to_thread.run_sync(sys.stdin.readline)
        if name == "reply":
            done = await reply(store, int(line) / 1000, int(argument))
        else:
            done = await report(store, float(argument))
    print(json.dumps(done))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:4])
