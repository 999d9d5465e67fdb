"""The documentation is true: its programs run and print what it says, and its links lead somewhere.

A page's ``python`` blocks run in order, in one namespace, in an empty folder, with ``await``
allowed outside of functions. Those of the README run apart from each other, since people copy them
one by one. ``SESSION_STORE_URL`` leads to a Redis server. Each line that a page
prints follows the ``print`` that prints it, as ``# -> the line``. A block after the comment
``<!-- run: pytest -->`` is a test file of its own instead. One after ``<!-- run: console -->`` has
commands of the command line, and what they print, in which ``...`` stands for anything. One after
``<!-- file: path -->`` is that file, which other tests run.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import NamedTuple

import pytest

import async_session_store
from async_session_store import (
    AsyncSessionStore,
    ResumedWait,
    SessionRecord,
    SessionStore,
    SyncWaitClaim,
    WaitClaim,
)
from async_session_store._cli import program
from async_session_store.backends.redis._server import OLDEST_REDIS
from async_session_store.backends.sqlite._schema import OLDEST_SQLITE
from redis_server import RedisServer
from rust_differences import DIFFERENCES

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [
        *sorted(ROOT.glob("*.md")),
        ROOT / "examples/README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
}
ALL_MARKDOWN = PAGES | {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in (".github", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.md")
    if "target" not in path.parts  # where cargo builds
}
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]+) -->\n)?```(?P<language>\w*|\{[\w-]+\})\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
DIRECTIVE = re.compile(
    r"^ *\.\. (?P<kind>[\w:]+):: (?P<path>async_session_store\.[\w.]+)$", re.MULTILINE
)
LINK = re.compile(r"\]\((?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
COMMANDS = {
    "command: run": (
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[all]" '
        "&& .venv/bin/python examples/quickstart.py\n"
    ),
    "command: test": (
        "python3 -m venv .venv && .venv/bin/pip install -q -U pip "
        '&& .venv/bin/pip install -q -e ".[all]" --group test && .venv/bin/pytest\n'
    ),
}


class Block(NamedTuple):
    mark: str | None
    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    text = PAGES[page]
    return [
        Block(*match.group("mark", "language", "text"), text.count("\n", 0, match.start("text")))
        for match in BLOCK.finditer(text)
    ]


def programs(page: str) -> list[Block]:
    return [
        block
        for block in blocks(page)
        if block.language == "python" or block.mark == "run: console"
    ]


def runs() -> Iterator[object]:
    """Yield pages with the blocks that run in one namespace."""
    for block in programs("README.md"):
        yield pytest.param("README.md", [block], id=f"README.md:{block.line}")
    for page in PAGES:
        if page != "README.md" and programs(page):
            # A block with tests runs the conformance suite: a thousand tests in one.
            seconds = 180 if any(block.mark == "run: pytest" for block in programs(page)) else 60
            marks = pytest.mark.timeout(seconds)
            yield pytest.param(page, programs(page), id=page, marks=marks)


@pytest.mark.parametrize(("page", "together"), list(runs()))
def test_python_blocks_run(
    page: str,
    together: list[Block],
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSION_STORE_URL", redis_server.url)
    printed, expected = list[str](), list[str]()
    loop = asyncio.new_event_loop()
    try:
        for block in together:
            if block.mark == "run: pytest":
                run_pytest(block, tmp_path)
                continue
            if block.mark == "run: console":
                printed += capsys.readouterr().out.splitlines()
                run_commands(block, monkeypatch, capsys)
                continue
            if block.mark is not None and block.mark.startswith("file: "):
                continue
            expected += re.findall(r"# -> (.*)$", block.text, re.MULTILINE)
            code = compile(
                "\n" * block.line + block.text,
                ROOT / page,
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            coroutine = eval(code, module.__dict__)
            if coroutine is not None:
                loop.run_until_complete(coroutine)
    finally:
        loop.close()
    printed += capsys.readouterr().out.splitlines()
    assert printed == expected


def run_commands(
    block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run what follows each ``$``, and compare what it prints with the lines below."""
    code = 0
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, expected = step.partition("\n")
        words = shlex.split(line)
        match words:
            case ["export", setting]:
                monkeypatch.setenv(*setting.split("=", 1))
                printed = ""
            case ["echo", "$?"]:
                printed = f"{code}\n"
            case ["async-session-store", *arguments]:
                code = program.run(arguments)
                captured = capsys.readouterr()
                printed = captured.out + captured.err
            case _:
                pytest.fail(f"this is no command that is run here: {line}")
        pattern = re.escape(expected).replace(re.escape("..."), ".*")
        assert re.fullmatch(pattern, printed), f"{line}\n{printed}"


