"""Waits move while real processes register, claim and answer them."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import anyio
import pytest
from moving_worker import NEW, OLD, SERVICE, SHARED, move
from worker_processes import Storage, worker_process

from async_session_store import AsyncSessionStore

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(120), pytest.mark.anyio]

WORKER = Path(__file__).with_name("moving_worker.py")
WORKERS = 4
KILLS = 3


async def test_o6_w1_while_other_processes_answer_and_movers_are_killed(storage: Storage) -> None:
    chance = random.Random(1)
    async with AsyncSessionStore.from_url(
        storage.url, namespace=storage.namespace or None
    ) as store:
        for thread in SHARED:
            await OLD.register(store, thread)
        with ExitStack() as stack:
            workers = [
                stack.enter_context(worker_process(WORKER, "answer", storage, number))
                for number in range(WORKERS)
            ]
            # All start first, as starting takes seconds while others are busy.
            movers = [
                stack.enter_context(worker_process(WORKER, "move", storage)) for _ in range(KILLS)
            ]
            for process in workers + movers:
                process.expect("ready")
            for worker in workers:
                worker.proceed()
            for mover in movers:
                mover.proceed()
                await anyio.sleep(chance.uniform(0.1, 0.5))
                mover.kill()
            for worker in workers:
                worker.proceed()
            answers: Counter[str] = Counter()
            for worker in workers:
                answers.update(cast("dict[str, int]", worker.result()))
        keys = sorted({*SHARED, *answers})
        # Each wait is at one place, and no answer was lost or given twice.
        places = [await store.list_waits_for_user(ids.ctx, ids.user) for ids in (OLD, NEW)]
        assert sorted(places[0] + places[1]) == keys
        await move(store, OLD, NEW)
        assert await store.count_waits(SERVICE, conversation=OLD.conversation) == 0
        records = await store.list_wait_records(NEW.ctx, NEW.user)
        assert {str(one.key): int(one.data.context_json) for one in records} == {
            key: answers[key] for key in keys
        }
        for record in records:
            assert record.scope == NEW.scope(record.key)
        assert sum(answers.values()) > 0
