"""A process with a store on a SQLite file, driven line by line.

Run as ``python sqlite_process.py PATH``. It answers each line with "done" or the text of an error.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from pathlib import Path
from typing import Final

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import CTX, A, register

TESTS: Final = Path(__file__).parents[1]


class SqliteProcess:
    """The other process, as a test drives it."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def tell(self, command: str) -> str:
        """Send a command, and return the answer."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(f"{command}\n")
        self._popen.stdin.flush()
        return self._popen.stdout.readline().strip()

    def do(self, command: str) -> None:
        """Send a command, and check that it succeeds."""
        answer = self.tell(command)
        assert answer == "done", answer

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._popen.kill()
        self._popen.wait()

    def exits(self) -> None:
        """Let the process end without closing its store."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        assert self._popen.wait(20) == 0


@contextmanager
def sqlite_process(path: Path) -> Iterator[SqliteProcess]:
    with subprocess.Popen(
        [sys.executable, __file__, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environ, "PYTHONPATH": str(TESTS)},
    ) as popen:
        try:
            yield SqliteProcess(popen)
        finally:
            popen.kill()


async def run(store: AsyncSessionStore, command: str, *arguments: str) -> None:
    match command:
        case "open":
            await store.open()
        case "register":
            for key in arguments:
                await register(store, key, ReplyScope(conversation=key))
        case "queue":
            asyncio.ensure_future(store.claim_wait(CTX, "u1", A, wait=60))  # noqa: RUF006  # the task runs until the process is killed
            await asyncio.sleep(0.1)
        case "close":
            await store.aclose()


def main(path: str) -> None:
    # Not asyncio.run(), which would cancel the tasks and close the loop.
    loop = asyncio.new_event_loop()
    store = AsyncSessionStore(SqliteBackend(path, busy_timeout=0.2))
    for line in sys.stdin:
        try:
            loop.run_until_complete(run(store, *line.split()))
        except (StoreUnavailableError, StoreUsageError) as error:
            print(error, flush=True)
        else:
            print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
