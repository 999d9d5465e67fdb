from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from async_session_store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing import SharedStorageSuite
from async_session_store.testing.contract.builders import CTX, A, ctx, data, register
from clock import Clock

TABLES = ("sessions", "claims", "deliveries")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestSqlite(SharedStorageSuite):
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
        with self._behind() as database:
            rows = [database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
            return [f"{table} {row}" for table, found in zip(TABLES, rows) for row in found]

    @override
    def peer(self, backend: Backend) -> Backend:
        return SqliteBackend(self.path, clock=self.clock)

    @override
    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        with self._behind() as database:
            changed = database.execute(
                "UPDATE sessions SET document = CAST(? AS TEXT) WHERE key = ?", (document, key)
            )
            assert changed.rowcount == 1

    @contextmanager
    def _behind(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            yield database

    async def test_t6_a_session_lives_to_its_last_millisecond(self, tmp_path: Path) -> None:
        clock = Clock(lambda: 1_700_000_000.0)
        async with AsyncSessionStore(SqliteBackend(tmp_path / "exact.db", clock=clock)) as store:
            key = await store.create_session(CTX, data(), ttl=60)
            clock.advance(59.999)
            assert await store.get_session(key) is not None
            clock.advance(0.001)
            assert await store.get_session(key) is None

    async def test_m1_the_document_is_stored_beside_its_context(
        self, store: AsyncSessionStore
    ) -> None:
        of = ctx(team="blue")
        await register(store, "k", A, '{"a": "\x00"}', of=of)
        with self._behind() as database:
            (row,) = database.execute(
                "SELECT key, env, tenant, team, user, scope_hash, deadline, document, context_json"
                " FROM sessions"
            )
        *columns, document, context = row
        assert columns == ["k", "prod", "acme", "blue", "u1", A.scope_hash(), None]
        assert context == '{"a": "\x00"}'
        whole = json.loads(data(of=of).model_dump_json())
        del whole["context_json"]
        assert json.loads(document) == whole
