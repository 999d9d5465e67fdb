"""The life cycle of a store: it decides when and where its backend may be used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Final
from weakref import WeakSet

import anyio
from typing_extensions import Self, override

from async_session_store._background import loop_getter, runs_asyncio
from async_session_store._renewing import Renewer
from async_session_store.abc import Backend
from async_session_store.errors import InvalidInputError, StoreUsageError

_NOWHERE: Final = object()
"""Stands for the event loop of a store that is not open. No loop is identical to it."""


class _State(Enum):
    """The state of a store, in the words of its repr."""

    NEW = "not open"
    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"


class StoreLifeCycle:
    """The part of ``AsyncSessionStore`` that opens and closes it, and guards its backend."""

    def __init__(self, backend: Backend, *, max_document_bytes: int) -> None:
        if not isinstance(backend, Backend):
            raise InvalidInputError("backend: give a Backend, or use AsyncSessionStore.from_url")
        self._storage = backend
        self._max_document_bytes = max_document_bytes
        self._state = _State.NEW
        self._renewer = Renewer()
        self._process = os.getpid()
        self._running_loop: Callable[[], object] = asyncio.get_running_loop
        self._loop: object = _NOWHERE

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._storage.location}, {self._state.value}>"

    async def open(self) -> Self:
        """Connect, check that the storage answers, and return the store.

        A store can be opened only once, but a failed attempt may be repeated. ``async with store:``
        calls this and :meth:`aclose`. Raises ``StoreUsageError`` if the store was already opened or
        closed.
        """
        if self._state is not _State.NEW:
            raise StoreUsageError("this store was already opened or closed; make a new one")
        self._state = _State.OPENING
        self._storage = _for_this_loop(self._storage)
        try:
            await self._storage.open(max_document_bytes=self._max_document_bytes)
        except BaseException:
            if self._state is _State.OPENING:
                self._state = _State.NEW
            raise
        if self._state is not _State.OPENING:
            await self._close_storage()
            raise StoreUsageError("this store was closed while it was being opened; make a new one")
        self._state = _State.OPEN
        self._process = os.getpid()
        self._running_loop = loop_getter()
        self._loop = self._running_loop()
        _open_stores.add(self)
        return self

    async def aclose(self) -> None:
        """Finish the calls in flight and release the storage.

        Closing twice, or closing a store that was never opened, does nothing. Cancellation does not
        interrupt it. It takes at most 30 seconds.
        """
        was_open, self._state = self._state is _State.OPEN, _State.CLOSED
        self._loop = _NOWHERE
        _open_stores.discard(self)
        if was_open:
            await self._close_storage()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def ping(self) -> None:
        """Check that the storage answers.

        Raises ``StoreUnavailableError`` or ``StoreTimeoutError`` if it does not.
        """
        await self._backend.ping()

    @property
    def _backend(self) -> Backend:
        """The backend. Raises ``StoreUsageError`` unless it may be used here and now.

        Every call gets its backend from here, so this one check serves all backends.
        """
        try:
            if self._running_loop() is self._loop:
                return self._storage
        except RuntimeError:  # no loop runs here, or another library's does
            pass
        raise self._refusal()

    def _current_backend(self) -> Backend:
        return self._backend

    def _refusal(self) -> StoreUsageError:
        """Return the error for a call that may not use the backend."""
        if self._state is _State.CLOSED:
            return StoreUsageError("this store is closed")
        if self._state is not _State.OPEN:
            return StoreUsageError(
                "this store is not open; use 'async with' or 'await store.open()'"
            )
        if os.getpid() != self._process:
            return StoreUsageError(
                "this process was forked after the store was opened; open a new store in it"
            )
        return StoreUsageError(
            "this store was opened in another event loop; open one in each loop, or share a "
            "SessionStore between threads"
        )

    async def _close_storage(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._renewer.aclose()
            finally:  # no shield of anyio stops asyncio's own cancellation
                await self._storage.aclose()


_open_stores: Final[WeakSet[StoreLifeCycle]] = WeakSet()


def _refuse_in_forked_process() -> None:
    """Refuse the parent's stores: a fork copies no threads, and shares the parent's connections."""
    for store in _open_stores:
        store._loop = _NOWHERE  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # in its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refuse_in_forked_process)


def _for_this_loop(backend: Backend) -> Backend:
    """Return the backend, or a bridge to it if it needs asyncio and another loop runs here."""
    if not backend.asyncio_only or runs_asyncio():
        return backend
    from async_session_store.bridge import AsyncioBridge

    return AsyncioBridge(backend)
