"""Waiting in a test: for a condition to become true, or for turns of the event loop."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds. Raise ``TimeoutError`` after ten seconds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  # there is no event to wait for
            await anyio.sleep(0.01)


async def turn_loop(turns: int) -> None:
    """Let the event loop turn this many times."""
    for _ in range(turns):
        await checkpoint()
