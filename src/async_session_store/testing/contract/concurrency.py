"""W1, W2, W3, W7, S5: many tasks call one store at once."""

from __future__ import annotations

import anyio

from async_session_store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import A, B, C, find, listed, register
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.races import (
    race_to_displace,
    race_to_register,
    race_update_and_remove,
    watch_a_moving_wait,
)


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
