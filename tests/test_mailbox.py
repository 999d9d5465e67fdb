"""What threads post to a loop: one wake-up for all, none lost, wherever a thread is interrupted."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from async_session_store._mailbox import Mailbox
from opcodes import PACKAGE, Interrupt, Tracer, steps

SECONDS = 10.0


class SleepingLoop:
    """Runs what it is woken for when a test says so."""

    def __init__(self) -> None:
        self.wake_ups: list[Callable[[], None]] = []
        self.mailbox = Mailbox(self.wake_ups.append)

    def run(self) -> None:
        due = list(self.wake_ups)
        self.wake_ups.clear()
        for act in due:
            act()


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


def test_one_wake_up_brings_all_that_was_posted_in_order() -> None:
    loop = SleepingLoop()
    seen: list[int] = []
    for number in range(100):
        loop.mailbox.post(partial(seen.append, number))
    assert len(loop.wake_ups) == 1
    assert seen == []
    loop.run()
    assert seen == list(range(100))


def test_what_is_posted_while_the_loop_takes_the_rest_wakes_it_again() -> None:
    loop = SleepingLoop()
    seen: list[str] = []

    def act() -> None:
        seen.append("first")
        loop.mailbox.post(lambda: seen.append("second"))

    loop.mailbox.post(act)
    loop.run()
    assert (seen, len(loop.wake_ups)) == (["first"], 1)
    loop.run()
    assert (seen, len(loop.wake_ups)) == (["first", "second"], 0)


def test_one_that_raises_holds_up_none_behind_it() -> None:
    def fail() -> None:
        raise SystemExit

    loop = SleepingLoop()
    seen: list[str] = []
    for act in (lambda: seen.append("before"), fail, lambda: seen.append("behind")):
        loop.mailbox.post(act)
    with pytest.raises(SystemExit):
        loop.run()
    assert seen == ["before"]
    loop.run()
    assert seen == ["before", "behind"]


def test_a_wake_up_that_was_not_sent_is_no_reason_to_send_none() -> None:
    """Another thread posts while one is just about to wake the loop, and may never do so."""
    wake_ups: list[Callable[[], None]] = []
    seen: list[str] = []

    def wake(act: Callable[[], None]) -> None:
        if not seen:
            seen.append("interrupted")
            mailbox.post(lambda: seen.append("other"))
            raise Interrupt
        wake_ups.append(act)

    mailbox = Mailbox(wake)
    with pytest.raises(Interrupt):
        mailbox.post(lambda: seen.append("mine"))
    for act in wake_ups:
        act()
    assert seen == ["interrupted", "mine", "other"]


def test_r3_a_thread_that_is_interrupted_at_any_opcode_of_a_post_loses_no_ones_wake_up() -> None:
    # A thread of its own, as Python 3.13 goes on handling an error for good where a trace raises
    # between the last line of an except clause and its end.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(interrupt_everywhere).result()


def interrupt_everywhere() -> None:
    code = (PACKAGE, asyncio.base_events.__file__, asyncio.selector_events.__file__)
    with running_loop() as loop:
        number, tracer = 0, Tracer(0)
        mailbox = Mailbox(loop.call_soon_threadsafe)
        while tracer.left <= 0:
            number += 1
            interrupted: list[int] = []
            others_is_run = threading.Event()
            tracer = Tracer(number, *code)
            with suppress(Interrupt):
                tracer.run(partial(mailbox.post, partial(interrupted.append, number)))
            mailbox.post(others_is_run.set)
            assert others_is_run.wait(SECONDS), f"interrupted at opcode {number}"
            assert interrupted in ([], [number])
        assert interrupted == [number]
        assert number > steps(30)


@pytest.fixture
def switching_all_the_time() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_all_the_time")
def test_r7_whatever_threads_post_at_once_is_run_in_the_order_of_each() -> None:
    threads, posts = 8, 500
    seen: dict[int, list[int]] = defaultdict(list)
    with running_loop() as loop:
        mailbox = Mailbox(loop.call_soon_threadsafe)

        def post(thread: int) -> None:
            for number in range(posts):
                done = threading.Event()

                def act(number: int = number, done: threading.Event = done) -> None:
                    seen[thread].append(number)
                    done.set()

                mailbox.post(act)
                if number % 3 == 0:  # so that the loop sleeps again and again
                    assert done.wait(SECONDS), "a wake-up was lost"
            assert done.wait(SECONDS), "a wake-up was lost"

        with ThreadPoolExecutor(threads) as pool:
            for each in [pool.submit(post, thread) for thread in range(threads)]:
                each.result()
    assert dict(seen) == {thread: list(range(posts)) for thread in range(threads)}


def test_a_loop_that_is_closed_is_an_error_for_each_post() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    mailbox = Mailbox(loop.call_soon_threadsafe)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            mailbox.post(lambda: None)
