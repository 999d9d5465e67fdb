"""A user is erased while real processes take turns for others."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import anyio
import pytest
from erasing_worker import ctx, data
from worker_processes import Storage, worker_process

from async_session_store import AsyncSessionStore, ErasedUser, ReplyScope, TenantCtx

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(300), pytest.mark.anyio]

WORKER = Path(__file__).with_name("erasing_worker.py")
PROCESSES = 2
WAITS = 300
SERVICE = TenantCtx(env="test", tenant_id="acme")


async def fill(store: AsyncSessionStore, user: str) -> None:
    for number in range(WAITS):
        scope = ReplyScope(conversation=str(number))
        await store.register_wait(
            ctx(user), user, scope, f"{user}-{number}", data(user, "x" * 1000), ttl=600
        )


async def test_o2_while_other_processes_take_turns(storage: Storage) -> None:
    async with AsyncSessionStore.from_url(
        storage.url, namespace=storage.namespace or None
    ) as store:
        await fill(store, "erased")
        with ExitStack() as stack:
            workers = [
                stack.enter_context(worker_process(WORKER, "turns", storage, number))
                for number in range(PROCESSES)
            ]
            for worker in workers:
                worker.expect("ready")
                worker.proceed()
            await anyio.sleep(0.5)
            began_at = time.monotonic()
            assert await store.erase_user(SERVICE, "erased") == ErasedUser(waits=WAITS)
            assert time.monotonic() - began_at < 60
            await anyio.sleep(0.2)
            for worker in workers:
                worker.proceed()
            counts = [cast("dict[str, int]", worker.result()) for worker in workers]
        for user, count in (counts[0] | counts[1]).items():
            assert count > 0
            wait = await store.get_wait(ctx(user), user, ReplyScope(conversation=user))
            assert wait is not None
            assert wait.data.context_json == str(count)
            erased = await store.erase_user(SERVICE, user)
            assert erased == ErasedUser(waits=1, deliveries=count)
