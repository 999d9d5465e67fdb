"""The hooks of the conformance suite for each backend. The tests of this folder share them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
from typing_extensions import override

from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.hooks import Hooks, SharedHooks
from clock import Clock, shorten_deadlines
from redis_server import RedisServer
from stored_keys import stored_keys

STORED = (
    "SELECT key FROM sessions",
    "SELECT scope_hash, token FROM claims",
    "SELECT digest FROM deliveries",
)


class MemoryHooks(Hooks):
    @pytest.fixture
    def backend(self) -> Backend:
        self.clock = Clock()
        return MemoryBackend(clock=self.clock)

    @override
    async def advance(self, backend: Backend, seconds: float) -> None:
        self.clock.advance(seconds)

    @override
    async def leftovers(self, backend: Backend) -> list[str]:
        assert isinstance(backend, MemoryBackend)
        sessions, claims = backend._sessions, backend._claims
        by_scope = sessions.by_scope.items()
        waits = [(owner, scope) for owner, scopes in by_scope for scope in scopes]
        expiring = [*claims.entries, *backend._deliveries._entries, *claims.queues._queues]
        return [*map(str, [*sessions.by_key, *waits, *expiring, *sessions.kept.sessions])]


class SqliteHooks(SharedHooks):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        self.path = tmp_path / "sessions.db"
        self.clock = Clock(time.time)
        return SqliteBackend(self.path, clock=self.clock)

    @override
    async def advance(self, backend: Backend, seconds: float) -> None:
        self.clock.advance(seconds)

    @override
    async def leftovers(self, backend: Backend) -> list[str]:
        if not self.path.exists():
            return []
        with self.behind() as database:
            return [str(row) for select in STORED for row in database.execute(select)]

    @override
    def peer(self, backend: Backend) -> Backend:
        return SqliteBackend(self.path, clock=self.clock)

    @override
    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        with self.behind() as database:
            changed = database.execute(
                "UPDATE sessions SET document = CAST(? AS TEXT) WHERE key = ?", (document, key)
            )
            assert changed.rowcount == 1

    @contextmanager
    def behind(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            yield database


class RedisHooks(SharedHooks):
    @pytest.fixture(autouse=True)
    def storage(self, redis_server: RedisServer, redis_client: redis.Redis, namespace: str) -> None:
        self.url = redis_server.unix_url
        self.behind = redis_client
        self.namespace = namespace

    @pytest.fixture
    def backend(self) -> Backend:
        return RedisBackend.from_url(self.url, namespace=self.namespace)

    @override
    async def advance(self, backend: Backend, seconds: float) -> None:
        shorten_deadlines(self.behind, self.namespace, seconds)

    @override
    async def leftovers(self, backend: Backend) -> list[str]:
        names: list[str] = []
        for name, (value, _) in stored_keys(self.behind, self.namespace).items():
            members = value if isinstance(value, set) else {}
            names += [name, *(f"{name} {member}" for member in members)]
        return names

    @override
    def peer(self, backend: Backend) -> Backend:
        return RedisBackend.from_url(self.url, namespace=self.namespace)

    @override
    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        assert self.behind.set(f"{self.namespace}:session:{key}", document, xx=True, keepttl=True)
