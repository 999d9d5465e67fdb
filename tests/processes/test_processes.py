"""Real processes on one SQLite file and on one Redis, some of them really killed."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import process_worker as worker
import pytest
import redis

from redis_server import RedisServer

WORKER = Path(worker.__file__)
PROCESSES = 4

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Storage:
    url: str
    namespace: str = ""


@pytest.fixture(params=["sqlite", "redis"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "sqlite":
        yield Storage(f"sqlite:///{tmp_path / 'shared.db'}")
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    namespace = f"test:{uuid.uuid4()}"
    yield Storage(server.url, namespace)
    with redis.Redis.from_url(server.url) as client:
        for key in client.scan_iter(f"{namespace}:*"):
            client.delete(key)


def run_processes(task: str, storage: Storage) -> list[object]:
    """Run the task in several processes that start at once; their results."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, WORKER, task, storage.url, storage.namespace, str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(PROCESSES)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return [json.loads(output) for output in outputs]


async def test_w1_w2_w3_processes_shuffle_the_waits_of_one_user(storage: Storage) -> None:
    seen = run_processes("shuffle_waits", storage)
    assert all(seen)
    await worker.assert_whole(storage.url, storage.namespace)


async def test_w7_one_process_registers_at_a_free_scope(storage: Storage) -> None:
    won = run_processes("register_if_absent", storage)
    rounds = sorted(index for indexes in won for index in indexes)  # type: ignore[attr-defined]  # lists, from JSON
    assert rounds == list(range(worker.ROUNDS))


async def test_s5_an_update_never_brings_a_removed_session_back(storage: Storage) -> None:
    async with worker.open_store(storage.url, storage.namespace) as store:
        keys = [f"round-{index}" for index in range(worker.ROUNDS)]
        for key in keys:
            scope = worker.ReplyScope(conversation=key)
            await store.register_wait(worker.CTX, "u1", scope, key, worker.data("new"), 600)
        _, *updates = run_processes("update_or_remove", storage)
        assert all(updates)
        assert [await store.get_session(key) for key in keys] == [None] * len(keys)
        assert await store.list_waits_for_user(worker.CTX, "u1") == []


async def test_w1_a_killed_process_leaves_storage_whole(storage: Storage) -> None:
    task = [WORKER, "kill_while_registering", storage.url, storage.namespace, "0"]
    result = await anyio.run_process([sys.executable, *task], stderr=None)
    assert json.loads(result.stdout) > worker.KILLS / 4, "few kills hit a call that was under way"
    await worker.assert_whole(storage.url, storage.namespace)
