"""Measure expired waits: how late they are handed out, and what finding and keeping them costs.

The store holds 1,000,000 waits with an ``expired_ttl``, none of them due. 1,000 more fall due
within one second, and one task hands them out.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

from harness import Step, Table, compare, on_asyncio
from redis import Redis
from report import with_targets
from results import save
from targets import FEW, MANY, MAXIMUM, MEDIAN, MILLION
from workload import DISK, KIBIBYTE, session, user_ctx

from async_session_store import AsyncSessionStore, ReplyScope, WaitClaim
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer

WORKERS = 64
DUE = 1000  # waits
SPREAD = 1.0  # seconds over which they fall due
SOON = 5.0  # seconds until the first wait is due: enough to register all of them
A_DAY = 24 * 60 * 60
A_WEEK = 7 * A_DAY
SCOPE = ReplyScope(conversation="chat")
MEASURED = 100_000  # waits, to measure how many bytes each takes


async def register(
    store: AsyncSessionStore, number: int, ttl: float, expired_ttl: float, size: int = 64
) -> None:
    user = f"user-{number}"
    ctx = user_ctx(user)
    data = session(ctx, size)
    await store.register_wait(ctx, user, SCOPE, f"k-{number}", data, ttl, expired_ttl=expired_ttl)


async def register_all(
    store: AsyncSessionStore, numbers: range, *, expired_ttl: float = A_WEEK, size: int = 64
) -> None:
    async def work(own: range) -> None:
        for number in own:
            await register(store, number, A_DAY, expired_ttl, size)

    async with asyncio.TaskGroup() as tasks:
        for worker in range(WORKERS):
            tasks.create_task(work(numbers[worker::WORKERS]))


@asynccontextmanager
async def looking(backend: Callable[[], Backend], waits: int) -> AsyncIterator[Step[None]]:
    async def look(_: None) -> bool:
        return await store.claim_expired() == []

    async with AsyncSessionStore(backend()) as store:
        await register_all(store, range(waits))
        yield look


def measure_looking(
    storage: str, backend: Callable[[str], Backend], many: int, **versions: str
) -> None:
    arms = [
        on_asyncio(name, partial(looking, partial(backend, name), waits), [None])
        for name, waits in ((MANY, many), (FEW, 1_000))
    ]
    title = f"{storage}, look for due waits when there are none"
    show(compare(f"expired-look-{storage.lower()}", title, arms), many, **versions)


async def lateness(backend: Backend, many: int) -> list[float]:
    """Return how many seconds after its deadline each wait is handed out."""
    late: list[float] = []

    async def handle(claim: WaitClaim) -> None:
        await claim.complete()

    async with AsyncSessionStore(backend) as store, asyncio.TaskGroup() as tasks:
        await register_all(store, range(DUE, DUE + many))
        first = time.time() + SOON
        for number in range(DUE):
            due = first + SPREAD * number / DUE
            await register(store, number, due - time.time(), A_WEEK)
        async for claim in store.expired_waits():
            assert claim.record is not None
            assert claim.record.expires_at is not None
            late.append(time.time() - claim.record.expires_at.timestamp())
            tasks.create_task(handle(claim))
            if len(late) == DUE:
                break
    return late


def measure_lateness(storage: str, backend: Backend, many: int, **versions: str) -> None:
    late = [seconds * 1000 for seconds in asyncio.run(lateness(backend, many))]
    values = {MAXIMUM: [max(late)], MEDIAN: [statistics.median(late)]}
    title = f"{storage}, delay of {DUE:,} waits that fall due in a second"
    show(Table(f"expired-late-{storage.lower()}", title, "milliseconds", values), many, **versions)


async def bytes_each(
    backend: Backend, used: Callable[[], int], expired_ttl: float, size: int
) -> float:
    """Return how many bytes each further wait takes. Each wait has its own user."""
    async with AsyncSessionStore(backend) as store:
        await register_all(store, range(1000), expired_ttl=expired_ttl, size=size)
        before = used()
        numbers = range(1000, 1000 + MEASURED)
        await register_all(store, numbers, expired_ttl=expired_ttl, size=size)
        return (used() - before) / MEASURED


def measure_bytes(
    storage: str, backend: Callable[[str], Backend], used: Callable[[str], int]
) -> None:
    for size in (64, KIBIBYTE):
        plain, kept = (
            asyncio.run(bytes_each(backend(name), partial(used, name), expired_ttl, size))
            for name, expired_ttl in ((f"plain-{size}", 0), (f"kept-{size}", A_WEEK))
        )
        more = f"{kept - plain:,.0f} more if it is kept"
        print(
            f"{storage}, a context of {size} bytes: {plain:,.0f} bytes a wait, {more}", flush=True
        )


def traced(_: str) -> int:
    """Return the bytes that Python has allocated since tracing started."""
    return tracemalloc.get_traced_memory()[0]


def size_of(file: Path) -> int:
    """Checkpoint a database file, and return its size."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint").close()
    return file.stat().st_size


def show(table: Table, many: int, **versions: str) -> None:
    if many == MILLION:
        save(table, **versions)
    print(with_targets(table), end="\n\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=MILLION)
    many = parser.parse_args().waits
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DISK) as folder, RedisServer.start() as server:
        file = lambda name: Path(folder, f"{name}.db")  # noqa: E731
        sqlite = lambda name: SqliteBackend(file(name))  # noqa: E731
        redis = lambda name: RedisBackend.from_url(server.url, namespace=name)  # noqa: E731
        used = Redis.from_url(server.url).info
        tracemalloc.start()
        measure_bytes("Memory", lambda _: MemoryBackend(), traced)
        tracemalloc.stop()
        measure_bytes("SQLite", sqlite, lambda name: size_of(file(name)))
        measure_bytes("Redis", redis, lambda _: used("memory")["used_memory"])
        measure_looking("Memory", lambda _: MemoryBackend(), many)
        measure_looking("SQLite", sqlite, many)
        measure_looking("Redis", redis, many, Redis=server.version)
        measure_lateness("Memory", MemoryBackend(), many)
        measure_lateness("SQLite", sqlite("late"), many)
        measure_lateness("Redis", redis("late"), many, Redis=server.version)


if __name__ == "__main__":
    main()
