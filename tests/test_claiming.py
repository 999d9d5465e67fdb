"""Getting and holding a claim when the storage does not answer as it should."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import anyio
import pytest
from typing_extensions import override

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ConflictError,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store._backoff import edit_pauses
from async_session_store.abc import (
    Claimed,
    ClaimKey,
    Delivery,
    Keep,
    Outcome,
    Owner,
    Queued,
    StoredWait,
    Unreadable,
)
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, A, find, register
from async_session_store.testing.contract.claim_builders import claim, is_claimed
from async_session_store.testing.contract.expiry_builders import claim_one, expired, keep
from async_session_store.testing.contract.turn_builders import Order

pytestmark = pytest.mark.anyio


class Faulty(MemoryBackend):
    """A backend whose claims fail or hang on request."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.calls: list[str] = []

    async def _fault(self, name: str) -> None:
        self.calls.append(name)
        if name in self.hanging:
            await anyio.sleep(60)
        if name in self.failing:
            raise StoreUnavailableError(f"{name} fails")

    @override
    async def claim_wait(
        self,
        owners: Sequence[Owner],
        scope_hashes: Sequence[str],
        *,
        token: str,
        lease: int,
        deliveries: Sequence[Delivery],
        begin_at: str | None,
        queue: bool,
    ) -> Claimed | Queued | Unreadable | Outcome:
        claimed = await super().claim_wait(
            owners,
            scope_hashes,
            token=token,
            lease=lease,
            deliveries=deliveries,
            begin_at=begin_at,
            queue=queue,
        )
        await self._fault("claim")
        return claimed

    @override
    async def complete_claim(
        self, claim: ClaimKey, *, deliveries: Sequence[Delivery], then: StoredWait | Keep | None
    ) -> Outcome:
        await self._fault("complete")
        return await super().complete_claim(claim, deliveries=deliveries, then=then)

    @override
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        await self._fault("release")
        return await super().release_claim(claim)

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        await self._fault("renew")
        return await super().renew_claim(claim, lease)


@pytest.fixture
def backend() -> Faulty:
    return Faulty()


@pytest.fixture
async def store(backend: Faulty) -> AsyncSessionStore:
    store = await AsyncSessionStore(backend).open()
    await register(store, "k", A)
    return store


def test_e3_pauses_between_20_attempts_are_bounded() -> None:
    for _ in range(100):
        pauses = edit_pauses()
        assert all(0 <= next(pauses) <= 0.25 for _ in range(19))
        with pytest.raises(ConflictError, match="20 times"):
            next(pauses)


async def test_r3_a_claim_that_was_granted_to_a_cancelled_call_is_released(
    backend: Faulty, store: AsyncSessionStore
) -> None:
    backend.hanging = {"claim"}
    with anyio.move_on_after(0.05) as scope:
        await claim(store, A)
    assert scope.cancelled_caught
    assert backend.calls == ["claim", "release"]
    backend.hanging.clear()
    assert not await is_claimed(store, A)


async def test_r3_a_cancellation_is_not_lost_when_the_storage_is_away(
    backend: Faulty, store: AsyncSessionStore
) -> None:
    backend.hanging, backend.failing = {"claim"}, {"release"}
    with anyio.move_on_after(0.05) as scope:
        await claim(store, A)
    assert scope.cancelled_caught


@pytest.mark.parametrize("fault", ["failing", "hanging"])
async def test_q5_r3_a_turn_that_does_not_begin_gives_the_wait_back(
    backend: Faulty, store: AsyncSessionStore, fault: str
) -> None:
    await keep(store, "k", A, ttl=0.001)
    await anyio.sleep(0.01)
    held = await claim_one(store, lease=1)
    await anyio.sleep(0.3)  # so that it is renewed first
    setattr(backend, fault, {"renew"})
    with anyio.move_on_after(0.05), suppress(StoreUnavailableError):
        async with store.expired_turn(held, memory=Order):
            pytest.fail("it did not begin")
    assert backend.calls == ["renew", "release"]
    assert await expired(store) == ["k"]


async def test_k4_a_renewal_that_fails_is_tried_again(
    backend: Faulty, store: AsyncSessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failing = {"renew"}
    with caplog.at_level(logging.WARNING, logger="async_session_store"):
        async with store.resume_wait(CTX, "u1", A, lease=1.2):
            await anyio.sleep(0.5)
            backend.failing.clear()
            await anyio.sleep(0.9)
            assert await is_claimed(store, A)
    assert "could not be renewed" in caplog.text
    assert await find(store, A) is None


@pytest.mark.parametrize("fault", ["failing", "hanging"])
async def test_k4_a_block_is_cancelled_when_the_lease_ends_without_an_answer(
    backend: Faulty, store: AsyncSessionStore, fault: str
) -> None:
    setattr(backend, fault, {"renew"})
    begun = anyio.current_time()
    with anyio.fail_after(10), pytest.raises(ClaimLostError):
        async with store.resume_wait(CTX, "u1", A, lease=0.3):
            await anyio.sleep(60)
    assert 0.2 < anyio.current_time() - begun < 5
    assert await find(store, A) == "k"
    assert not await is_claimed(store, A)


async def test_k4_the_blocks_error_comes_before_that_of_a_failing_release(
    backend: Faulty, store: AsyncSessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failing = {"release"}
    with caplog.at_level(logging.WARNING, logger="async_session_store"), pytest.raises(KeyError):
        async with store.resume_wait(CTX, "u1", A):
            raise KeyError
    assert "it ends with its lease" in caplog.text
    caplog.clear()
    backend.failing.clear()


async def test_k4_a_failing_completion_comes_out(backend: Faulty, store: AsyncSessionStore) -> None:
    backend.failing = {"complete"}
    with pytest.raises(StoreUnavailableError):
        async with store.resume_wait(CTX, "u1", A):
            pass
    assert await find(store, A) == "k"
    assert await is_claimed(store, A)


async def test_r5_a_caller_in_the_queue_learns_that_the_store_was_closed(
    store: AsyncSessionStore,
) -> None:
    await store.claim_wait(CTX, "u1", A)
    async with anyio.create_task_group() as tasks:

        async def wait_for_a_turn() -> None:
            with pytest.raises(StoreUsageError, match="closed"):
                await store.claim_wait(CTX, "u1", A, wait=60)

        tasks.start_soon(wait_for_a_turn)
        await anyio.sleep(0.02)
        await store.aclose()
