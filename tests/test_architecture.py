"""Imports go one way, only what is used is imported, and the design page knows each module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import async_session_store

PACKAGE = "async_session_store"
ROOT = Path(async_session_store.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "explanation" / "design.md"
# The folders that the design page describes in one row each.
FOLDERS_IN_ONE_ROW = tuple(
    ROOT / folder for folder in ("testing/contract", "backends/redis/lua", "backends/sqlite/schema")
)
SHARED_BY_THE_CONTRACT = {
    *("builders", "claim_builders", "expiry_builders", "hooks", "next_waits", "races"),
    *("turn_builders", "unreadable_documents"),
}

# What each module may import of the package; a name stands for all that is in it.
TYPES = {"errors", "_unicode", "_wire", "models"}
MAY_IMPORT = {
    "errors": set(),
    "_unicode": {"errors"},
    "_wire": set(),
    "models": {"errors", "_wire"},
    "keys": TYPES,
    "abc": TYPES,
    "_deliveries": set(),
    "_rules": TYPES | {"abc", "_deliveries"},
    "_codec": TYPES,
    "_random": set(),
    "_backoff": {"errors", "_random"},
    "channels": TYPES,
    "greentic": TYPES | {"_rules"},
    "explanations": TYPES | {"abc"},
    "_listing": TYPES | {"abc", "_rules"},
    "_look_ups": TYPES | {"abc"},
    "_new_waits": TYPES | {"abc", "_codec", "_random", "_rules"},
    "_moving": TYPES | {"abc", "_new_waits", "_rules"},
    "_copying": TYPES | {"abc", "_new_waits", "_rules"},
    "claims": TYPES | {"abc", "_new_waits", "_rules"},
    "_plans": {"abc", "errors", "_new_waits"},
    "resumed_waits": TYPES | {"abc", "claims", "_new_waits", "_plans"},
    "_memory": {"errors"},
    "turns": TYPES | {"abc", "claims", "_codec", "_memory", "_new_waits", "_plans", "_rules"},
    "_ending": {"errors"},
    "_claiming": TYPES | {"abc", "claims", "_ending", "_new_waits", "_random"},
    "_claiming_expired": TYPES | {"abc", "claims", "_ending", "_new_waits", "_random"},
    "_background": set(),
    "_waking": {"_background"},
    "expired_waits": {"claims", "errors", "models", "_ending", "_waking"},
    "_renewing": {"errors", "claims", "_background", "_ending"},
    "_block_scopes": {"_background"},
    "_blocks": TYPES
    | {"abc", "claims", "_block_scopes", "_ending", "_new_waits", "_plans", "_renewing"},
    "_tasks": set(),
    "_mailbox": set(),
    "_captured": set(),
    "_trio_future": set(),
    "_running_loop": {"_background", "_trio_future"},
    "_loop_calls": {"errors", "_captured", "_mailbox"},
    "_loop_thread": {"errors", "_captured", "_loop_calls"},
    "_crossing": {"errors", "_captured", "_loop_calls", "_loop_thread"},
    "_task_crossing": {"_background", "_captured", "_loop_calls", "_loop_thread"}
    | {"_mailbox", "_running_loop"},
    "_crossed_futures": {"errors", "_mailbox", "_running_loop"},
    "_job_crossing": {"_crossed_futures", "_loop_calls", "_running_loop", "_task_crossing"}
    | {"_trio_future"},
    "bridge": TYPES | {"abc", "_task_crossing"},
    "backends._job_queue": {"errors", "_running_loop"},
    "backends._time": set(),
    "backends._resources": {"errors"},
    "backends.memory": TYPES | {"abc", "_codec", "backends._time", "_waking"},
    "backends.sqlite": TYPES
    | {"abc", "_background", "_captured", "_codec", "_deliveries", "_random", "_running_loop"}
    | {"_findings", "_waking", "backends._job_queue", "backends._resources", "backends._time"},
    "backends.redis": TYPES
    | {"abc", "_background", "_codec", "_findings", "_job_crossing", "_random", "_running_loop"}
    | {"_task_crossing", "_waking"}
    | {"backends._job_queue", "backends._resources", "backends._time"},
    "_urls": TYPES | {"abc", "_rules", "backends"},
    "_life_cycle": {"abc", "errors", "bridge", "_background", "_renewing"},
    "_operators": TYPES | {"abc", "_copying", "_life_cycle", "_listing", "_moving", "_rules"},
    "_store": TYPES
    | {"abc", "claims", "explanations", "_backoff", "_blocks", "_claiming", "_claiming_expired"}
    | {"_listing", "_look_ups", "_memory", "_new_waits", "_operators", "_random", "_rules"}
    | {"_urls"}
    | {"expired_waits", "resumed_waits", "turns"},
    "sync_claims": TYPES
    | {"abc", "claims", "expired_waits", "_blocks", "_crossing", "_ending", "_new_waits"},
    "_sync_life_cycle": {"abc", "errors", "_crossing", "_loop_thread", "_store"},
    "_sync_operators": TYPES | {"abc", "_copying", "_listing", "_operators", "_sync_life_cycle"},
    "sync": TYPES
    | {"abc", "claims", "explanations", "sync_claims", "_backoff", "_rules"}
    | {"_store", "_sync_operators", "_urls", "resumed_waits", "turns"},
    "_pyinstaller": set(),
    "_findings": set(),
    "_cli": TYPES
    | {"__init__", "abc", "backends", "explanations", "_copying", "_findings", "_store", "_urls"},
    "__main__": {"_cli"},
    "testing": TYPES | {"__init__", "abc"},
    "__init__": TYPES
    | {"abc", "claims", "expired_waits", "explanations", "keys", "resumed_waits", "sync", "turns"}
    | {"_copying", "_new_waits", "_rules", "_store"},
}


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    at_import_time: bool

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        for name in imported_modules(node):
            yield Import(module_name(path), name, id(node) not in inside_functions)


def imported_modules(node: ast.AST) -> Iterator[str]:
    """Name the modules of the package that a statement imports, relative to it."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        names = [
            f"{node.module}.{alias.name}"
            if is_module(f"{node.module}.{alias.name}")
            else node.module
            for alias in node.names
        ]
    else:
        return
    for name in names:
        if name == PACKAGE:
            yield "__init__"
        elif name.startswith(f"{PACKAGE}."):
            yield name.removeprefix(f"{PACKAGE}.")


