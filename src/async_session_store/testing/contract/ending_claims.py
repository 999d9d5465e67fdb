"""K2: what ends a claim. A claim that has ended has no effect."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from async_session_store import AsyncSessionStore, ClaimLostError, ConflictError
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import A, B, context_of, find, listed, register
from async_session_store.testing.contract.claim_builders import (
    USES,
    Use,
    claim,
    is_claimed,
    seen,
    uses,
)
from async_session_store.testing.contract.hooks import Hooks


class EndingClaims(Hooks):
    """K2: completing, releasing, renewing, and the end of the lease."""

    async def test_k2_completing_ends_it(self, backend: Backend, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        assert await claimed.complete() is True
        assert await self.leftovers(backend) == []
        await register(store, "k", A)
        assert not await is_claimed(store, A)

    async def test_k2_releasing_ends_it(self, backend: Backend, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        await claimed.release()
        assert not await is_claimed(store, A)
        await store.remove_session("k")
        assert await self.leftovers(backend) == []

    async def test_k2_the_end_of_its_lease_ends_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A, lease=30)
        await self.advance(backend, 28)
        assert await is_claimed(store, A)
        await self.advance(backend, 3)
        assert not await is_claimed(store, A)

    async def test_k2_renewing_moves_the_end_of_its_lease(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A, lease=30)
        first_end = claimed.lease_ends_at
        for _ in range(3):
            await self.advance(backend, 20)
            await claimed.renew()
        assert claimed.lease_ends_at >= first_end
        await self.advance(backend, 28)
        assert await is_claimed(store, A)
        await self.advance(backend, 3)
        assert not await is_claimed(store, A)

    async def test_k2_renewing_takes_another_lease(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A, lease=30)
        before = claimed.lease_ends_at
        await claimed.renew(timedelta(seconds=90))
        assert 55 < (claimed.lease_ends_at - before).total_seconds() < 65
        await self.advance(backend, 80)
        assert await is_claimed(store, A)
        await claimed.renew(5)
        await self.advance(backend, 6)
        assert not await is_claimed(store, A)

    @uses
    async def test_k2_a_claim_whose_lease_ran_out_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore, use: Use
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A, lease=30, delivery_id="event")
        await self.advance(backend, 31)
        before = await seen(store)
        with pytest.raises(ClaimLostError) as caught:
            await use(claimed)
        assert isinstance(caught.value, ConflictError)
        assert await seen(store) == before
        again = await claim(store, A, delivery_id="event")
        assert await again.complete()

    @uses
    async def test_k2_a_stale_claim_does_not_touch_the_next_holders(
        self, backend: Backend, store: AsyncSessionStore, use: Use
    ) -> None:
        await register(store, "k", A)
        stale = await claim(store, A, lease=30, delivery_id="event")
        await self.advance(backend, 31)
        current = await claim(store, A, lease=30)
        async with self.refused(backend, ClaimLostError, "lease"):
            await use(stale)
        assert await is_claimed(store, A)
        await self.advance(backend, 20)
        with pytest.raises(ClaimLostError):
            await use(stale)
        await self.advance(backend, 11)
        with pytest.raises(ClaimLostError):
            await current.complete()
        assert await find(store, A) == "k"

    @uses
    @pytest.mark.parametrize("end", ["complete", "release"])
    async def test_k2_a_claim_that_was_ended_cannot_be_used(
        self, backend: Backend, store: AsyncSessionStore, end: str, use: Use
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        await USES[end](claimed)
        await register(store, "k", A, "next")
        async with self.refused(backend, ClaimLostError, "completed or released"):
            await use(claimed)
        assert await context_of(store, "k") == "next"

    async def test_k2_two_calls_that_end_it_at_once(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        ended: list[object] = []

        async def end() -> None:
            try:
                ended.append(await claimed.complete())
            except ClaimLostError:
                ended.append("lost")

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(end)
        assert sorted(map(str, ended)) == ["True", *["lost"] * 4]

    async def test_k2_a_claim_does_not_extend_the_waits_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=40)
        claimed = await claim(store, A, lease=30)
        await self.advance(backend, 20)
        await claimed.renew()
        record = await store.get_record("k")
        assert record is not None
        assert record.expires_at is not None
        await self.advance(backend, 21)
        assert await find(store, A) is None
        assert await store.get_session("k") is None
        await claimed.renew()
        assert not await claimed.complete()

    async def test_k2_a_claim_does_not_shorten_the_waits_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=600)
        await register(store, "for ever", B)
        for scope in (A, B):
            await (await claim(store, scope, lease=5)).release()
            await claim(store, scope, lease=5)
        await self.advance(backend, 500)
        assert await listed(store) == ["for ever", "k"]
        await self.advance(backend, 101)
        assert await listed(store) == ["for ever"]
