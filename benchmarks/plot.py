"""Draw the last results of ``cycle.py``, ``rust.py`` and ``turn.py``, as an SVG for the docs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import results
from cycle import STORAGES
from harness import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from targets import BARE_DICTS, IN_THREAD, OURS, REDIS_PY

FILE = Path(__file__).parents[1] / "docs/explanation/speed.svg"


@dataclass(frozen=True)
class Style:
    """Told apart by shape too, and by colours of Okabe and Ito."""

    label: str
    color: str
    marker: str


STORE = Style("this library", "#0072B2", "o")
BARE = Style("by hand: dicts, bare driver", "#D55E00", "s")
PEER = Style("other libraries", "#7F7F7F", "^")
STYLES = (STORE, BARE, PEER)


def style(arm: str) -> Style:
    if arm.startswith(OURS):
        return STORE
    return BARE if arm.startswith((BARE_DICTS, IN_THREAD, REDIS_PY, "aiosqlite")) else PEER


def draw(axes: Axes, table: Table) -> None:
    """One dot for each arm, the first on top."""
    arms = list(table.values)
    for row, arm in enumerate(arms):
        drawn = style(arm)
        axes.plot(table.value(arm), row, drawn.marker, color=drawn.color, label=drawn.label)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_title(table.title, loc="left", fontsize="medium")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color="#E5E5E5")
    axes.grid(axis="y", color="#F2F2F2")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def figure() -> Figure:
    """Draw a row for each storage, the Rust crate and turns, a column for each caller count."""
    rows = (*STORAGES, "rust", *(f"turn-{storage}" for storage in STORAGES))
    named = [[f"{row}-{count}-1" for count in (1, 64)] for row in rows]
    tables = [row for names in named if any(row := [results.load(name) for name in names])]
    arms = [max(len(table.values) for table in row if table) for row in tables]
    drawn = Figure(figsize=(11, 0.32 * sum(arms) + 1.2 * len(arms)), layout="constrained")
    grid = drawn.subplots(
        len(tables), 2, sharex="row", sharey="row", height_ratios=arms, squeeze=False
    )
    for row, places in zip(tables, grid, strict=True):
        for table, axes in zip(row, places, strict=True):
            if table:
                draw(axes, table)
    handles = [
        Line2D([], [], linestyle="", marker=one.marker, color=one.color, label=one.label)
        for one in STYLES
    ]
    drawn.supxlabel("microseconds for a pause and resume, or a turn (logarithmic; less is better)")
    drawn.supylabel("what stores")
    drawn.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return drawn


if __name__ == "__main__":
    # Text stays text, and the same results give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "speed"})
    figure().savefig(FILE, metadata={"Date": None})
