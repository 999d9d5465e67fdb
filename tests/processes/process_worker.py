"""A process that reads and writes a storage that it shares with others.

Run as ``python process_worker.py TASK URL NAMESPACE NUMBER``. It prints its result as JSON.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import anyio

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionNotFoundError,
    TenantCtx,
)
from crowded_store import CrowdedStore

Tasks = Mapping[str, Callable[[AsyncSessionStore, int], Awaitable[object]]]

CTX = TenantCtx(env="test", tenant_id="acme", user_id="u1")
SCOPES = [ReplyScope(conversation=f"scope-{number}") for number in range(4)]
KEYS = [f"key-{number}" for number in range(6)]
ROUNDS = 60
KILLS = 100
UPDATERS = 3


def data(text: str) -> SessionData:
    cursor = SessionCursor(node_pointer="ask")
    return SessionData(tenant_ctx=CTX, flow_id="flow", cursor=cursor, context_json=text)


def open_store(url: str, namespace: str) -> AsyncSessionStore:
    store_class = CrowdedStore if os.environ.get("CROWDED") else AsyncSessionStore
    return store_class.from_url(url, namespace=namespace or None)


async def shuffle_waits(store: AsyncSessionStore, number: int) -> int:
    """Register, move, detach, clear and remove, and check that each read is consistent."""
    chance = random.Random(number)
    seen = 0
    for _ in range(250):
        scope, key = chance.choice(SCOPES), chance.choice(KEYS)
        await chance.choice([register, register, register, clear, remove])(store, scope, key)
        record = await store.get_wait(CTX, "u1", scope)
        if record is not None:
            # The document names its scope, so it and the routing were written in one step (W1).
            assert record.data.context_json == scope.conversation
            seen += 1
        keys = await store.list_waits_for_user(CTX, "u1")
        assert len(keys) == len(set(keys)) <= len(SCOPES)
    return seen


async def register(store: AsyncSessionStore, scope: ReplyScope, key: str) -> None:
    await store.register_wait(CTX, "u1", scope, key, data(scope.conversation), 60)


async def clear(store: AsyncSessionStore, scope: ReplyScope, _key: str) -> None:
    await store.clear_wait(CTX, "u1", scope)


async def remove(store: AsyncSessionStore, _scope: ReplyScope, key: str) -> None:
    with suppress(SessionNotFoundError):
        await store.remove_session(key)


async def register_if_absent(store: AsyncSessionStore, number: int) -> list[int]:
    """Try to be the first at each scope. Return the rounds that this process won."""
    won = []
    for index in range(ROUNDS):
        scope = ReplyScope(conversation=f"round-{index}")
        key = f"{index}-of-{number}"
        if await store.register_wait_if_absent(CTX, "u1", scope, key, data(str(number)), 60):
            won.append(index)
    return won


async def update_or_remove(store: AsyncSessionStore, number: int) -> int:
    """Update each session until it is gone. Process 0 removes it instead, during an update."""
    updates = 0
    for index in range(ROUNDS):
        key = f"round-{index}"
        if number == 0:
            await updated_by(store, key, 1 + index % UPDATERS)
            await store.remove_session(key)
            continue
        try:
            while True:
                await store.update_session(key, data(str(number)))
                updates += 1
        except SessionNotFoundError:
            pass
    return updates


async def updated_by(store: AsyncSessionStore, key: str, number: int) -> None:
    """Wait until this process was the last to update a session: its next update is in flight."""
    while True:
        session = await store.get_session(key)
        if session is not None and session.context_json == str(number):
            return


def kill_while_registering(url: str, namespace: str) -> int:
    """Kill a process that registers, again and again, and check the storage each time.

    Return how many kills hit a call in flight.
    """
    chance = random.Random(1)
    interrupted = 0
    for _ in range(KILLS):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            anyio.run(register_for_ever, url, namespace, writing)
        os.close(writing)
        os.read(reading, 1)
        select.select([], [], [], chance.uniform(0, 0.012))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        interrupted += len(os.read(reading, 65536)) % 2
        os.close(reading)
        anyio.run(assert_whole, url, namespace)
    return interrupted


async def register_for_ever(url: str, namespace: str, begun: int) -> None:
    """Register for ever. Write a byte before and after each call, to detect a kill within one."""
    chance = random.Random(os.getpid())
    async with open_store(url, namespace) as store:
        os.write(begun, b"!")
        while True:
            scope, key = chance.choice(SCOPES), chance.choice(KEYS)
            os.write(begun, b"<")
            await register(store, scope, key)
            os.write(begun, b">")


async def assert_whole(url: str, namespace: str) -> None:
    """Check that scopes, sessions and the list of waits agree (W1 to W3)."""
    async with open_store(url, namespace) as store:
        waiting = {}
        for scope in SCOPES:
            record = await store.get_wait(CTX, "u1", scope)
            if record is not None:
                assert record.data.context_json == scope.conversation
                assert record.expires_at is not None
                waiting[record.key] = scope
        assert await store.list_waits_for_user(CTX, "u1") == sorted(waiting)


TASKS: Tasks = {
    "shuffle_waits": shuffle_waits,
    "register_if_absent": register_if_absent,
    "update_or_remove": update_or_remove,
}


async def run(tasks: Tasks, task: str, url: str, namespace: str, number: str) -> object:
    """Open the store, print "ready", and run a task when a line comes."""
    async with open_store(url, namespace) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        return await tasks[task](store, int(number))


if __name__ == "__main__":
    task, url, namespace, number = sys.argv[1:]
    if task == "kill_while_registering":
        print(json.dumps(kill_while_registering(url, namespace)))
    else:
        print(json.dumps(anyio.run(run, TASKS, task, url, namespace, number)))
