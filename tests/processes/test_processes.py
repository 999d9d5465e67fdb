"""Real processes on one SQLite file and on one Redis, some of them really killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import process_worker as worker
import pytest
from worker_processes import Storage, run_processes

WORKER = Path(worker.__file__)
PROCESSES = 4

pytestmark = [pytest.mark.anyio, pytest.mark.one_python, pytest.mark.timeout(120)]


async def test_w1_w2_w3_processes_shuffle_the_waits_of_one_user(storage: Storage) -> None:
    seen = run_processes(WORKER, "shuffle_waits", storage, PROCESSES)
    assert all(seen)
    await worker.assert_whole(storage.url, storage.namespace)


async def test_w7_one_process_registers_at_a_free_scope(storage: Storage) -> None:
    won = run_processes(WORKER, "register_if_absent", storage, PROCESSES)
    rounds = sorted(index for indexes in won for index in indexes)  # type: ignore[attr-defined]  # lists, from JSON
    assert rounds == list(range(worker.ROUNDS))


async def test_s5_an_update_never_brings_a_removed_session_back(storage: Storage) -> None:
    async with worker.open_store(storage.url, storage.namespace) as store:
        keys = [f"round-{index}" for index in range(worker.ROUNDS)]
        for key in keys:
            scope = worker.ReplyScope(conversation=key)
            await store.register_wait(worker.CTX, "u1", scope, key, worker.data("new"), 600)
        _, *updates = run_processes(WORKER, "update_or_remove", storage, 1 + worker.UPDATERS)
        assert all(updates)
        assert [await store.get_session(key) for key in keys] == [None] * len(keys)
        assert await store.list_waits_for_user(worker.CTX, "u1") == []


async def test_w1_a_killed_process_leaves_storage_whole(storage: Storage) -> None:
    task = [WORKER, "kill_while_registering", storage.url, storage.namespace, "0"]
    command = [sys.executable, *task]
    result = await anyio.run_process(command, stderr=None, env=storage.environment)
    assert json.loads(result.stdout) > worker.KILLS / 4, "few kills hit a call that was under way"
    await worker.assert_whole(storage.url, storage.namespace)
