"""The conformance suite, cancellation and all, while 63 others call the same store."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from backend_hooks import RedisHooks, SqliteHooks

from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.backends.sqlite._database import Database, Operation
from async_session_store.testing import SharedStorageSuite
from async_session_store.testing.contract.builders import A, find
from crowded_store import CROWD, CrowdedStore

pytestmark = [pytest.mark.anyio, pytest.mark.crowded]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_calls_go_with_those_of_the_crowd(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes: list[int] = []
    run_batch = Database.run_batch

    def counted(database: Database, operations: Sequence[Operation]) -> list[object]:
        sizes.append(len(operations))
        return run_batch(database, operations)

    monkeypatch.setattr(Database, "run_batch", counted)
    async with CrowdedStore(SqliteBackend(tmp_path / "sessions.db")) as store:
        for _ in range(20):
            assert await find(store, A) is None
    assert statistics.median(sizes) > CROWD / 2


class TestSqlite(SqliteHooks, SharedStorageSuite):
    store_class: ClassVar = CrowdedStore


class TestRedis(RedisHooks, SharedStorageSuite):
    store_class: ClassVar = CrowdedStore
