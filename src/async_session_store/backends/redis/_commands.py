"""The part of the backend that needs asyncio: commands, and the messages that wake callers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from async_session_store._running_loop import Future
from async_session_store.backends._job_queue import Job, JobQueue
from async_session_store.backends.redis._batches import BatchWorker, Runner
from async_session_store.backends.redis._connection import Command, CommandRunner
from async_session_store.backends.redis._sentinel import reporting_failovers
from async_session_store.backends.redis._turns import Turns
from async_session_store.errors import StoreUsageError, closed_before_begun, cut_off

if TYPE_CHECKING:
    from redis.asyncio import Redis

_MAX_IN_FLIGHT: Final = 128  # calls
_MAX_BYTES_IN_FLIGHT: Final = 640 * 1024  # bytes; keeps the server busy while we encode more


class Commands:
    """Sends the commands of a backend with its client, all in one asyncio loop.

    Args:
        client: The client.
        timeout: How long a command may take, in seconds.
        channel: A channel of the server that no other process listens on.
        channels: A pattern for ``ACL SETUSER`` that matches all such channels.
        owns_client: Whether to close the client at the end.

    Attributes:
        submit: Sends a command that writes so many bytes. Await the returned future for its reply.
        add: Sends the command of a job.
    """

    # Bound when this is opened, since every call needs one of them.
    submit: Callable[[Command, int], Future[object]]
    add: Callable[[Job[Command, object]], None]

    def __init__(
        self, client: Redis, timeout: float, channel: str, channels: str, *, owns_client: bool
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._channel = channel
        self._channels = channels
        self._owns_client = owns_client
        self._queue = JobQueue[Command, object](
            max_in_flight=_MAX_IN_FLIGHT, max_bytes_in_flight=_MAX_BYTES_IN_FLIGHT
        )
        self._worker: BatchWorker[Command, object] | None = None
        self._turns: Turns | None = None

    async def open(self) -> None:
        worker = self._worker = BatchWorker(self._queue, self._connection)
        self.submit, self.add = worker.submit, worker.add
        await worker.wait_until_open()

    async def aclose(self) -> None:
        """Finish the commands in flight. This takes at most 30 seconds."""
        if self._worker is not None:
            await self._worker.aclose()

    async def wait_for_turn(self, token: str, seconds: float) -> None:
        """Wait until the caller with this token is woken, for at most ``seconds``."""
        if self._turns is None:
            raise StoreUsageError("this backend is not open")
        await self._turns.wait(token, seconds)

    def drop(self) -> None:
        """Fail all commands that have no reply. Called when the loop has ended."""
        self._queue.fail_in_flight(cut_off)
        self._queue.fail_waiting(closed_before_begun)

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Runner[Command, object], None]:
        pool, take_more = self._client.connection_pool, self._queue.take_batch
        runner = CommandRunner(pool, self._timeout, take_more, keep=self._owns_client)
        # A caller's own client gets its connection back after each batch. So two connections of the
        # pool must stay free: one for the next batch, and one for the caller's own commands.
        spare = 0 if self._owns_client else 2
        turns = self._turns = Turns(pool, self._channel, self._channels, spare=spare)
        try:
            async with reporting_failovers(pool, runner.change_connection):
                yield runner
        finally:
            await turns.aclose()
            await runner.aclose()
            if self._owns_client:
                await self._client.aclose()
