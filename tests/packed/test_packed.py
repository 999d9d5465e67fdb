"""The library finds its Lua and SQL files wherever it is packed, or says which one is missing.

Here it runs from a zip. ``nox -s package frozen`` runs it from a wheel and in a frozen program.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import async_session_store
from async_session_store.backends.redis import _scripts
from redis_server import RedisServer

PACKAGE = Path(async_session_store.__file__).parent
PROGRAM = Path(__file__).with_name("program.py")
READ = {".lua", ".sql"}


def pack(path: Path, *, without: str | None = None) -> Path:
    """Pack the library and the program into one zip, without the files of a suffix."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(PROGRAM, "__main__.py")
        for file in PACKAGE.rglob("*"):
            if file.suffix in {".py", *READ} - {without}:
                archive.write(file, file.relative_to(PACKAGE.parent))
    return path


def run(zipped: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, zipped, url], capture_output=True, text=True, timeout=50, check=False
    )


def test_it_runs_from_a_zip(tmp_path: Path, redis_server: RedisServer) -> None:
    zipped = pack(tmp_path / "app.pyz")
    ran = run(zipped, redis_server.url)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).is_relative_to(zipped)


@pytest.mark.parametrize(
    ("suffix", "missing"), [(".sql", r"schema/1\.sql"), (".lua", r"lua/\w+\.lua")]
)
def test_r1_a_missing_package_file_is_named(
    tmp_path: Path, redis_server: RedisServer, suffix: str, missing: str
) -> None:
    ran = run(pack(tmp_path / "app.pyz", without=suffix), redis_server.url)
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert re.search(rf"StoreUnavailableError: .*its own file {missing} of .* is missing", last)
    assert "database file" not in last


def test_9_pyinstaller_finds_the_hook_and_the_hook_finds_all_files() -> None:
    (found,) = entry_points(group="pyinstaller40", name="hook-dirs")
    (folder,) = found.load()()
    (hook,) = Path(folder).glob("hook-*.py")
    names = importlib.import_module(f"async_session_store._pyinstaller.{hook.stem}")
    read = {file for file in PACKAGE.rglob("*") if file.suffix in READ}
    assert {Path(source) for source, _ in names.datas} == read
    for source, folder in names.datas:
        assert PACKAGE.parent / folder == Path(source).parent
    for module in names.hiddenimports:
        importlib.import_module(module)
    assert set(imported_late()) <= set(names.hiddenimports)


def imported_late() -> list[str]:
    """Return the modules of the library that the store imports only when they are used."""
    names: list[str] = []
    for module in ("__init__", "_store", "_urls"):
        tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names += [
                    f"{one.module}.sync" if one.module == "async_session_store" else one.module
                    for one in ast.walk(function)
                    if isinstance(one, ast.ImportFrom) and one.module is not None
                ]
    return [name for name in names if name.startswith("async_session_store")]


def test_each_script_is_there() -> None:
    for file in (PACKAGE / "backends" / "redis" / "lua").glob("*.lua"):
        assert _scripts.script(file.stem).source
