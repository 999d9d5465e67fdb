"""Replies of Redis that get lost on their way: the server ran the command, its caller cannot know.

Nothing may be applied twice, and what the caller sees next must be as documented.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum, auto
from functools import partial
from typing import TypeVar

import pytest
import redis

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ConflictError,
    DuplicateDeliveryError,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    context_of,
    data,
    find,
    listed,
    register,
)
from loops import eventually
from redis_server import RedisServer
from tcp_proxy import Fault, TcpProxy, tcp_proxy

pytestmark = [pytest.mark.anyio, pytest.mark.one_python]

TIMES = 200
LONG = 300.0


class Lost(Enum):
    """The markers of a lost result."""

    LOST = auto()


LOST = Lost.LOST
_T = TypeVar("_T")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(redis_server) as proxy:
        yield proxy


@pytest.fixture
async def worker(proxy: TcpProxy, namespace: str) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store behind the proxy that has used each script before."""
    async with open_store(f"{proxy.url}?socket_timeout=2", namespace) as store:
        await register(store, "k", A, "old")
        await store.update_session("k", data("new"))
        for _ in range(2):
            claim = await claimed(store)
            await claim.release()
        await (await claimed(store)).complete()
        yield store


@pytest.fixture
async def direct(redis_server: RedisServer, namespace: str) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store that bypasses the proxy, and so sees the real state."""
    async with open_store(redis_server.url, namespace) as store:
        yield store


def open_store(url: str, namespace: str) -> AsyncSessionStore:
    return AsyncSessionStore.from_url(url, namespace=namespace)


async def claimed(store: AsyncSessionStore, delivery_id: str | None = None) -> WaitClaim:
    claim = await store.claim_wait(CTX, "u1", A, lease=LONG, delivery_id=delivery_id)
    assert claim is not None
    return claim


class Line:
    """The worker's line to the server, on which all or some replies are lost."""

    def __init__(
        self, proxy: TcpProxy, worker: AsyncSessionStore, client: redis.Redis, drops: str
    ) -> None:
        self._proxy = proxy
        self._worker = worker
        self._client = client
        self._random = random.Random(1) if drops == "some" else None

    async def call(self, call: Callable[[], Awaitable[_T]]) -> _T | Lost:
        """Make a call. Check that it is sent and run once, and that a lost reply is reported."""
        await self._worker.ping()  # it connects anew
        self._proxy.forget()
        self._client.config_resetstat()
        drop = self._random is None or self._random.choice([True, False])
        self._proxy.fault = Fault.CUT_AFTER if drop else None
        result: _T | Lost = LOST
        if drop:
            with pytest.raises(SessionStoreError, match="carried out is unknown") as caught:
                await call()
            assert isinstance(caught.value, (StoreUnavailableError, StoreTimeoutError))
        else:
            result = await call()
        self._proxy.fault = None
        assert self._proxy.names == ["EVALSHA"]
        assert self._client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
        return result


@pytest.fixture(params=["all", "some"])
def line(
    request: pytest.FixtureRequest,
    proxy: TcpProxy,
    worker: AsyncSessionStore,
    redis_client: redis.Redis,
) -> Line:
    return Line(proxy, worker, redis_client, request.param)


async def test_r4_register_wait(
    worker: AsyncSessionStore, direct: AsyncSessionStore, line: Line
) -> None:
    before = None
    for number in range(TIMES):
        key = f"k{number}"
        detached = await line.call(partial(register, worker, key, A, f"{number}"))
        assert detached in (before, LOST)
        assert await listed(direct) == [key]
        assert await find(direct, A) == key
        assert await context_of(direct, key) == str(number)
        # The second time there is nothing to detach, but for itself.
        assert await register(worker, key, A, f"{number}") is None
        before = key
    for number in range(TIMES):
        assert await context_of(direct, f"k{number}") == str(number)


async def test_r4_e2_update_session(
    worker: AsyncSessionStore, direct: AsyncSessionStore, line: Line
) -> None:
    await register(direct, "k", A, "0")
    for number in range(TIMES):
        record = await direct.get_record("k")
        assert record is not None
        assert record.data.context_json == str(number)
        update = partial(worker.update_session, "k", data(str(number + 1)), if_match=record.etag)
        assert await line.call(update) in (None, LOST)
        assert await context_of(direct, "k") == str(number + 1)
        with pytest.raises(ConflictError):
            await update()
        assert await context_of(direct, "k") == str(number + 1)


async def test_r4_k1_claim_wait(
    worker: AsyncSessionStore,
    direct: AsyncSessionStore,
    line: Line,
    redis_client: redis.Redis,
    namespace: str,
) -> None:
    await register(direct, "k", A)
    for _ in range(TIMES):
        claim = await line.call(partial(claimed, worker))
        (claim_key,) = redis_client.keys(f"{namespace}:claim:*")
        token = redis_client.get(claim_key)
        for store in (worker, direct):
            with pytest.raises(WaitClaimedError):
                await claimed(store)
        assert redis_client.get(claim_key) == token
        if isinstance(claim, Lost):
            redis_client.pexpire(claim_key, 1)  # its lease ends
            claim = await direct.claim_wait(CTX, "u1", A, wait=10)
        assert claim is not None
        await claim.release()
        assert redis_client.keys(f"{namespace}:claim:*") == []


async def test_r4_k3_k6_complete(
    worker: AsyncSessionStore, direct: AsyncSessionStore, line: Line
) -> None:
    for number in range(TIMES):
        await register(direct, "k", A, "first")
        claim = await claimed(worker, f"delivery-{number}")
        assert await line.call(claim.complete) in (True, LOST)
        assert await find(direct, A) is None
        assert await direct.get_session("k") is None
        await register(direct, "next", A)
        with pytest.raises(ClaimLostError):
            await claim.complete()
        assert await listed(direct) == ["next"]
        with pytest.raises(DuplicateDeliveryError):
            await claimed(worker, f"delivery-{number}")


async def test_r3_a_cancelled_claim_that_cannot_be_released_stays_cancelled(
    proxy: TcpProxy, worker: AsyncSessionStore
) -> None:
    await register(worker, "k", A)
    proxy.forget()
    proxy.fault = Fault.SWALLOW
    claiming = asyncio.ensure_future(claimed(worker))
    await eventually(lambda: proxy.names == ["EVALSHA"])
    claiming.cancel()
    await asyncio.wait([claiming])
    assert claiming.cancelled()
