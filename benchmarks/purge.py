"""Measure the longest pause of the event loop while 1% of a million sessions is purged."""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from harness import Table
from listing import filled
from report import with_targets
from results import save
from targets import MILLION, NOTHING, PURGE
from workload import DISK

from async_session_store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer

TICK = 0.0005  # seconds


async def longest_pause(work: Coroutine[Any, Any, object]) -> float:
    """Return the longest time between two ticks of the loop during the work, in milliseconds."""
    task = asyncio.create_task(work)
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    task.result()
    return longest * 1000


async def expire(store: AsyncSessionStore, keys: list[str]) -> None:
    """Make sessions expire."""
    for key in keys:
        await store.touch_session(key, 0.001)
    await asyncio.sleep(0.01)


async def purge(store: AsyncSessionStore, count: int) -> None:
    assert await store.purge_expired(count) >= count


async def pauses(backend: Backend, sessions: int, rounds: int) -> dict[str, list[float]]:
    """Return the longest pause of each round, during a purge and while the loop idles as long."""
    values: dict[str, list[float]] = {PURGE: [], NOTHING: []}
    expiring = sessions // 100
    async with filled(backend, sessions) as store:
        gc.freeze()
        for number in range(rounds):
            users = range(number * expiring, (number + 1) * expiring)
            await expire(store, [f"{user}-0" for user in users])
            start = time.perf_counter()
            values[PURGE].append(await longest_pause(purge(store, expiring)))
            elapsed = time.perf_counter() - start
            values[NOTHING].append(await longest_pause(asyncio.sleep(elapsed)))
    return values


def measure(
    storage: str, backend: Callable[[], Backend], sessions: int, rounds: int, **versions: str
) -> None:
    values = asyncio.run(pauses(backend(), sessions, rounds))
    title = f"{storage}, longest pause of the loop"
    table = Table(f"purge-{storage.lower()}", title, "milliseconds", values)
    if sessions == MILLION:
        save(table, **versions)
    print(with_targets(table), end="\n\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=MILLION)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DISK) as folder, RedisServer.start() as server:
        measure("Memory", MemoryBackend, arguments.sessions, arguments.rounds)
        sqlite = lambda: SqliteBackend(Path(folder, "purge.db"))  # noqa: E731
        measure("SQLite", sqlite, arguments.sessions, arguments.rounds)
        redis = lambda: RedisBackend.from_url(server.url)  # noqa: E731
        # One round only: a purge on Redis walks the whole index, however little has expired, which
        # takes minutes.
        measure("Redis", redis, arguments.sessions, 1, Redis=server.version)


if __name__ == "__main__":
    main()
