"""Storage for the tests of this folder, apart from the hooks of the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from async_session_store import AsyncSessionStore
from redis_server import RedisServer
from rust_peers import RustPeer
from tcp_proxy import TcpProxy, tcp_proxy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a SQLite file that does not exist yet."""
    return tmp_path / "bot.db"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Run a Redis server of the test's own, which it may break or reconfigure."""
    with RedisServer.start() as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """Yield a client that looks behind the API, on the test's own server."""
    with redis.Redis.from_url(server.unix_url) as client:
        yield client


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[TcpProxy]:
    """Run a proxy in front of the test's own server."""
    async with tcp_proxy(server) as proxy:
        yield proxy


@pytest.fixture
async def store(redis_server: RedisServer, namespace: str) -> AsyncIterator[AsyncSessionStore]:
    """Yield an open store on the shared Redis server. Tests of other storage override it."""
    async with AsyncSessionStore.from_url(redis_server.unix_url, namespace=namespace) as store:
        yield store


@pytest.fixture
def rust(redis_client: redis.Redis, namespace: str) -> RustPeer:
    """Return a peer that writes to the namespace as the Rust crate does."""
    return RustPeer(redis_client, namespace)
