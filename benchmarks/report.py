"""Write the last measurements into the two pages on speed.

The appendix, ``docs/explanation/speed-tables.md``, is the record: git does not keep the result
files. Writing merges the last results into it, and changes nothing that they do not cover:

- A measured table replaces the whole table of the same title, because ratios hold only within a
  run. A new table goes to the end of the page: move it to its section by hand.
- In the tables "target" and "measured with", a measured row replaces the row of the same name, or
  goes to the end. Other rows stay, including rows that were written by hand.
- Headings, prose and tables that no result covers stay as they are.

So a run of one script updates only what it measured. If you drop a benchmark or a target, remove
its table or row by hand.

The short table of the page itself, ``docs/explanation/speed.md``, is read from the appendix, and so
is the plot (``plot.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import results
from harness import Table
from markdown_tables import Cells, Grid, grids, put
from targets import (
    AIOGRAM,
    BARE_DICTS,
    IN_THREAD,
    REDIS_PY,
    RUST,
    TARGETS,
    TRANSACTIONS,
    Target,
    targets_of,
)

DOCS = Path(__file__).parents[1] / "docs/explanation"
PAGE = DOCS / "speed.md"
APPENDIX = DOCS / "speed-tables.md"

CALLERS = ("1 caller", "64 callers")
RATIO = 2  # the column of a measured table


@dataclass(frozen=True)
class Headline:
    """A row of the short table: two ratios from the appendix, by the titles of their tables."""

    text: str
    title: str
    reference: str


HEADLINES = (
    Headline("Memory, a pause and resume", "Memory, {callers}, 1 KiB", BARE_DICTS),
    Headline("SQLite, a pause and resume", "SQLite at FULL, {callers}, 1 KiB", IN_THREAD),
    Headline("SQLite, a turn", "SQLite at FULL, a turn, {callers}, 1 KiB", TRANSACTIONS),
    Headline("Redis, a pause and resume", "Redis, {callers}, 1 KiB", REDIS_PY),
    Headline("Redis, a pause and resume", "Redis, {callers}, 1 KiB", AIOGRAM),
    Headline("Redis, a pause and resume", "Redis, Rust, {callers}, 1 KiB", RUST),
    Headline("Redis, a turn", "Redis, a turn, {callers}, 1 KiB", REDIS_PY),
    Headline("Redis, a turn", "Redis, a turn, {callers}, 1 KiB", AIOGRAM),
)


def in_full(table: Table) -> Grid:
    """Return all arms with their values, and their ratios to the base or to the first arm."""
    first = next(iter(table.values))
    compared = f"it / {table.base}" if table.base else f"{first} / it"
    rows = []
    for arm in table.values:
        ratio = table.ratio(arm, table.base) if table.base else table.ratio(first, arm)
        rows.append((arm, f"{table.value(arm):,.1f}", f"{ratio:.2f}"))
    return Grid((table.title, table.unit, compared), tuple(rows))


def with_targets(table: Table) -> str:
    """Return the table in Markdown, and a line for each of its targets."""
    lines = [
        f"{_question(target, table)}: {_verdict(target, table)}"
        for target in targets_of(table.name)
    ]
    return "\n".join([str(in_full(table)), *lines])


def write(appendix: Path, page: Path) -> None:
    """Merge the last results into the appendix, and fill the page's short table from there."""
    text = appendix.read_text()
    for file in sorted(results.FOLDER.glob("*.json")):
        table = results.load(file.stem)
        if table is not None:
            text = put(text, in_full(table))
    shown = grids(text)
    text = put(text, shown["target"].with_rows(_targets()))
    text = put(text, shown["measured with"].with_rows(_conditions()))
    appendix.write_text(text)
    page.write_text(put(page.read_text(), headlines(grids(text))))


def headlines(measured: dict[str, Grid]) -> Grid:
    """Return the short table, with ratios from the tables of the appendix."""
    rows = []
    for line in HEADLINES:
        tables = [measured[line.title.format(callers=callers)] for callers in CALLERS]
        ratios = [table.row(line.reference)[RATIO] for table in tables]
        rows.append((line.text, line.reference, *ratios))
    return Grid(("1 KiB of data", "this library / it", *CALLERS), tuple(rows))


def _targets() -> Iterator[Cells]:
    """Yield each target, and its measured value."""
    for target in TARGETS:
        table = results.load(target.table)
        if table is not None:
            at_most = f"{target.at_most:g}{_unit(target, table)}"
            yield _question(target, table), at_most, _verdict(target, table)


def _conditions() -> Iterator[Cells]:
    """Yield the versions that the tables were measured with, the latest measurement last."""
    for file in sorted(results.FOLDER.glob("*.json"), key=lambda file: file.stat().st_mtime):
        yield from results.measured_with(file.stem).items()


def _question(target: Target, table: Table) -> str:
    reference = "" if target.reference is None else f" / {target.reference}"
    return f"{table.title}: {target.arm}{reference}"


def _verdict(target: Target, table: Table) -> str:
    measured = target.measured(table)
    text = f"{measured:.2f}{_unit(target, table)}"
    if measured <= target.at_most:
        return text
    missed = f"{text}, missed by {measured / target.at_most - 1:.0%}"
    return f"{missed}: {target.why}" if target.why else missed


def _unit(target: Target, table: Table) -> str:
    return f" {table.unit}" if target.reference is None else ""


if __name__ == "__main__":
    write(APPENDIX, PAGE)
