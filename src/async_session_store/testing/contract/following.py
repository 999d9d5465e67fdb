"""N1: the wait that follows a claim is registered in the step that ends it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from async_session_store import (
    KEEP,
    NEVER,
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    InvalidInputError,
    TenantMismatchError,
    TimeToLive,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
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
)
from async_session_store.testing.contract.claim_builders import claim, is_claimed, seen, try_claim
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.next_waits import ask, refused_waits


class Following(Hooks):
    """N1: ``complete(then=...)``."""

    async def test_n1_the_next_question_takes_the_place_of_the_claimed_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, delivery_id="event")
        assert await held.complete(ask(ttl=600)) is True
        record = await store.get_wait(CTX, "u1", A)
        assert record is not None
        assert (record.key, record.data, record.scope) == ("k", data("next"), A)
        assert record.expires_at is not None
        left = record.expires_at - datetime.now(timezone.utc)
        assert timedelta(seconds=590) < left <= timedelta(seconds=600.01)
        assert await listed(store) == ["k"]
        assert not await is_claimed(store, A)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")
        await clear(store, A)
        await self.advance(backend, 100_000)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_n1_w2_the_next_question_may_wait_elsewhere(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        assert await (await claim(store, A)).complete(ask(B))
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        assert await context_of(store, "k") == "next"
        assert not await is_claimed(store, B)
        await clear(store, B)
        assert await self.leftovers(backend) == []

    async def test_n1_the_next_question_may_have_another_key(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        assert await (await claim(store, A)).complete(ask(key="k2"))
        assert await find(store, A) == "k2"
        assert await store.get_session("k") is None
        assert await listed(store) == ["k2"]
        await clear(store, A)
        assert await self.leftovers(backend) == []

    async def test_n1_w2_another_session_of_the_user_may_move_there(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        await register(store, "k2", B, "other")
        assert await (await claim(store, A)).complete(ask(C, key="k2"))
        assert [await find(store, scope) for scope in (A, B, C)] == [None, None, "k2"]
        assert await store.get_session("k") is None
        assert await context_of(store, "k2") == "next"

    async def test_n1_w3_it_detaches_the_session_that_waits_at_its_scope(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        await register(store, "k2", B, "other", ttl=60)
        assert await (await claim(store, A)).complete(ask(B))
        assert await find(store, B) == "k"
        assert await listed(store) == ["k"]
        detached = await store.get_record("k2")
        assert detached is not None
        assert (detached.data, detached.scope) == (data("other"), None)
        assert detached.expires_at is not None

    @pytest.mark.parametrize(
        ("ttl", "expires"), [(None, False), (60, True), (NEVER, False), (timedelta(hours=1), True)]
    )
    async def test_n1_t2_its_deadline_is_its_own(
        self, store: AsyncSessionStore, ttl: TimeToLive | None, *, expires: bool
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        assert await (await claim(store, A)).complete(ask(ttl=ttl))
        record = await store.get_record("k")
        assert record is not None
        assert (record.expires_at is not None) == expires

    async def test_n1_t2_without_a_ttl_it_has_the_stores_default(self, backend: Backend) -> None:
        async with self.store_class(backend, default_wait_ttl=60) as store:
            await register(store, "k", A, "state", ttl=NEVER)
            assert await (await claim(store, A)).complete(ask())
            await self.advance(backend, 59)
            assert await find(store, A) == "k"
            await self.advance(backend, 2)
            assert await find(store, A) is None

    async def test_n1_keep_leaves_the_wait_as_it_is(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state", ttl=600)
        before = await store.get_record("k")
        held = await claim(store, A, delivery_id="event")
        assert await held.complete(KEEP) is True
        assert await store.get_wait(CTX, "u1", A) == before
        assert not await is_claimed(store, A)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")
        assert await (await claim(store, A)).complete()
        assert await store.get_session("k") is None

    async def test_n1_an_update_meanwhile_is_kept_by_keep_and_overwritten_by_the_next(
        self, store: AsyncSessionStore
    ) -> None:
        for then, expected in ((KEEP, "meanwhile"), (ask(), "next")):
            await register(store, "k", A, "state")
            held = await claim(store, A)
            await store.update_session("k", data("meanwhile"))
            assert await held.complete(then)
            assert await context_of(store, "k") == expected

    async def test_n1_k3_the_next_question_has_an_identity_of_its_own(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        first = await claim(store, A)
        assert await first.complete(ask(context="{}"))
        second = await claim(store, A)
        with pytest.raises(ClaimLostError):
            await first.complete()
        assert await find(store, A) == "k"
        assert await second.complete()

    @refused_waits
    async def test_n1_f1_f3_t1_a_wait_that_may_not_be_registered_changes_nothing(
        self,
        backend: Backend,
        store: AsyncSessionStore,
        then: Callable[[], Any],
        error: type[Exception],
        match: str,
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        held = await claim(store, A, delivery_id="event")
        before = sorted(await self.leftovers(backend)), await seen(store)
        with pytest.raises(error, match=match):
            await held.complete(then())
        with pytest.raises(error, match=match):
            held.check(then())
        assert (sorted(await self.leftovers(backend)), await seen(store)) == before
        assert await is_claimed(store, A)
        assert await held.complete()

    async def test_n1_s6_a_document_that_is_too_large_changes_nothing(
        self, backend: Backend
    ) -> None:
        async with self.store_class(backend, max_document_bytes=2000) as store:
            await register(store, "k", A, "state")
            held = await claim(store, A)
            with pytest.raises(InvalidInputError, match="S6"):
                await held.complete(ask(context="x" * 2000))
            assert await context_of(store, "k") == "state"
            assert await held.complete(ask())

    async def test_n1_f2_the_key_of_another_owners_session_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "theirs", A, "theirs", of=ctx("u2"))
        await register(store, "k", A, "state")
        held = await claim(store, A, delivery_id="event")
        before = sorted(await self.leftovers(backend))
        with pytest.raises(TenantMismatchError, match="F2"):
            await held.complete(ask(key="theirs"))
        assert sorted(await self.leftovers(backend)) == before
        assert await is_claimed(store, A)
        assert await context_of(store, "theirs") == "theirs"
        assert await held.complete(ask(key="mine"))
        await (await claim(store, A, delivery_id="other event")).release()

    async def test_n1_f3a_a_service_may_ask_the_user_whose_wait_it_claimed(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        held = await store.claim_wait(SERVICE, "u1", A)
        assert held is not None
        assert await held.complete(ask())
        assert await context_of(store, "k") == "next"