def run_pytest(block: Block, folder: Path) -> None:
    file = folder / f"test_line_{block.line}.py"
    file.write_text(block.text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_a_file_is_shown_as_it_is(page: str) -> None:
    for block in blocks(page):
        if block.mark is not None and block.mark.startswith("file: "):
            assert block.text == (ROOT / block.mark.removeprefix("file: ")).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_known_kind(page: str) -> None:
    assert PAGES[page].count("```") == 2 * len(blocks(page))
    assert {block.language for block in blocks(page)} <= {
        *("python", "sh", "console", "text"),
        *("dockerfile", "json", "lua", "sql", "toml", "yaml"),
        *("{eval-rst}", "{toctree}"),  # for the site alone
    }


def test_the_only_shell_blocks_are_the_two_commands() -> None:
    found = {
        block.mark: block.text for page in PAGES for block in blocks(page) if block.language == "sh"
    }
    assert found == COMMANDS


@pytest.mark.parametrize("page", ALL_MARKDOWN)
def test_links_lead_somewhere(page: str) -> None:
    for match in LINK.finditer(BLOCK.sub("", ALL_MARKDOWN[page])):
        if "://" in match["path"]:
            continue
        target = (ROOT / page).parent / match["path"] if match["path"] else ROOT / page
        assert target.exists(), match[0]
        if match["anchor"]:
            headings = ALL_MARKDOWN[target.resolve().relative_to(ROOT).as_posix()]
            assert match["anchor"] in map(slug, re.findall(r"^#+ (.*)$", headings, re.MULTILINE))


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_each_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), {"README.md"}
    while todo:
        page = todo.pop()
        reached.add(page)
        paths = {match["path"] for match in LINK.finditer(PAGES[page])} - {""}
        targets = {((ROOT / page).parent / path).resolve() for path in paths}
        todo |= {name for name in PAGES if (ROOT / name).resolve() in targets} - reached
    assert reached == set(PAGES)


def test_the_reference_has_each_public_name_once() -> None:
    paths = [path for kind, path in reference_entries() if kind != "automethod"]
    assert sorted(paths) == sorted(public_paths())


def public_paths() -> Iterator[str]:
    """Name what each public module exports, by the shortest path from which it is imported."""
    seen = set()
    for module in [async_session_store, *public_modules()]:
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if (name, id(value)) not in seen:
                seen.add((name, id(value)))
                yield f"{module.__name__}.{name}"


def public_modules() -> Iterator[ModuleType]:
    for found in walk_packages(async_session_store.__path__, "async_session_store."):
        is_public = "._" not in found.name and ".testing.contract" not in found.name
        if is_public:
            yield import_module(found.name)


def reference_entries() -> list[tuple[str, str]]:
    """Name what the pages of the reference ask Sphinx for, and by which directive."""
    return [
        (match["kind"], match["path"])
        for page in PAGES
        for block in blocks(page)
        if block.language == "{eval-rst}"
        for match in DIRECTIVE.finditer(block.text)
    ]


def test_the_page_of_the_store_has_each_of_its_methods_once() -> None:
    paths = [path for kind, path in reference_entries() if kind == "automethod"]
    methods = [name for name in dir(AsyncSessionStore) if not name.startswith("_")]
    assert sorted(paths) == sorted(f"async_session_store.AsyncSessionStore.{n}" for n in methods)


