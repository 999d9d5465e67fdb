"""The pages on speed hold what was measured: `benchmarks/report.py` writes nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
EXPLANATION = ROOT / "docs/explanation"


class Pages(NamedTuple):
    """Copies of the two pages, which the results in a folder can be written into."""

    folder: Path

    @property
    def appendix(self) -> str:
        return (self.folder / "speed-tables.md").read_text()

    @property
    def page(self) -> str:
        return (self.folder / "speed.md").read_text()

    def write(self) -> None:
        import report

        report.write(self.folder / "speed-tables.md", self.folder / "speed.md")


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pages:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import results

    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    for name in ("speed-tables.md", "speed.md"):
        (tmp_path / name).write_text((EXPLANATION / name).read_text())
    return Pages(tmp_path)


def measure(name: str, title: str, values: dict[str, float]) -> None:
    from harness import Table
    from results import save

    arms = {arm: [value] for arm, value in values.items()}
    save(Table(name, title, "microseconds", arms))


def test_without_results_the_pages_stay_as_they_are(pages: Pages) -> None:
    pages.write()
    assert pages.appendix == (EXPLANATION / "speed-tables.md").read_text()
    assert pages.page == (EXPLANATION / "speed.md").read_text()


def test_a_measured_table_replaces_the_one_with_its_title(pages: Pages) -> None:
    appendix, page = pages.appendix, pages.page
    title = "Redis, list a user's 3 waits"
    measure("listing-redis", title, {"among 1,000,000": 8888.8, "among 1,000": 4444.4})
    pages.write()
    removed, added = differences(appendix, pages.appendix)
    assert added == [
        f"| {title}: among 1,000,000 / among 1,000 | 1.5 | 2.00, missed by 33% |",
        "| among 1,000,000 | 8,888.8 | 1.00 |",
        "| among 1,000 | 4,444.4 | 2.00 |",
    ]
    assert len(removed) == len(added)
    assert pages.page == page


def test_a_table_that_is_new_goes_to_the_end(pages: Pages) -> None:
    appendix = pages.appendix
    measure("new", "Something new", {"AsyncSessionStore": 3.0, "another": 6.0})
    pages.write()
    table = (
        "\n| Something new | microseconds | AsyncSessionStore / it |\n|---|---|---|\n"
        "| AsyncSessionStore | 3.0 | 1.00 |\n| another | 6.0 | 0.50 |\n"
    )
    assert without_versions(pages.appendix) == without_versions(appendix) + table


def test_the_short_table_follows_the_appendix(pages: Pages) -> None:
    from markdown_tables import grids

    arms = {"AsyncSessionStore": 3.0, "redis-py, 5 calls": 4.0, "aiogram": 6.0}
    measure("redis-64-1", "Redis, 64 callers, 1 KiB", arms)
    pages.write()
    short = grids(pages.page)["1 KiB of data"]
    now = {row[1]: row[3] for row in short.rows if row[0] == "Redis, a pause and resume"}
    assert (now["redis-py, 5 calls"], now["aiogram"]) == ("0.75", "0.50")


def test_the_page_on_sizes_shows_what_was_measured(pages: Pages) -> None:
    from markdown_tables import grids

    measured, shown = grids(pages.appendix), grids((EXPLANATION / "sizing.md").read_text())
    storages = ("Memory", "SQLite", "Redis")
    for row, arm in (
        ("with 1 KiB of context", "a context of 1 KiB"),
        ("with 64 bytes of context", "a context of 64 bytes"),
    ):
        titles = [f"{one}, a wait among 1,000,000" for one in storages]
        sizes = [measured[title].row(arm)[1] for title in titles]
        kilobytes = [f"{number(size) / 1000:.1f} KB" for size in sizes]
        assert shown["a wait"].row(row)[1:] == tuple(kilobytes)
    for row in shown["turns a second"].rows:
        titles = [f"{row[0]}, a turn, {callers}, 1 KiB" for callers in ("1 caller", "64 callers")]
        times = [measured[title].row("AsyncSessionStore, turn")[1] for title in titles]
        assert row[1:] == tuple(f"{float(f'{1e6 / number(t):.2g}'):,.0f}" for t in times)


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def differences(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the removed and added lines, without the versions used in a measurement."""
    old, new = (without_versions(text).splitlines() for text in (before, after))
    removed, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    return list(removed.elements()), list(added.elements())


def without_versions(text: str) -> str:
    before, title, after = text.partition("| measured with |")
    return before + title + after[after.index("\n\n") :]
