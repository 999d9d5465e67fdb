"""Waiting in a test: for what another process or thread brings about, or for turns of the loop."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint


async def eventually(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  # no event tells
            await anyio.sleep(0.01)


async def turn_loop(turns: int) -> None:
    for _ in range(turns):
        await checkpoint()
