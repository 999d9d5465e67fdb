"""Save and load results: one JSON file for each table."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import Table

FOLDER = Path(__file__).parent / "results"
PACKAGES = (
    *("anyio", "aiosqlite", "hiredis", "pydantic", "redis", "trio", "uvloop"),
    *("aiogram", "langgraph-checkpoint-sqlite", "litestar", "openai-agents", "py-key-value-aio"),
)


def save(table: Table, **versions: str) -> None:
    """Write a table, with the versions of the software that it was measured with."""
    measured_with = {**_system(), **versions, **_packages()}
    FOLDER.mkdir(exist_ok=True)
    _file(table.name).write_text(json.dumps(asdict(table) | {"with": measured_with}, indent=1))


def load(name: str) -> Table | None:
    """Return the last results of a table, or None if it was never measured."""
    if not _file(name).exists():
        return None
    fields = _fields(name)
    del fields["with"]
    return Table(**fields)


def measured_with(name: str) -> dict[str, str]:
    return _fields(name)["with"]


def _fields(name: str) -> dict[str, Any]:
    return json.loads(_file(name).read_text())


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _system() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
    }


def _packages() -> dict[str, str]:
    return {name: found for name in PACKAGES if (found := _version(name))}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
