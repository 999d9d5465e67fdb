"""Measure how long it takes to list a user's 3 waits among many stored sessions and among few."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from harness import Step, compare, on_asyncio
from report import with_targets
from results import save
from targets import FEW, MANY, MILLION
from workload import DISK, fill, user_ctx

from async_session_store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer

FILLERS = 64
USER = "user-7"


@asynccontextmanager
async def listing(backend: Callable[[], Backend], sessions: int) -> AsyncIterator[Step[str]]:
    async def list_waits(user: str) -> bool:
        return len(await store.list_waits_for_user(ctx, user)) == 3

    ctx = user_ctx(USER)
    async with filled(backend(), sessions) as store:
        yield list_waits


@asynccontextmanager
async def filled(backend: Backend, sessions: int) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore(backend) as store:
        users = sessions // 3
        async with asyncio.TaskGroup() as tasks:
            for filler in range(FILLERS):
                tasks.create_task(fill(store, range(filler, users, FILLERS)))
        yield store


def measure(storage: str, backend: Callable[[str], Backend], many: int, **versions: str) -> None:
    arms = [
        on_asyncio(name, partial(listing, partial(backend, name), sessions), [USER])
        for name, sessions in ((MANY, many), (FEW, 1_000))
    ]
    table = compare(f"listing-{storage.lower()}", f"{storage}, list a user's 3 waits", arms)
    if many == MILLION:
        save(table, **versions)
    print(with_targets(table), end="\n\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=MILLION)
    many = parser.parse_args().sessions
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DISK) as folder, RedisServer.start() as server:
        measure("Memory", lambda _: MemoryBackend(), many)
        measure("SQLite", lambda name: SqliteBackend(Path(folder, f"{name}.db")), many)
        redis = partial(RedisBackend.from_url, server.url)
        measure("Redis", lambda name: redis(namespace=name), many, Redis=server.version)


if __name__ == "__main__":
    main()
