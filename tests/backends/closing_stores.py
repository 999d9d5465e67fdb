"""Closing a store that is busy, for backends that hand calls to a connection."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Final

import anyio

from async_session_store import AsyncSessionStore, ReplyScope, SessionStoreError
from async_session_store.testing.contract.builders import A, register
from loops import turn_loop

CALLERS: Final = 64


async def close_while_many_call(store: AsyncSessionStore) -> None:
    """Close the store while many tasks call it. Check that each learns that it is closed."""
    outcomes: list[str] = []

    async def call(number: int) -> None:
        try:
            while True:
                await register(store, f"k{number}", ReplyScope(conversation=str(number)))
        except SessionStoreError as error:
            outcomes.append(str(error))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(CALLERS):
                tasks.start_soon(call, number)
            await anyio.sleep(0.05)
            await store.aclose()
    assert len(outcomes) == CALLERS
    assert all("closed" in text for text in outcomes)


async def cancel_closing_while_blocked(
    store: AsyncSessionStore, blocked: AbstractContextManager[object], *, native: bool
) -> None:
    """Cancel closing while the storage blocks a call. Check that both finish all the same.

    The cancellation is the task's own if ``native``, else that of a cancel scope.
    """

    async def cancelled_close() -> None:
        with anyio.CancelScope() as scope:
            if not native:
                scope.cancel()
            await store.aclose()

    with blocked:
        call = asyncio.ensure_future(register(store, "k", A))
        await turn_loop(3)
        closing = asyncio.ensure_future(cancelled_close())
        await asyncio.sleep(0.05)
        if native:
            closing.cancel()
        await asyncio.sleep(0.05)
        assert not closing.done()
    await asyncio.wait([closing, call])
    assert call.result() is None
