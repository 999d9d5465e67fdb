"""Measure an import in a fresh interpreter that finds all bytecode, as after an installation."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from harness import Arm, Run, Table, compare
from report import with_targets
from results import save
from targets import IMPORT, PYDANTIC_AND_ASYNCIO

PROGRAMS = {
    IMPORT: "import async_session_store",
    PYDANTIC_AND_ASYNCIO: "import asyncio; from pydantic import BaseModel",
    "nothing": "",
}


def fresh(name: str, program: str, bytecode: str) -> Arm:
    """Return an arm that runs the program in a fresh interpreter at each step."""
    cached = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
    environment = {**os.environ, **cached}

    def run(repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            subprocess.run([sys.executable, "-c", program], check=True, env=environment)
        return time.perf_counter() - start

    @contextmanager
    def opened() -> Iterator[Run]:
        yield run

    return Arm(name, opened)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as bytecode:
        arms = [fresh(name, program, bytecode) for name, program in PROGRAMS.items()]
        table: Table = compare("import", "Import", arms, rounds=rounds)
    save(table)
    print(with_targets(table))


if __name__ == "__main__":
    main()
