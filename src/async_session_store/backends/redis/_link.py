"""A connection that is safe to send on: it answers, and no earlier command is still on its way."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakKeyDictionary

import anyio
from redis.exceptions import RedisError, ResponseError

from async_session_store.backends.redis._protocol import Argument, ask
from async_session_store.backends.redis._watchdog import Watchdog

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

_PING_TIMEOUT: Final = 1.0  # seconds; giving up too soon only costs a new connection
_ID: Final = re.compile(rb"\bid=(\d+)")
_ADDRESS: Final = re.compile(
    rb"\baddr=(.*?) (?:laddr|fd)="
)  # the path of a socket may contain blanks


@dataclass(frozen=True, slots=True)
class _Peer:
    """A connection as its server knows it.

    After a restart, or on another server, the same id may belong to another client's connection,
    but hardly ever with the same address as well. On a unix socket the address is just the path, so
    only the id identifies a connection. After a restart we may then kill another client's
    connection, and that client has to reconnect.
    """

    client_id: bytes
    address: bytes
    generation: int
    """The generation of the link when the connection was made, or an earlier one."""


class Link:
    """Holds one connection of a pool, and kills abandoned ones on the server.

    A command that was not answered may still be on its way: in a slow proxy, or in this host's own
    buffers. Closing our end does not stop it. So before anything else is sent, ``CLIENT KILL``
    makes the server close its end, and whatever is still on its way cannot arrive any more (R4).

    Args:
        pool: The pool of the connection, which connects and authenticates it.
        timeout: The time limit for making a connection ready, in seconds.
        watchdog: Enforces the time limit.
    """

    def __init__(self, pool: ConnectionPool, timeout: float, watchdog: Watchdog) -> None:
        self._pool = pool
        self._timeout = timeout
        self._watchdog = watchdog
        self._now = asyncio.get_running_loop().time
        self._connection: AbstractConnection | None = None
        self._peers: WeakKeyDictionary[AbstractConnection, _Peer] = WeakKeyDictionary()
        self._abandoned: _Peer | None = None
        self.generation = 0
        """Counts possible changes of the server. A connection made at a lower count is outdated."""

    @property
    def has_abandoned(self) -> bool:
        """Whether commands that were not answered may still reach the server."""
        return self._abandoned is not None

    async def ready(self) -> AbstractConnection:
        """Return a connection to send on: the previous one if it is still usable."""
        connection = self._connection
        if connection is not None and await self._is_ready(connection):
            return connection
        try:
            with self._watchdog as watchdog:
                watchdog.expect(self._now() + self._timeout)
                return await self._connected()
        except BaseException:
            await self._disconnect()  # replies to abandoned commands may be on their way
            raise

    async def abandon(self) -> None:
        """Drop the connection, which has unanswered commands."""
        if self._connection is not None:
            self._abandoned = self._peers[self._connection]
        await self._disconnect()

    def change(self) -> None:
        """Reconnect before the next batch, as the old connection may lead to the wrong server.

        Every other connection of the pool reconnects before we use it, since it may be as old.
        """
        self.generation += 1

    async def release(self) -> None:
        """Give the connection back to the pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)

    async def _connected(self) -> AbstractConnection:
        connection = self._connection
        if connection is None:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
            self._connection = connection
        while True:
            generation = self.generation  # before connecting: change() may be called meanwhile
            if (
                self._is_outdated(connection)
                or not await _is_open(connection)
                or not await self._answers(connection)
            ):
                await connection.disconnect(nowait=True)
                await connection.connect()
            if connection not in self._peers or self.has_abandoned:
                await self._introduce(connection, generation)
            if not self._is_outdated(connection):
                return connection

    async def _is_ready(self, connection: AbstractConnection) -> bool:
        return (
            connection in self._peers
            and not self.has_abandoned
            and not self._was_idle(connection)
            and await _is_open(connection)
            and not self._is_outdated(connection)
        )

    def _is_outdated(self, connection: AbstractConnection) -> bool:
        """Return whether a connection may lead to the server from before the last change.

        A connection that we have not used yet may be older than the first change.
        """
        peer = self._peers.get(connection)
        return (0 if peer is None else peer.generation) != self.generation

    def _was_idle(self, connection: AbstractConnection) -> bool:
        """Return whether a connection was idle for longer than its health check interval."""
        return bool(connection.health_check_interval) and (
            self._now() > connection.next_health_check
        )

    async def _answers(self, connection: AbstractConnection) -> bool:
        """Return False if a connection was idle for long and does not answer a PING.

        A NAT or firewall may have dropped it. Then whatever is sent is lost silently. A PING finds
        that out without harm, while a lost write would have an unknown outcome.
        """
        if not self._was_idle(connection):
            return True
        try:
            # Half of the time is left for a new connection.
            with anyio.move_on_after(min(_PING_TIMEOUT, self._timeout / 2)):
                await ask(connection, ("PING",))
                return True
        except (RedisError, OSError):
            pass
        return False

    async def _introduce(self, connection: AbstractConnection, generation: int) -> None:
        """Ask for the server's id of the connection, and have it kill the abandoned one."""
        connection.register_connect_callback(self._forget)  # type: ignore[no-untyped-call]  # redis-py's
        (information,) = await ask(connection, ("CLIENT", "INFO"))
        client_id, address = _id_and_address(cast("bytes", information))
        peer = _Peer(client_id, address, generation)
        kills = [_kill(peer)]  # CLIENT KILL skips its own client: this only checks the permission
        if self._abandoned is not None:
            kills.append(_kill(self._abandoned))
        await ask(connection, *kills)
        self._abandoned = None
        self._peers[connection] = peer

    def _forget(self, connection: AbstractConnection) -> None:
        """Forget the id. redis-py calls this when it has reconnected, so the id is a new one."""
        self._peers.pop(connection, None)


def _kill(peer: _Peer) -> tuple[Argument, ...]:
    return ("CLIENT", "KILL", "ID", peer.client_id, "ADDR", peer.address)


def _id_and_address(information: bytes) -> tuple[bytes, bytes]:
    client_id, address = _ID.search(information), _ADDRESS.search(information)
    if client_id is None or address is None:
        raise ResponseError("CLIENT INFO reports no id or no address")
    return client_id[1], address[1]


async def _is_open(connection: AbstractConnection) -> bool:
    """Return False if the server has closed a connection, or asked for a reconnect."""
    if not connection.is_connected or connection.should_reconnect():  # type: ignore[no-untyped-call]  # redis-py's
        return False
    try:
        return not await connection.can_read()
    except (RedisError, OSError):
        return False
