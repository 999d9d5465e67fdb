"""Sections 3 and 4: many tasks at once."""

from __future__ import annotations

from contextlib import suppress

import anyio
from anyio.lowlevel import checkpoint

from async_session_store import AsyncSessionStore, ReplyScope, SessionKey, SessionNotFoundError
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    data,
    find,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.hooks import Hooks


async def race_to_register(stores: list[AsyncSessionStore], scope: ReplyScope) -> list[str]:
    """Let 50 tasks register at one scope if it is free; give the keys of those who did."""
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
    """Let 20 tasks register at one scope; give the keys that were detached."""
    detached: list[SessionKey | None] = []

    async def task(number: int) -> None:
        detached.append(await register(stores[number % len(stores)], f"k{number:02}", scope))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)
    return [key for key in detached if key is not None]


async def race_update_and_remove(stores: list[AsyncSessionStore], key: str) -> None:
    """Update the session from 10 tasks, and remove it meanwhile."""

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
    """Move a wait to and fro while another task looks at it."""
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


class Concurrency(Hooks):
    """W1, W2, W3, W7, S5: each call is one step."""

    async def test_w1_no_one_sees_half_of_a_registration(self, store: AsyncSessionStore) -> None:
        await watch_a_moving_wait(store, store)

    async def test_w2_a_session_that_many_tasks_move_waits_at_one_scope(
        self, store: AsyncSessionStore
    ) -> None:
        async with anyio.create_task_group() as tasks:
            for scope in (A, B, C) * 7:
                tasks.start_soon(register, store, "k", scope)
        found = [await find(store, scope) for scope in (A, B, C)]
        assert sorted(map(str, found)) == ["None", "None", "k"]
        assert await listed(store) == ["k"]

    async def test_w3_each_displaced_session_is_named_once(self, store: AsyncSessionStore) -> None:
        detached = await race_to_displace([store], A)
        assert await listed(store) == [await find(store, A)]
        assert sorted([*detached, *await listed(store)]) == [f"k{n:02}" for n in range(20)]

    async def test_w7_exactly_one_of_50_registers(self, store: AsyncSessionStore) -> None:
        winners = await race_to_register([store], A)
        assert len(winners) == 1
        assert await listed(store) == winners
        assert await find(store, A) == winners[0]

    async def test_s5_a_removed_session_stays_removed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for _ in range(10):
            await register(store, "k", A)
            await race_update_and_remove([store], "k")
            assert await store.get_session("k") is None
        assert await self.leftovers(backend) == []
