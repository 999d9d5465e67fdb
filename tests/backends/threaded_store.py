"""``SessionStore`` behind the async methods, so that one suite tests both stores."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from typing_extensions import Self

from async_session_store import SessionRecord, SessionStore, SyncExpiredWaits, SyncWaitClaim
from async_session_store.abc import Backend

THREADS = 100
"""Enough for all calls that a test of the suite makes at once."""


async def in_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = THREADS
    return await to_thread.run_sync(partial(call, *args, **kwargs))


class ThreadedStore:
    """A ``SessionStore`` whose calls run in worker threads."""

    def __init__(self, backend: Backend, **options: Any) -> None:
        self._store = SessionStore(backend, **options)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        return partial(in_thread, getattr(self._store, name))

    async def open(self) -> Self:
        await in_thread(self._store.open)
        return self

    async def aclose(self) -> None:
        await in_thread(self._store.close)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def claim_wait(self, *args: Any, **kwargs: Any) -> ThreadedClaim | None:
        claim = await in_thread(self._store.claim_wait, *args, **kwargs)
        return None if claim is None else ThreadedClaim(claim)

    async def claim_expired(self, *args: Any, **kwargs: Any) -> list[ThreadedClaim]:
        claims = await in_thread(self._store.claim_expired, *args, **kwargs)
        return [ThreadedClaim(claim) for claim in claims]

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        threaded = cls.__new__(cls)
        threaded._store = SessionStore.from_url(url, **options)
        return threaded

    async def copy_to(self, other: ThreadedStore, **options: Any) -> Any:
        unwrapped = other._store if isinstance(other, ThreadedStore) else other
        return await in_thread(self._store.copy_to, unwrapped, **options)

    def iter_waits(self, *args: Any, **kwargs: Any) -> ThreadedRecords:
        return ThreadedRecords(self._store.iter_waits(*args, **kwargs))

    def iter_sessions(self, *args: Any, **kwargs: Any) -> ThreadedRecords:
        return ThreadedRecords(self._store.iter_sessions(*args, **kwargs))

    def expired_waits(self, *args: Any, **kwargs: Any) -> ThreadedWaits:
        return ThreadedWaits(self._store.expired_waits(*args, **kwargs))

    def expired_turn(self, claim: ThreadedClaim, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
        return threaded_block(self._store.expired_turn, claim.claim, **kwargs)

    def resume_wait(self, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
        return threaded_block(self._store.resume_wait, *args, **kwargs)

    def turn(self, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
        return threaded_block(self._store.turn, *args, **kwargs)


@asynccontextmanager
async def threaded_block(
    make: Callable[..., AbstractContextManager[Any]], *args: Any, **kwargs: Any
) -> AsyncGenerator[Any, None]:
    """Enter and leave a block in worker threads, and yield what it gives."""
    block = make(*args, **kwargs)
    given = await in_thread(block.__enter__)
    try:
        yield given
    except BaseException:
        if not await in_thread(block.__exit__, *sys.exc_info()):
            raise
    else:
        await in_thread(block.__exit__, None, None, None)


class ThreadedClaim:
    """A ``SyncWaitClaim`` whose calls run in worker threads."""

    def __init__(self, claim: SyncWaitClaim) -> None:
        self.claim = claim

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.claim, name)
        is_call = callable(value) and name != "check"  # `check` is not async in either form
        return partial(in_thread, value) if is_call else value


class ThreadedRecords:
    """An iterator over records whose steps run in worker threads."""

    def __init__(self, records: Iterator[SessionRecord]) -> None:
        self._records = records

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionRecord:
        record: SessionRecord | None = await in_thread(next, self._records, None)
        if record is None:
            raise StopAsyncIteration
        return record


class ThreadedWaits:
    """A ``SyncExpiredWaits`` whose steps run in worker threads."""

    def __init__(self, waits: SyncExpiredWaits) -> None:
        self._waits = waits

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ThreadedClaim:
        claim = await in_thread(next, self._waits, None)
        if claim is None:
            raise StopAsyncIteration
        return ThreadedClaim(claim)

    def stop(self) -> None:
        self._waits.stop()
