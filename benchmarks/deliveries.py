"""Measure how many bytes each backend needs to remember one delivery."""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

from redis import Redis
from workload import DISK

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
)
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer

DELIVERIES = 200_000
PER_DAY = 100 * 24 * 60 * 60  # deliveries, at 100 a second
PER_USER = 10
LEASE = 600  # seconds: on a busy machine, a shorter lease may be lost
WORKERS = 64
MEBIBYTE = 1024 * 1024
PAGE = resource.getpagesize()


async def handle(store: AsyncSessionStore, number: int, users: int) -> None:
    """Handle a delivery completely, so that only the record of it remains."""
    user = f"telegram-{500_000_000 + number % users}"
    ctx = TenantCtx(env="prod", tenant_id="acme", user_id=user)
    cursor = SessionCursor(node_pointer="ask")
    data = SessionData(tenant_ctx=ctx, flow_id="order", cursor=cursor, context_json="{}")
    scope = ReplyScope(conversation=f"telegram:bot:{user}")
    await store.register_wait(ctx, user, scope, f"key-{number}", data)
    delivery_id = f"update-{900_000_000 + number}"
    async with store.resume_wait(ctx, user, scope, delivery_id=delivery_id, lease=LEASE):
        pass


async def handle_all(backend: Backend, count: int, size: Callable[[], int]) -> float:
    """Handle deliveries, and return how many bytes each one takes. ``size`` returns the total."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await handle(store, number, count // PER_USER)

    async with AsyncSessionStore(backend) as store:
        # Warm up first, because the first calls also allocate other things.
        for number in range(count, count + 1000):
            await handle(store, number, count // PER_USER)
        before = size()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(work())
        return (size() - before) / count


def resident() -> int:
    """Return this process's resident memory in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def show(storage: str, each: float) -> None:
    print(
        f"{storage}: {each:.0f} bytes each, {each * PER_DAY / MEBIBYTE:,.0f} MiB a day", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=DELIVERIES)
    count = parser.parse_args().deliveries
    DISK.mkdir(exist_ok=True)
    show("Memory", asyncio.run(handle_all(MemoryBackend(), count, resident)))
    with tempfile.TemporaryDirectory(dir=DISK) as folder, RedisServer.start() as server:
        file = Path(folder, "deliveries.db")
        sqlite = SqliteBackend(file, synchronous="NORMAL")
        show("SQLite", asyncio.run(handle_all(sqlite, count, lambda: file.stat().st_size)))
        client = Redis.from_url(server.url)
        redis = RedisBackend.from_url(server.unix_url)
        used = lambda: client.info("memory")["used_memory"]  # noqa: E731
        show(f"Redis {server.version}", asyncio.run(handle_all(redis, count, used)))


if __name__ == "__main__":
    main()
