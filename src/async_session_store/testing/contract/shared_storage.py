"""M3, F2, S, W, T, E, R: a store sees at once what another wrote to the same storage."""

from __future__ import annotations

import anyio
import pytest

from async_session_store import AsyncSessionStore, SessionNotFoundError, TenantMismatchError
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    EVERYTHING,
    A,
    B,
    C,
    clear,
    context_of,
    ctx,
    data,
    find,
    listed,
    register,
    register_if_absent,
    with_unknown_fields,
)
from async_session_store.testing.contract.hooks import SharedHooks
from async_session_store.testing.contract.races import (
    ALL_LINES,
    TURNS,
    cancel_after,
    race_to_append,
    race_to_displace,
    race_to_register,
    race_to_update,
    race_update_and_remove,
    state_of,
    two_waits,
    watch_a_moving_wait,
)


class SharedStorage(SharedHooks):
    """M3, F2, S, W, T, E, R: two stores on one storage, as two processes have them."""

    async def test_w1_another_store_resumes_what_one_paused(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        assert await find(other, A) == "k"
        assert await listed(other) == ["k"]
        assert await context_of(other, "k") == "state"
        await other.update_session("k", data("resumed"))
        assert await context_of(store, "k") == "resumed"
        assert await clear(other, A)
        assert await find(store, A) is None
        assert await store.get_session("k") is None

    async def test_w1_sessions_outlive_the_store(self, backend: Backend) -> None:
        async with self.store_class(backend) as store:
            await register(store, "k", A, "state", ttl=600)
            before = await store.get_record("k")
        async with self.store_class(self.peer(backend)) as other:
            assert await find(other, A) == "k"
            assert before is not None
            after = await other.get_record("k")
            assert after is not None
            assert (after.data, after.etag) == (before.data, before.etag)
            await self.advance(backend, 601)
            assert await listed(other) == []

    async def test_w1_another_store_sees_all_of_a_registration_or_none(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await watch_a_moving_wait(store, other)

    async def test_m3_another_store_reads_every_field(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        for stored in (EVERYTHING, with_unknown_fields()):
            key = await store.create_session(stored.tenant_ctx, stored)
            assert await other.get_session(key) == stored

    async def test_f2_another_store_holds_the_fence(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        with pytest.raises(TenantMismatchError, match="F2"):
            await register(other, "k", A, of=ctx(tenant="other"))
        assert await context_of(store, "k") == "mine"

    async def test_s4_a_session_that_one_store_removes_is_gone_for_the_other(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await other.remove_session("k")
        assert await find(store, A) is None
        with pytest.raises(SessionNotFoundError):
            await store.update_session("k", data())

    async def test_s5_a_removed_session_stays_removed_for_both(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        for _ in range(10):
            await register(store, "k", A)
            await race_update_and_remove([store, other], "k")
            assert await other.get_session("k") is None
        assert await self.leftovers(backend) == []

    async def test_w2_one_store_moves_what_another_registered(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(other, "k", B)
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        await register(store, "k", C)
        assert await find(other, A, B) is None
        assert await listed(other) == ["k"]

    async def test_w3_one_store_detaches_what_another_registered(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        assert await register(other, "k2", A) == "k1"
        await store.remove_session("k1")
        assert await find(store, A) == "k2"

    async def test_w3_each_displaced_session_is_named_once_by_either(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        detached = await race_to_displace([store, other], A)
        assert sorted([*detached, *await listed(other)]) == [f"k{n:02}" for n in range(20)]

    async def test_w6_a_late_clear_leaves_the_other_stores_wait(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "first", A)
        await register(other, "next", A)
        assert not await clear(store, A, "first")
        assert await find(store, A) == "next"

    async def test_w7_exactly_one_of_50_registers_on_two_stores(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        winners = await race_to_register([store, other], A)
        assert len(winners) == 1
        assert await listed(store) == await listed(other) == winners

    async def test_w7_the_other_stores_wait_counts(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        assert await register_if_absent(store, "k1", A)
        assert not await register_if_absent(other, "k2", A)

    async def test_t3_one_store_touches_what_another_registered(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await other.touch_session("k", 600)
        await self.advance(backend, 61)
        assert await find(store, A) == "k"

    async def test_t4_a_deadline_holds_for_both(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        assert await find(other, A) is None
        assert await register(other, "k2", A) is None

    async def test_t5_one_store_purges_what_another_registered(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        assert await other.purge_expired() == 1
        assert await self.leftovers(backend) == []

    async def test_e1_both_stores_return_the_same_etag_and_deadline(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=600)
        mine = await store.get_record("k")
        theirs = await other.get_wait(CTX, "u1", A)
        assert mine is not None
        assert theirs is not None
        assert mine.etag == theirs.etag
        assert mine.expires_at is not None
        assert theirs.expires_at is not None
        assert abs((mine.expires_at - theirs.expires_at).total_seconds()) < 1

    async def test_e2_exactly_one_of_20_writers_succeeds_on_two_stores(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        written = await race_to_update([store, other], "k")
        assert written == [await context_of(other, "k")]

    async def test_e3_no_concurrent_edit_on_two_stores_is_lost(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        key = await store.create_session(CTX, data(""))
        await race_to_append([store, other], key)
        assert sorted((await context_of(store, key) or "").split()) == ALL_LINES

    @pytest.mark.parametrize("turns", TURNS)
    async def test_r3_another_store_sees_what_became_of_a_cancelled_call(
        self, store: AsyncSessionStore, other: AsyncSessionStore, turns: int
    ) -> None:
        await two_waits(store)
        await cancel_after(turns, lambda: register(store, "k1", B, "new"))
        state = await state_of(store)
        assert await state_of(other) == state
        assert state[1] == ("k2" if state[0] == "k1" else "k1")

    async def test_r3_calls_that_finished_before_closing_took_effect(
        self, backend: Backend
    ) -> None:
        store = await self.store_class(backend).open()
        finished: list[str] = []

        async def task(number: int) -> None:
            key = f"k{number:02}"
            await register(store, key, A.model_copy(update={"thread": key}))
            finished.append(key)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(task, number)
        await store.aclose()
        async with self.store_class(self.peer(backend)) as other:
            assert await listed(other) == sorted(finished)

    async def test_r5_closing_one_store_leaves_the_other_open(
        self, backend: Backend, other: AsyncSessionStore
    ) -> None:
        await register(other, "k", A)
        async with self.store_class(self.peer(backend)) as third:
            assert await find(third, A) == "k"
        assert await find(other, A) == "k"
        await other.ping()
