"""A process with the parts of the Rust crate ``greentic-runner-host`` that park and find flows.

The program's source is in ``tests/interop/runner_parts``. The parts are items of the crate's
source, which cargo fetches. Tests with the mark ``runner`` start it, and so does
``tests/interop/record_runner_vectors.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from async_session_store.greentic import IngressEnvelope
from rust_process import RustPeerError, RustProcess, arguments

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = ROOT / "tests" / "interop" / "runner_parts"
TARGET: Final = ROOT / ".cache" / "runner_parts"
VERSION: Final = "1.2.2"
DAY_SECONDS: Final = 86_400


def build() -> Path:
    """Build the program, which takes some minutes the first time, and return its path."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise RustPeerError("cargo is missing; the tests with a Greentic runner need it")
    command = [cargo, "build", "--locked", "--quiet", "--target-dir", TARGET]
    environment = {**os.environ, "RUNNER_HOST_SOURCE": str(source(cargo))}
    subprocess.run(command, cwd=PROJECT, env=environment, check=True)
    return TARGET / "debug" / "runner_parts"


def source(cargo: str) -> Path:
    """Return the folder with the crate's source. Let cargo fetch it if it is missing."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    pattern = f"registry/src/*/greentic-runner-host-{VERSION}"
    if not any(home.glob(pattern)):
        # This downloads one crate. `cargo fetch` would also download the 690 that it depends on.
        command = [cargo, "info", "--registry", "crates-io", f"greentic-runner-host@{VERSION}"]
        subprocess.run(command, cwd=PROJECT.parent, check=True, stdout=subprocess.DEVNULL)
    return next(home.glob(pattern))


class Runner:
    """The parts of a runner. Only one thread may use it."""

    def __init__(self, process: RustProcess) -> None:
        self.process = process

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Runner]:
        with RustProcess.start(build()) as process:
            yield cls(process)

    def place(self, url: str, namespace: str) -> RunnerPlace:
        """Return the runner's sessions on one Redis server."""
        return RunnerPlace(self.process, url=url, namespace=namespace, wait_ttl_secs=DAY_SECONDS)


class RunnerPlace:
    """The sessions of a runner on one Redis server."""

    def __init__(self, process: RustProcess, **place: object) -> None:
        self.process = process
        self._place = place

    def save(self, envelope: IngressEnvelope, wait: object) -> dict[str, Any]:
        """Park a flow, and return the scope that the runner sends out."""
        return self._call("save", envelope=envelope, wait=wait)

    def fetch(self, envelope: IngressEnvelope) -> dict[str, Any] | None:
        """Return the snapshot that the runner would resume."""
        return self._call("fetch", envelope=envelope)

    def clear(self, envelope: IngressEnvelope) -> None:
        """Clear the parked flow, as the runner does when it has ended."""
        self._call("clear", envelope=envelope)

    def greet(self, envelope: IngressEnvelope) -> bool:
        """Mark the user as greeted, and return whether the runner greets now."""
        return self._call("greet", envelope=envelope)

    def _call(self, op: str, **values: object) -> Any:
        return self.process.call(op, arguments(**self._place, **values))
