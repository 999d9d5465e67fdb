"""Waiting for an event, with a time-out, and in spite of cancellation."""

from __future__ import annotations

import asyncio
import time

import anyio

from async_session_store._background import runs_asyncio


async def wait_until_set(event: anyio.Event, seconds: float) -> None:
    """Wait until an event is set, for at most ``seconds``.

    On asyncio a timer sets the event. A cancel scope would be wrong there: before Python 3.11, a
    scope that times out just as its task is cancelled swallows the cancellation.
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


async def outlast(event: anyio.Event, seconds: float) -> None:
    """Wait like :func:`wait_until_set`, and raise a cancellation only after that."""
    cancelled: asyncio.CancelledError | None = None
    end = time.monotonic() + seconds
    with anyio.CancelScope(shield=True):
        while not event.is_set() and (left := end - time.monotonic()) > 0:
            try:
                await wait_until_set(event, left)
            except asyncio.CancelledError as error:  # no shield of anyio stops asyncio's own
                cancelled = error
    if cancelled is not None:
        raise cancelled
