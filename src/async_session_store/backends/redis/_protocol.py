"""Commands as bytes and replies as values, on a connection of redis-py."""

from __future__ import annotations

import math
from typing import Final, TypeAlias, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

Argument: TypeAlias = "bytes | str | int"

# These errors are replies, although redis-py derives two of them from its ConnectionError.
_ERROR_REPLIES: Final = (ResponseError, BusyLoadingError, AuthenticationError)


def pack(*arguments: Argument) -> bytes:
    return cast("bytes", hiredis.pack_command(arguments))  # type: ignore[arg-type]  # typed as a tuple of one


async def send(connection: AbstractConnection, packed: list[bytes]) -> None:
    """Send packed commands in one write."""
    if not connection.is_connected:  # otherwise redis-py would reconnect and mix up replies
        raise ConnectionAbortedError("the connection was closed by someone else")
    await connection.send_packed_command(packed, check_health=False)


async def read_reply(connection: AbstractConnection) -> object:
    """Return the next reply. Error replies are returned too, so that later replies are still read.

    This bypasses redis-py's own time-out, which ends a wait even if the reply has arrived. It also
    bypasses the override in redis-py's Sentinel connection, which drops the connection at the first
    READONLY, together with all replies after it.
    """
    try:
        return cast(
            "object",
            await AbstractConnection.read_response(
                connection, disable_decoding=True, timeout=math.inf, disconnect_on_error=False
            ),
        )
    except _ERROR_REPLIES as error:
        return error


async def read_push(connection: AbstractConnection) -> object:
    """Return the next message on a subscribed connection. Raise an error reply.

    With RESP3, redis-py would skip everything but replies by default.
    """
    return cast(
        "object",
        await AbstractConnection.read_response(
            connection,
            disable_decoding=True,
            timeout=math.inf,
            disconnect_on_error=False,
            push_request=True,
        ),
    )


async def ask(connection: AbstractConnection, *commands: tuple[Argument, ...]) -> list[object]:
    """Send commands in one write, and return their replies. Raise the first error reply."""
    await send(connection, [pack(*command) for command in commands])
    replies = [await read_reply(connection) for _ in commands]
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies
