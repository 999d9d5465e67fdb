"""Arms in rotating order, and the median of the ratios that the rounds gave.

A machine that is busy with something else slows all arms of a round alike, so ratios within a
round hold where times do not.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

ROUNDS = 7


@dataclass(frozen=True)
class Arm:
    """Something to measure: ``run(repeats)`` does it so many times."""

    name: str
    run: Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Result:
    """The median over the rounds: microseconds a time, and the ratio to the first arm."""

    name: str
    microseconds: float
    ratio: float


async def compare(arms: Sequence[Arm], *, repeats: int, rounds: int = ROUNDS) -> list[Result]:
    """Measure the arms; the first is the reference."""
    times: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for arm in arms:
        await arm.run(repeats // 10 + 1)
    for number in range(rounds):
        shift = number % len(arms)
        for arm in (*arms[shift:], *arms[:shift]):
            times[arm.name].append(await _time(arm, repeats))
    reference = times[arms[0].name]
    return [
        Result(
            name,
            statistics.median(measured) / repeats * 1e6,
            statistics.median(one / other for one, other in zip(measured, reference, strict=True)),
        )
        for name, measured in times.items()
    ]


async def _time(arm: Arm, repeats: int) -> float:
    gc.collect()
    begun = time.perf_counter()
    await arm.run(repeats)
    return time.perf_counter() - begun


def table(title: str, results: Sequence[Result]) -> str:
    """The results as a table in Markdown."""
    rows = [f"| {title} | microseconds | ratio |", "|---|---|---|"]
    rows += [f"| {row.name} | {row.microseconds:.1f} | {row.ratio:.2f} |" for row in results]
    return "\n".join(rows)
