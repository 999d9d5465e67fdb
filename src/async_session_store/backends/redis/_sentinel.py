"""Listening to Redis Sentinels, which announce that another server becomes the primary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

from redis import exceptions
from redis.asyncio.sentinel import SentinelConnectionPool

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool, Redis

_logger = logging.getLogger("async_session_store")

_EVENT: Final = "+switch-master"
_RETRY_PAUSE: Final = 1.0  # seconds


@asynccontextmanager
async def reporting_failovers(
    pool: ConnectionPool, on_switch: Callable[[], None]
) -> AsyncGenerator[None, None]:
    """Within the block, call ``on_switch`` when the primary of the pool may have changed.

    After a manual failover, the old primary keeps acknowledging writes for some ten seconds, and
    loses them when it becomes a replica. So its own replies do not reveal the switch.
    """
    if not (isinstance(pool, SentinelConnectionPool) and pool.is_master):
        yield
        return
    # Listen to all of them: each Sentinel returns the old address until it announces the switch.
    sentinels = cast("list[Redis]", pool.sentinel_manager.sentinels)
    name = cast("str", pool.service_name)
    tasks = [asyncio.create_task(_listen(sentinel, name, on_switch)) for sentinel in sentinels]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _listen(sentinel: Redis, name: str, on_switch: Callable[[], None]) -> None:
    has_warned = False
    while True:
        try:
            async with sentinel.pubsub() as events:
                await events.subscribe(_EVENT)
                async for event in cast("AsyncIterator[Mapping[str, object]]", events.listen()):
                    if _may_concern(name, event):
                        on_switch()
        except Exception as error:  # noqa: BLE001  # whatever it is, keep listening
            if not has_warned and not _is_unreachable(error):
                has_warned = True
                _logger.warning(
                    "a Redis Sentinel does not announce failovers (%s): after one, "
                    "writes may go to the old primary for some seconds and be lost; allow "
                    "its user to subscribe",
                    type(error).__name__,
                )
        await asyncio.sleep(_RETRY_PAUSE)


def _may_concern(name: str, event: Mapping[str, object]) -> bool:
    """Return whether the primary with this name may have changed.

    The first event confirms the subscription, and a switch may have been announced before it. Every
    other event begins with the name of one of the primaries that the Sentinel watches.
    """
    text = event["data"]
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return not isinstance(text, str) or text.split(" ", 1)[0] == name


def _is_unreachable(error: Exception) -> bool:
    """Return whether the Sentinel cannot be reached. Until it can, the others announce switches."""
    if isinstance(error, exceptions.AuthenticationError):  # a subclass of ConnectionError
        return False
    return isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError))
