"""One interface to both sides: a store of this library, or one of the Rust crate."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, TypeAlias

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionData,
    SessionStoreError,
    TenantCtx,
)
from async_session_store.testing.contract.builders import CTX
from rust_process import RustError, RustStore


class PythonStore:
    """A store of this library, driven from outside its loop as the crate's is."""

    def __init__(self, store: AsyncSessionStore, loop: asyncio.AbstractEventLoop) -> None:
        self.store = store
        self.run = loop.run_until_complete

    @classmethod
    @contextmanager
    def opened(cls, store: AsyncSessionStore) -> Iterator[PythonStore]:
        with closing(asyncio.new_event_loop()) as loop:
            loop.run_until_complete(store.open())
            try:
                yield cls(store, loop)
            finally:
                loop.run_until_complete(store.aclose())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, name)

    def _call(self, name: str, *arguments: object, **options: object) -> Any:
        return self.run(getattr(self.store, name)(*arguments, **options))


Side: TypeAlias = PythonStore | RustStore


def refusal(call: Callable[..., object], *arguments: object) -> str | None:
    """Return the code of the error that a call raises, or None."""
    try:
        call(*arguments)
    except SessionStoreError as error:
        return error.code.value
    except RustError as error:
        return error.code
    return None


def find(side: Side, scope: ReplyScope, *, of: TenantCtx = CTX) -> str | None:
    return side.find_wait_by_scope(of, of.owner.user or "", scope)


def listed(side: Side, *, of: TenantCtx = CTX) -> list[str]:
    return sorted(side.list_waits_for_user(of, of.owner.user or ""))


def find_by_user(side: Side, *, of: TenantCtx = CTX) -> tuple[str, SessionData] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return side.find_by_user(of, of.owner.user or "")


def clear(side: Side, scope: ReplyScope, *, of: TenantCtx = CTX) -> None:
    side.clear_wait(of, of.owner.user or "", scope)
