"""Workers that take turns, and what sends them messages."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from turn_worker import Message
from worker_processes import Storage

WORKER = Path(__file__).with_name("turn_worker.py")
SECONDS = 60.0
"""How long the workers may take for the next step."""


class Event(NamedTuple):
    """What a worker said of a message; "died" when it was killed."""

    what: str
    user: str
    number: int
    worker: int


class TurnWorkers:
    """Worker processes. All that they say goes into one queue."""

    def __init__(self, storage: Storage, form: str, take: str) -> None:
        self._storage = storage
        self._arguments = (form, take, storage.url, storage.namespace)
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._all: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def start(self, number: int) -> None:
        process = self._processes[number] = subprocess.Popen(
            [sys.executable, str(WORKER), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._storage.environment,
        )
        self._all.append(process)
        thread = threading.Thread(target=self._read, args=[number, process])
        thread.start()
        self._threads.append(thread)

    def send(self, number: int, message: Message) -> None:
        """Send a message. A worker that died meanwhile does not get it."""
        process = self._processes[number]
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(f"{json.dumps(asdict(message))}\n")
            process.stdin.flush()

    def signal(self, number: int, signal: int) -> None:
        self._processes[number].send_signal(signal)

    def next_event(self) -> Event:
        return self.events.get(timeout=SECONDS)

    def expect(self, what: str) -> Event:
        event = self.next_event()
        assert event.what == what, event
        return event

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._all:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()

    def _read(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                self.events.put(Event("ready", "", 0, number))
            else:
                self.events.put(Event(*json.loads(line), number))
        process.stdout.close()
        process.wait()
        self.events.put(Event("died", "", 0, number))


@contextmanager
def turn_workers(
    storage: Storage, count: int, *, form: str = "asyncio", take: str = "in turn"
) -> Iterator[TurnWorkers]:
    """Start worker processes that are ready, and end them."""
    workers = TurnWorkers(storage, form, take)
    try:
        for number in range(count):
            workers.start(number)
        for _ in range(count):
            workers.expect("ready")
        yield workers
    finally:
        workers.close()
