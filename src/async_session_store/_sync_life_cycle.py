"""The life cycle of a ``SessionStore``: its thread, and how calls get into it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from threading import RLock
from types import TracebackType
from typing import TypeVar

from anyio.from_thread import BlockingPortal
from typing_extensions import ParamSpec, Self, override

from async_session_store._crossing import Crossing, refuse_event_loop
from async_session_store._loop_thread import check_process
from async_session_store._store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.errors import InvalidInputError, StoreUsageError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class SyncLifeCycle:
    """The part of ``SessionStore`` that opens and closes it, and calls its async store."""

    def __init__(
        self, store: AsyncSessionStore, backend: Backend, portal: BlockingPortal | None
    ) -> None:
        if not isinstance(portal, (BlockingPortal, type(None))):
            raise InvalidInputError("portal: give an anyio BlockingPortal")
        self._store = store
        self._backend = backend
        self._process = os.getpid()
        self._portal = portal
        self._crossing: Crossing | None = None
        self._closed = False
        self._closing = False
        self._opening = RLock()  # a signal handler may call close at any point

    @override
    def __repr__(self) -> str:
        state = "closed" if self._closed else "not open" if self._crossing is None else "open"
        return f"<{type(self).__name__} {self._backend.location}, {state}>"

    def open(self) -> Self:
        """Connect, check that the storage answers, and return the store.

        A store can be opened only once, but a failed attempt may be repeated. ``with store:`` calls
        this and :meth:`close`. Raises ``StoreUsageError`` if the store was already opened or
        closed.
        """
        refuse_event_loop()
        if self._portal is not None:
            check_process(self._process)
        with self._opening:
            if self._closed or self._crossing is not None:
                raise StoreUsageError("this store was already opened or closed; make a new one")
            self._crossing = crossing = Crossing(self._portal)
            try:
                crossing.open()
                crossing.call(self._store.open)
            except BaseException:
                crossing.close()
                self._crossing = None
                raise
        return self

    def close(self) -> None:
        """Finish the calls in flight and release the storage, in at most 30 seconds.

        Closing twice, or closing a store that was never opened or that was opened before a fork,
        does nothing. If the thread is interrupted meanwhile, the storage is released at once.
        """
        crossing = self._crossing
        if crossing is not None and crossing.is_forked:
            return
        refuse_event_loop()
        self._closed = True
        with self._opening:
            if self._crossing is not None and not self._closing:
                self._close(self._crossing)

    def _close(self, crossing: Crossing) -> None:
        try:
            self._closing = True  # a signal handler may close the store too, at any point
            if crossing.is_open and crossing.is_running:  # else the storage ended with its loop
                crossing.call(self._store.aclose)
        except StoreUsageError:
            if crossing.is_running:  # else the loop has ended meanwhile
                raise
        finally:
            try:
                crossing.close()
            finally:
                self._closing = False

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def ping(self) -> None:
        """Check that the storage answers.

        Raises ``StoreUnavailableError`` or ``StoreTimeoutError`` if it does not.
        """
        self._call(self._store.ping)

    def _call(self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._open_crossing().call(method, *args, **kwargs)

    def _open_crossing(self) -> Crossing:
        if self._closed:
            raise StoreUsageError("this store is closed")
        if self._crossing is None:
            raise StoreUsageError("this store is not open; use 'with' or 'open()'")
        return self._crossing
