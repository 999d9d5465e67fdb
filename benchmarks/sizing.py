"""Measure how many bytes a wait takes among a million, on each backend.

Each wait has its own user and a deadline. Each measurement runs in a process of its own, because
Python reuses the memory that it has freed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sqlite3
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from harness import Table
from redis import Redis
from report import in_full
from results import save
from targets import MILLION
from workload import DISK, KIBIBYTE, session, user_ctx

from async_session_store import AsyncSessionStore, ReplyScope
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer

A_DAY = 24 * 60 * 60
WORKERS = 64
WARM_UP = 1000  # waits: the first calls also allocate other things
PAGE = resource.getpagesize()
SIZES = {"a context of 1 KiB": KIBIBYTE, "a context of 64 bytes": 64}


async def register_all(store: AsyncSessionStore, numbers: range, size: int) -> None:
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            user = f"telegram-{500_000_000 + number}"
            ctx = user_ctx(user)
            scope = ReplyScope(conversation=f"telegram:bot:{user}")
            await store.register_wait(ctx, user, scope, f"k-{number}", session(ctx, size), A_DAY)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WORKERS):
            tasks.create_task(work())


async def bytes_each(backend: Backend, used: Callable[[], int], waits: int, size: int) -> float:
    """Return how many bytes each wait takes. ``used`` returns the total."""
    async with AsyncSessionStore(backend) as store:
        await register_all(store, range(waits, waits + WARM_UP), size)
        before = used()
        await register_all(store, range(waits), size)
        return (used() - before) / waits


def in_memory(waits: int, size: int) -> float:
    return asyncio.run(bytes_each(MemoryBackend(), resident, waits, size))


def on_sqlite(waits: int, size: int) -> float:
    with tempfile.TemporaryDirectory(dir=DISK) as folder:
        file = Path(folder, "bot.db")
        backend = SqliteBackend(file, synchronous="NORMAL")
        return asyncio.run(bytes_each(backend, lambda: checkpointed(file), waits, size))


def on_redis(waits: int, size: int) -> float:
    with RedisServer.start() as server, Redis.from_url(server.url) as client:
        backend = RedisBackend.from_url(server.unix_url)
        used = lambda: client.info("memory")["used_memory"]  # noqa: E731
        return asyncio.run(bytes_each(backend, used, waits, size))


def resident() -> int:
    """Return this process's resident memory in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def checkpointed(file: Path) -> int:
    """Checkpoint a database file, and return its size."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint").close()
    return file.stat().st_size


def measure(storage: str, each: Callable[[int, int], float], waits: int) -> None:
    values: dict[str, list[float]] = {}
    for name, size in SIZES.items():
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            values[name] = [process.submit(each, waits, size).result()]
    title = f"{storage}, a wait among {waits:,}"
    table = Table(f"sizing-{storage.lower()}", title, "bytes", values)
    if waits == MILLION:
        save(table)
    print(in_full(table), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=MILLION)
    waits = parser.parse_args().waits
    DISK.mkdir(exist_ok=True)
    measure("SQLite", on_sqlite, waits)
    measure("Redis", on_redis, waits)
    measure("Memory", in_memory, waits)


if __name__ == "__main__":
    main()
