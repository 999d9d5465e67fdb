"""K1 to K4, K6: claims hold between stores on one storage."""

from __future__ import annotations

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    StoreUsageError,
    WaitClaimedError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, Call, data, find, register
from async_session_store.testing.contract.claim_builders import changes, claim, seen, try_claim
from async_session_store.testing.contract.hooks import SharedHooks
from async_session_store.testing.contract.races import race_to_claim, take_turns


class SharedClaims(SharedHooks):
    """K1 to K4, K6: claims of two stores on one storage, as two processes have them."""

    async def test_k1_another_store_respects_a_claim(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A)
        async with self.refused(backend, WaitClaimedError, "another worker"):
            await try_claim(other, A)
        await held.release()
        again = await claim(other, A)
        assert again.record == held.record
        with pytest.raises(ClaimLostError):
            await held.complete()
        assert await again.complete()
        assert await find(store, A) is None
        assert await self.leftovers(backend) == []

    async def test_k1_exactly_one_of_20_claims_on_two_stores(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        for _ in range(5):
            (claimed,) = await race_to_claim([store, other], A)
            await claimed.release()

    async def test_k1_everyone_who_waits_gets_a_turn_on_two_stores(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        assert await take_turns([store, other], A) == [1] * 8

    async def test_k2_another_store_gets_the_wait_when_the_lease_ran_out(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        stale = await claim(store, A, lease=30)
        await self.advance(backend, 31)
        current = await claim(other, A)
        for use in (stale.complete, stale.release, stale.renew):
            with pytest.raises(ClaimLostError):
                await use()
        assert await current.complete()

    async def test_k2_a_claim_outlives_the_store(self, backend: Backend) -> None:
        async with self.store_class(backend) as store:
            await register(store, "k", A)
            held = await claim(store, A)
        async with self.store_class(self.peer(backend)) as other:
            with pytest.raises(WaitClaimedError):
                await try_claim(other, A)
            await self.advance(backend, 31)
            assert await (await claim(other, A)).complete()
        with pytest.raises(StoreUsageError):
            await held.complete()

    @changes
    async def test_k3_changes_made_by_another_store_stay(
        self,
        store: AsyncSessionStore,
        other: AsyncSessionStore,
        change: Call,
        waiting: str | None,
    ) -> None:
        await register(store, "k", A, ttl=600)
        held = await claim(store, A)
        await change(other)
        before = await seen(store)
        assert await held.complete() is False
        assert await seen(other) == before
        assert await find(store, A) == waiting

    async def test_k3_a_wait_that_another_store_updates_is_completed(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        await other.update_session("k", data("new"))
        await other.touch_session("k", 600)
        assert await held.complete() is True
        assert await self.leftovers(backend) == []

    async def test_k4_of_two_stores_one_resumes(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        resumed: list[str] = []

        async def resume(store: AsyncSessionStore) -> None:
            async with store.resume_wait(CTX, "u1", A, wait=30) as record:
                if record is not None:
                    resumed.append(record.key)

        async with anyio.create_task_group() as tasks:
            for each in (store, other) * 5:
                tasks.start_soon(resume, each)
        assert resumed == ["k"]

    async def test_k6_another_store_remembers_a_delivery(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await (await claim(store, A, delivery_id="event")).complete()
        await register(store, "k", A, "next")
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(other, A, delivery_id="event")
