"""Interrupts of SQLite's worker at any opcode, as by Ctrl-C under trio."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import anyio
import pytest

from async_session_store.backends.sqlite import _thread, _worker
from async_session_store.backends.sqlite._database import Operation
from async_session_store.backends.sqlite._worker import open_worker
from opcodes import Interrupt, TaskTracer, steps

# Python complains of a coroutine that was interrupted between its call and its await.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECONDS = 10.0


class Exclusive:
    """A database that notices if two threads use it at once."""

    def __init__(self, *, can_block: bool) -> None:
        self.can_block = can_block
        self._in_use = threading.Lock()
        self.has_clashed = False
        self.is_closed = False
        self.ran: list[Operation] = []

    def run_batch(self, operations: Sequence[Operation]) -> list[object]:
        return self._run(operations)

    def try_run_inline(self, operation: Operation) -> list[object]:
        return self._run([] if self.can_block else [operation])

    def close(self) -> None:
        self._run([])
        self.is_closed = True

    def _run(self, operations: Sequence[Operation]) -> list[object]:
        self.has_clashed |= not self._in_use.acquire(blocking=False)
        time.sleep(0.001)
        with suppress(RuntimeError):  # after a clash
            self._in_use.release()
        self.ran += operations
        return [None for _ in operations]


def _same(database: Exclusive) -> Exclusive:
    return database


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("comes_alone", [True, False])
@pytest.mark.parametrize("can_block", [True, False])
async def test_r3_a_call_that_is_interrupted_at_any_opcode_blocks_no_other(
    *, can_block: bool, comes_alone: bool
) -> None:
    operation = Operation(lambda _: None, writes=True)

    async def call() -> None:
        await worker.submit(operation)

    database = Exclusive(can_block=can_block)
    worker = await open_worker(partial(_same, database))
    number, tracer = 0, TaskTracer(0)
    while tracer.left <= 0:
        number += 1
        tracer = TaskTracer(number)
        worker._queue.last_batch_was_single = comes_alone
        with suppress(Interrupt), tracer.tracing():
            await call()
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                tasks.start_soon(call)
            await call()
            await call()
        assert not database.has_clashed, number
    with anyio.fail_after(SECONDS):
        await worker.aclose()
    assert number > steps(50)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_r3_a_call_that_is_interrupted_at_any_opcode_never_runs_after_a_later_one() -> None:
    def new_operation() -> Operation:
        return Operation(lambda _: None, writes=True)

    database = Exclusive(can_block=True)
    worker = await open_worker(partial(_same, database))
    number, tracer = 0, TaskTracer(0)
    while tracer.left <= 0:
        number += 1
        tracer = TaskTracer(number)
        interrupted, later = new_operation(), new_operation()
        worker._queue.last_batch_was_single = True
        database.can_block = True
        with suppress(Interrupt), tracer.tracing():
            await worker.submit(interrupted)
        database.can_block = False
        worker._turn_began_at = time.monotonic()  # so the call may run inline
        await worker.submit(later)
        database.can_block = True
        await worker.submit(new_operation())
        assert interrupted not in database.ran[database.ran.index(later) :], number
        database.ran.clear()
    await worker.aclose()
    assert number > steps(50)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_r3_closing_that_is_interrupted_at_any_opcode_is_done_by_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_worker, "CLOSE_TIMEOUT", 2)
    number, tracer = 0, TaskTracer(0)
    while tracer.left <= 0:
        number += 1
        tracer = TaskTracer(number, _worker.__file__, _thread.__file__)
        database = Exclusive(can_block=True)
        worker = await open_worker(partial(_same, database))
        with suppress(Interrupt), tracer.tracing():
            await worker.aclose()
        await worker.aclose()
        assert database.is_closed, number
    assert number > steps(30)
