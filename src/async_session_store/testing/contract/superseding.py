"""N2, N5: nothing follows a claim that was superseded, or whose lease was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    ReplyScope,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    A,
    B,
    C,
    Call,
    clear,
    context_of,
    data,
    find,
    register,
)
from async_session_store.testing.contract.claim_builders import CHANGES, claim, seen, try_claim
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.next_waits import ask, thens


class Superseding(Hooks):
    """N2, N5: whatever others did during the claim stays."""

    @thens
    @pytest.mark.parametrize(("change", "waiting"), CHANGES.values(), ids=CHANGES.keys())
    async def test_n2_changes_made_by_others_stay(
        self,
        store: AsyncSessionStore,
        change: Call,
        waiting: str | None,
        then: Callable[[], Any],
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A, delivery_id="event")
        await change(store)
        before = await seen(store)
        assert await held.complete(then()) is False
        assert await seen(store) == before
        assert await find(store, A) == waiting
        assert await store.get_session("k9") is None
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")

    @pytest.mark.parametrize("at", [A, B], ids=["there", "elsewhere"])
    @pytest.mark.parametrize("key", [None, "k2"])
    async def test_n2_a_reply_in_time_counts_even_if_the_wait_has_expired(
        self, backend: Backend, store: AsyncSessionStore, at: ReplyScope, key: str | None
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600, delivery_id="event")
        await self.advance(backend, 61)
        assert await find(store, A) is None
        assert await held.complete(ask(at, key=key)) is True
        assert await find(store, at) == (key or "k")
        assert await context_of(store, key or "k") == "next"
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")

    @pytest.mark.parametrize("then", [None, KEEP], ids=["nothing", "keep"])
    async def test_n2_an_expired_wait_can_neither_be_removed_nor_kept(
        self, backend: Backend, store: AsyncSessionStore, then: Any
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600)
        await self.advance(backend, 61)
        assert await held.complete(then) is False
        assert await find(store, A) is None

    @pytest.mark.parametrize("key", ["k", "k2"])
    async def test_n2_a_session_that_waits_where_it_expired_stays(
        self, backend: Backend, store: AsyncSessionStore, key: str
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600)
        await self.advance(backend, 61)
        await register(store, key, A, "theirs")
        assert await held.complete(ask()) is False
        assert await find(store, A) == key
        assert await context_of(store, key) == "theirs"

    async def test_n2_an_expired_session_that_was_registered_elsewhere_stays(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600)
        await self.advance(backend, 61)
        await register(store, "k", B, "theirs")
        assert await held.complete(ask()) is False
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        assert await context_of(store, "k") == "theirs"

    @pytest.mark.parametrize(("change", "waiting"), CHANGES.values(), ids=CHANGES.keys())
    async def test_n2_a_claim_is_superseded_even_if_the_new_wait_is_gone(
        self, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A)
        await change(store)
        assert await clear(store, A) == (waiting is not None)
        assert await held.complete(ask()) is False
        assert await find(store, A) is None

    async def test_n2_a_next_question_supersedes_the_claims_where_it_goes(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        await register(store, "k2", B, "other")
        held, other = await claim(store, A), await claim(store, B)
        assert await held.complete(ask(B))
        assert await other.complete(ask(C, "late", key="k2")) is False
        assert await find(store, B) == "k"
        assert await find(store, C) is None

    async def test_n2_touching_and_updating_do_not_supersede(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A)
        await store.touch_session("k", 600)
        await store.update_session("k", data("meanwhile"))
        assert await held.complete(ask()) is True

    @thens
    async def test_n5_after_the_lease_nothing_follows(
        self, backend: Backend, store: AsyncSessionStore, then: Callable[[], Any]
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A, lease=10, delivery_id="event")
        await self.advance(backend, 11)
        before = await seen(store)
        with pytest.raises(ClaimLostError):
            await held.complete(then())
        assert await seen(store) == before
        await (await claim(store, A, delivery_id="event")).release()

    @thens
    async def test_n5_the_next_workers_changes_stay(
        self, backend: Backend, store: AsyncSessionStore, then: Callable[[], Any]
    ) -> None:
        await register(store, "k", A, "state")
        stopped = await claim(store, A, lease=10, delivery_id="event")
        await self.advance(backend, 11)
        successor = await claim(store, A, delivery_id="event")
        with pytest.raises(ClaimLostError):
            await stopped.complete(then())
        assert await successor.complete(ask(context="successor"))
        with pytest.raises(ClaimLostError):
            await stopped.complete(then())
        assert await context_of(store, "k") == "successor"
        assert await find(store, A) == "k"

    @thens
    async def test_n5_an_ended_claim_ends_nothing_again(
        self, store: AsyncSessionStore, then: Callable[[], Any]
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A)
        await held.complete(then())
        before = await seen(store)
        with pytest.raises(ClaimLostError):
            await held.complete(then())
        assert await seen(store) == before
