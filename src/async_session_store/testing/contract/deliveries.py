"""K6: a delivery that was completed is not handled again."""

from __future__ import annotations

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ConflictError,
    DuplicateDeliveryError,
    ErrorCode,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, B, C, clear, ctx, register
from async_session_store.testing.contract.claim_builders import A_DAY, claim, record_of, try_claim
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.races import race_to_claim


class Deliveries(Hooks):
    """K6: delivery ids."""

    async def test_k6_a_delivery_that_was_completed_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        assert await (await claim(store, A, delivery_id="event")).complete()
        async with self.refused(backend, DuplicateDeliveryError, "handled before"):
            await try_claim(store, A, delivery_id="event")
        await register(store, "k", A, "next")
        async with self.refused(backend, DuplicateDeliveryError, "handled before"):
            await try_claim(store, A, delivery_id="event", wait=60)
        claimed = await claim(store, A, delivery_id="event 2")
        async with self.refused(backend, DuplicateDeliveryError, "handled before"):
            await try_claim(store, A, delivery_id="event", wait=60)
        assert await claimed.complete()

    async def test_k6_an_error_for_a_duplicate_is_a_conflict(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await (await claim(store, A, delivery_id="event")).complete()
        with pytest.raises(ConflictError) as caught:
            await try_claim(store, A, delivery_id="event")
        assert caught.value.code is ErrorCode.CONFLICT

    async def test_k6_it_is_recorded_even_if_the_wait_was_registered_anew(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A, delivery_id="event")
        await register(store, "k", A, "next")
        assert not await claimed.complete()
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")
        assert record_of(await claim(store, A)).data.context_json == "next"

    async def test_k6_a_release_does_not_record_it(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        await (await claim(store, A, delivery_id="event")).release()
        again = await claim(store, A, delivery_id="event")
        assert await again.complete()

    async def test_k6_a_lease_that_ran_out_does_not_record_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        lost = await claim(store, A, delivery_id="event", lease=30)
        await self.advance(backend, 31)
        with pytest.raises(ClaimLostError):
            await lost.complete()
        again = await claim(store, A, delivery_id="event")
        assert await again.complete()

    async def test_k6_it_is_remembered_for_24_hours(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await store.claim_wait(CTX, "u1", A, delivery_id="event")
        assert claimed is not None
        await claimed.complete()
        await register(store, "k", A)
        await self.advance(backend, A_DAY - 60)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")
        await self.advance(backend, 61)
        assert await (await claim(store, A, delivery_id="event")).complete()

    async def test_k6_it_is_remembered_for_the_dedupe_ttl_of_its_claim(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await (await claim(store, A, delivery_id="event", dedupe_ttl=60)).complete()
        await register(store, "k", A)
        await self.advance(backend, 50)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event", dedupe_ttl=1)
        await self.advance(backend, 11)
        await (await claim(store, A, delivery_id="event", dedupe_ttl=A_DAY)).complete()

    async def test_k6_a_completion_on_any_of_the_scopes_counts(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", B)
        await (await claim(store, A, B, C, delivery_id="event")).complete()
        await register(store, "k1", A)
        await register(store, "k2", C)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, B, C, delivery_id="event")
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, C, B, delivery_id="event")
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, B, delivery_id="event")

    async def test_k6_other_scopes_and_owners_are_not_affected(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await (await claim(store, A, delivery_id="event")).complete()
        await register(store, "b", B)
        assert await (await claim(store, B, delivery_id="event")).complete()
        for of in (ctx("u2"), ctx(tenant="rival"), ctx(team="blue"), ctx(env="test")):
            await register(store, "other", A, of=of)
            claimed = await store.claim_wait(of, of.owner.user or "", A, delivery_id="event")
            assert claimed is not None
            assert await claimed.complete()

    @pytest.mark.parametrize("delivery_id", [" ", "a:b", "\n", "é" * 512, "\x00", "\U00010000"])
    async def test_k6_any_text_is_a_delivery_id(
        self, store: AsyncSessionStore, delivery_id: str
    ) -> None:
        await register(store, "k", A)
        await (await claim(store, A, delivery_id=delivery_id)).complete()
        await register(store, "k", A)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id=delivery_id)
        await (await claim(store, A, delivery_id=delivery_id[:-1] + "x")).complete()

    async def test_k6_of_several_copies_of_a_delivery_one_is_handled(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        (claimed,) = await race_to_claim([store], A, "event")
        outcomes: list[type[Exception]] = []

        async def retried() -> None:
            try:
                await claim(store, A, delivery_id="event", wait=30)
            except DuplicateDeliveryError as error:
                outcomes.append(type(error))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(retried)
            await anyio.sleep(0.02)
            await register(store, "k", A, "next")
            await claimed.complete()
        assert outcomes == [DuplicateDeliveryError] * 5
        assert record_of(await claim(store, A)).data.context_json == "next"

    async def test_k6_t5_purging_reclaims_claims_and_deliveries_that_expired(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(12):
            await register(store, "k", A)
            dedupe_ttl = 10 if number < 10 else A_DAY
            claimed = await claim(store, A, delivery_id=f"{number}", dedupe_ttl=dedupe_ttl)
            assert await claimed.complete()
        await register(store, "b", B, ttl=10)
        await claim(store, B, lease=10)
        await register(store, "c", C, ttl=10)
        await self.advance(backend, 12)
        purged = 0
        while now_purged := await store.purge_expired(3):
            assert now_purged <= 3
            purged += now_purged
        # Ten deliveries, a claim and two sessions, except those that the storage drops by itself.
        assert purged <= 13
        assert len(await self.leftovers(backend)) == 2
        await register(store, "k", A)
        for number in (10, 11):
            with pytest.raises(DuplicateDeliveryError):
                await try_claim(store, A, delivery_id=f"{number}")
        assert await (await claim(store, A, delivery_id="0")).complete()

    async def test_k6_t5_claims_and_deliveries_that_expired_do_not_pile_up(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(12):
            scope = A.model_copy(update={"thread": str(number)})
            await register(store, "k", scope)
            await (await claim(store, scope, delivery_id=f"{number}", dedupe_ttl=10)).complete()
            await register(store, "k", scope)
            await claim(store, scope, lease=10)
            await clear(store, scope)
        await self.advance(backend, 11)
        for number in range(8):
            await register(store, "k", A)
            await (await claim(store, A, delivery_id=f"{number}")).complete()
        assert len(await self.leftovers(backend)) == 8
