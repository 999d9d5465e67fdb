"""Running what a command awaits, so that Ctrl-C ends it cleanly."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


def run_async(work: Awaitable[_T]) -> _T:
    """Run a command's work. Ctrl-C cancels it, closes the store, and raises ``KeyboardInterrupt``.

    asyncio does that since Python 3.11. On 3.10 the exception would come up in whichever task
    happens to run, and that task would print it. A second Ctrl-C does not wait for the store.
    """
    try:
        return asyncio.run(_cancelled_by_ctrl_c(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _cancelled_by_ctrl_c(work: Awaitable[_T]) -> _T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    is_main = threading.current_thread() is threading.main_thread()

    def cancel() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        if task is not None:
            task.cancel()

    if is_main:  # no other thread gets signals
        loop.add_signal_handler(signal.SIGINT, cancel)
    try:
        return await work
    finally:
        if is_main:
            loop.remove_signal_handler(signal.SIGINT)
