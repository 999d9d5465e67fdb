"""Many callers at once, and callers that are cancelled."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    ConflictError,
    ReplyScope,
    SessionKey,
    SessionNotFoundError,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    data,
    etag_of,
    find,
    listed,
    register,
    register_if_absent,
    with_context,
)
from async_session_store.testing.contract.claim_builders import claim

State = tuple[object, ...]

ALL_LINES = sorted(f"{number}" for number in range(20))
"""The lines that :func:`race_to_append` leaves, sorted."""

TURNS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
"""Numbers of turns of the event loop after which a call is cancelled."""


async def race_to_register(stores: list[AsyncSessionStore], scope: ReplyScope) -> list[str]:
    """Let 50 tasks register at one scope if it is free. Return the keys of those that did."""
    winners: list[str] = []

    async def task(number: int) -> None:
        key = f"k{number}"
        if await register_if_absent(stores[number % len(stores)], key, scope):
            winners.append(key)

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(task, number)
    return winners


async def race_to_displace(stores: list[AsyncSessionStore], scope: ReplyScope) -> list[str]:
    """Let 20 tasks register at one scope. Return the keys of the detached sessions."""
    detached: list[SessionKey | None] = []

    async def task(number: int) -> None:
        detached.append(await register(stores[number % len(stores)], f"k{number:02}", scope))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)
    return [key for key in detached if key is not None]


async def race_update_and_remove(stores: list[AsyncSessionStore], key: str) -> None:
    """Update a session from 10 tasks while another removes it."""

    async def update(number: int) -> None:
        with suppress(SessionNotFoundError):
            await stores[number % len(stores)].update_session(key, data(str(number)))

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(update, number)
        tasks.start_soon(stores[0].remove_session, key)
        for number in range(5, 10):
            tasks.start_soon(update, number)


async def watch_a_moving_wait(mover: AsyncSessionStore, watcher: AsyncSessionStore) -> None:
    """Move a wait back and forth while another task looks at it."""
    await register(mover, "k", A, "a")
    done = anyio.Event()

    async def move() -> None:
        for _ in range(20):
            await register(mover, "k", B, "b")
            await register(mover, "k", A, "a")
            await checkpoint()
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(move)
        while not done.is_set():
            assert await listed(watcher) == ["k"]
            assert await find(watcher, A, B) == "k"
            record = await watcher.get_wait(CTX, "u1", [B, A])
            assert record is not None
            at_b = await watcher.get_wait(CTX, "u1", B)
            assert at_b is None or at_b.data.context_json == "b"
            await checkpoint()


async def race_to_update(stores: list[AsyncSessionStore], key: str) -> list[str]:
    """Let 20 tasks update a session with the same etag. Return what the successful ones wrote."""
    etag = await etag_of(stores[0], key)
    written: list[str] = []

    async def task(number: int) -> None:
        try:
            store = stores[number % len(stores)]
            await store.update_session(key, data(f"{number}"), if_match=etag)
        except ConflictError:
            return
        written.append(f"{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)
    return written


async def race_to_append(stores: list[AsyncSessionStore], key: str) -> None:
    """Let each of 20 tasks append a line to a session."""

    async def task(number: int) -> None:
        await stores[number % len(stores)].edit_session(
            key, lambda old: with_context(old, f"{old.context_json}{number}\n")
        )

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)


async def race_to_claim(
    stores: list[AsyncSessionStore], scope: ReplyScope, delivery_id: str | None = None
) -> list[WaitClaim]:
    """Let 20 tasks claim the wait at a scope. Return the claims that were granted."""
    claims: list[WaitClaim] = []

    async def task(number: int) -> None:
        try:
            store = stores[number % len(stores)]
            claims.append(await claim(store, scope, delivery_id=delivery_id))
        except WaitClaimedError:
            pass

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)
    return claims


async def take_turns(stores: list[AsyncSessionStore], scope: ReplyScope) -> list[int]:
    """Let 8 tasks wait for a claim on a scope.

    For each claim that is granted, return how many tasks hold one at that moment.
    """
    holders = 0
    counted: list[int] = []

    async def task(number: int) -> None:
        nonlocal holders
        claimed = await claim(stores[number % len(stores)], scope, wait=30)
        holders += 1
        counted.append(holders)
        await anyio.sleep(0.001)
        holders -= 1
        await claimed.release()

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(task, number)
    return counted


async def cancel_after(turns: int, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Begin the call in a task, and cancel it after some turns of the event loop."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        for _ in range(turns):
            await checkpoint()
        tasks.cancel_scope.cancel()


async def two_waits(store: AsyncSessionStore) -> None:
    await register(store, "k1", A, "old")
    await register(store, "k2", B, "old")


async def state_of(store: AsyncSessionStore) -> State:
    """Return everything that a cancelled call of these tests could change."""
    records = [await store.get_record(key) for key in ("k1", "k2", "k3")]
    return (
        await find(store, A),
        await find(store, B),
        await listed(store),
        [None if record is None else record.data.context_json for record in records],
        [record is not None and record.expires_at is not None for record in records],
    )
