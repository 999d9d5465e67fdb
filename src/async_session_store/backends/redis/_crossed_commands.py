"""The commands of a backend in another loop than asyncio's: they cross to one on a thread."""

from __future__ import annotations

from functools import partial

from async_session_store._job_crossing import JobCrossing
from async_session_store._running_loop import Future, Promise
from async_session_store._task_crossing import TaskCrossing
from async_session_store.backends._job_queue import Job
from async_session_store.backends.redis._commands import Commands
from async_session_store.backends.redis._connection import Command
from async_session_store.errors import StoreUsageError


class CrossedCommands:
    """Sends commands like :class:`Commands`, from the running loop.

    Only the commands themselves cross, and go straight into the queue there. So a command needs no
    task of its own in the other loop.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._crossing: TaskCrossing | None = None
        self._jobs: JobCrossing | None = None

    async def open(self) -> None:
        crossing = TaskCrossing("async_session_store Redis")
        await crossing.open(self._commands.open)
        crossing.calls.at_end.append(self._commands.drop)
        self._crossing = crossing
        self._jobs = JobCrossing(crossing)

    async def aclose(self) -> None:
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs.close()
        crossing, self._crossing = self._crossing, None
        if crossing is not None:
            await crossing.aclose(self._commands.aclose)

    def submit(self, command: Command, size: int) -> Future[object]:
        if self._jobs is None:
            raise StoreUsageError("this store is closed")
        return self._jobs.submit(partial(self._add, command, size))

    async def wait_for_turn(self, token: str, seconds: float) -> None:
        if self._crossing is None:
            raise StoreUsageError("this store is closed")
        await self._crossing.call(self._commands.wait_for_turn, token, seconds)

    def _add(self, command: Command, size: int, reply: Promise[object]) -> None:
        self._commands.add(Job(command, size, reply))
