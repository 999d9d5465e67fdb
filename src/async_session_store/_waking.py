"""Waiting for an event, for a limited time."""

from __future__ import annotations

import asyncio

import anyio

from async_session_store._background import runs_asyncio


async def wait_until_set(event: anyio.Event, seconds: float) -> None:
    """Wait until an event is set, or set it after ``seconds``.

    On asyncio a timer does that, not a cancel scope: before Python 3.11 a scope that times out just
    when its task is cancelled takes that cancellation for its own, and the task goes on.
    """
    if not runs_asyncio():
        with anyio.move_on_after(seconds):
            await event.wait()
        return
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()
