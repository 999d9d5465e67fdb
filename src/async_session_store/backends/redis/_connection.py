"""Commands on one connection: what is waiting goes out in one write, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

import hiredis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from async_session_store.backends._batches import Job
from async_session_store.backends.redis._faults import lost, not_sent, refused
from async_session_store.backends.redis._scripts import Script
from async_session_store.backends.redis._watchdog import Watchdog
from async_session_store.errors import SessionStoreError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

Argument: TypeAlias = "bytes | str | int"

# What redis-py raises, and what comes of a connection whose event loop has ended.
_FAULTS: Final = (RedisError, OSError, RuntimeError)


class Command(NamedTuple):
    """A command; or the arguments of a script, after the number of its keys."""

    arguments: tuple[Argument, ...]
    script: Script | None = None


CommandJob: TypeAlias = "Job[Command, object]"


class _Sent(NamedTuple):
    """A command that was sent, and by when it must be answered."""

    job: CommandJob
    deadline: float


class CommandRunner:
    """Runs commands on one connection of a pool at a time.

    Args:
        pool: Where the connection comes from. It connects and authenticates it.
        timeout: How long connecting, and answering a command, may take, in seconds.
        keep: Whether to keep the connection, where no one else uses the pool.
    """

    def __init__(self, pool: ConnectionPool, timeout: float, *, keep: bool) -> None:
        self._pool = pool
        self._timeout = timeout
        self._keep = keep
        self._held: AbstractConnection | None = None
        self._known: set[str] = set()
        self._watchdog = Watchdog()
        self._now = asyncio.get_running_loop().time

    async def run_batch(self, jobs: list[CommandJob], more: Callable[[], list[CommandJob]]) -> None:
        """Run the commands, and those that come while answers are awaited."""
        try:
            connection = self._held
            if connection is None or not await _is_usable(connection):
                connection = await self._connect()
            await self._converse(connection, jobs, more)
        except _FAULTS as error:
            while jobs:  # nor would those that wait behind them fare better
                _fail(jobs, not_sent, error)
                jobs = more()
        finally:
            if not self._keep:
                await self._let_go()

    def run_at_once(self, job: CommandJob) -> bool:  # noqa: ARG002  # every answer is waited for
        return False

    async def aclose(self) -> None:
        """Give the connection back to the pool."""
        self._watchdog.close()
        await self._let_go()

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._pool.release(held)

    async def _connect(self) -> AbstractConnection:
        """A connection of the pool, which is connected anew if it must be."""
        with self._watchdog as watchdog:
            watchdog.expect(self._now() + self._timeout)
            if self._held is None:
                self._held = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
            if not await _is_usable(self._held):
                await self._held.disconnect()
                await self._held.connect()
        return self._held

    async def _converse(
        self,
        connection: AbstractConnection,
        jobs: list[CommandJob],
        more: Callable[[], list[CommandJob]],
    ) -> None:
        """Send commands and settle them with their replies, which come in the same order."""
        under_way: deque[_Sent] = deque()
        try:
            with self._watchdog as watchdog:
                while jobs or under_way:
                    if jobs:
                        await self._send(connection, jobs, under_way)
                    watchdog.expect(under_way[0].deadline)
                    reply = await _reply(connection)
                    job = under_way.popleft().job
                    jobs = more()
                    if isinstance(reply, NoScriptError):
                        jobs = [*self._again(job), *jobs]
                    else:
                        _settle(job, reply)
        except _FAULTS as error:
            await connection.disconnect(nowait=True)
            _fail((sent.job for sent in under_way), lost, error)

    async def _send(
        self, connection: AbstractConnection, jobs: list[CommandJob], under_way: deque[_Sent]
    ) -> None:
        deadline = self._now() + self._timeout
        under_way.extend([_Sent(job, deadline) for job in jobs])
        self._watchdog.expect(under_way[0].deadline)
        packed = [self._packed(job.operation) for job in jobs]
        await connection.send_packed_command(packed, check_health=False)

    def _again(self, job: CommandJob) -> list[CommandJob]:
        """The job whose script the server has lost, so that it did not run.

        What a cancelled caller left must not run now: later calls may have run already.
        """
        self._known.clear()
        return [] if job.settled else [job]

    def _packed(self, command: Command) -> bytes:
        """A command as it is sent; a script by its source at first, and then by its SHA-1."""
        script = command.script
        if script is None:
            return _pack(*command.arguments)
        if script.sha in self._known:
            return _pack("EVALSHA", script.sha, *command.arguments)
        self._known.add(script.sha)
        return _pack("EVAL", script.source, *command.arguments)


def _pack(*arguments: Argument) -> bytes:
    # Its types know tuples of one item only.
    return cast("bytes", hiredis.pack_command(arguments))  # type: ignore[arg-type]  # see above


async def _is_usable(connection: AbstractConnection) -> bool:
    """Whether it is connected still: the server may have closed it, or asked for another one."""
    if not connection.is_connected or connection.should_reconnect():  # type: ignore[no-untyped-call]  # redis-py's
        return False
    try:
        return not await connection.can_read()
    except (RedisError, OSError):
        return False


async def _reply(connection: AbstractConnection) -> object:
    """The next reply; an error reply is returned, as the replies after it must be read too.

    redis-py's own bound is left out: it would end a wait without a look at what has come.
    """
    try:
        return cast(
            "object", await connection.read_response(disable_decoding=True, timeout=math.inf)
        )
    except ResponseError as error:
        return error


def _settle(job: CommandJob, reply: object) -> None:
    if isinstance(reply, ResponseError) and not _is_wrong_type(job, reply):
        job.fail(refused(reply))
    else:
        job.succeed(reply)


def _is_wrong_type(job: CommandJob, error: ResponseError) -> bool:
    """Whether a key that was read holds what no client of ours put there; that is no fault."""
    return job.operation.arguments[0] == "GET" and str(error).startswith("WRONGTYPE")


def _fail(
    jobs: Iterable[CommandJob],
    translate: Callable[[Exception], SessionStoreError],
    error: Exception,
) -> None:
    for job in jobs:
        job.fail(translate(error))
