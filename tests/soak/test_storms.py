"""Storms of cancellations and cut connections: no call gets another's reply, none runs twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    StoreTimeoutError,
    StoreUnavailableError,
)
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import ctx, data
from redis_server import RedisServer
from scripted import Belongings
from tcp_proxy import Fault, tcp_proxy

pytestmark = pytest.mark.anyio

CALLERS = 32
CALLS = 40
LONG = 300.0
AT = ReplyScope(conversation="chat")


async def count_up(store: AsyncSessionStore, name: str, chance: random.Random) -> int:
    """Count up in one session with calls that may be cut short. Return the number of replies.

    After each call, a look at the session shows whether it was carried out.
    """
    user, key = f"user-{name}", f"key-{name}"
    replies, count = 0, 0
    for _ in range(CALLS):
        document = data(f"{name} {count + 1}", of=ctx(user))
        write = asyncio.ensure_future(store.register_wait(ctx(user), user, AT, key, document, LONG))
        for _ in range(chance.choice([0, 0, 1, 2, 3, 1000])):
            await asyncio.sleep(0)
            if write.done():
                break
        else:
            write.cancel()
        await asyncio.wait([write])
        if not write.cancelled() and write.exception() is None:
            assert write.result() is None
            replies += 1
            seen = await look(store, key, name)
            assert seen == count + 1, "an acknowledged write is missing, or another caller's"
        else:
            seen = await look(store, key, name)
            assert seen in (count, count + 1)
        count = seen
    return replies


async def look(store: AsyncSessionStore, key: str, name: str) -> int:
    """Read until a reply comes. Check that it is this caller's own, and return the count."""
    while True:
        try:
            found = await store.get_session(key)
        except (StoreTimeoutError, StoreUnavailableError):
            await asyncio.sleep(0.001)
            continue
        if found is None:
            return 0
        owner, count = found.context_json.split()
        assert owner == name, "the reply is another caller's"
        return int(count)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backend]:
    match request.param:
        case "memory":
            return MemoryBackend
        case "sqlite":
            return partial(SqliteBackend, tmp_path / "soak.db")
        case _:
            server: RedisServer = request.getfixturevalue("redis_server")
            namespace = request.getfixturevalue("namespace")
            return partial(RedisBackend.from_url, server.url, namespace=namespace)


async def test_r3_a_storm_of_cancellations_mixes_no_replies_up(
    backend: Callable[[], Backend], rounds: int
) -> None:
    belongings = Belongings()
    for number in range(max(1, rounds // 20)):
        async with AsyncSessionStore(backend()) as store:
            names = [f"{number}-{caller}" for caller in range(CALLERS)]
            callers = [count_up(store, name, random.Random(name)) for name in names]
            assert sum(await asyncio.gather(*callers)) > 0
    belongings.assert_all_that_is_left()


async def test_r4_a_storm_of_cut_connections_mixes_no_replies_up(
    redis_server: RedisServer, namespace: str, rounds: int
) -> None:
    chance = random.Random(1)
    async with (
        tcp_proxy(redis_server) as proxy,
        AsyncSessionStore.from_url(proxy.url, namespace=namespace) as store,
    ):

        async def cut_now_and_then() -> None:
            while True:
                await asyncio.sleep(chance.uniform(0.001, 0.03))
                proxy.fault = chance.choice([Fault.CUT_BEFORE, Fault.CUT_AFTER])
                await asyncio.sleep(0.002)
                proxy.fault = None
                proxy.forget()

        cuts = asyncio.ensure_future(cut_now_and_then())
        for number in range(max(1, rounds // 20)):
            names = [f"{number}-{caller}" for caller in range(CALLERS)]
            callers = [count_up(store, name, random.Random(name)) for name in names]
            assert sum(await asyncio.gather(*callers)) > 0
        cuts.cancel()
        await asyncio.wait([cuts])
