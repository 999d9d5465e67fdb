"""Wake-ups of the callers that wait for their turn in a queue."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, cast

import anyio
from redis import exceptions

from async_session_store._waking import wait_until_set
from async_session_store.backends.redis._protocol import pack, read_push, send

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

_logger = logging.getLogger("async_session_store")

_IDLE: Final = 30.0  # seconds without a message, after which the connection goes back to the pool
_RETRY_PAUSE: Final = 1.0  # seconds
_REFUSAL_PAUSE: Final = 60.0  # seconds
_REMEMBERED: Final = 1024  # wake-ups for callers that do not wait yet

# redis-py's errors, and those that a connection raises once its event loop has ended.
_FAULTS: Final = (exceptions.RedisError, OSError, RuntimeError)


class Turns:
    """Listens on a channel of its own, and wakes the caller whose turn it is.

    It takes a connection from the pool when the first caller waits, and returns it after a while
    without messages. Without a connection it wakes nobody, and callers notice that it is their turn
    when they renew their places. So nothing here makes a call fail.

    Args:
        pool: The pool of the connection.
        channel: A channel that no other process listens on.
        pattern: A pattern for ``ACL SETUSER`` that matches all such channels.
        spare: The number of connections of the pool that must stay free for others.
    """

    def __init__(self, pool: ConnectionPool, channel: str, pattern: str, *, spare: int) -> None:
        self._pool = pool
        self._spare = spare
        self._channel = channel
        self._pattern = pattern
        self._now = asyncio.get_running_loop().time
        self._waiting: dict[str, anyio.Event] = {}
        # The message may arrive after the reply with the place, but before the caller waits.
        self._woken: OrderedDict[str, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._has_warned = False
        self._is_closed = False

    async def wait(self, token: str, seconds: float) -> None:
        """Wait until the token is woken, for at most ``seconds``. May return early."""
        if token in self._woken:
            del self._woken[token]
            return
        self._start()
        event = self._waiting[token] = anyio.Event()
        try:
            await wait_until_set(event, seconds)
        finally:
            del self._waiting[token]

    async def aclose(self) -> None:
        """Stop listening, return the connection, and wake all waiting callers."""
        self._is_closed = True
        self._wake_all()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _start(self) -> None:
        if self._task is None and not self._is_closed and self._now() >= self._not_before:
            self._not_before = self._now() + _RETRY_PAUSE
            if self._pool_has_room():
                self._task = asyncio.create_task(self._run())

    def _pool_has_room(self) -> bool:
        """Return whether the pool can spare a connection."""
        in_use = len(self._pool._in_use_connections)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # redis-py has no other way
        return in_use + 1 + self._spare <= self._pool.max_connections

    async def _run(self) -> None:
        try:
            await self._listen()
        except exceptions.ResponseError as error:
            self._not_before = self._now() + _REFUSAL_PAUSE
            self._warn(error)
        except _FAULTS:
            pass  # callers keep renewing their places, and the next one that waits retries this
        finally:
            self._task = None

    async def _listen(self) -> None:
        connection = cast(
            "AbstractConnection",
            await self._pool.get_connection(),  # type: ignore[no-untyped-call]  # redis-py's
        )
        try:
            await send(connection, [pack("SUBSCRIBE", self._channel)])
            while True:
                with anyio.fail_after(_IDLE):
                    message = await read_push(connection)
                self._on_message(message)
        finally:
            # The next user of the connection must not get our messages.
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    def _on_message(self, message: object) -> None:
        match cast("list[object]", message):
            case [b"subscribe", *_]:
                # Earlier messages were lost, so it may be anyone's turn.
                self._wake_all()
            case [b"message", _, bytes(token)]:
                self._wake(token.decode(errors="replace"))
            case _:
                pass  # some hosting providers announce maintenance in this way

    def _wake_all(self) -> None:
        for event in self._waiting.values():
            event.set()

    def _wake(self, token: str) -> None:
        event = self._waiting.get(token)
        if event is not None:
            event.set()
            return
        self._woken[token] = None
        if len(self._woken) > _REMEMBERED:
            self._woken.popitem(last=False)

    def _warn(self, error: exceptions.ResponseError) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "the Redis server does not let its user subscribe (%s): callers that wait for a "
                "claim start up to 0.3 s late; grant the user +subscribe +publish &%s",
                type(error).__name__,
                self._pattern,
            )
