"""Tasks of asyncio that lose no time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def begun(coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """A task that has begun, from Python 3.12 on; before, it begins in the loop's next turn."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(coroutine)
