"""Namespaces that begin with each other: erasing and listing in the outer one."""

from __future__ import annotations

import pytest
import redis

from async_session_store import AsyncSessionStore
from async_session_store.testing.contract.builders import SERVICE, A, C, data, register
from async_session_store.testing.contract.erasing import store_everything
from async_session_store.testing.contract.expiry_builders import keep
from async_session_store.testing.contract.listing_sessions import keys
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import image

pytestmark = pytest.mark.anyio

INNER = [
    "x",
    "session",
    "meta",
    "claim",
    "expiring",
    "waits",
    "x:session",
    "session:meta",
    "meta:x",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("name", INNER)
async def test_o2_o4_a_nested_namespace_is_left_alone(
    store: AsyncSessionStore,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner = f"{namespace}:{name}"
    async with AsyncSessionStore.from_url(redis_server.unix_url, namespace=inner) as nested:
        await store_everything(nested)
        await keep(nested, "kept", C, ttl=60)
        redis_client.set(f"{inner}:session:of rust", data().model_dump_json())
        stored = image(redis_client, inner)
        listed = await keys(nested.iter_sessions(SERVICE))
        await register(store, "k", A)
        assert await keys(store.iter_sessions(None)) == ["k"]
        assert (await store.erase_user(SERVICE, "u1")).waits == 1
        assert caplog.messages == []
        assert image(redis_client, inner) == stored
        assert await keys(nested.iter_sessions(SERVICE)) == listed


async def test_o2_o4_sessions_whose_keys_look_like_those_of_a_nested_namespace(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "session:detached", A)
    await register(store, "meta:waits", A)
    await keep(store, "claim:x", C, ttl=60)
    rust.register("a:session:b", A, ttl=60)
    expected = ["a:session:b", "claim:x", "meta:waits", "session:detached"]
    assert await keys(store.iter_sessions(SERVICE)) == expected
    await store.erase_user(SERVICE, "u1")
    assert image(redis_client, namespace) == {}
