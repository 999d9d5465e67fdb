"""T4, T5, T6: what happens at a deadline, and what reclaims the storage afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from async_session_store import NEVER, AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    assert_gone,
    context_of,
    ctx,
    data,
    expires_at,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.hooks import Hooks


class Deadlines(Hooks):
    """T4, T5, T6: deadlines, and ``purge_expired``."""

    async def test_t4_at_its_deadline_a_session_is_gone_for_every_call(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 60.001)
        await assert_gone(store, "k", A)
        assert await store.clear_waits_for_user(CTX, "u1") == 0

    async def test_t4_a_created_session_is_gone_too(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        key = await store.create_session(CTX, data(), ttl=60)
        await self.advance(backend, 60.001)
        await assert_gone(store, key, A)

    async def test_t4_an_expired_wait_is_not_detached(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "expired", A, ttl=60)
        await self.advance(backend, 61)
        assert await register(store, "k", A) is None
        await store.purge_expired()
        assert await find(store, A) == "k"
        assert await listed(store) == ["k"]
        await store.remove_session("k")
        assert await self.leftovers(backend) == []

    async def test_t4_the_key_of_an_expired_wait_is_free(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "old", ttl=60)
        await self.advance(backend, 61)
        assert await register(store, "k", B, "new", ttl=600) is None
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        await store.purge_expired()
        assert await context_of(store, "k") == "new"
        assert await listed(store) == ["k"]
        await store.remove_session("k")
        assert await self.leftovers(backend) == []

    async def test_t4_a_scope_and_a_key_may_both_have_expired(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A, ttl=60)
        await register(store, "k2", B, ttl=60)
        await self.advance(backend, 61)
        assert await register(store, "k2", A) is None
        assert await find(store, A) == "k2"
        assert await find(store, B) is None
        await store.purge_expired()
        assert await listed(store) == ["k2"]
        assert await store.get_session("k1") is None

    async def test_t4_a_live_wait_moves_onto_an_expired_one(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "expired", A, ttl=60)
        await register(store, "k", B)
        await self.advance(backend, 61)
        assert await register(store, "k", A) is None
        assert await find(store, B) is None
        await store.purge_expired()
        assert await find(store, A) == "k"

    async def test_t4_a_replaced_deadline_has_no_effect(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "removed", A, ttl=60)
        await store.remove_session("removed")
        await register(store, "removed", A, ttl=600)
        await register(store, "touched", B, ttl=60)
        await store.touch_session("touched", 600)
        await register(store, "again", C, ttl=60)
        await register(store, "again", C, ttl=600)
        await self.advance(backend, 61)
        await store.purge_expired()
        assert await listed(store) == ["again", "removed", "touched"]

    async def test_t4_an_expired_session_leaves_another_owners_under_its_key(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        another = ctx("u2")
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        await register(store, "k", A, "theirs", of=another)
        await store.purge_expired()
        assert await store.clear_waits_for_user(CTX, "u1") == 0
        assert await listed(store) == []
        assert await listed(store, of=another) == ["k"]
        assert await context_of(store, "k") == "theirs"

    async def test_t5_purge_reclaims_expired_sessions_up_to_its_limit(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(5):
            scope = A.model_copy(update={"thread": str(number)})
            await register(store, f"k{number}", scope, ttl=60)
        await register(store, "live", B)
        await self.advance(backend, 61)
        assert [await store.purge_expired(limit=2) for _ in range(4)] == [2, 2, 1, 0]
        assert await listed(store) == ["live"]
        await store.remove_session("live")
        assert await self.leftovers(backend) == []

    async def test_t5_purge_accepts_the_largest_limit(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        assert await store.purge_expired(limit=2**63 - 1) == 1

    async def test_t5_purge_leaves_live_sessions(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await register(store, "for ever", B, ttl=NEVER)
        await store.create_session(CTX, data(), ttl=60)
        before = await self.leftovers(backend)
        assert await store.purge_expired() == 0
        assert sorted(await self.leftovers(backend)) == sorted(before)

    async def test_t5_purge_reclaims_every_kind_of_session(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await store.create_session(CTX, data(), ttl=60)
        await register(store, "detached", A, ttl=60)
        await register(store, "k", A, ttl=60)
        await register(store, "theirs", A, ttl=60, of=ctx("u2", tenant="other"))
        await self.advance(backend, 61)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_t5_a_store_that_is_only_written_to_does_not_grow(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=1)
        for_one = len(await self.leftovers(backend))
        for number in range(20):
            for scope in (A, B, C):
                await register(store, f"{scope.conversation}{number}", scope, ttl=1)
            await self.advance(backend, 2)
        assert len(await self.leftovers(backend)) <= 10 * for_one

    async def test_t6_a_deadline_is_exact_to_the_millisecond(
        self, store: AsyncSessionStore
    ) -> None:
        ttl = timedelta(seconds=90, milliseconds=7)
        for change in ("register", "touch"):
            start = datetime.now(timezone.utc)
            if change == "register":
                await register(store, "k", A, ttl=ttl)
            else:
                await store.touch_session("k", ttl)
            deadline = await expires_at(store, "k")
            took = datetime.now(timezone.utc) - start
            assert deadline is not None
            assert abs(deadline - (start + ttl)) <= took + timedelta(milliseconds=1)

    async def test_t6_the_clock_can_be_moved(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        for _ in range(5):
            await self.advance(backend, 10)
            assert await find(store, A) == "k"
        await self.advance(backend, 10)
        assert await find(store, A) is None
