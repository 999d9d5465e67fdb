from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from async_session_store import AsyncSessionStore, ReplyScope, SessionCursor, SessionData, TenantCtx
from async_session_store.abc import Backend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing import SharedStorageSuite
from clock import Clock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestSqlite(SharedStorageSuite):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        self.path = tmp_path / "sessions.db"
        self.clock = Clock(time.time)
        return self._backend()

    async def advance(self, backend: Backend, seconds: float) -> None:
        self.clock.advance(seconds)

    async def leftovers(self, backend: Backend) -> list[str]:
        if not self.path.exists():
            return []
        with self._database() as database:
            return [key for (key,) in database.execute("SELECT key FROM sessions")]

    def peer(self, backend: Backend) -> Backend:
        return self._backend()

    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        with self._database() as database:
            changed = database.execute(
                "UPDATE sessions SET document = CAST(? AS TEXT) WHERE key = ?", (document, key)
            )
            assert changed.rowcount == 1

    def _backend(self) -> SqliteBackend:
        return SqliteBackend(self.path, clock=self.clock)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            yield database
