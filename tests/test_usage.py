"""Programming errors are not outages: ``StoreUsageError``, on every backend and every loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from async_session_store import (
    AsyncSessionStore,
    ErrorCode,
    SessionStoreError,
    StoreUnavailableError,
    StoreUsageError,
    WaitClaim,
)
from async_session_store.testing.contract.builders import CTX, A, register
from async_session_store.testing.contract.expiry_builders import claim_one, keep
from async_session_store.testing.contract.lifecycle import EVERY_CALL
from redis_server import RedisServer


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return server.unix_url
    return {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'bot.db'}"}[request.param]


def new_store(url: str, namespace: str) -> AsyncSessionStore:
    return AsyncSessionStore.from_url(url, namespace=namespace if url.startswith("unix") else None)


async def in_another_loop(call: Callable[[], Awaitable[object]], loop: str) -> None:
    with pytest.raises(StoreUsageError, match="another event loop"):
        await to_thread.run_sync(lambda: anyio.run(call, backend=loop))


def test_a_usage_error_is_no_outage() -> None:
    assert issubclass(StoreUsageError, SessionStoreError)
    assert not issubclass(StoreUsageError, StoreUnavailableError)
    assert StoreUsageError.code is ErrorCode.INTERNAL


@pytest.mark.anyio
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_r5_every_call_in_another_event_loop_is_refused(
    url: str, namespace: str, loop: str
) -> None:
    async with new_store(url, namespace) as store:
        await register(store, "k", A)
        for call in EVERY_CALL.values():
            await in_another_loop(lambda call=call: call(store), loop)
        record = await store.get_record("k")
        assert record is not None
        assert record.scope == A


@pytest.mark.anyio
async def test_r5_claims_and_blocks_are_refused_in_another_event_loop(
    url: str, namespace: str
) -> None:
    async with new_store(url, namespace) as store:
        await register(store, "k", A)
        claim = await store.claim_wait(CTX, "u1", A)
        assert claim is not None
        for call in (claim.complete, claim.release, claim.renew):
            await in_another_loop(call, "asyncio")
        await claim.release()

        async def resume() -> None:
            async with store.resume_wait(CTX, "u1", A):
                pytest.fail("it began")

        async def next_expired() -> None:
            async for _ in store.expired_waits():
                pytest.fail("it began")

        await in_another_loop(resume, "asyncio")
        await in_another_loop(next_expired, "asyncio")
        assert await store.claim_wait(CTX, "u1", A) is not None


@pytest.mark.anyio
async def test_r5_a_fresh_claim_on_an_expired_wait_is_refused_in_another_event_loop() -> None:
    """Its lease is long enough, so nothing asks the backend before the block begins."""
    async with AsyncSessionStore.from_url("memory://") as store:
        await keep(store, "k", A, ttl=0.01)
        await anyio.sleep(0.02)
        claim = await claim_one(store)

        async def take_turn(claim: WaitClaim = claim) -> None:
            async with store.expired_turn(claim, memory=dict):
                pytest.fail("it began")

        await in_another_loop(take_turn, "asyncio")
        await claim.complete()


def test_r5_a_memory_store_does_not_outlive_its_event_loop() -> None:
    """A newcomer's tests pass on memory, and would fail on SQLite."""
    store = AsyncSessionStore.from_url("memory://")
    asyncio.run(store.open())
    with pytest.raises(StoreUsageError, match="SessionStore between threads"):
        asyncio.run(store.ping())
    asyncio.run(store.aclose())
    with pytest.raises(StoreUsageError, match="closed"):
        asyncio.run(store.ping())


def test_r5_a_call_without_any_event_loop_is_refused() -> None:
    store = AsyncSessionStore.from_url("memory://")
    asyncio.run(store.open())
    with pytest.raises(StoreUsageError, match="another event loop"):
        store.ping().__await__().send(None)
