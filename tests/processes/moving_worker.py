"""A process that answers or moves waits, whose user and conversation get new ids again and again.

Run as ``python moving_worker.py TASK URL NAMESPACE NUMBER``. It prints "ready", and begins after a
line. Answering stops after another, and prints how often each wait was answered.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from contextlib import suppress
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    NewWait,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
    WaitClaim,
    WaitClaimedError,
)

SERVICE: Final = TenantCtx(env="test", tenant_id="acme")
MOST: Final = 40  # waits that a process answers
SHARED: Final = [f"shared-{number}" for number in range(20)]


class Ids(NamedTuple):
    """The ids of the user and of the conversation, which change together."""

    user: str
    conversation: str

    @property
    def ctx(self) -> TenantCtx:
        return TenantCtx(env="test", tenant_id="acme", user_id=self.user)

    def scope(self, thread: str) -> ReplyScope:
        return ReplyScope(conversation=self.conversation, thread=thread)

    def data(self, count: int) -> SessionData:
        cursor = SessionCursor(node_pointer="ask")
        return SessionData(
            tenant_ctx=self.ctx, flow_id="flow", cursor=cursor, context_json=str(count)
        )

    async def register(self, store: AsyncSessionStore, thread: str) -> None:
        scope, data = self.scope(thread), self.data(0)
        await store.register_wait(self.ctx, self.user, scope, thread, data, 600)


OLD: Final = Ids("old", "old-chat")
NEW: Final = Ids("new", "new-chat")


async def move(store: AsyncSessionStore, old: Ids, new: Ids) -> None:
    conversation = (old.conversation, new.conversation)
    await store.move_waits(SERVICE, user=(old.user, new.user), conversation=conversation)


async def move_for_ever(store: AsyncSessionStore) -> None:
    """Move all waits to the new ids and back, until the process is killed."""
    while True:
        await move(store, OLD, NEW)
        await move(store, NEW, OLD)


async def answer(store: AsyncSessionStore, number: int, is_over: anyio.Event) -> dict[str, int]:
    """Answer waits at random, wherever they are, and ask again. Sometimes register another."""
    chance = random.Random(number)
    threads = list(SHARED)
    answers: Counter[str] = Counter()
    while not is_over.is_set():
        if len(threads) < MOST and chance.random() < 0.05:
            threads.append(f"of-{number}-{len(threads)}")
            await OLD.register(store, threads[-1])
            answers[threads[-1]] = 0
        await anyio.sleep(0.001)  # let the others in
        thread = chance.choice(threads)
        for ids in (OLD, NEW):
            with suppress(WaitClaimedError):
                claim = await store.claim_wait(ids.ctx, ids.user, ids.scope(thread))
                if claim is not None:
                    await complete(claim, ids, thread)
                    answers[thread] += 1
    return answers


async def complete(claim: WaitClaim, ids: Ids, thread: str) -> None:
    assert claim.record is not None
    assert claim.record.data.owner.user == ids.user
    count = int(claim.record.data.context_json)
    await checkpoint()
    assert await claim.complete(NewWait(ids.scope(thread), ids.data(count + 1), 600))


async def main(task: str, url: str, namespace: str, number: str) -> None:
    async with AsyncSessionStore.from_url(url, namespace=namespace or None) as store:
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        if task == "move":
            await move_for_ever(store)
        is_over, answers = anyio.Event(), dict[str, int]()

        async def run() -> None:
            answers.update(await answer(store, int(number), is_over))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            is_over.set()
    print(json.dumps(answers))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
