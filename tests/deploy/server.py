"""A server that forks its workers, in a process group of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from redis_server import free_port

EXAMPLES = Path(__file__).parents[2] / "examples/deploy"
START_SECONDS = 30


class Server:
    """A running server, and the platform that posts messages to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self._url = f"http://127.0.0.1:{port}"

    @classmethod
    @contextmanager
    def start(cls, *command: str, storage: str, folder: Path = EXAMPLES) -> Iterator[Server]:
        """Run a module of this Python in a folder. ``{port}`` in the command is a free port."""
        port = free_port()
        arguments = [each.format(port=port) for each in command]
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env={**os.environ, "SESSION_STORE_URL": storage},
            start_new_session=True,
        )
        try:
            server = cls(process, port)
            server._await()
            yield server
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.get("/ready")
            except URLError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def get(self, path: str) -> str:
        try:
            with urlopen(self._url + path, timeout=20) as answer:
                return answer.read().decode()
        except HTTPError as error:
            return f"{error.code}"

    def tell(self, event: str, text: str) -> str:
        payload = {"event": event, "chat": "chat-42", "user": "alice", "text": text}
        request = Request(f"{self._url}/messages", json.dumps(payload).encode())
        with urlopen(request, timeout=20) as answer:
            return answer.read().decode()

    def stop(self) -> int:
        """Send SIGTERM, as container runtimes do. Return the exit status."""
        self.process.terminate()
        return self.process.wait(timeout=30)