def is_module(name: str) -> bool:
    path = ROOT.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def layer_of(module: str) -> str:
    return next(layer for layer in MAY_IMPORT if is_within(module, layer))


def is_within(module: str, layer: str) -> bool:
    return module == layer or module.startswith(f"{layer}.")


FILES = sorted(path for path in ROOT.rglob("*.py") if module_name(path) != "backends")
IMPORTS = [one for path in FILES for one in imports_of(path)]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    layer = layer_of(module_name(path))
    allowed = MAY_IMPORT[layer] | {layer}
    for one in imports_of(path):
        assert any(is_within(one.imported, name) for name in allowed), str(one)


def test_backends_are_imported_when_their_url_is_used() -> None:
    lazily = {one.imported for one in IMPORTS if one.importer == "_urls" and not one.at_import_time}
    assert lazily == {"backends.memory", "backends.sqlite", "backends.redis"}
    outside = [one for one in IMPORTS if not is_within(one.importer, "backends")]
    for one in outside:
        assert not (one.at_import_time and is_within(one.imported, "backends")), str(one)


def test_nothing_imports_the_tests() -> None:
    for one in IMPORTS:
        assert is_within(one.importer, "testing") or not is_within(one.imported, "testing"), str(
            one
        )


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            PACKAGE,
            {"redis", "aiosqlite", "sqlite3", "pytest", "trio", "hypothesis", "click", "rich"},
        ),
        (f"{PACKAGE}.__main__", {"redis", "sqlite3", "pytest", "trio", "click", "rich"}),
        (f"{PACKAGE}._cli.program", {"redis", "sqlite3", "pytest", "trio"}),
        (PACKAGE, {f"{PACKAGE}.sync", f"{PACKAGE}.bridge", f"{PACKAGE}._loop_thread"}),
        (f"{PACKAGE}.backends.memory", {"redis", "aiosqlite", "sqlite3", "pytest"}),
        (f"{PACKAGE}.backends.sqlite", {"redis", "pytest"}),
        (f"{PACKAGE}.backends.redis", {"aiosqlite", "sqlite3", "pytest"}),
        (f"{PACKAGE}.channels", {"redis", "aiosqlite", "sqlite3", "pytest", "trio", "hypothesis"}),
        (f"{PACKAGE}.greentic", {"redis", "aiosqlite", "sqlite3", "pytest", "trio", "hypothesis"}),
        (f"{PACKAGE}.testing", {"redis", "aiosqlite", "trio", "hypothesis"}),
    ],
)
def test_importing_a_module_imports_no_more_than_it_needs(module: str, unwanted: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert not unwanted & set(ran.stdout.split())


def described_modules() -> list[str]:
    """Return the paths in the table "Every module" of the design page, relative to the package."""
    _, _, section = DESIGN.read_text(encoding="utf-8").partition("\n## Every module\n")
    section, _, _ = section.partition("\n## ")
    paths: list[str] = []
    for table in section.split("\n### ")[1:]:
        heading, *rows = table.splitlines()
        folder = heading.strip("`").removeprefix(f"{PACKAGE}/")
        paths += [
            folder + row[1]
            for row in (re.fullmatch(r"\| `(\S+)` \| \S.* \|", line) for line in rows)
            if row is not None
        ]
    return paths


def test_the_design_page_describes_each_module_once() -> None:
    modules = [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if not any(folder in path.parents for folder in FOLDERS_IN_ONE_ROW)
    ]
    folders = [f"{folder.relative_to(ROOT).as_posix()}/" for folder in FOLDERS_IN_ONE_ROW]
    assert sorted(described_modules()) == sorted(modules + folders)


def test_the_tests_of_the_contract_share_only_hooks_and_builders() -> None:
    inside = "testing.contract."
    for one in IMPORTS:
        if one.importer.startswith(inside) and one.imported.startswith(inside):
            assert one.imported.removeprefix(inside) in SHARED_BY_THE_CONTRACT, str(one)
