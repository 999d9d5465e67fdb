"""Worker processes that take turns, as tests start them and send them messages."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import NamedTuple

import turn_worker
from turn_worker import Message
from worker_processes import Storage

SECONDS = 60.0
"""Seconds that the workers may take for the next step."""

# Each worker is forked from a process that has imported everything, so it starts in milliseconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "async_session_store.backends.redis",
        "async_session_store.backends.sqlite",
        "async_session_store.sync",
        "anyio._backends._asyncio",
        "anyio._backends._trio",
    ]
)


class Event(NamedTuple):
    """An event of a message in a worker, or "died" if the worker was killed."""

    what: str
    user: str
    number: int
    worker: int


class TurnWorker(NamedTuple):
    """A worker process, and the pipe for its messages."""

    process: ForkServerProcess
    messages: Connection


class TurnWorkers:
    """Worker processes. Their events go into one queue."""

    def __init__(self, storage: Storage, form: str, take: str) -> None:
        self._arguments = (form, take, storage.url, storage.namespace)
        self._workers: dict[int, TurnWorker] = {}
        self._threads: list[threading.Thread] = []
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def start(self, number: int) -> None:
        to_read, messages = SERVER.Pipe(duplex=False)
        events, to_write = SERVER.Pipe(duplex=False)
        parent = turn_worker.Parent(to_read, to_write)
        process = SERVER.Process(target=turn_worker.work, args=(parent, *self._arguments))
        process.start()
        to_read.close()
        to_write.close()
        self._workers[number] = TurnWorker(process, messages)
        thread = threading.Thread(target=self._read, args=[number, process, events])
        thread.start()
        self._threads.append(thread)

    def send(self, number: int, message: Message) -> None:
        """Send a message. A worker that has died does not get it."""
        with suppress(BrokenPipeError):
            self._workers[number].messages.send(message)

    def signal(self, number: int, signal: int) -> None:
        process_id = self._workers[number].process.pid
        assert process_id is not None
        os.kill(process_id, signal)

    def next_event(self) -> Event:
        return self.events.get(timeout=SECONDS)

    def expect(self, what: str) -> Event:
        event = self.next_event()
        assert event.what == what, event
        return event

    def close(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
        for thread in self._threads:
            thread.join()
        for worker in self._workers.values():
            worker.messages.close()

    def _read(self, number: int, process: ForkServerProcess, events: Connection) -> None:
        with suppress(EOFError), events:
            while True:
                self.events.put(Event(*events.recv(), number))
        process.join()
        self.events.put(Event("died", "", 0, number))


@contextmanager
def turn_workers(
    storage: Storage, count: int, *, form: str = "asyncio", take: str = "in turn"
) -> Iterator[TurnWorkers]:
    """Start worker processes, wait until they are ready, and kill them at the end."""
    workers = TurnWorkers(storage, form, take)
    try:
        for number in range(count):
            workers.start(number)
        for _ in range(count):
            workers.expect("ready")
        yield workers
    finally:
        workers.close()
