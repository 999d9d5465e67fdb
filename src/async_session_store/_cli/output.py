"""What the commands print: tables and lines for people, or JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from async_session_store._cli.safe_text import safe

_UNLIMITED: Final = 100_000  # columns, where the output is not a terminal
_GAP: Final = 2  # columns between two columns of a table
_FOLDED: Final = 24  # columns that are left at least to a column that folds


class ReaderGoneError(Exception):
    """Nobody reads the output any more, as in ``... | head``.

    Not a ``BrokenPipeError``, for which click ends the process with an exit code of its own.
    """


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    folds: bool = False
    """Whether it may break long values into several lines to fit."""


class Output:
    """Prints what a command found.

    With ``as_json``, each call prints one line of JSON, and nothing else goes to stdout.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = _console(to_stderr=False)
        self._err = _console(to_stderr=True)

    def json(self, value: Mapping[str, object]) -> None:
        """Print a JSON object on a line of its own, in ASCII."""
        self._write(json.dumps(value) + "\n")

    def line(self, text: str) -> None:
        """Print a line."""
        self._print(Text(safe(text)))

    def hint(self, text: str) -> None:
        """Print a line on stderr that is not part of the result."""
        self._err.print(Text(safe(text), style="dim"))

    def error(self, text: str) -> None:
        """Print an error on stderr."""
        self._err.print(Text("Error: ", style="bold red") + Text(safe(text), style="not bold"))

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Print names and values, one pair on a line."""
        grid = Table.grid(padding=(0, _GAP))
        grid.add_column(no_wrap=True, style="bold")
        grid.add_column(overflow="fold")
        for name, value in facts:
            grid.add_row(Text(name), Text(safe(value)))
        self._print(grid)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Print a table. On a terminal that is too narrow for it, print each row as a block."""
        shown = [[safe(cell) for cell in row] for row in rows]
        if _width_of(columns, shown) > self._out.width:
            self._blocks(columns, shown)
            return
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for column in columns:
            table.add_column(Text(column.title.upper()), no_wrap=not column.folds, overflow="fold")
        for row in shown:
            table.add_row(*map(Text, row))
        self._print(table)

    def _blocks(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """Print each row as lines of names and values, without those that are empty."""
        for number, row in enumerate(rows):
            grid = Table.grid(padding=(0, _GAP, 0, 0))
            grid.add_column(no_wrap=True, style="dim")
            grid.add_column(overflow="fold")
            for column, cell in zip(columns, row, strict=True):
                if cell:
                    style = "bold" if column is columns[0] else ""
                    grid.add_row(Text(column.title), Text(cell, style=style))
            if number:
                self._print(Text())
            self._print(grid)

    def labelled(self, label: str, style: str, name: str, texts: Sequence[str]) -> None:
        """Print a coloured label, a name, and texts below each other."""
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(no_wrap=True, width=7)
        grid.add_column(no_wrap=True, width=11)
        grid.add_column(overflow="fold")
        for number, text in enumerate(texts):
            first = (Text(label, style=style), Text(name, style="bold"))
            grid.add_row(*(first if number == 0 else (Text(), Text())), Text(safe(text)))
        self._print(grid)

    @contextmanager
    def progress(self, what: str) -> Generator[Callable[[int], None], None, None]:
        """Show on stderr how many there were so far, if that is a terminal.

        The block calls what it gets with the number.
        """
        if not self._err.is_terminal:
            yield lambda _: None
            return
        with self._err.status(Text(what)) as status:
            yield lambda number: status.update(Text(f"{what}: {number}"))

    def _print(self, what: RenderableType) -> None:
        if self._out.is_terminal:
            self._out.print(what)
            return
        # rich fills the last column with blanks, which only get in the way of other programs.
        with self._out.capture() as captured:
            self._out.print(what)
        lines = captured.get().splitlines()
        self._write("".join(f"{line.rstrip()}\n" for line in lines))

    def _write(self, text: str) -> None:
        # Flushed at once: the reader of a pipe may be gone, and Python's exit cannot report that.
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error


def _console(*, to_stderr: bool) -> Console:
    console = Console(stderr=to_stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNLIMITED
    return console


def _width_of(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """Return the least width in which the table can be read."""
    widths = [
        max(cell_len(cell) for cell in (column.title, *(row[index] for row in rows)))
        for index, column in enumerate(columns)
    ]
    least = [
        min(width, _FOLDED) if column.folds else width
        for column, width in zip(columns, widths, strict=True)
    ]
    return sum(least) + _GAP * (len(columns) - 1)
