from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from redis.asyncio import Redis
from typing_extensions import override

from async_session_store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.backends.redis import RedisBackend
from async_session_store.testing import SharedStorageSuite
from async_session_store.testing.contract.builders import A, ctx, data, register
from redis_server import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestRedis(SharedStorageSuite):
    @pytest.fixture(autouse=True)
    def storage(self, redis_server: RedisServer) -> Iterator[None]:
        """Give a client that looks behind the API, and a namespace that is empty in the end."""
        self.url = redis_server.unix_url
        self.namespace = f"test:{uuid.uuid4().hex}"
        with redis.Redis.from_url(self.url, decode_responses=True) as self.behind:
            yield
            for key in self._keys():
                self.behind.delete(key)

    @pytest.fixture
    async def backend(self) -> AsyncIterator[Backend]:
        async with Redis.from_url(self.url) as client:
            yield RedisBackend(client, namespace=self.namespace)

    @override
    async def advance(self, backend: Backend, seconds: float) -> None:
        for key in self._keys():
            left = self.behind.pttl(key)
            if left >= 0:
                self.behind.pexpire(key, left - round(seconds * 1000))

    @override
    async def leftovers(self, backend: Backend) -> list[str]:
        sets = [key for key in self._keys() if self.behind.type(key) == "set"]
        return self._keys() + [
            f"{key} {member}" for key in sets for member in self.behind.smembers(key)
        ]

    @override
    def peer(self, backend: Backend) -> Backend:
        return RedisBackend.from_url(self.url, namespace=self.namespace)

    @override
    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        assert self.behind.set(f"{self.namespace}:session:{key}", document, xx=True, keepttl=True)

    def _keys(self) -> list[str]:
        return list(self.behind.scan_iter(f"{self.namespace}:*", count=1000))

    @pytest.mark.parametrize("team", [None, "blue"])
    async def test_9_the_layout_is_that_of_the_rust_crate(
        self, store: AsyncSessionStore, team: str | None
    ) -> None:
        of = ctx(team=team)
        await register(store, "k", A, '{"a": 1}', of=of, ttl=60)
        session, user, scope = (
            f"{self.namespace}:session:k",
            f"{self.namespace}:waits:user:prod:acme:{team or '-'}:u1",
            f"{self.namespace}:waits:scope:prod:acme:{team or '-'}:u1:{A.scope_hash()}",
        )
        assert self.behind.get(session) == data('{"a": 1}', of=of).model_dump_json()
        assert self.behind.smembers(user) == {"k"}
        assert self.behind.get(scope) == "k"
        assert 59_000 < self.behind.pttl(session) <= 60_000
        assert 59_000 < self.behind.pttl(scope) <= 60_000
        assert self.behind.pttl(user) == -1
        assert set(self._keys()) == {session, user, scope, f"{self.namespace}:meta:k"}

    async def test_r6_a_callers_client_stays_open(self) -> None:
        async with Redis.from_url(self.url) as client:
            async with AsyncSessionStore(RedisBackend(client, namespace=self.namespace)) as store:
                await register(store, "k", A)
            assert await client.exists(f"{self.namespace}:session:k")
