"""The nearest equivalent in other libraries, through their public APIs and with the same JSON.

None of them compares owners, routes a reply to a session, or does several writes in one atomic
step. They store data under a key that the caller must already know. So their ``find`` only checks
whether something is stored there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from agents import SQLiteSession
from aiogram.fsm.storage.base import BaseStorage, StorageKey
from aiogram.fsm.storage.memory import MemoryStorage
from aiogram.fsm.storage.redis import RedisStorage
from harness import Step
from key_value.aio.protocols import AsyncKeyValue
from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.memory import MemoryStore as KeyValueMemoryStore
from key_value.aio.stores.redis import RedisStore as KeyValueRedisStore
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from litestar.stores.base import Store
from litestar.stores.memory import MemoryStore
from litestar.stores.redis import RedisStore
from workload import TTL, Caller


@asynccontextmanager
async def aiogram_memory() -> AsyncIterator[Step[Caller]]:
    """Plain dicts by chat and user, without deadlines or an index."""
    async with AsyncExitStack() as stack:
        storage = MemoryStorage()
        stack.push_async_callback(storage.close)
        yield _aiogram(storage)


@asynccontextmanager
async def aiogram_redis(url: str) -> AsyncIterator[Step[Caller]]:
    """One key for the state and one for the data, each with a deadline. An update renews it."""
    async with AsyncExitStack() as stack:
        storage = RedisStorage.from_url(url, state_ttl=TTL, data_ttl=TTL)
        stack.push_async_callback(storage.close)
        yield _aiogram(storage)


def _aiogram(storage: BaseStorage) -> Step[Caller]:
    async def cycle(caller: Caller) -> dict[str, Any]:
        key = StorageKey(bot_id=1, chat_id=1, user_id=caller.number)
        await storage.set_state(key, "booking:ask_date")
        await storage.set_data(key, caller.fields)
        await storage.get_state(key)
        data = await storage.get_data(key)
        await storage.set_data(key, caller.fields)
        await storage.set_state(key, None)
        await storage.set_data(key, {})
        return data

    return cycle


@asynccontextmanager
async def litestar_memory() -> AsyncIterator[Step[Caller]]:
    """Bytes by key. An expired entry stays until it is read."""
    store = MemoryStore()
    async with store:
        yield _litestar(store)


@asynccontextmanager
async def litestar_redis(url: str) -> AsyncIterator[Step[Caller]]:
    """Bytes by key. An update sets a new deadline."""
    store = RedisStore.with_client(url)
    async with store:
        yield _litestar(store)


def _litestar(store: Store) -> Step[Caller]:
    async def cycle(caller: Caller) -> bytes | None:
        await store.set(caller.name, caller.document, expires_in=TTL)
        await store.exists(caller.name)
        document = await store.get(caller.name)
        await store.set(caller.name, caller.document, expires_in=TTL)
        await store.delete(caller.name)
        return document

    return cycle


@asynccontextmanager
async def key_value_memory() -> AsyncIterator[Step[Caller]]:
    """JSON by key, in a cache that drops expired entries."""
    yield _key_value(KeyValueMemoryStore())


@asynccontextmanager
async def key_value_redis(url: str) -> AsyncIterator[Step[Caller]]:
    """JSON by key. An update sets a new deadline."""
    async with KeyValueRedisStore(url=url) as store:
        yield _key_value(store)


@asynccontextmanager
async def key_value_disk(folder: Path) -> AsyncIterator[Step[Caller]]:
    """JSON by key, in a SQLite file at NORMAL. Each call blocks the event loop."""
    async with DiskStore(directory=folder / "key-value") as store:
        yield _key_value(store)


def _key_value(store: AsyncKeyValue) -> Step[Caller]:
    async def cycle(caller: Caller) -> dict[str, Any] | None:
        await store.put(caller.name, caller.fields, ttl=TTL)
        await store.get(caller.name)
        fields = await store.get(caller.name)
        await store.put(caller.name, caller.fields, ttl=TTL)
        await store.delete(caller.name)
        return fields

    return cycle


@asynccontextmanager
async def langgraph_sqlite(folder: Path, synchronous: str) -> AsyncIterator[Step[Caller]]:
    """A thread of checkpoints for each caller, without deadlines. An update adds a checkpoint."""

    async def cycle(caller: Caller) -> object:
        config: Any = {"configurable": {"thread_id": caller.name, "checkpoint_ns": ""}}
        config_after = await saver.aput(config, _checkpoint(caller), {}, {})
        await saver.aget_tuple(config)
        found = await saver.aget_tuple(config)
        await saver.aput(config_after, _checkpoint(caller), {}, {})
        await saver.adelete_thread(caller.name)
        return found

    async with AsyncSqliteSaver.from_conn_string(str(folder / "langgraph.db")) as saver:
        await saver.setup()
        await saver.conn.execute(f"PRAGMA synchronous = {synchronous}")
        yield cycle


def _checkpoint(caller: Caller) -> Checkpoint:
    return {**empty_checkpoint(), "channel_values": caller.fields}


@asynccontextmanager
async def agents_sqlite(folder: Path, callers: Sequence[Caller]) -> AsyncIterator[Step[Caller]]:
    """A history of items for each caller, at FULL, without deadlines. An update takes two calls.

    The sessions are opened before timing starts.
    """
    sessions = {one.name: SQLiteSession(one.name, folder / "agents.db") for one in callers}

    async def cycle(caller: Caller) -> list[Any]:
        session = sessions[caller.name]
        items: Any = [caller.fields]
        await session.add_items(items)
        await session.get_items(limit=1)
        found = await session.get_items()
        await session.pop_item()
        await session.add_items(items)
        await session.clear_session()
        return found

    try:
        yield cycle
    finally:
        await asyncio.to_thread(lambda: [session.close() for session in sessions.values()])
