from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import redis

# Last, because slack_bolt.py would hide the framework of the same name.
sys.path.append(str(Path(__file__).parents[2] / "examples"))

from platform_server import Platform
from scenarios import Bot, Chat

from async_session_store import AsyncSessionStore
from async_session_store.backends.sqlite import SqliteBackend
from clock import Clock, shorten_deadlines
from redis_server import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with Platform.start() as platform:
        yield platform


@pytest.fixture(params=["sqlite", "redis"])
def chat(request: pytest.FixtureRequest, bot: Bot) -> Iterator[Chat]:
    if request.param == "sqlite":
        yield chat_on_sqlite(bot, request.getfixturevalue("tmp_path"))
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url) as client:
        yield chat_on_redis(bot, server.url, client)


def chat_on_sqlite(bot: Bot, folder: Path) -> Chat:
    clock = Clock(time.time)
    return Chat(
        bot,
        lambda: AsyncSessionStore(SqliteBackend(folder / "bot.db", clock=clock)),
        lambda time: clock.advance(time.total_seconds()),
    )


def chat_on_redis(bot: Bot, url: str, client: redis.Redis) -> Chat:
    namespace = f"test:{uuid4()}"
    return Chat(
        bot,
        partial(AsyncSessionStore.from_url, url, namespace=namespace),
        lambda time: shorten_deadlines(client, namespace, time.total_seconds()),
    )
