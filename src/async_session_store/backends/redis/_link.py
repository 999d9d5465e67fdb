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

_PING_TIMEOUT: Final = 1.0  # seconds; to give up too soon costs no more than a new connection
_ID: Final = re.compile(rb"\bid=(\d+)")
_ADDRESS: Final = re.compile(rb"\baddr=(.*?) (?:laddr|fd)=")  # the path of a socket may have blanks


@dataclass(frozen=True, slots=True)
class _Peer:
    """A connection as its server knows it.

    After a restart, and on another server, another client's connection may have the id, but hardly
    the same address too. On a unix socket the address is only the path, so there the id has to do:
    it may be that of another client after a restart, who then has to connect anew.
    """

    client_id: bytes
    address: bytes
    generation: int
    """That of the link when the connection was made, or an earlier one."""


class Link:
    """Holds a connection of a pool, and ends earlier connections on the server.

    A call that was not answered may still be on its way: in a slow proxy, or in this host's own
    buffers. Closing our end does not stop it. So the server is told to close its own end, by
    ``CLIENT KILL``, before anything else is sent; what is still on its way then arrives nowhere.

    Args:
        pool: Where the connection comes from. It connects and authenticates it.
        timeout: How long it may take to have a connection ready, in seconds.
        watchdog: Bounds that.
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
        """How often the server may have changed: a connection of an earlier one is outdated."""

    @property
    def has_abandoned(self) -> bool:
        """Whether calls that were not answered may still reach the server."""
        return self._abandoned is not None

    async def ready(self) -> AbstractConnection:
        """Return a connection to send on: the previous one, if it is still good."""
        connection = self._connection
        if connection is not None and await self._is_ready(connection):
            return connection
        try:
            with self._watchdog as watchdog:
                watchdog.expect(self._now() + self._timeout)
                return await self._connected()
        except BaseException:
            await self._disconnect()  # replies that nobody waits for may be on their way
            raise

    async def abandon(self) -> None:
        """Drop the connection, which has commands that were sent and not answered."""
        if self._connection is not None:
            self._abandoned = self._peers[self._connection]
        await self._disconnect()

    def change(self) -> None:
        """Reconnect before the next batch, as that may lead to another server.

        So does every other connection of the pool before we send on it: it may be as old.
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
        """Return whether it may lead to a server of before the last change.

        One that we do not know may be from before the first change.
        """
        peer = self._peers.get(connection)
        return (0 if peer is None else peer.generation) != self.generation

    def _was_idle(self, connection: AbstractConnection) -> bool:
        """Return whether the connection was idle for longer than its health check interval."""
        return bool(connection.health_check_interval) and (
            self._now() > connection.next_health_check
        )

    async def _answers(self, connection: AbstractConnection) -> bool:
        """Return False if the connection was idle for long, and now does not answer a PING.

        A NAT or firewall may have dropped it. What is sent then is lost silently, so a write must
        not be the first to find out.
        """
        if not self._was_idle(connection):
            return True
        try:
            # This leaves half of the time for a new connection.
            with anyio.move_on_after(min(_PING_TIMEOUT, self._timeout / 2)):
                await ask(connection, ("PING",))
                return True
        except (RedisError, OSError):
            pass
        return False

    async def _introduce(self, connection: AbstractConnection, generation: int) -> None:
        """Ask what the server knows the connection by, and have it end the abandoned one."""
        connection.register_connect_callback(self._forget)  # type: ignore[no-untyped-call]  # redis-py's
        (information,) = await ask(connection, ("CLIENT", "INFO"))
        client_id, address = _id_and_address(cast("bytes", information))
        peer = _Peer(client_id, address, generation)
        kills = [_kill(peer)]  # a client skips itself: this only checks that the user may kill
        if self._abandoned is not None:
            kills.append(_kill(self._abandoned))
        await ask(connection, *kills)
        self._abandoned = None
        self._peers[connection] = peer

    def _forget(self, connection: AbstractConnection) -> None:
        """Forget the id. Redis-py calls this when it has reconnected: the server gave a new id."""
        self._peers.pop(connection, None)


def _kill(peer: _Peer) -> tuple[Argument, ...]:
    return ("CLIENT", "KILL", "ID", peer.client_id, "ADDR", peer.address)


def _id_and_address(information: bytes) -> tuple[bytes, bytes]:
    client_id, address = _ID.search(information), _ADDRESS.search(information)
    if client_id is None or address is None:
        raise ResponseError("CLIENT INFO tells no id and address")
    return client_id[1], address[1]


async def _is_open(connection: AbstractConnection) -> bool:
    """Return whether it is still usable: the server may have closed it, or asked to reconnect."""
    if not connection.is_connected or connection.should_reconnect():  # type: ignore[no-untyped-call]  # redis-py's
        return False
    try:
        return not await connection.can_read()
    except (RedisError, OSError):
        return False
