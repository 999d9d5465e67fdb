from __future__ import annotations

import math
import random
import time
import weakref

import anyio
import pytest
from anyio.lowlevel import checkpoint
from backend_hooks import MemoryHooks
from hypothesis import given
from hypothesis import strategies as st

from async_session_store import AsyncSessionStore, ReplyScope
from async_session_store.abc import PLACE_TTL, Backend, Claimed
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.memory._deadlines import Deadlines
from async_session_store.testing import BackendSuite
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    clear,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.expiry_builders import claim_all, claim_one, keep, keys_of
from clock import Clock


async def take_and_release(store: AsyncSessionStore) -> None:
    await (await claim(store, A, wait=60)).release()


class TestMemory(MemoryHooks, BackendSuite):
    async def test_t6_a_session_lives_to_its_last_millisecond(self) -> None:
        clock = Clock(lambda: 0.0)
        async with AsyncSessionStore(MemoryBackend(clock=clock)) as store:
            key = await store.create_session(CTX, data(), ttl=60)
            clock.advance(59.999)
            assert await store.get_session(key) is not None
            clock.advance(0.001)
            assert await store.get_session(key) is None

    async def test_nothing_is_shared_between_two_stores(self) -> None:
        async with (
            AsyncSessionStore(MemoryBackend()) as one,
            AsyncSessionStore(MemoryBackend()) as two,
        ):
            key = await one.create_session(CTX, data())
            assert await two.get_session(key) is None

    async def test_t5_touching_does_not_make_it_grow(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        assert isinstance(backend, MemoryBackend)
        await register(store, "k", A)
        for _ in range(5000):
            await store.touch_session("k", 600)
        assert len(backend._sessions.deadlines) < 2000

    async def test_t5_keys_that_come_and_go_do_not_make_it_grow(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        assert isinstance(backend, MemoryBackend)
        for number in range(5000):
            await register(store, f"k{number}", A, ttl=600)
            await clear(store, A)
        assert len(backend._sessions.deadlines) < 2000

    @pytest.mark.parametrize("number", [300, 1030, 3000])
    async def test_q2_however_many_fall_due_at_once_the_longest_overdue_come_first(
        self, number: int
    ) -> None:
        clock = Clock(lambda: 0.0)
        async with AsyncSessionStore(MemoryBackend(clock=clock)) as store:
            ttls = random.Random(number).sample(range(10, number + 10), number)
            for ttl in ttls:
                await keep(store, f"k{ttl}", ReplyScope(conversation=str(ttl)), ttl=ttl)
            await store.touch_session("k10", 250.5)
            clock.advance(600)
            claims = keys_of(await store.claim_expired(limit=1000))
        overdue = [ttl for ttl in range(11, number + 10) if ttl <= 600]
        overdue.insert(250 - 10, 10)
        assert claims == [f"k{ttl}" for ttl in overdue]

    async def test_q2_looking_for_due_waits_takes_no_longer_with_waits_that_no_worker_gets(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        assert isinstance(backend, MemoryBackend)
        for number in range(500):
            at = ReplyScope(conversation=str(number))
            await keep(store, f"k{number}", at, ttl=10, expired_ttl=10)
        await self.advance(backend, 11)
        assert await (await claim_one(store)).complete() is True
        await self.advance(backend, 10)
        assert await claim_all(store) == []
        assert len(backend._sessions.kept._due) == len(backend._sessions.kept._due_by_tenancy) == 0
        assert await store.purge_expired() == 499

    async def test_q2_r3_a_caller_that_asks_again_gets_the_claims_of_its_tokens(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for key, at, ttl in (("k1", A, 10), ("k2", B, 20), ("k3", C, 30)):
            await keep(store, key, at, ttl=ttl)
        await self.advance(backend, 61)
        await backend.claim_expired(None, ["t1"], 30_000)
        again = await backend.claim_expired(None, ["t2", "t1"], 30_000)
        assert [isinstance(one, Claimed) and one.claim[2:4] for one in again] == [
            ("t1", "k1"),
            ("t2", "k2"),
        ]
        await self.advance(backend, 31)
        lost = await backend.claim_expired(None, ["t3", "t4"], 30_000)
        assert [isinstance(one, Claimed) and one.claim.session_key for one in lost] == ["k1", "k2"]
        # A token of a lost claim may claim another wait.
        moved = await backend.claim_expired(None, ["t1"], 30_000)
        assert [isinstance(one, Claimed) and one.claim.session_key for one in moved] == ["k3"]
        assert len(await backend.claim_expired(None, ["t1"], 30_000)) == 1

    async def test_q2_t5_waits_that_are_kept_for_a_worker_do_not_make_it_grow(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        assert isinstance(backend, MemoryBackend)
        kept = backend._sessions.kept
        for number in range(5000):
            await keep(store, f"k{number}", A, ttl=600)
            await store.touch_session(f"k{number}", 900)
            await clear(store, A)
        assert len(kept._pending) < 2000
        await keep(store, "k", A, ttl=1)
        await self.advance(backend, 2)
        for _ in range(5000):
            await (await claim_one(store)).release()
        assert len(kept._pending) < 2000
        lost = await claim_one(store, lease=1)
        await self.advance(backend, 2)
        held = await claim_one(store)
        assert len(kept._claimed) == len(kept._tokens) == 1
        assert lost.token not in kept._claimed
        assert await held.complete() is True
        groups = (kept.sessions, kept._by_owner, kept._due, kept._due_by_tenancy)
        assert not any([*groups, kept._claimed, kept._tokens])

    async def test_a_removed_session_is_freed(self, store: AsyncSessionStore) -> None:
        paused = data()
        await store.register_wait(CTX, "u1", A, "k", paused, ttl=600)
        gone = weakref.ref(paused)
        del paused
        await clear(store, A)
        assert gone() is None

    async def test_t5_keeping_deadlines_never_blocks_the_loop_for_long(self) -> None:
        live: set[int] = set()
        looks = 0

        def deadline_of(key: int) -> float:
            nonlocal looks
            looks += 1
            return 20_000 - key if key in live else math.inf

        deadlines = Deadlines(deadline_of)
        for key in range(20_000):
            if key < 5000:
                live.add(key)
            looked_before = looks
            deadlines.add(key, 20_000 - key)
            assert looks - looked_before <= 16
        assert len(deadlines) < 3 * 5000 + 2 * 1024
        due: set[int] = set()
        while deadlines.next_check <= 20_000:
            due.update(deadlines.due(20_000, 100))
        assert due == live

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9) | st.just(math.inf))))
    def test_t5_a_key_is_due_at_the_deadline_it_got_last(
        self, changes: list[tuple[int, float]]
    ) -> None:
        last: dict[int, float] = {}
        deadlines = Deadlines(last.__getitem__)
        for key, deadline in changes:
            last[key] = deadline
            deadlines.add(key, deadline)
        for now in range(10):
            due = sorted(deadlines.due(now, limit=100))
            assert due == sorted(key for key in last if last[key] == now)

    async def test_t5_purging_many_lets_other_tasks_run(self, store: AsyncSessionStore) -> None:
        for number in range(1000):
            await register(store, f"k{number}", A.model_copy(update={"thread": str(number)}))
        for number in range(1000):
            await store.touch_session(f"k{number}", 0.001)
        await anyio.sleep(0.01)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await checkpoint()
                turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count_turns)
            assert await store.purge_expired(limit=900) == 900
            tasks.cancel_scope.cancel()
        assert turns >= 1
        assert await store.purge_expired() == 100

    async def test_q2_looking_through_a_backlog_lets_other_tasks_run_and_may_be_cancelled(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(1000):
            await keep(store, f"k{number}", ReplyScope(conversation=str(number)), ttl=10)
        await self.advance(backend, 60)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.claim_expired()
        assert scope.cancelled_caught
        assert len(await store.claim_expired(limit=1000)) == 1000

    async def test_n4_a_handler_that_blocks_the_loop_reorders_nobody(
        self, store: AsyncSessionStore
    ) -> None:
        """No place is renewed while the loop is blocked, and chance decides who looks first."""
        await register(store, "k", A)
        order: list[int] = []

        async def caller(number: int) -> None:
            held = await claim(store, A, wait=60)
            order.append(number)
            if number == 0:
                await anyio.sleep(0.3)
                time.sleep(PLACE_TTL / 1000 + 0.2)  # noqa: ASYNC251  # that is the point
            await held.release()

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(caller, number)
                await anyio.sleep(0.03)
        assert order == list(range(8))

    @pytest.mark.parametrize("end", ["taken", "cancelled"])
    async def test_n4_callers_that_waited_leave_nothing(
        self, backend: Backend, store: AsyncSessionStore, end: str
    ) -> None:
        assert isinstance(backend, MemoryBackend)
        await register(store, "k", A)
        for _ in range(20):
            held = await claim(store, A)
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(take_and_release, store)
                await checkpoint()
                await checkpoint()
                if end == "cancelled":
                    tasks.cancel_scope.cancel()
                await held.release()
        assert not backend._claims.queues
        assert not backend._claims.queues._queues
        assert not backend._claims.queues._wake_ups

    async def test_claiming_and_ending_a_claim_never_suspend(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        for end in ("renew", "release", "complete"):
            claiming = store.claim_wait(CTX, "u1", A, wait=60, delivery_id="event")
            with pytest.raises(StopIteration) as claimed:
                claiming.send(None)
            with pytest.raises(StopIteration):
                getattr(claimed.value.value, end)().send(None)
            if end == "renew":
                await claimed.value.value.release()

    async def test_k2_renewing_does_not_make_it_grow(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        assert isinstance(backend, MemoryBackend)
        await register(store, "k", A)
        claimed = await claim(store, A)
        for _ in range(5000):
            await claimed.renew()
        assert len(backend._claims._held._deadlines) < 2000

    async def test_its_calls_never_suspend(self, backend: Backend) -> None:
        store = AsyncSessionStore(backend)
        for call in (
            store.open(),
            register(store, "k", A, ttl=60),
            find(store, A),
            store.get_wait(CTX, "u1", [A]),
            store.update_session("k", data("new")),
            store.touch_session("k", 60),
            listed(store),
            store.edit_session("k", lambda old: old),
            clear(store, A),
            store.purge_expired(),
        ):
            with pytest.raises(StopIteration):
                call.send(None)