@pytest.mark.parametrize("path", sorted(public_paths()))
def test_each_field_of_a_public_type_says_what_it_holds(path: str) -> None:
    module, _, name = path.rpartition(".")
    kind = getattr(import_module(module), name)
    if not inspect.isclass(kind) or issubclass(kind, Enum):
        return
    source = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(source, ast.ClassDef)
    for field, next_one in zip(source.body, [*source.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation):
            assert is_text(next_one), ast.unparse(field)


def is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_a_sync_claim_has_the_members_of_an_async_one() -> None:
    assert public_names(SyncWaitClaim) == public_names(WaitClaim)


def test_a_resumed_wait_has_what_a_record_has_and_more() -> None:
    assert public_names(ResumedWait) > public_names(SessionRecord)


def public_names(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


@pytest.mark.parametrize("backend", ["redis", "sqlite"])
def test_the_error_texts_are_those_of_the_program(backend: str) -> None:
    texts = texts_of((ROOT / "src/async_session_store/backends" / backend).glob("*.py"))
    table = PAGES[f"docs/how-to/{backend}.md"].partition("## What errors mean")[2]
    assert_each_is_in_a_text(re.findall(r"^\| (?:.*: )?(.*?) \|", table, re.MULTILINE)[1:], texts)


def test_the_texts_on_stores_that_are_used_wrongly_are_those_of_the_program() -> None:
    package = ROOT / "src/async_session_store"
    sources = [*package.glob("*.py"), package / "backends/redis/_batches.py"]
    page = PAGES["docs/reference/errors.md"]
    table = page.partition("## When a store is used wrongly")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:]
    assert_each_is_in_a_text(rows, texts_of(sources))


def assert_each_is_in_a_text(rows: list[str], texts: set[str]) -> None:
    assert len(rows) > 5
    for row in rows:
        assert any(row in text for text in texts), row


def texts_of(sources: Iterable[Path]) -> set[str]:
    return {
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_oldest_versions_are_those_that_opening_checks() -> None:
    sqlite = ".".join(map(str, OLDEST_SQLITE[:2]))
    redis = ".".join(map(str, OLDEST_REDIS))
    for page, text in (
        ("README.md", f"SQLite {sqlite} or newer"),
        ("docs/how-to/sqlite.md", f"SQLite {sqlite} or newer"),
        ("README.md", f"Redis {redis} or newer"),
        ("docs/how-to/redis.md", f"Redis {redis} or newer"),
        ("docs/reference/support.md", f"Redis {redis} or newer"),
        ("docs/reference/support.md", f"SQLite {sqlite} or newer"),
    ):
        assert text in PAGES[page]


def test_the_pythons_that_are_supported_are_those_that_the_package_names() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    pythons = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    page = PAGES["docs/reference/support.md"]
    assert f"| Python | CPython {pythons[0]} to {pythons[-1]} |" in page
    assert f"Python {pythons[0]} or newer" in PAGES["README.md"]
    assert f'requires-python = ">={pythons[0]}"' in project


def test_the_release_that_drops_a_deprecated_name_is_named_everywhere() -> None:
    for page in ("docs/reference/support.md", "CHANGELOG.md"):
        assert any("find_by_user" in line and "1.0" in line for line in PAGES[page].splitlines()), (
            page
        )
    for store in (AsyncSessionStore, SessionStore):
        assert "1.0 removes it" in (store.find_by_user.__doc__ or "")


def test_the_page_on_greentic_lists_each_difference_and_the_versions() -> None:
    page = PAGES["docs/how-to/beside-greentic.md"]
    table = page.partition("## Deliberate differences")[2]
    rows = re.findall(r"^\| ([A-Z]\d+) \| (\w+) \| (.*) \|$", table, re.MULTILINE)
    assert rows == [(*place, what) for place, what in DIFFERENCES.items()]
    versions = json.loads((ROOT / "tests/rust_vectors.json").read_text())["versions"]
    for crate, version in versions.items():
        assert f"`{crate}` {version}" in page


def test_each_difference_from_rust_is_shown_with_the_crate() -> None:
    source = (ROOT / "tests/interop/test_rust_differences.py").read_text()
    for guarantee, where in DIFFERENCES:
        assert f"def test_{guarantee}_{where}_".lower() in source


def test_each_guarantee_has_a_test_that_quotes_it() -> None:
    promised = re.findall(
        r"^- \*\*(\w+)\*\*", PAGES["docs/explanation/guarantees.md"], re.MULTILINE
    )
    folders = (ROOT / "tests", ROOT / "src/async_session_store/testing")
    names = [
        name
        for folder in folders
        for source in folder.rglob("*.py")
        for name in re.findall(r"def test((?:_[a-z][0-9]+a?)+)_", source.read_text())
    ]
    assert set("".join(names).split("_")) - {""} == {guarantee.lower() for guarantee in promised}
