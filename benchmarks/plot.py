"""Draw the plot of the page on speed, from the tables of its appendix.

To draw more, add a group to a panel, or add a panel. A group names two tables of the appendix by
their title, one with 1 caller and one with 64. Its rows are the arms of those tables.

The plot is one SVG for light and dark pages: matplotlib draws it light, and a style sheet replaces
each colour if the reader's system is dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

import matplotlib as mpl
from markdown_tables import Grid, grids
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from report import APPENDIX, CALLERS
from targets import BARE_DICTS, FACADE, FIVE_CALLS, OURS, REGISTER_AND_RESUME, THREADSAFE

FILE = APPENDIX.with_name("speed.svg")


@dataclass(frozen=True)
class Group:
    """Arms that are measured side by side."""

    label: str
    title: str


@dataclass(frozen=True)
class Panel:
    title: str
    groups: tuple[Group, ...]


PANELS = (
    Panel(
        "A pause and resume",
        (
            Group("Memory", "Memory, {callers}, 1 KiB"),
            Group("SQLite", "SQLite at FULL, {callers}, 1 KiB"),
            Group("Redis", "Redis, {callers}, 1 KiB"),
            Group("Redis, beside the Rust crate", "Redis, Rust, {callers}, 1 KiB"),
        ),
    ),
    Panel(
        "A turn",
        (
            Group("Memory", "Memory, a turn, {callers}, 1 KiB"),
            Group("SQLite", "SQLite at FULL, a turn, {callers}, 1 KiB"),
            Group("Redis", "Redis, a turn, {callers}, 1 KiB"),
        ),
    ),
)
NOT_DRAWN = (" on uvloop", REGISTER_AND_RESUME, FIVE_CALLS)  # suffixes of arm names


@dataclass(frozen=True)
class Color:
    """How a colour looks on a light and on a dark page."""

    light: str
    dark: str


# Orange and blue come from the palette of Okabe and Ito, which colour-blind people can tell apart.
STORE = Color("#0072b2", "#56b4e9")
BARE = Color("#c4520a", "#e69f00")
PEER = Color("#737373", "#a3a3a3")
TEXT = Color("#1f1f1f", "#e8e8e8")
SOFT = Color("#5f5f5f", "#b0b0b0")
GRID = Color("#e4e4e4", "#383838")
PAGE = Color("#fefefe", "#18181b")
COLORS = (STORE, BARE, PEER, TEXT, SOFT, GRID, PAGE)
LEGEND = {STORE: "this library", BARE: "by hand, on the bare driver", PEER: "other libraries"}

# Prefixes of arm names. All other arms are other libraries.
THIS_LIBRARY = (OURS, FACADE)
BY_HAND = (BARE_DICTS, "redis-py", "sqlite3", "aiosqlite", THREADSAFE)

WIDTH = 8.0  # inches, at 96 pixels
ROW = 0.24
SMALL, NORMAL = 8.5, 9.5  # points
LIMITS = (1, 9000)  # microseconds, wide enough for the labels beside the dots


@dataclass(frozen=True)
class Row:
    """An arm with its microseconds for 1 caller and for 64, or the label of a group."""

    name: str
    values: tuple[float, ...] = ()


def rows(panel: Panel, measured: dict[str, Grid]) -> Iterator[Row]:
    """Yield the rows of a panel from top to bottom."""
    for group in panel.groups:
        yield Row(group.label)
        tables = [measured[group.title.format(callers=callers)] for callers in CALLERS]
        for arm, *_ in tables[0].rows:
            if not arm.endswith(NOT_DRAWN):
                shown = (table.row(arm)[1] for table in tables)
                yield Row(arm, tuple(float(text.replace(",", "")) for text in shown))


def draw(axes: Axes, title: str, drawn: list[Row]) -> None:
    """Draw a line for each arm, from its value for 1 caller to that for 64."""
    for place, row in enumerate(drawn):
        _draw_name(axes, place, row)
        if row.values:
            _draw_values(axes, place, row)
    axes.set_title(title, loc="left", fontweight="bold", color=TEXT.light)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xscale("log")
    axes.set_xlim(*LIMITS)
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", length=0, colors=SOFT.light)
    axes.grid(axis="x", color=GRID.light)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _draw_name(axes: Axes, place: int, row: Row) -> None:
    axes.text(
        *(-0.012, place, row.name),
        transform=axes.get_yaxis_transform(),
        va="center",
        ha="right",
        color=TEXT.light if row.values else SOFT.light,
        weight="normal" if row.values else "bold",
    )


def _draw_values(axes: Axes, place: int, row: Row) -> None:
    """Draw a ring for 1 caller and a dot for 64, and write their values on the outer sides."""
    color = color_of(row.name).light
    axes.plot(row.values, [place, place], "-", color=color, linewidth=1.4)
    for value, filled in zip(row.values, (PAGE.light, color), strict=True):
        axes.plot(value, place, "o", markerfacecolor=filled, markeredgecolor=color, markersize=6)
    for value, side, where in zip(sorted(row.values), (-7, 7), ("right", "left"), strict=True):
        axes.annotate(
            f"{value:,.0f}" if value >= 100 else f"{value:.1f}",
            (value, place),
            xytext=(side, 0),
            textcoords="offset points",
            va="center_baseline",
            ha=where,
            fontsize=SMALL,
            color=TEXT.light,
            bbox={"facecolor": PAGE.light, "edgecolor": "none", "pad": 0.8},  # hides the grid
        )


def color_of(arm: str) -> Color:
    if arm.startswith(THIS_LIBRARY):
        return STORE
    return BARE if arm.startswith(BY_HAND) else PEER


def figure(measured: dict[str, Grid]) -> Figure:
    """Draw the panels one below the other, each as high as its rows need."""
    drawn = [list(rows(panel, measured)) for panel in PANELS]
    heights = [len(panel_rows) for panel_rows in drawn]
    size = (WIDTH, ROW * sum(heights) + 0.75 * len(PANELS) + 0.6)
    whole = Figure(figsize=size, layout="constrained", facecolor=PAGE.light)
    grid = whole.subplots(len(PANELS), 1, squeeze=False, height_ratios=heights)
    for panel, panel_rows, (axes,) in zip(PANELS, drawn, grid, strict=True):
        axes.set_facecolor(PAGE.light)
        draw(axes, panel.title, panel_rows)
    whole.supxlabel(
        "microseconds, on a logarithmic scale: less is better", fontsize=SMALL, color=SOFT.light
    )
    whole.legend(
        handles=list(_legend()),
        loc="outside upper center",
        ncols=5,
        frameon=False,
        fontsize=SMALL,
        labelcolor=TEXT.light,
        handletextpad=0.2,
        columnspacing=1.2,
    )
    return whole


def _legend() -> Iterator[Line2D]:
    for color, label in LEGEND.items():
        yield Line2D([], [], linestyle="", marker="s", color=color.light, label=label)
    for filled, callers in zip((PAGE, SOFT), CALLERS, strict=True):
        yield Line2D(
            *([], []),
            linestyle="",
            marker="o",
            markerfacecolor=filled.light,
            markeredgecolor=SOFT.light,
            label=callers,
        )


def svg(drawn: Figure) -> str:
    """Return the figure as an SVG that follows the reader's colour scheme."""
    file = StringIO()
    drawn.savefig(file, format="svg", metadata={"Date": None}, facecolor=PAGE.light)
    rules = "".join(
        f'[style*="{name}: {color.light}"] {{ {name}: {color.dark} !important }}\n'
        for color in COLORS
        for name in ("fill", "stroke")
    )
    style = f"<style>\n@media (prefers-color-scheme: dark) {{\n{rules}}}\n</style>\n"
    return file.getvalue().replace(" <defs>", f" {style} <defs>", 1)


if __name__ == "__main__":
    # Keep text as text, so that it can be searched, and make the output reproducible.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "speed", "font.size": NORMAL})
    FILE.write_text(svg(figure(grids(APPENDIX.read_text()))))
