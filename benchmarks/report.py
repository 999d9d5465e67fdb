"""Tables in Markdown; as a program, those of the last results, written into the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import results
from harness import Table
from targets import TARGETS, Target, targets_of

PAGE = Path(__file__).parents[1] / "docs/explanation/speed.md"


def in_full(table: Table) -> str:
    """All arms: what they took, and how the first one compares, or how they do with the base."""
    first = next(iter(table.values))
    compared = f"it / {table.base}" if table.base else f"{first} / it"
    rows = [f"| {table.title} | {table.unit} | {compared} |", "|---|---|---|"]
    for arm in table.values:
        ratio = table.ratio(arm, table.base) if table.base else table.ratio(first, arm)
        rows.append(f"| {arm} | {table.value(arm):,.1f} | {ratio:.2f} |")
    return "\n".join(rows)


def with_targets(table: Table) -> str:
    lines = [f"{_question(target, table)}: {_verdict(target, table)}" for target in _of(table)]
    return "\n".join([in_full(table), "", *lines])


def summary() -> Iterator[str]:
    """What was aimed at and what was measured."""
    yield "| | at most | measured |"
    yield "|---|---|---|"
    for target in TARGETS:
        table = results.load(target.table)
        if table is not None:
            at_most = f"{target.at_most:g}{_unit(target, table)}"
            yield f"| {_question(target, table)} | {at_most} | {_verdict(target, table)} |"


def tables() -> Iterator[str]:
    """Every table that was measured, in full."""
    for file in sorted(results.FOLDER.glob("*.json")):
        table = results.load(file.stem)
        if table is not None:
            yield from (in_full(table), "")


def conditions() -> Iterator[str]:
    """With what the tables were measured, the last one's word counting."""
    used: dict[str, str] = {}
    for file in sorted(results.FOLDER.glob("*.json"), key=lambda file: file.stat().st_mtime):
        used |= results.measured_with(file.stem)
    yield ", ".join(f"{name} {found}" for name, found in used.items())


def write(page: Path) -> None:
    """Replace what stands between the page's markers."""
    text = page.read_text()
    for part in (summary, tables, conditions):
        begin, end = f"<!-- {part.__name__} -->", f"<!-- end of {part.__name__} -->"
        block = "\n".join([begin, "", *part(), "", end])
        text = re.sub(f"{begin}.*{end}", lambda _: block, text, flags=re.DOTALL)  # noqa: B023  # used at once
    page.write_text(text)


def _of(table: Table) -> list[Target]:
    return list(targets_of(table.name))


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
    write(PAGE)
