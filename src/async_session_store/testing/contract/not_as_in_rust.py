"""W2, W3, W6, F2, F4, S3, S4, T1, T3, T5: mistakes of the Rust crate that this library avoids."""

from __future__ import annotations

from datetime import timedelta

import pytest

from async_session_store import (
    AsyncSessionStore,
    InvalidInputError,
    SessionNotFoundError,
    TenantMismatchError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    clear,
    context_of,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.hooks import Hooks


class NotAsInRust(Hooks):
    """A test for each difference from the Rust crate that can be seen on any backend."""

    async def test_w2_after_a_move_the_old_scope_does_not_route(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(store, "k", B)
        assert await find(store, A) is None

    async def test_w6_clearing_the_old_scope_leaves_the_moved_session(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(store, "k", B)
        assert not await clear(store, A)
        assert await find(store, B) == "k"
        assert await store.get_session("k") is not None

    async def test_f2_another_tenant_cannot_replace_a_session_by_reusing_its_key(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        with pytest.raises(TenantMismatchError):
            await register(store, "k", A, "theirs", of=ctx(tenant="other"))
        assert await context_of(store, "k") == "mine"

    async def test_t3_an_update_keeps_the_ttl(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await store.update_session("k", data("new"))
        await self.advance(backend, 61)
        assert await store.get_session("k") is None

    async def test_s4_a_removed_sessions_scope_does_not_route_to_its_keys_next_wait(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await store.remove_session("k")
        await register(store, "k", B)
        assert await find(store, A) is None
        assert not await clear(store, A)
        assert await find(store, B) == "k"

    async def test_t1_a_huge_ttl_is_refused_before_anything_is_written(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for ttl in (2**63, 1e300, timedelta.max):
            async with self.refused(backend, InvalidInputError, "ttl"):
                await register(store, "k", A, ttl=ttl)

    async def test_w3_the_expiry_of_a_detached_session_leaves_the_winner(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "detached", A, ttl=60)
        await register(store, "winner", A)
        await self.advance(backend, 61)
        assert await store.get_session("detached") is None
        await store.purge_expired()
        assert await find(store, A) == "winner"
        assert await listed(store) == ["winner"]

    async def test_w3_moving_a_detached_session_leaves_the_winner(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "detached", A)
        await register(store, "winner", A)
        await register(store, "detached", B)
        assert await find(store, A) == "winner"
        assert await find(store, B) == "detached"

    async def test_s3_s4_update_and_remove_of_an_expired_session_fail(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        with pytest.raises(SessionNotFoundError):
            await store.update_session("k", data())
        with pytest.raises(SessionNotFoundError):
            await store.remove_session("k")
        assert await store.get_session("k") is None

    async def test_t5_expired_sessions_are_reclaimed_without_being_read(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_w6_a_late_clear_leaves_the_next_wait(self, store: AsyncSessionStore) -> None:
        await register(store, "first", A)
        await clear(store, A)
        await register(store, "next", A)
        assert not await clear(store, A, "first")
        assert await find(store, A) == "next"

    async def test_f4_another_user_of_the_tenant_cannot_list_or_clear(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        another = ctx("u2")
        assert await store.list_waits_for_user(another, "u1") == []
        with pytest.raises(TenantMismatchError):
            await store.clear_wait(another, "u1", A)
        assert await store.list_waits_for_user(CTX, "u1") == ["k"]
