"""K3: the fate of the claimed wait, which has an identity besides its scope and key."""

from __future__ import annotations

import random

import pytest

from async_session_store import NEVER, AsyncSessionStore, ClaimLostError, WaitClaimedError
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    Call,
    clear,
    context_of,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import (
    USES,
    changes,
    claim,
    is_claimed,
    record_of,
    seen,
    try_claim,
)
from async_session_store.testing.contract.hooks import Hooks


class ClaimedWaits(Hooks):
    """K3: the effects of ``complete`` and ``release`` on the wait."""

    async def test_k3_complete_removes_the_wait_and_its_session(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=600)
        await register(store, "other", B)
        claimed = await claim(store, A)
        assert await claimed.complete() is True
        assert await store.get_session("k") is None
        assert await find(store, A) is None
        assert await listed(store) == ["other"]
        await clear(store, B)
        assert await self.leftovers(backend) == []

    async def test_k3_seeding_pythons_random_repeats_no_identity(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "another", B)
        state = random.getstate()
        try:
            random.seed(42)
            await register(store, "k", A)
            claimed = await claim(store, A)
            await clear(store, A)
            random.seed(42)
            await register(store, "k2", A)
        finally:
            random.setstate(state)
        assert await claimed.complete() is False
        assert await find(store, A) == "k2"

    @changes
    async def test_k3_changes_made_during_the_claim_stay(
        self, backend: Backend, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        await register(store, "k", A, ttl=600)
        claimed = await claim(store, A)
        await change(store)
        assert await find(store, A) == waiting
        before = await seen(store)
        assert await claimed.complete() is False
        assert await seen(store) == before
        with pytest.raises(ClaimLostError):
            await claimed.complete()
        await store.clear_waits_for_user(CTX, "u1")
        if await store.get_session("k") is not None:
            await store.remove_session("k")
        assert await self.leftovers(backend) == []

    @changes
    async def test_k3_a_wait_registered_during_the_claim_can_be_claimed_after_it(
        self, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        for end in ("complete", "release"):
            await store.clear_waits_for_user(CTX, "u1")
            await register(store, "k", A)
            claimed = await claim(store, A)
            await change(store)
            if waiting is None:
                assert await try_claim(store, A) is None
                await register(store, "k2", A)
            with pytest.raises(WaitClaimedError):
                await try_claim(store, A)
            await claimed.renew()
            await USES[end](claimed)
            after = await claim(store, A)
            assert record_of(after).key == (waiting or "k2")
            assert await after.complete() is True

    @changes
    async def test_k3_the_claim_of_a_wait_that_is_gone_ends_with_its_lease(
        self, backend: Backend, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        await register(store, "k", A)
        stale = await claim(store, A, lease=30)
        await change(store)
        if waiting is None:
            await register(store, "k2", A)
        assert await is_claimed(store, A)
        await self.advance(backend, 31)
        after = await claim(store, A)
        with pytest.raises(ClaimLostError):
            await stale.complete()
        assert await after.complete() is True

    async def test_k3_a_claimed_wait_may_expire(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=10)
        claimed = await claim(store, A)
        await self.advance(backend, 11)
        assert await try_claim(store, A) is None
        await register(store, "next", A)
        with pytest.raises(WaitClaimedError):
            await try_claim(store, A)
        assert await claimed.complete() is False
        assert await find(store, A) == "next"
        assert record_of(await claim(store, A)).key == "next"

    async def test_k3_updating_and_touching_it_keep_its_identity(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=600)
        claimed = await claim(store, A)
        await store.update_session("k", data("new"))
        await store.touch_session("k", 60)
        await store.edit_session("k", lambda old: old.model_copy(update={"pack_id": "p"}))
        await store.touch_session("k", NEVER)
        record = await store.get_record("k")
        assert record is not None
        await store.update_session("k", data("newer"), if_match=record.etag)
        assert await claimed.complete() is True
        assert await self.leftovers(backend) == []

    async def test_k3_changes_made_before_the_claim_do_not_matter(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(store, "k", B, ttl=600)
        await register(store, "detached", A)
        await register(store, "k", A, ttl=60)
        await store.update_session("k", data("new"))
        await store.touch_session("k", 600)
        assert await (await claim(store, A)).complete() is True
        assert await listed(store) == []
        assert await context_of(store, "detached") == "{}"

    async def test_k3_release_gives_the_wait_back_untouched(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state", ttl=600)
        before = await seen(store)
        claimed = await claim(store, A)
        assert await seen(store) == before
        assert await claimed.release() is None  # type: ignore[func-returns-value]
        assert await seen(store) == before
        again = await claim(store, A)
        assert again.record == claimed.record
        assert await again.complete() is True
