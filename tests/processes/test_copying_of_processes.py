"""A storage is copied while real processes take turns, and is brought up to date when they end."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import cast

import anyio
import pytest
from erasing_worker import ctx
from worker_processes import Storage, worker_process

from async_session_store import AsyncSessionStore, ReplyScope
from async_session_store.testing.contract.copying import assert_equal

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(300), pytest.mark.anyio]

WORKER = Path(__file__).with_name("erasing_worker.py")
PROCESSES = 4


async def test_o5_while_other_processes_take_turns(storage: Storage, tmp_path: Path) -> None:
    source = AsyncSessionStore.from_url(storage.url, namespace=storage.namespace or None)
    target = AsyncSessionStore.from_url(f"sqlite:///{tmp_path / 'copy.db'}")
    async with source, target:
        with ExitStack() as stack:
            workers = [
                stack.enter_context(worker_process(WORKER, "turns", storage, number))
                for number in range(PROCESSES)
            ]
            for worker in workers:
                worker.expect("ready")
                worker.proceed()
            await anyio.sleep(0.5)
            await source.copy_to(target)
            await anyio.sleep(0.2)
            for worker in workers:
                worker.proceed()
            results = [cast("dict[str, int]", worker.result()) for worker in workers]
        counts = {user: count for result in results for user, count in result.items()}
        copied = await source.copy_to(target, again=True)
        assert (copied.waits, copied.deliveries) == (len(counts), sum(counts.values()))
        assert copied.written > 0
        await assert_equal(source, target)
        for user, count in counts.items():
            wait = await target.get_wait(ctx(user), user, ReplyScope(conversation=user))
            assert wait is not None
            assert wait.data.context_json == str(count)
