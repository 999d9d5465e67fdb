"""What Redis Sentinel publishes when another server becomes the primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, cast

from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool, Redis

_EVENT: Final = "+switch-master"
_RETRY_PAUSE: Final = 1.0  # seconds


@asynccontextmanager
async def switches_heard(
    pool: ConnectionPool, on_switch: Callable[[], None]
) -> AsyncGenerator[None, None]:
    """In the block, call ``on_switch`` when the primary of the pool may have changed.

    After a manual failover the old primary goes on for some ten seconds, and acknowledges writes
    that are lost when it becomes a replica. So its answers do not show the switch.
    """
    if not (isinstance(pool, SentinelConnectionPool) and pool.is_master):
        yield
        return
    # All of them: a Sentinel gives out the old address until it announces the switch itself.
    sentinels = cast("list[Redis]", pool.sentinel_manager.sentinels)
    tasks = [asyncio.create_task(_listen(sentinel, on_switch)) for sentinel in sentinels]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _listen(sentinel: Redis, on_switch: Callable[[], None]) -> None:
    while True:
        with suppress(RedisError, OSError):
            async with sentinel.pubsub() as events:
                await events.subscribe(_EVENT)
                # The first message confirms the subscription; a switch may have come before it.
                async for _ in cast("AsyncIterator[object]", events.listen()):
                    on_switch()
        await asyncio.sleep(_RETRY_PAUSE)
