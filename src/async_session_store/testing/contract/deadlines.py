"""Section 5: time."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    InvalidInputError,
    ReplyScope,
    SessionNotFoundError,
    TimeToLive,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
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


async def expires_at(store: AsyncSessionStore, key: str) -> datetime | None:
    record = await store.get_record(key)
    assert record is not None
    return record.expires_at


async def assert_gone(store: AsyncSessionStore, key: str, at: ReplyScope) -> None:
    """Check all that reads, and all that must fail, on what is gone."""
    assert await store.get_session(key) is None
    assert await store.get_session(key, ctx=CTX) is None
    assert await store.get_record(key) is None
    assert await find(store, at) is None
    assert await store.get_wait(CTX, "u1", at) is None
    assert key not in await listed(store)
    assert key not in [record.key for record in await store.list_wait_records(CTX, "u1")]
    assert not await clear(store, at)
    assert not await clear(store, at, key)
    with pytest.raises(SessionNotFoundError):
        await store.update_session(key, data())
    with pytest.raises(SessionNotFoundError):
        await store.touch_session(key, 60)
    with pytest.raises(SessionNotFoundError):
        await store.touch_session(key, NEVER)
    with pytest.raises(SessionNotFoundError):
        await store.remove_session(key)
    assert await store.get_session(key) is None


class Deadlines(Hooks):
    """T: times to live, and what happens when they are over."""

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

    async def test_t4_expired_scope_and_expired_key_at_once(
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

    async def test_t4_a_deadline_that_was_replaced_does_not_come_true(
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

    async def test_t4_the_expired_session_of_one_owner_leaves_anothers_under_its_key(
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

    async def test_t5_purge_reclaims_what_expired_within_its_limit(
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

    async def test_t5_purge_takes_the_largest_limit(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        assert await store.purge_expired(limit=2**63 - 1) == 1

    async def test_t5_purge_leaves_what_lives(
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
