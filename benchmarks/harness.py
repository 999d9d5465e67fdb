"""Arms in rotating order, and the medians of the ratios that the rounds gave.

A machine that is busy with something else slows all arms of a round alike, so ratios within a
round hold where times do not. Each arm has an event loop of its own, which stands still while
others are measured: so arms on asyncio, uvloop, trio and threads share one process.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    contextmanager,
)
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import anyio

ROUNDS = 15
SECONDS = 0.5  # that an arm has in a round: many cycles, and still the same noise for all arms

T = TypeVar("T")

Step: TypeAlias = "Callable[[T], Awaitable[object]]"
Opened: TypeAlias = "Callable[[], AbstractAsyncContextManager[Step[T]]]"
Run: TypeAlias = "Callable[[int], float]"
LoopFactory: TypeAlias = "Callable[[], asyncio.AbstractEventLoop]"


@dataclass(frozen=True)
class Arm:
    """Something to measure. What it opens tells how many seconds so many steps took."""

    name: str
    open: Callable[[], AbstractContextManager[Run]]


@dataclass(frozen=True)
class Table:
    """What one run measured: for each arm its value in each round."""

    name: str
    title: str
    unit: str
    values: dict[str, list[float]]
    base: str = ""
    """The arm that the others are measured against; else they are what the first one is."""

    def value(self, arm: str) -> float:
        return statistics.median(self.values[arm])

    def ratio(self, arm: str, reference: str) -> float:
        pairs = zip(self.values[arm], self.values[reference], strict=True)
        return statistics.median(one / other for one, other in pairs)


def on_asyncio(
    name: str, opened: Opened[T], callers: Sequence[T], loop_factory: LoopFactory | None = None
) -> Arm:
    """An arm whose callers each take their steps in a task of their own, in one asyncio loop."""

    @contextmanager
    def running() -> Iterator[Run]:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            stack = AsyncExitStack()
            step = runner.run(stack.enter_async_context(opened()))
            try:
                yield lambda repeats: runner.run(seconds_of(step, callers, repeats))
            finally:
                runner.run(stack.aclose())

    return Arm(name, running)


def on_trio(name: str, opened: Opened[T], callers: Sequence[T]) -> Arm:
    """An arm on trio. A run of trio cannot stand still, so it opens anew for each measurement."""
    import trio  # only here: the store does less where it is not imported

    async def run(repeats: int) -> float:
        async with opened() as step:
            await seconds_of(step, callers, 1)
            return await seconds_of(step, callers, repeats)

    @contextmanager
    def running() -> Iterator[Run]:
        yield partial(trio.run, run)

    return Arm(name, running)


async def seconds_of(step: Step[T], callers: Sequence[T], repeats: int) -> float:
    """How long it takes until each caller has taken so many steps; asyncio or trio."""
    begun = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(_repeat, step, caller, repeats)
    return time.perf_counter() - begun


async def _repeat(step: Step[T], caller: T, repeats: int) -> None:
    for _ in range(repeats):
        if not await step(caller):
            raise AssertionError("a step came to nothing")


def compare(
    name: str,
    title: str,
    arms: Sequence[Arm],
    *,
    base: str = "",
    callers: int = 1,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> Table:
    """Measure the arms, in microseconds a step."""
    values: dict[str, list[float]] = {arm.name: [] for arm in arms}
    with ExitStack() as stack:
        runs = {arm.name: stack.enter_context(arm.open()) for arm in arms}
        repeats = {arm: _repeats(run, seconds) for arm, run in runs.items()}
        gc.freeze()  # the modules of the arms do not slow each other's collections
        for number in range(rounds):
            for arm in _rotated(list(runs), number):
                gc.collect()
                steps = repeats[arm] * callers
                values[arm].append(runs[arm](repeats[arm]) / steps * 1e6)
    return Table(name, title, "microseconds", values, base)


def _repeats(run: Run, seconds: float) -> int:
    """Warm up, and find how many steps of each caller take about so long."""
    repeats = 1
    run(repeats)  # which imports, connects and prepares what is used for the first time
    while (took := run(repeats)) < seconds / 4:
        repeats *= 2
    return max(1, round(repeats * seconds / took))


def _rotated(names: list[str], number: int) -> list[str]:
    shift = number % len(names)
    return names[shift:] + names[:shift]
