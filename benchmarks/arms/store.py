"""This library. Each operation is atomic and checks the owner, and each read is validated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from harness import Step
from workload import TTL, Caller

from async_session_store import AsyncSessionStore, SessionData
from async_session_store.abc import Backend


async def cycle(store: AsyncSessionStore, caller: Caller) -> SessionData | None:
    ctx, user, scope, key = caller.ctx, caller.user, caller.scope, caller.key
    await store.register_wait(ctx, user, scope, key, caller.data, TTL)
    await store.find_wait_by_scope(ctx, user, scope)
    data = await store.get_session(key)
    await store.update_session(key, caller.data)
    await store.clear_wait(ctx, user, scope)
    return data


@asynccontextmanager
async def store(backend: Callable[[], Backend]) -> AsyncIterator[Step[Caller]]:
    async with AsyncSessionStore(backend()) as opened:
        yield partial(cycle, opened)
