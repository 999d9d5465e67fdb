"""Start worker processes that share one storage. Each prints "ready", and begins after a line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Storage:
    """A storage that processes share. If ``crowded``, each of them has a crowd of other callers."""

    url: str
    namespace: str = ""
    crowded: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the processes."""
        crowd = {"CROWDED": "1"} if self.crowded else {}
        return {**environ, "PYTHONPATH": str(TESTS), **crowd}


class WorkerProcess:
    """A process that runs one task, and prints lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def expect(self, line: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{line}\n"

    def proceed(self, line: str = "go") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def result(self) -> object:
        output = self._process.communicate()[0]
        assert self._process.returncode == 0
        return json.loads(output)


@contextmanager
def worker_process(
    worker: Path, task: str, storage: Storage, number: int = 0
) -> Iterator[WorkerProcess]:
    """Start a process, and kill it at the end if it is still running."""
    with subprocess.Popen(
        [sys.executable, worker, task, storage.url, storage.namespace, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=storage.environment,
    ) as process:
        try:
            yield WorkerProcess(process)
        finally:
            process.kill()


def run_processes(worker: Path, task: str, storage: Storage, count: int) -> list[object]:
    """Run the task in several processes that begin at once, and return their results."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(worker_process(worker, task, storage, number))
            for number in range(count)
        ]
        for process in processes:
            process.expect("ready")
        for process in processes:
            process.proceed()
        return [process.result() for process in processes]
