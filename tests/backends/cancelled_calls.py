"""A storm of cancelled calls, for backends that hand calls to a connection."""

from __future__ import annotations

import random
from typing import Final

import anyio

from async_session_store import AsyncSessionStore, ReplyScope
from async_session_store.testing.contract.builders import CTX, clear, context_of, find, register

CANCELLATIONS: Final = 1000
TASKS: Final = 32
MOST_CALLS: Final = 10_000
"""Calls of one task, in case that none is ever cancelled."""


async def cancel_a_thousand_calls(store: AsyncSessionStore) -> None:
    """Cancel calls of many tasks, and check that each happened completely or not at all.

    Each task has a key and a scope of its own, so whatever it finds after a cancelled call is its
    own doing.
    """
    cancelled = 0

    async def shuffle(number: int) -> None:
        nonlocal cancelled
        chance = random.Random(number)
        key, scope = f"k{number}", ReplyScope(conversation=str(number))
        for turn in range(MOST_CALLS):
            if cancelled >= CANCELLATIONS:
                return
            with anyio.move_on_after(chance.uniform(0, 0.004)) as limit:
                match chance.randrange(3):
                    case 0:
                        await register(store, key, scope, f"{key}/{turn}", ttl=60)
                    case 1:
                        await store.get_wait(CTX, "u1", scope)
                    case _:
                        await clear(store, scope)
            cancelled += limit.cancelled_caught
            # The state after a cancelled call is final: nothing lands later.
            first = await context_of(store, key)
            assert first is None or first.startswith(f"{key}/")
            assert await find(store, scope) == (None if first is None else key)
            assert await context_of(store, key) == first

    async with anyio.create_task_group() as tasks:
        for number in range(TASKS):
            tasks.start_soon(shuffle, number)
    assert cancelled >= CANCELLATIONS
