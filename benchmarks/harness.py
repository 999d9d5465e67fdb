"""Measure arms in rotating order, and compare them by the median of the ratios of all rounds.

If the machine is busy with something else, all arms of a round slow down alike. So ratios within a
round are reliable even where times are not. Each arm has its own event loop, which does not run
while other arms are measured. That lets arms on asyncio, uvloop, trio and threads share one
process.
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
SECONDS = 0.5  # per arm and round: many cycles, but short enough that all arms see the same noise

T = TypeVar("T")

Step: TypeAlias = "Callable[[T], Awaitable[object]]"
Opened: TypeAlias = "Callable[[], AbstractAsyncContextManager[Step[T]]]"
Run: TypeAlias = "Callable[[int], float]"
LoopFactory: TypeAlias = "Callable[[], asyncio.AbstractEventLoop]"


@dataclass(frozen=True)
class Arm:
    """Something to measure. ``open`` yields a function that takes steps and returns the seconds."""

    name: str
    open: Callable[[], AbstractContextManager[Run]]


@dataclass(frozen=True)
class Table:
    """The result of one run: the values of each arm, one for each round."""

    name: str
    title: str
    unit: str
    values: dict[str, list[float]]
    base: str = ""
    """The arm to which the others are compared. Without one, the first arm is compared to each."""

    def value(self, arm: str) -> float:
        return statistics.median(self.values[arm])

    def ratio(self, arm: str, reference: str) -> float:
        pairs = zip(self.values[arm], self.values[reference], strict=True)
        return statistics.median(one / other for one, other in pairs)


def on_asyncio(
    name: str, opened: Opened[T], callers: Sequence[T], loop_factory: LoopFactory | None = None
) -> Arm:
    """Return an arm that runs each caller's steps in a task of its own, in one asyncio loop."""

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
    """Return an arm on trio. It opens again for each measurement: trio cannot pause a run."""
    import trio  # only here, because the store takes a shorter path if trio is not imported

    async def run(repeats: int) -> float:
        async with opened() as step:
            await seconds_of(step, callers, 1)
            return await seconds_of(step, callers, repeats)

    @contextmanager
    def running() -> Iterator[Run]:
        yield partial(trio.run, run)

    return Arm(name, running)


async def seconds_of(step: Step[T], callers: Sequence[T], repeats: int) -> float:
    """Return the seconds until each caller has repeated its step, on asyncio or trio."""
    start = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(_repeat, step, caller, repeats)
    return time.perf_counter() - start


async def _repeat(step: Step[T], caller: T, repeats: int) -> None:
    for _ in range(repeats):
        if not await step(caller):
            raise AssertionError("a step returned nothing: this arm does not do its work")


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
    """Measure the arms, in microseconds per step."""
    values: dict[str, list[float]] = {arm.name: [] for arm in arms}
    with ExitStack() as stack:
        runs = {arm.name: stack.enter_context(arm.open()) for arm in arms}
        repeats = {arm: _repeats(run, seconds) for arm, run in runs.items()}
        gc.freeze()  # keeps what each arm imported out of the garbage collections of the others
        for number in range(rounds):
            for arm in _rotated(list(runs), number):
                gc.collect()
                steps = repeats[arm] * callers
                values[arm].append(runs[arm](repeats[arm]) / steps * 1e6)
    return Table(name, title, "microseconds", values, base)


def _repeats(run: Run, seconds: float) -> int:
    """Warm up, and return how many steps of each caller fit into about ``seconds``."""
    repeats = 1
    run(repeats)  # the first run imports modules, opens connections and prepares statements
    while (elapsed := run(repeats)) < seconds / 4:
        repeats *= 2
    return max(1, round(repeats * seconds / elapsed))


def _rotated(names: list[str], number: int) -> list[str]:
    shift = number % len(names)
    return names[shift:] + names[:shift]
