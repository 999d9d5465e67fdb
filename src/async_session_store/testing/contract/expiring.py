"""Q1: a wait that nobody answered becomes an expired wait at its deadline."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    InvalidInputError,
    NewWait,
    ReplyScope,
    WaitStatus,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, B, C, data, find, listed, register
from async_session_store.testing.contract.claim_builders import claim, record_of, try_claim
from async_session_store.testing.contract.expiry_builders import (
    claim_all,
    claim_one,
    expired,
    keep,
    keys_of,
)
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.turn_builders import Message, Order


async def register_with(store: AsyncSessionStore) -> None:
    await keep(store, "k", A)


async def register_if_absent_with(store: AsyncSessionStore) -> None:
    assert await store.register_wait_if_absent(CTX, "u1", A, "k", data(), 60, expired_ttl=600)


async def ask_next_with(store: AsyncSessionStore) -> None:
    await register(store, "k", A)
    held = await claim(store, A)
    assert await held.complete(NewWait(A, data(), 60, expired_ttl=600))


async def begin_with(store: AsyncSessionStore) -> None:
    held = await store.claim_wait(CTX, "u1", A, begin_at=A)
    assert held is not None
    assert await held.complete(NewWait(A, data(), 60, "k", expired_ttl=timedelta(minutes=10)))


async def take_turn_with(store: AsyncSessionStore) -> None:
    await register(store, "k", A)
    async with store.turn(CTX, Message(), flow="order", memory=Order) as turn:
        turn.ask("next", ttl=60, expired_ttl=600)


WAYS: list[Callable[[AsyncSessionStore], Awaitable[None]]] = [
    register_with,
    register_if_absent_with,
    ask_next_with,
    begin_with,
    take_turn_with,
]

REFUSED: list[Any] = [-1, -0.001, math.nan, math.inf, "1", True, NEVER, timedelta(days=36_526)]


class Expiring(Hooks):
    """Q1: ``expired_ttl``."""

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
    async def test_q1_at_its_deadline_only_a_worker_finds_it(
        self, backend: Backend, store: AsyncSessionStore, way: Callable[..., Awaitable[None]]
    ) -> None:
        await way(store)
        assert await find(store, A) == "k"
        await self.advance(backend, 61)
        assert await find(store, A) is None
        assert await store.get_wait(CTX, "u1", [A]) is None
        assert await store.get_session("k") is None
        assert await store.get_record("k") is None
        assert await listed(store) == []
        assert await store.list_wait_records(CTX, "u1") == []
        assert await try_claim(store, A) is None
        assert (await store.explain(CTX, "u1", A)).reports[0].status is WaitStatus.NOTHING
        assert await expired(store) == ["k"]

    async def test_q1_q3_before_its_deadline_no_worker_finds_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await claim_all(store) == []
        await self.advance(backend, 58)
        assert await claim_all(store) == []
        assert await find(store, A) == "k"

    async def test_q1_the_claim_has_the_session_as_it_was(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        scope = ReplyScope(conversation="c", thread="t", reply_to="r", correlation="x")
        await keep(store, "k", scope, "state")
        record = await store.get_record("k")
        assert record is not None
        assert record.expires_at is not None
        await self.advance(backend, 61)
        held = await claim_one(store)
        found = record_of(held)
        assert (found.key, found.data, found.scope) == ("k", data("state"), scope)
        assert found.expires_at is not None
        off = found.expires_at - (record.expires_at)
        assert abs(off) < timedelta(
            seconds=62
        )  # advance() may shorten deadlines instead of moving a clock
        assert held.is_expired
        assert not held.is_overtaken
        assert not held.is_new
        assert held.lease_ends_at > datetime.now(timezone.utc)

    async def test_q1_a_wait_with_a_very_short_ttl_is_kept(self, store: AsyncSessionStore) -> None:
        keys = [f"k{number}" for number in range(90)]
        for number, key in enumerate(keys):
            at = ReplyScope(conversation=str(number))
            if number % 3:
                await keep(store, key, at, ttl=60 if number % 3 == 1 else 0.001)
            if number % 3 == 1:
                await store.touch_session(key, 0.001)
            elif number % 3 == 0:
                held = await store.claim_wait(CTX, "u1", at, begin_at=at)
                assert held is not None
                assert await held.complete(NewWait(at, data(), 0.001, key, expired_ttl=600))
        await anyio.sleep(0.01)
        assert sorted(keys_of(await claim_all(store))) == sorted(keys)

    async def test_q1_it_is_handed_out_as_last_updated(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, "old")
        await store.update_session("k", data("new"))
        await store.edit_session("k", lambda old: data(old.context_json + "er"))
        await self.advance(backend, 61)
        assert record_of(await claim_one(store)).data == data("newer")

    async def test_q1_t2_it_is_off_unless_it_is_asked_for(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await keep(store, "k2", B, expired_ttl=0)
        await keep(store, "k3", C, expired_ttl=timedelta(0))
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_q1_a_store_has_a_default(self, backend: Backend) -> None:
        async with self.store_class(backend, default_expired_ttl=600) as store:
            await register(store, "k", A, ttl=60)
            await keep(store, "k2", B, expired_ttl=0)
            await keep(store, "k3", C, expired_ttl=1200)
            await self.advance(backend, 61)
            assert sorted(await expired(store)) == ["k", "k3"]
            await self.advance(backend, 600)
            assert await expired(store) == ["k3"]

    async def test_q1_a_wait_without_a_deadline_never_expires(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=None)
        await keep(store, "k2", B, ttl=NEVER)
        await self.advance(backend, 1_000_000)
        assert await claim_all(store) == []
        assert await listed(store) == ["k", "k2"]

    async def test_q1_w3_a_detached_session_does_not_become_an_expired_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await register(store, "k2", A) == "k"
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        assert await find(store, A) == "k2"

    async def test_q1_t5_a_detached_session_is_reclaimed_at_its_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await register(store, "k2", A, ttl=30) == "k"
        await self.advance(backend, 61)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_q1_w2_a_moved_wait_expires_at_its_new_scope(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await keep(store, "k", B, ttl=100)
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await self.advance(backend, 40)
        assert record_of(await claim_one(store)).scope == B
        assert await claim_all(store) == []

    async def test_q1_a_wait_registered_anew_without_expired_ttl_is_not_kept(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("expired_ttl", REFUSED, ids=repr)
    async def test_q1_t1_an_invalid_time_is_refused(
        self, backend: Backend, store: AsyncSessionStore, expired_ttl: Any
    ) -> None:
        await register(store, "k9", C)
        held = await claim(store, C)
        async with self.refused(backend, InvalidInputError, "expired_ttl"):
            await keep(store, "k", A, expired_ttl=expired_ttl)
        async with self.refused(backend, InvalidInputError, "expired_ttl"):
            await store.register_wait_if_absent(
                CTX, "u1", A, "k", data(), 60, expired_ttl=expired_ttl
            )
        async with self.refused(backend, InvalidInputError, "expired_ttl"):
            await held.complete(NewWait(A, data(), expired_ttl=expired_ttl))
        await held.release()
        async with store.turn(CTX, Message(scope=C), flow="order", memory=Order) as turn:
            with pytest.raises(InvalidInputError, match="expired_ttl"):
                turn.ask("next", expired_ttl=expired_ttl)
        with pytest.raises(InvalidInputError, match="default_expired_ttl"):
            self.store_class(backend, default_expired_ttl=expired_ttl)

    async def test_q1_q2_t5_after_its_expired_ttl_it_is_gone_and_purged(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=60, expired_ttl=100)
        await self.advance(backend, 158)
        assert await expired(store) == ["k"]
        await self.advance(backend, 3)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_q2_t5_nothing_reclaims_it_before(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        for number in range(40):
            await register(store, f"gone {number}", ReplyScope(conversation=str(number)), ttl=10)
        await self.advance(backend, 61)
        await store.purge_expired()
        for number in range(40):
            scope = ReplyScope(conversation=f"new {number}")
            await register(store, f"new {number}", scope)
            await (await claim(store, scope)).complete()
        await store.purge_expired()
        assert await expired(store) == ["k"]
