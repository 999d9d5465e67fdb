"""An event loop on a thread of its own, and what a call that crosses into a loop comes to."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Final, Generic, TypeVar, cast
from weakref import WeakSet

import anyio
from anyio.from_thread import BlockingPortal

from async_session_store._tasks import begun
from async_session_store.errors import StoreUnavailableError

_STOP_TIMEOUT: Final = 30.0  # seconds

_T = TypeVar("_T")


class PortalThread:
    """A thread that runs an asyncio loop, which other threads and loops call through its portal.

    It is a daemon, and stopped at the interpreter's exit: a store that nobody closed, or that a
    fork took along without its thread, must not keep a process from ending.
    """

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks_left_behind: set[asyncio.Task[object]] = set()
        self._started: Future[BlockingPortal] = Future()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def portal(self) -> BlockingPortal:
        check_process(self._process)
        return self._started.result()

    def start(self) -> None:
        self._thread.start()
        atexit.register(self.stop)
        try:
            self._started.result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Cancel what still runs in the loop, and wait for the thread's end: at most 30 seconds."""
        atexit.unregister(self.stop)
        if os.getpid() == self._process:
            portal = self._started.result()
            with suppress(RuntimeError):  # it does not run any more
                portal.call(partial(portal.stop, cancel_remaining=True))
            self._thread.join(_STOP_TIMEOUT)

    def keep_tasks(self) -> None:
        """Called in a forked process: keep all that its copy of the loop has from its end.

        Ending there, a task would close its connection, and the selector that both processes
        share would forget that of the parent. What this object refers to never ends: it is in
        use on the stack of the thread, which stayed in the parent, so nothing unwinds it.
        """
        if self._loop is not None:
            self._tasks_left_behind = asyncio.all_tasks(self._loop)

    def _run(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        _portal_threads.add(self)
        async with BlockingPortal() as portal:
            self._started.set_result(portal)
            await portal.sleep_until_stopped()


_portal_threads: Final[WeakSet[PortalThread]] = WeakSet()


def _keep_tasks() -> None:
    for thread in _portal_threads:
        thread.keep_tasks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_tasks)


def check_process(process: int) -> None:
    """Raise if a fork brought us here: the threads that would answer stayed in the parent."""
    if os.getpid() != process:
        raise StoreUnavailableError(
            "this store is from before a fork, and its thread stayed in the parent process; "
            "open a new one in this one"
        )


@dataclass(frozen=True, slots=True)
class Ended(Generic[_T]):
    """What a call came to: its value, or the error that it raised."""

    value: _T | None = None
    error: BaseException | None = None

    def result(self) -> _T:
        if self.error is not None:
            raise self.error
        return cast("_T", self.value)


async def ended(call: Callable[[], Awaitable[_T]]) -> Ended[_T]:
    """Make a call in an asyncio loop; only its cancellation is raised.

    An error that is handed over as a value replaces no cancellation of the caller, and
    ``SystemExit`` ends no loop that serves others.
    """
    try:
        return Ended(value=await call())
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
        return Ended(error=error)


async def ended_in_task(call: Callable[[], Awaitable[_T]]) -> Ended[_T]:
    """Make a call in a task of its own, which is cancelled once, however its caller is.

    A scope of anyio would cancel each ``await`` of its clean-up too; asyncio's libraries do not
    reckon with that.
    """
    task = begun(ended(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        raise
