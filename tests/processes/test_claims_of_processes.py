"""Claims between real processes on one SQLite file and on one Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import claim_worker as worker
import pytest
from claim_worker import SCOPE
from process_worker import CTX, data, open_store
from worker_processes import Storage, run_processes, worker_process

from async_session_store import AsyncSessionStore, ReplyScope, WaitClaimedError

WORKER = Path(worker.__file__)

pytestmark = [pytest.mark.anyio, pytest.mark.one_python, pytest.mark.timeout(120)]


@pytest.fixture
async def store(storage: Storage) -> AsyncIterator[AsyncSessionStore]:
    async with open_store(storage.url, storage.namespace) as store:
        yield store


async def register(store: AsyncSessionStore, scope: ReplyScope, key: str, text: str = "") -> None:
    await store.register_wait(CTX, "u1", scope, key, data(text), worker.LONG)


async def register_rounds(store: AsyncSessionStore) -> None:
    async with anyio.create_task_group() as tasks:
        for scope in worker.ROUNDS:
            tasks.start_soon(register, store, scope, scope.conversation)


def all_rounds(results: list[object]) -> list[int]:
    return sorted(index for won in results for index in won)  # type: ignore[attr-defined]  # lists, from JSON


async def test_k1_one_of_many_processes_claims_each_wait(
    storage: Storage, store: AsyncSessionStore
) -> None:
    await register_rounds(store)
    results = run_processes(WORKER, "claim_and_keep", storage, 8)
    assert all_rounds(results) == list(range(len(worker.ROUNDS)))
    assert len(list(filter(None, results))) > 1, "there was no race"
    assert len(await store.list_waits_for_user(CTX, "u1")) == len(worker.ROUNDS)


async def test_k3_one_of_many_processes_completes_each_wait(
    storage: Storage, store: AsyncSessionStore
) -> None:
    await register_rounds(store)
    results = run_processes(WORKER, "claim_and_complete", storage, 8)
    assert all_rounds(results) == list(range(len(worker.ROUNDS)))
    assert len(list(filter(None, results))) > 1, "there was no race"
    assert await store.list_waits_for_user(CTX, "u1") == []


async def test_k4_blocks_of_processes_run_one_after_the_other(
    storage: Storage, store: AsyncSessionStore
) -> None:
    await register(store, SCOPE, "counter", "0")
    blocks = run_processes(WORKER, "count_in_blocks", storage, 4)
    record = await store.get_wait(CTX, "u1", SCOPE)
    assert record is not None
    assert int(record.data.context_json) == sum(map(int, blocks)) == 4 * worker.BLOCKS  # type: ignore[call-overload]  # ints, from JSON


async def test_k2_another_process_takes_over_from_a_killed_one_once(
    storage: Storage, store: AsyncSessionStore
) -> None:
    await register(store, SCOPE, "flow", "begun by")
    with worker_process(WORKER, "hang_in_block", storage, 7) as killed:
        killed.expect("ready")
        killed.proceed()
        killed.expect("in the block")
        killed.kill()
    with pytest.raises(WaitClaimedError):
        await store.claim_wait(CTX, "u1", SCOPE)
    results = run_processes(WORKER, "take_over", storage, 3)
    assert sorted(results, key=str) == [None, None, "begun by 7"]
    assert await store.get_session("flow") is None


async def test_k2_a_process_that_outlived_its_lease_changes_nothing(
    storage: Storage, store: AsyncSessionStore
) -> None:
    await register(store, SCOPE, "first question")
    with worker_process(WORKER, "outlive_the_lease", storage) as slow:
        slow.expect("ready")
        slow.proceed()
        slow.expect("too late")
        claim = await store.claim_wait(CTX, "u1", SCOPE, wait=30)
        assert claim is not None
        slow.proceed()
        slow.expect("too late")
        await register(store, SCOPE, "next question")
        assert await claim.complete() is False
        slow.proceed()
        assert slow.result() == ["lost"] * 6
    assert await store.find_wait_by_scope(CTX, "u1", SCOPE) == "next question"
    assert await store.claim_wait(CTX, "u1", SCOPE) is not None


async def test_e3_no_edit_of_a_process_is_lost(storage: Storage, store: AsyncSessionStore) -> None:
    await register(store, SCOPE, "counter", "0")
    run_processes(WORKER, "edit", storage, 4)
    found = await store.get_session("counter")
    assert found is not None
    assert int(found.context_json) == 4 * worker.EDITS
