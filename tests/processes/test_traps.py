"""What would hang, kill or outlive a process: its exit, a fork, a signal. Real ones."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trap_process
from worker_processes import Storage

from redis_server import RedisServer

PROGRAM = Path(trap_process.__file__)
SECONDS = 25
"""Seconds for a process to start, act and exit. If it hung, it would take 30 or more."""

MEMORY = Storage("memory://")


@pytest.fixture
def sqlite(tmp_path: Path) -> Storage:
    return Storage(f"sqlite:///{tmp_path / 'bot.db'}")


class Process:
    """A process in a trap. It must not print any error."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def expect(self, line: str) -> None:
        assert self._popen.stdout is not None
        assert self._popen.stdout.readline() == f"{line}\n", self._popen.communicate()

    def proceed(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write("go\n")
        self._popen.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        # In the call that comes after the line; no one can tell when it is there.
        time.sleep(0.15)
        self._popen.send_signal(number)

    def exits(self, code: int = 0) -> None:
        output, errors = self._popen.communicate(timeout=SECONDS)
        assert (self._popen.returncode, output, errors) == (code, "", "")


@contextmanager
def process(trap: str, storage: Storage) -> Iterator[Process]:
    with subprocess.Popen(
        [sys.executable, PROGRAM, trap, storage.url, storage.namespace],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as popen:
        try:
            yield Process(popen)
        finally:
            popen.kill()


# --- Exit -------------------------------------------------------------------------------------


def test_a_process_exits_with_an_open_store_in_memory() -> None:
    with process("exit_with_an_open_store_and_block", MEMORY) as one:
        one.exits()


def test_a_process_exits_with_an_open_store(storage: Storage) -> None:
    with process("exit_with_an_open_store_and_block", storage) as one:
        one.exits()


def test_a_process_exits_with_an_open_store_on_trio(storage: Storage) -> None:
    with process("exit_with_an_open_store_on_trio", storage) as one:
        one.exits()


def test_a_process_exits_while_a_daemon_thread_is_in_a_call(storage: Storage) -> None:
    with process("exit_while_a_daemon_thread_is_in_a_call", storage) as one:
        one.exits()


def test_a_process_may_close_its_stores_at_exit(sqlite: Storage) -> None:
    with process("exit_through_close", sqlite) as one:
        one.exits()


# --- Fork -------------------------------------------------------------------------------------


def test_r7_a_forked_process_is_refused_and_opens_its_own(storage: Storage) -> None:
    with process("fork_and_use_the_store", storage) as one:
        one.exits()


def test_r7_a_forked_process_is_refused_on_the_loop_of_its_parent(storage: Storage) -> None:
    with process("fork_beside_an_idle_loop", storage) as one:
        one.exits()


def test_r7_a_forked_process_exits_with_the_store_it_inherited(storage: Storage) -> None:
    with process("fork_and_exit", storage) as one:
        one.exits()


def test_r7_a_forked_process_may_open_what_its_parent_has_closed(storage: Storage) -> None:
    with process("fork_between_two_stores", storage) as one:
        one.exits()


def test_r7_a_fork_of_a_process_with_a_sqlite_file_loses_no_write(sqlite: Storage) -> None:
    with process("fork_while_the_parent_closes", sqlite) as one:
        one.exits()


def test_r7_a_fork_takes_nothing_from_its_parent(sqlite: Storage) -> None:
    with process("fork_within_a_block,fork_while_other_threads_call", sqlite) as one:
        one.exits()


def test_r7_a_forked_process_is_refused_the_portal_of_its_parent(sqlite: Storage) -> None:
    with process("fork_and_use_the_parents_portal", sqlite) as one:
        one.exits()


def test_r7_a_forked_process_is_refused_on_trio(storage: Storage) -> None:
    with process("fork_and_use_a_store_on_trio", storage) as one:
        one.exits()


# --- Signals ----------------------------------------------------------------------------------


def test_r3_ctrl_c_cancels_the_call_that_it_interrupts(storage: Storage) -> None:
    with process("interrupt_a_call", storage) as one:
        one.expect("ready")
        one.send(signal.SIGINT)
        one.exits()


def test_k4_ctrl_c_in_a_block_gives_the_wait_back(sqlite: Storage) -> None:
    with process("interrupt_a_block", sqlite) as one:
        one.expect("ready")
        one.send(signal.SIGINT)
        one.exits()


def test_r3_ctrl_c_ends_a_call_to_a_server_that_does_not_answer() -> None:
    with (
        RedisServer.start() as server,
        process("interrupt_a_stalled_call", Storage(server.url, f"test:{uuid.uuid4()}")) as one,
    ):
        one.expect("ready")
        server.process.send_signal(signal.SIGSTOP)
        one.proceed()
        one.expect("calling")
        one.send(signal.SIGINT)
        begun = time.monotonic()
        one.expect("interrupted")
        assert time.monotonic() - begun < 3, "sooner than the store's own time-out"
        server.process.send_signal(signal.SIGCONT)
        one.proceed()
        one.exits()


def test_r3_a_signal_handler_may_exit_within_a_call(sqlite: Storage) -> None:
    with process("exit_from_a_handler", sqlite) as one:
        one.expect("ready")
        one.send(signal.SIGTERM)
        one.exits(7)


def test_r7_a_signal_handler_may_close_whatever_its_thread_does() -> None:
    with process("close_in_a_handler", MEMORY) as one:
        one.expect("ready")
        one.send(signal.SIGTERM)
        one.exits()


def test_r7_a_signal_handler_may_close_a_store_that_is_being_opened() -> None:
    with process("close_in_a_handler_while_opening", MEMORY) as one:
        one.exits()
