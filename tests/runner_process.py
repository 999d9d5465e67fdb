"""A process with the Rust crate ``greentic-runner-host``: a runner, and the parts of it.

The program is ours, in ``tests/interop/runner_host``. It takes half an hour to build, so only tests
with the mark ``runner_host`` start it, and ``tests/interop/record_runner_vectors.py``.
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
from redis_server import RedisServer
from rust_process import RustPeerError, RustProcess, arguments

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = ROOT / "tests" / "interop" / "runner_host"
TARGET: Final = Path(os.environ.get("RUNNER_HOST_TARGET", ROOT / ".cache" / "runner_host"))
"""Where it is built. It takes 10 GB, so another place may be better."""


def build() -> Path:
    """Build the program, and return its path."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise RustPeerError("cargo is missing; the tests with a Greentic runner need it")
    # Without optimization: it compiles for half an hour as it is.
    command = [cargo, "build", "--locked", "--quiet", "--target-dir", TARGET]
    subprocess.run(command, cwd=PROJECT, check=True)
    return TARGET / "debug" / "runner_host"


class Runner:
    """A runner on Redis, found by its environment. Only one thread may use it."""

    def __init__(self, process: RustProcess, url: str, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.url = url

    @classmethod
    @contextmanager
    def start(cls, server: RedisServer, folder: Path, **environment: str) -> Iterator[Runner]:
        """Run one that keeps its sessions on ``server``, and its pack in ``folder``."""
        variables = {"GREENTIC_SESSION_REDIS_URL": server.url, **environment}
        with RustProcess.start(build(), variables) as process:
            yield cls(process, server.url, folder)

    def turn(self, tenant: str, **activity: object) -> list[Any]:
        """Hand a message to the runner, whole; return the payloads of its replies."""
        values = arguments(tenant=tenant, folder=str(self.folder), activity=activity)
        return self.process.call("turn", values)

    def save(self, namespace: str, envelope: IngressEnvelope, wait: object) -> dict[str, Any]:
        """Park a flow as the runner does; return the scope that it sends out."""
        return self._call("save", namespace, envelope=envelope, wait=wait, wait_ttl_secs=3600)

    def fetch(self, namespace: str, envelope: IngressEnvelope) -> dict[str, Any] | None:
        """Return the snapshot that the runner would resume."""
        return self._call("fetch", namespace, envelope=envelope)

    def clear(self, namespace: str, envelope: IngressEnvelope) -> None:
        """Clear a flow's wait as the runner does when it has ended."""
        self._call("clear", namespace, envelope=envelope)

    def _call(self, op: str, namespace: str, **values: object) -> Any:
        return self.process.call(op, arguments(url=self.url, namespace=namespace, **values))
