"""Commands on a pooled connection: a batch of them in one round trip, none of them sent twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
from redis.exceptions import NoScriptError, RedisError, ResponseError

from async_session_store.backends._batches import Job
from async_session_store.backends.redis._faults import lost, not_sent, refused
from async_session_store.backends.redis._scripts import Script
from async_session_store.errors import SessionStoreError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

Argument: TypeAlias = "bytes | str | int"


@dataclass(frozen=True, slots=True)
class Command:
    """A command; or the arguments of a script, after the number of its keys."""

    arguments: tuple[Argument, ...]
    script: Script | None = None


CommandJob: TypeAlias = "Job[Command, object]"


class CommandRunner:
    """Runs batches of commands, each batch on one connection of the pool.

    Args:
        pool: Where connections come from. It connects, authenticates and replaces what is broken.
        timeout: How long connecting, and answering a batch, may take, in seconds.
    """

    def __init__(self, pool: ConnectionPool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._known: set[str] = set()

    async def run_batch(self, jobs: list[CommandJob]) -> None:
        """Send all commands in one write and settle each job with its reply."""
        try:
            with anyio.fail_after(self._timeout):
                connection = await self._connection()
        except (RedisError, OSError) as error:
            _fail(jobs, not_sent, error)
            return
        try:
            unknown = await self._exchange(connection, jobs, self._by_sha)
            # The server lost these scripts, so they did not run. What a cancelled caller left
            # must not run now: later calls in this batch have run already.
            wanted = [job for job in unknown if not job.settled]
            if wanted:
                await self._exchange(connection, wanted, _by_source)
        finally:
            await self._pool.release(connection)

    async def _connection(self) -> AbstractConnection:
        connection: AbstractConnection
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        try:
            if await _is_closed(connection):
                await connection.disconnect()
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            await self._pool.release(connection)
            raise
        return connection

    async def _exchange(
        self,
        connection: AbstractConnection,
        jobs: list[CommandJob],
        packable: Callable[[Command], Sequence[Argument]],
    ) -> list[CommandJob]:
        """Settle the jobs, but for those whose script the server does not know; return those."""
        unknown: list[CommandJob] = []
        commands = [packable(job.operation) for job in jobs]
        try:
            with anyio.fail_after(self._timeout):
                await connection.send_packed_command(connection.pack_commands(commands))
                for job in jobs:
                    reply = await _reply(connection)
                    if isinstance(reply, NoScriptError):
                        unknown.append(job)
                    elif isinstance(reply, ResponseError) and not _is_wrong_type(job, reply):
                        _fail([job], refused, reply)
                    else:
                        job.succeed(reply)
        except (RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            _fail(jobs, lost, error)
        return unknown

    def _by_sha(self, command: Command) -> Sequence[Argument]:
        """A script by its source at first, and then by its SHA-1."""
        script = command.script
        if script is None or script.sha not in self._known:
            self._known |= {script.sha} if script is not None else set()
            return _by_source(command)
        return ("EVALSHA", script.sha, *map(_utf_8, command.arguments))


def _by_source(command: Command) -> Sequence[Argument]:
    arguments = tuple(map(_utf_8, command.arguments))
    return arguments if command.script is None else ("EVAL", command.script.source, *arguments)


async def _is_closed(connection: AbstractConnection) -> bool:
    """Whether the server closed it, which the pool overlooks where it expects notifications."""
    try:
        return await connection.can_read()
    except (RedisError, OSError):
        return True


async def _reply(connection: AbstractConnection) -> object:
    """The next reply; an error reply is returned, as the replies after it must be read too."""
    try:
        return cast("object", await connection.read_response(disable_decoding=True))
    except ResponseError as error:
        return error


def _utf_8(argument: Argument) -> bytes | int:
    """Encoded here, as a caller's client may have been told another encoding."""
    return argument.encode() if isinstance(argument, str) else argument


def _is_wrong_type(job: CommandJob, error: ResponseError) -> bool:
    """Whether a key that was read holds what no client of ours put there; that is no fault."""
    return job.operation.arguments[0] == "GET" and str(error).startswith("WRONGTYPE")


def _fail(
    jobs: list[CommandJob],
    translate: Callable[[Exception], SessionStoreError],
    error: Exception,
) -> None:
    for job in jobs:
        job.fail(translate(error))
