"""T1, T2, T3: times to live, and the deadlines that they set."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    InvalidInputError,
    SessionNotFoundError,
    TimeToLive,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    assert_gone,
    context_of,
    data,
    expires_at,
    find,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.hooks import Hooks

A_CENTURY = timedelta(days=36_525)

BAD_TTLS: dict[str, object] = {
    "zero": 0,
    "negative": -1,
    "negative timedelta": timedelta(seconds=-1),
    "no time": timedelta(0),
    "nan": math.nan,
    "infinite": math.inf,
    "minus infinite": -math.inf,
    "101 years": timedelta(days=101 * 365.25),
    "101 years in seconds": 101 * 365.25 * 86400,
    "longest timedelta": timedelta.max,
    "huge": 10**400,
    "true": True,
    "text": "60",
}

bad_ttls: pytest.MarkDecorator = pytest.mark.parametrize(
    "ttl", BAD_TTLS.values(), ids=BAD_TTLS.keys()
)


class TimesToLive(Hooks):
    """T1, T2, T3: ``ttl``, the defaults, and ``touch_session``."""

    @bad_ttls
    async def test_t1_a_bad_ttl_is_refused(
        self, backend: Backend, store: AsyncSessionStore, ttl: TimeToLive
    ) -> None:
        await register(store, "k", A, "old", ttl=600)
        async with self.refused(backend, InvalidInputError, "ttl: "):
            await store.create_session(CTX, data(), ttl=ttl)
        async with self.refused(backend, InvalidInputError, "ttl: "):
            await register(store, "k", B, "new", ttl=ttl)
        async with self.refused(backend, InvalidInputError, "ttl: "):
            await register_if_absent(store, "k2", B, ttl=ttl)
        async with self.refused(backend, InvalidInputError, "ttl: "):
            await store.touch_session("k", ttl)
        assert await find(store, A) == "k"
        assert await context_of(store, "k") == "old"
        assert await expires_at(store, "k") is not None

    @bad_ttls
    async def test_t1_a_bad_default_is_refused(self, backend: Backend, ttl: TimeToLive) -> None:
        with pytest.raises(InvalidInputError, match="default_wait_ttl: "):
            self.store_class(backend, default_wait_ttl=ttl)
        with pytest.raises(InvalidInputError, match="default_session_ttl: "):
            self.store_class(backend, default_session_ttl=ttl)

    async def test_t1_a_touch_needs_a_ttl(self, backend: Backend, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        async with self.refused(backend, InvalidInputError, "ttl: "):
            await store.touch_session("k", None)  # type: ignore[arg-type]

    @pytest.mark.parametrize("ttl", [60, 60.0, timedelta(minutes=1)])
    async def test_t1_a_ttl_is_seconds_or_a_timedelta(
        self, backend: Backend, store: AsyncSessionStore, ttl: TimeToLive
    ) -> None:
        await register(store, "k", A, ttl=ttl)
        await self.advance(backend, 30)
        assert await find(store, A) == "k"
        await self.advance(backend, 31)
        assert await find(store, A) is None

    async def test_t1_a_century_is_the_longest(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=A_CENTURY)
        await store.touch_session("k", A_CENTURY.total_seconds())
        left = await expires_at(store, "k")
        assert left is not None
        assert left > datetime.now(timezone.utc) + timedelta(days=36_524)
        async with self.refused(backend, InvalidInputError, "ttl: .*100 years"):
            await register(store, "k", A, ttl=A_CENTURY + timedelta(seconds=1))

    async def test_t1_the_shortest_is_a_millisecond(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=1e-9)
        await self.advance(backend, 0.002)
        await assert_gone(store, "k", A)

    async def test_t2_the_default_holds_where_no_ttl_is_given(self, backend: Backend) -> None:
        async with self.store_class(backend, default_wait_ttl=60) as store:
            await register(store, "by default", A)
            await register(store, "longer", B, ttl=90)
            await register(store, "for ever", C, ttl=NEVER)
            await self.advance(backend, 61)
            assert await listed(store) == ["for ever", "longer"]
            await self.advance(backend, 30)
            assert await listed(store) == ["for ever"]
            await self.advance(backend, 10**9)
            assert await listed(store) == ["for ever"]

    async def test_t2_without_a_default_registering_again_ends_the_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await register(store, "moved", B, ttl=60)
        created = await store.create_session(CTX, data(), ttl=60)
        await register(store, "k", A)
        await register(store, "moved", C)
        await register(store, created, B)
        assert await expires_at(store, "k") is None
        await self.advance(backend, 61)
        assert await listed(store) == sorted([created, "k", "moved"])
        assert await find(store, A) == "k"
        assert await find(store, C) == "moved"

    async def test_t2_registering_again_sets_the_new_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "shorter", A, ttl=600)
        await register(store, "longer", B, ttl=60)
        await register(store, "bounded", C, ttl=NEVER)
        await register(store, "shorter", A, ttl=60)
        await register(store, "longer", B, ttl=600)
        await register(store, "bounded", C, ttl=60)
        await self.advance(backend, 61)
        assert await listed(store) == ["longer"]
        await assert_gone(store, "shorter", A)
        await assert_gone(store, "bounded", C)
        await self.advance(backend, 540)
        await assert_gone(store, "longer", B)

    async def test_t3_update_keeps_the_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await register(store, "for ever", B, ttl=NEVER)
        await self.advance(backend, 30)
        await store.update_session("k", data("new"))
        await store.update_session("for ever", data("new"))
        await self.advance(backend, 29)
        assert await find(store, A) == "k"
        await self.advance(backend, 2)
        await assert_gone(store, "k", A)
        assert await expires_at(store, "for ever") is None

    async def test_t3_touch_moves_the_deadline_of_session_and_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "longer", A, ttl=60)
        await register(store, "shorter", B, ttl=60)
        await register(store, "untouched", C, ttl=60)
        await store.touch_session("longer", 600)
        await store.touch_session("shorter", 10)
        await self.advance(backend, 11)
        await assert_gone(store, "shorter", B)
        await self.advance(backend, 50)
        await assert_gone(store, "untouched", C)
        assert await find(store, A) == "longer"
        assert await listed(store) == ["longer"]
        await self.advance(backend, 540)
        await assert_gone(store, "longer", A)

    async def test_t3_touch_leaves_data_and_routing(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state")
        await store.touch_session("k", 60)
        assert await context_of(store, "k") == "state"
        assert await find(store, A) == "k"

    async def test_t3_never_removes_the_deadline_and_a_ttl_sets_one_again(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await store.touch_session("k", NEVER)
        await self.advance(backend, 10**9)
        assert await find(store, A) == "k"
        assert await listed(store) == ["k"]
        assert await expires_at(store, "k") is None
        await store.touch_session("k", 60)
        await self.advance(backend, 61)
        await assert_gone(store, "k", A)

    async def test_t3_touch_after_a_move_moves_the_new_routing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await register(store, "k", B, ttl=60)
        await store.touch_session("k", 600)
        await self.advance(backend, 61)
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        assert await listed(store) == ["k"]

    async def test_t3_touch_of_a_session_that_waits_nowhere(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        created = await store.create_session(CTX, data(), ttl=60)
        await register(store, "detached", A, ttl=60)
        await register(store, "winner", A, ttl=60)
        await store.touch_session(created, 600)
        await store.touch_session("detached", 600)
        await self.advance(backend, 61)
        assert await store.get_session(created) is not None
        assert await store.get_session("detached") is not None
        assert await find(store, A) is None
        assert await listed(store) == []

    async def test_t3_touch_of_a_missing_session_fails(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with self.refused(backend, SessionNotFoundError, "'missing'"):
            await store.touch_session("missing", 60)
