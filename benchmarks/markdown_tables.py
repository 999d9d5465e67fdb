"""Tables on Markdown pages. The first cell of a table's header is its title."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

Cells: TypeAlias = tuple[str, ...]

_GRID = re.compile(r"^\|.*\|\n\|(?:---\|)+\n(?:\|.*\|\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Grid:
    """A table as a page shows it. The first cell of a row is the row's name."""

    header: Cells
    rows: tuple[Cells, ...]

    @property
    def title(self) -> str:
        return self.header[0]

    def __str__(self) -> str:
        rule = f"|{'---|' * len(self.header)}\n"
        return _line(self.header) + rule + "".join(map(_line, self.rows))

    def row(self, name: str) -> Cells:
        """Return the row with a name. Raise KeyError if there is none."""
        return {row[0]: row for row in self.rows}[name]

    def with_rows(self, rows: Iterable[Cells]) -> Grid:
        """Return the table with new rows. Each replaces the row of its name, or goes to the end."""
        merged = {row[0]: row for row in (*self.rows, *rows)}
        return replace(self, rows=tuple(merged.values()))


def grids(page: str) -> dict[str, Grid]:
    """Return the tables of a page by their titles."""
    return {grid.title: grid for grid in map(_parse, _GRID.findall(page))}


def put(page: str, grid: Grid) -> str:
    """Replace the page's table of the same title, or append the table. Return the new page."""
    for match in _GRID.finditer(page):
        if _parse(match[0]).title == grid.title:
            return page[: match.start()] + str(grid) + page[match.end() :]
    return f"{page}\n{grid}"


def _parse(text: str) -> Grid:
    header, _rule, *rows = (_cells(line) for line in text.splitlines())
    return Grid(header, tuple(rows))


def _cells(line: str) -> Cells:
    return tuple(cell.strip() for cell in line[1:-1].split("|"))


def _line(cells: Cells) -> str:
    return f"| {' | '.join(cells)} |\n"
