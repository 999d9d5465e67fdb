"""The conformance suite through ``SessionStore``: all that does not rest on cancellation."""

from __future__ import annotations

from typing import ClassVar

import pytest
from backend_hooks import MemoryHooks, RedisHooks, SqliteHooks
from threaded_store import ThreadedStore

from async_session_store.testing.contract import AnyFormSharedStorageSuite, AnyFormSuite


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestMemory(MemoryHooks, AnyFormSuite):
    store_class: ClassVar = ThreadedStore


class TestSqlite(SqliteHooks, AnyFormSharedStorageSuite):
    store_class: ClassVar = ThreadedStore


class TestRedis(RedisHooks, AnyFormSharedStorageSuite):
    store_class: ClassVar = ThreadedStore
