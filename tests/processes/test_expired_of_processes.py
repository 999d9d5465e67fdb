"""Waits that expire while real processes reply to them and report them: one of the two wins."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import anyio
import pytest
from expired_worker import ANSWERED, ASKED, REPORTED, SPREAD, ctx, data, deadline
from worker_processes import Storage, WorkerProcess, worker_process

from async_session_store import AsyncSessionStore

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(300)]

WORKER = Path(__file__).with_name("expired_worker.py")
REPORTERS = 4
LEASE = 1.0
"""Seconds after which the waits of a killed process are reported by another."""
AT_ONCE = 64
MOST_SECONDS = 120.0

# How many waits, and after how many seconds the first expires: they take time to register.
COUNTS = [(500, 6.0), pytest.param(10_000, 40.0, marks=pytest.mark.soak)]


@pytest.fixture
def crowded() -> bool:
    """Leave out the crowded form: the crowd would use up the time of the waits."""
    return False


async def register_all(store: AsyncSessionStore, start: float, count: int) -> None:
    numbers = iter(range(count))

    async def register() -> None:
        for number in numbers:
            ttl = deadline(start, number, count) - time.time()
            owner = ctx(number)
            await store.register_wait(
                *(owner, f"user-{number}", ASKED, f"key-{number}", data(number), ttl),
                expired_ttl=600,
            )

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(register)


async def outcomes(store: AsyncSessionStore, count: int) -> list[str | None]:
    """Return for each wait whether it was answered or reported, or None if neither."""
    found: list[str | None] = []
    for number in range(count):
        record = await store.get_record(f"key-{number}")
        at = None if record is None else record.scope
        found.append({ANSWERED: "answered", REPORTED: "reported"}.get(at) if at else None)
    return found


async def all_outcomes(storage: Storage, count: int) -> list[str | None]:
    """Wait until each wait was answered or reported, and return which it was."""
    give_up_at = time.monotonic() + MOST_SECONDS
    async with AsyncSessionStore.from_url(
        storage.url, namespace=storage.namespace or None
    ) as store:
        while True:
            found = await outcomes(store, count)
            if None not in found or time.monotonic() > give_up_at:
                return found
            await anyio.sleep(0.5)


def numbers_of(worker: WorkerProcess) -> list[int]:
    return cast("list[int]", worker.result())


def run(stack: ExitStack, storage: Storage, task: str) -> WorkerProcess:
    worker = stack.enter_context(worker_process(WORKER, task, storage))
    worker.expect("ready")
    return worker


def register_in_time(storage: Storage, start: float, count: int) -> None:
    async def register() -> None:
        async with AsyncSessionStore.from_url(
            storage.url, namespace=storage.namespace or None
        ) as store:
            await register_all(store, start, count)

    anyio.run(register)
    assert time.time() < start, "registering took too long"


@pytest.mark.parametrize(("count", "seconds"), COUNTS)
def test_q3_each_wait_is_answered_or_reported(storage: Storage, count: int, seconds: float) -> None:
    with ExitStack() as stack:
        reporters = [run(stack, storage, "report:30") for _ in range(REPORTERS)]
        replier = run(stack, storage, f"reply:{count}")
        start = round(time.time() + seconds, 3)
        register_in_time(storage, start, count)
        for worker in (*reporters, replier):
            worker.proceed(str(round(start * 1000)))
        found = anyio.run(all_outcomes, storage, count)
        for worker in reporters:
            worker.proceed()
        reported = [number for worker in reporters for number in numbers_of(worker)]
        answered = numbers_of(replier)
    assert found.count(None) == 0
    assert sorted(reported) == [number for number, how in enumerate(found) if how == "reported"]
    assert sorted(answered) == [number for number, how in enumerate(found) if how == "answered"]
    assert sorted(reported + answered) == list(range(count))
    assert 0 < len(answered) < count / 2


@pytest.mark.parametrize(("count", "seconds"), COUNTS)
def test_q2_the_waits_of_a_killed_process_are_reported_by_another(
    storage: Storage, count: int, seconds: float
) -> None:
    chance = random.Random(2)
    with ExitStack() as stack:
        task = f"report:{LEASE}"
        reporters = [run(stack, storage, task) for _ in range(REPORTERS)]
        replier = run(stack, storage, f"reply:{count}")
        start = round(time.time() + seconds, 3)
        register_in_time(storage, start, count)
        for worker in (*reporters, replier):
            worker.proceed(str(round(start * 1000)))
        while time.time() < start + SPREAD:
            time.sleep(chance.uniform(0, 0.5))
            number = chance.randrange(REPORTERS)
            reporters[number].kill()
            reporters[number] = run(stack, storage, task)
            reporters[number].proceed()
        found = anyio.run(all_outcomes, storage, count)
        for worker in reporters:
            worker.proceed()
        reported = [number for worker in reporters for number in numbers_of(worker)]
        answered = numbers_of(replier)
    assert found.count(None) == 0
    assert sorted(answered) == [number for number, how in enumerate(found) if how == "answered"]
    assert len(set(reported)) == len(reported)
    assert all(found[number] == "reported" for number in reported)
