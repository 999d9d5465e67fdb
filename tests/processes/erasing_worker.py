"""A process that takes turns for a user of its own until it is told to stop.

Run as ``python erasing_worker.py TASK URL NAMESPACE NUMBER``. It prints "ready", begins after a
line, and stops after another. It prints how many turns it took.
"""

from __future__ import annotations

import json
import sys

import anyio
import anyio.to_thread

from async_session_store import (
    AsyncSessionStore,
    NewWait,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
)


def ctx(user: str) -> TenantCtx:
    return TenantCtx(env="test", tenant_id="acme", user_id=user)


def data(user: str, context: object) -> SessionData:
    cursor = SessionCursor(node_pointer="ask")
    return SessionData(
        tenant_ctx=ctx(user), flow_id="flow", cursor=cursor, context_json=str(context)
    )


async def take_turns(store: AsyncSessionStore, user: str, is_over: anyio.Event) -> int:
    """Count in the memory of one flow. Return how far."""
    scope, count = ReplyScope(conversation=user), 0
    while not is_over.is_set():
        event = f"event {count}"
        async with store.resume_wait(
            ctx(user), user, scope, begin_at=scope, delivery_id=event
        ) as wait:
            before = 0 if wait.record is None else int(wait.record.data.context_json)
            assert before == count
            count += 1
            wait.next(NewWait(scope, data(user, count)))
    return count


async def main(url: str, namespace: str, number: str) -> None:
    async with AsyncSessionStore.from_url(url, namespace=namespace or None) as store:
        counts: dict[str, int] = {}
        is_over = anyio.Event()

        async def task(user: str) -> None:
            counts[user] = await take_turns(store, user, is_over)

        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        async with anyio.create_task_group() as tasks:
            for each in range(4):
                tasks.start_soon(task, f"user-{number}-{each}")
            await anyio.to_thread.run_sync(sys.stdin.readline)
            is_over.set()
    print(json.dumps(counts))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[2:])
