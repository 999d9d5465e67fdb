"""A TCP proxy in front of a Redis server. It records commands, and injects faults."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

import hiredis

from redis_server import RedisServer

_CHUNK = 2**20


class Fault(Enum):
    CUT_BEFORE = auto()
    """Cut the client's connection when a command comes, so that the server never sees it."""
    CUT_AFTER = auto()
    """Cut the client's connection when the reply comes: the server has run the command."""
    SWALLOW = auto()
    """Let the server run commands, and drop its replies."""
    HOLD = auto()
    """Hold commands back until :attr:`TcpProxy.released` is set. Then they reach the server even
    if the client has gone."""


class TcpProxy:
    """A proxy: the commands that passed since :meth:`forget`, and the fault that it injects now."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        """Where new connections lead. Existing ones stay with the old server."""
        self.released = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self.url = ""
        self.fault: Fault | None = None
        self.before_each: Callable[[], Awaitable[object]] | None = None
        """Called before each command. Commands are then sent one by one, even from a pipeline."""
        self.rewrite: Callable[[bytes], bytes] = bytes
        """Applied to the server's replies."""
        self.forget()

    def forget(self) -> None:
        self.commands: list[list[bytes]] = []
        """The commands that the clients sent."""
        self.round_trips = 0
        """How often a client sent commands while no reply was pending."""

    @property
    def names(self) -> list[str]:
        return [command[0].decode() for command in self.commands]

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        task = asyncio.ensure_future(connection.run(self.server.socket_path, self._closing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lose_all(self) -> None:
        """Silently pass nothing more on the existing connections, as a NAT gateway may do."""
        for connection in self._connections:
            connection.is_lost = True

    async def aclose(self) -> None:
        self._closing.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Connection:
    def __init__(
        self, proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self.is_lost = False
        self._unanswered = 0
        self._answered = asyncio.Event()

    async def run(self, socket_path: str, closing: asyncio.Event) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(socket_path)
        except OSError:
            await _close(self._writer)
            return
        ends = [
            asyncio.ensure_future(self._to_server(writer)),
            asyncio.ensure_future(self._to_client(reader)),
            asyncio.ensure_future(closing.wait()),
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        await _close(writer)
        await _close(self._writer)

    async def _to_server(self, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while chunk := await self._reader.read(_CHUNK):
            commands = _parsed(parser, chunk)
            self._proxy.commands += commands
            if not self._unanswered:
                self._proxy.round_trips += 1
            if self.is_lost:
                continue
            if self._proxy.fault is Fault.CUT_BEFORE:
                return
            if self._proxy.fault is Fault.HOLD:
                await self._proxy.released.wait()
            self._unanswered += len(commands)
            if self._proxy.before_each is None:
                writer.write(chunk)
                continue
            for command in commands:
                await self._proxy.before_each()
                self._answered.clear()
                writer.write(hiredis.pack_command(tuple(command)))
                await self._answered.wait()

    async def _to_client(self, reader: asyncio.StreamReader) -> None:
        parser = hiredis.Reader()
        while chunk := await reader.read(_CHUNK):
            self._unanswered -= len(_parsed(parser, chunk))
            if self._proxy.fault is Fault.CUT_AFTER:
                return
            if self._proxy.fault is not Fault.SWALLOW and not self.is_lost:
                self._writer.write(self._proxy.rewrite(chunk))
            self._answered.set()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _parsed(parser: hiredis.Reader, chunk: bytes) -> list[list[bytes]]:
    parser.feed(chunk)
    messages = []
    while (message := parser.gets()) is not False:
        messages.append(message)
    return messages


@asynccontextmanager
async def tcp_proxy(
    server: RedisServer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[TcpProxy]:
    """Run a proxy in front of a server. With ``tls``, its clients must connect with TLS."""
    proxy = TcpProxy(server)
    listener = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, ssl=tls)
    host, port = listener.sockets[0].getsockname()
    proxy.url = f"{'redis' if tls is None else 'rediss'}://{host}:{port}"
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.aclose()
        await listener.wait_closed()
