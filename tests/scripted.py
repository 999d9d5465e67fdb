"""A backend with scripted calls, and a check for threads and descriptors left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from async_session_store import SessionData, SessionKey
from async_session_store.abc import Unreadable
from async_session_store.backends.memory import MemoryBackend

Script = Callable[[], Awaitable[object]]


class Scripted(MemoryBackend):
    """A backend that needs asyncio and runs a script before a call.

    Scripts are named after the keys that are read, or "open", "close" and "ping".
    """

    asyncio_only = True

    def __init__(self, **scripts: Script) -> None:
        super().__init__()
        self.scripts = scripts
        self.events: list[str] = []
        self.reading = threading.Event()

    async def _run(self, name: str) -> None:
        await asyncio.sleep(0)
        self.events.append(name)
        if name in self.scripts:
            self.reading.set()
            await self.scripts[name]()

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        await self._run("open")
        await super().open(max_document_bytes=max_document_bytes)

    @override
    async def aclose(self) -> None:
        await self._run("close")
        await super().aclose()

    @override
    async def ping(self) -> None:
        await self._run("ping")

    @override
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        await self._run(key)
        return await super().read(key)


def threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if not one.name.startswith("Trio")}


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


@dataclass
class Belongings:
    """The threads and descriptors of this process, without the idle threads that trio keeps."""

    threads: set[threading.Thread] = field(default_factory=threads)
    descriptors: int = field(default_factory=descriptors)

    def assert_all_that_is_left(self) -> None:
        """Check that the process soon has no other threads, and no more descriptors, than these."""
        end = time.monotonic() + 10
        while not (threads() <= self.threads and descriptors() <= self.descriptors):
            assert time.monotonic() < end, (self, Belongings())
            time.sleep(0.01)
            gc.collect()
