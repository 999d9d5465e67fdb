"""Listing one user's 3 waits among many stored sessions, against among few."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from harness import Arm, compare, table
from workload import fill, user_ctx

from async_session_store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer

FEW = 1_000
FILLERS = 64


@asynccontextmanager
async def filled(backend: Backend, sessions: int) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore(backend) as store:
        users = sessions // 3
        async with asyncio.TaskGroup() as tasks:
            for filler in range(FILLERS):
                tasks.create_task(fill(store, range(filler, users, FILLERS)))
        yield store


def listing(name: str, store: AsyncSessionStore) -> Arm:
    ctx = user_ctx("user-7")

    async def run(repeats: int) -> None:
        for _ in range(repeats):
            assert len(await store.list_waits_for_user(ctx, "user-7")) == 3

    return Arm(name, run)


async def measure(title: str, backend: Callable[[str], Backend], many: int) -> None:
    async with AsyncExitStack() as stack:
        few = await stack.enter_async_context(filled(backend("few"), FEW))
        more = await stack.enter_async_context(filled(backend("many"), many))
        arms = [listing(f"among {FEW:,}", few), listing(f"among {many:,}", more)]
        print(table(f"{title}: list 3 waits", await compare(arms, repeats=1_000)), end="\n\n")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    many = parser.parse_args().sessions
    with tempfile.TemporaryDirectory() as folder, RedisServer.start() as server:
        await measure("memory", lambda _: MemoryBackend(), many)
        await measure("SQLite", lambda name: SqliteBackend(Path(folder) / f"{name}.db"), many)
        await measure("Redis", lambda name: RedisBackend.from_url(server.url, namespace=name), many)


if __name__ == "__main__":
    asyncio.run(main())
