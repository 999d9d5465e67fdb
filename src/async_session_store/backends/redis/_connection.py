"""Pipelined commands on one connection: queued ones go out in one write, and none is sent twice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from redis.exceptions import NoScriptError, RedisError

from async_session_store.backends._job_queue import Job
from async_session_store.backends.redis._faults import ends_connection, lost, not_sent, refused
from async_session_store.backends.redis._link import Link
from async_session_store.backends.redis._protocol import Argument, pack, read_reply, send
from async_session_store.backends.redis._scripts import Script
from async_session_store.backends.redis._watchdog import Watchdog
from async_session_store.errors import SessionStoreError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

# redis-py's errors, and those that a connection raises once its event loop has ended.
_FAULTS: Final = (RedisError, OSError, RuntimeError)


class Command(NamedTuple):
    """A command, or a script with its arguments, of which the first is the number of its keys."""

    arguments: tuple[Argument, ...]
    script: Script | None = None


CommandJob: TypeAlias = "Job[Command, object]"


class _Sent(NamedTuple):
    """A command that was sent, and the deadline of its reply."""

    job: CommandJob
    deadline: float
    loads: Script | None
    """The script whose source was sent along, so that the server knows it afterwards."""


class CommandRunner:
    """Runs commands on one connection of a pool at a time.

    Args:
        pool: The pool of the connection, which connects and authenticates it.
        timeout: The time limit in seconds for connecting, and for the reply to a command.
        take_more: Takes the jobs that arrived while earlier ones await their replies. They are sent
            immediately, so that the server always has work.
        keep: Whether to keep the connection between batches. Otherwise it goes back to the pool,
            where the caller's own client can use it.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        timeout: float,
        take_more: Callable[[], list[CommandJob]],
        *,
        keep: bool,
    ) -> None:
        self._timeout = timeout
        self._take_more = take_more
        self._keep = keep
        self._known: set[str] = set()
        self._watchdog = Watchdog()
        self._link = Link(pool, timeout, self._watchdog)
        self._now = asyncio.get_running_loop().time

    async def run_batch(self, jobs: list[CommandJob]) -> None:
        """Run the commands, and others that arrive before all of them are answered."""
        try:
            await self._converse(await self._link.ready(), jobs)
            if self._link.has_abandoned:
                # Kill the abandoned connection now. If that waited for our next call, another
                # process could read first, and our late write would change what it has read.
                await self._link.ready()
        except _FAULTS as error:
            while jobs:  # queued jobs would fail the same way, one timeout after another
                _fail(jobs, not_sent, error)
                jobs = self._take_more()
        finally:
            if not self._keep:
                await self._link.release()

    def change_connection(self) -> None:
        """Send the next batch on a new connection, which may lead to another server."""
        self._link.change()

    async def aclose(self) -> None:
        """Give the connection back to the pool."""
        self._watchdog.close()
        await self._link.release()

    async def _converse(self, connection: AbstractConnection, jobs: list[CommandJob]) -> None:
        """Send commands and settle them with their replies, which come in the same order."""
        in_flight: deque[_Sent] = deque()
        generation = self._link.generation
        try:
            with self._watchdog as watchdog:
                while jobs or in_flight:
                    if jobs:
                        await self._send(connection, jobs, in_flight)
                    watchdog.expect(in_flight[0].deadline)
                    reply = await read_reply(connection)
                    job = in_flight.popleft().job
                    if isinstance(reply, RedisError) and ends_connection(reply):
                        self._link.change()
                    # After a failover, send nothing more here: only a new connection leads to the
                    # new primary.
                    is_current = self._link.generation == generation
                    jobs = self._take_more() if is_current else []
                    if isinstance(reply, NoScriptError):
                        jobs = [*self._jobs_to_resend(job, in_flight), *jobs]
                    else:
                        _settle(job, reply)
        except BaseException as error:
            await self._link.abandon()
            if not isinstance(error, _FAULTS):
                raise
            _fail((sent.job for sent in in_flight), lost, error)

    async def _send(
        self, connection: AbstractConnection, jobs: list[CommandJob], in_flight: deque[_Sent]
    ) -> None:
        deadline = self._now() + self._timeout
        sent = [_Sent(job, deadline, self._script_to_load(job.operation.script)) for job in jobs]
        in_flight.extend(sent)
        self._watchdog.expect(in_flight[0].deadline)
        await send(connection, [_packed(one) for one in sent])

    def _jobs_to_resend(self, job: CommandJob, in_flight: Iterable[_Sent]) -> list[CommandJob]:
        """Return the job to send again, as the server does not know its script and did not run it.

        The job of a cancelled caller must not run now: later calls may have run already.
        """
        script = job.operation.script
        # Of several jobs in flight whose script is missing, only the first sends its source again.
        if script is not None and not any(sent.loads is script for sent in in_flight):
            self._known.discard(script.sha)
        return [] if job.settled else [job]

    def _script_to_load(self, script: Script | None) -> Script | None:
        """Return the script if its source must be sent, because the server may not know it yet."""
        if script is None or script.sha in self._known:
            return None
        self._known.add(script.sha)
        return script


def _packed(sent: _Sent) -> bytes:
    """Pack a command. A script goes out as its source the first time, then as its SHA-1."""
    command = sent.job.operation
    script = command.script
    if script is None:
        return pack(*command.arguments)
    if sent.loads is None:
        return pack("EVALSHA", script.sha, *command.arguments)
    return pack("EVAL", script.source, *command.arguments)


def _settle(job: CommandJob, reply: object) -> None:
    if isinstance(reply, RedisError) and not _is_wrong_type(job, reply):
        job.fail(refused(reply))
    else:
        job.succeed(reply)


def _is_wrong_type(job: CommandJob, error: RedisError) -> bool:
    """Return whether a GET met another program's value of another type, which is no fault."""
    return job.operation.arguments[0] == "GET" and str(error).startswith("WRONGTYPE")


def _fail(
    jobs: Iterable[CommandJob],
    translate: Callable[[Exception], SessionStoreError],
    error: Exception,
) -> None:
    for job in jobs:
        job.fail(translate(error))
