from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from redis.asyncio import Redis

from async_session_store.abc import Backend
from async_session_store.backends.redis import RedisBackend
from async_session_store.testing import SharedStorageSuite
from redis_server import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestRedis(SharedStorageSuite):
    @pytest.fixture
    def behind(self, redis_server: RedisServer) -> Iterator[redis.Redis]:
        """Give a client that looks behind the API, at a namespace that is empty in the end."""
        self.url = redis_server.unix_url
        self.namespace = f"test:{uuid.uuid4().hex}"
        with redis.Redis.from_url(self.url) as self.client:
            yield self.client
            for key in self._keys():
                self.client.delete(key)

    @pytest.fixture
    async def backend(self, behind: redis.Redis) -> AsyncIterator[Backend]:
        async with Redis.from_url(self.url) as client:
            yield RedisBackend(client, namespace=self.namespace)

    async def advance(self, backend: Backend, seconds: float) -> None:
        for key in self._keys():
            left = self.client.pttl(key)
            if left >= 0:
                self.client.pexpire(key, left - int(seconds * 1000))

    async def leftovers(self, backend: Backend) -> list[str]:
        names = []
        for key in self._keys():
            names.append(key.decode())
            if self.client.type(key) == b"set":
                names += [f"{key.decode()} {member.decode()}" for member in self.client.smembers(key)]
        return names

    def peer(self, backend: Backend) -> Backend:
        return RedisBackend.from_url(self.url, namespace=self.namespace)

    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        assert self.client.set(f"{self.namespace}:session:{key}", document, xx=True, keepttl=True)

    def _keys(self) -> list[bytes]:
        return list(self.client.scan_iter(f"{self.namespace}:*", count=1000))
