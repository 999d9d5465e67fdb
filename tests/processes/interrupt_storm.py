"""Interrupt a thread that uses a store, again and again, at any bytecode.

    python interrupt_storm.py URL INTERRUPTS

The signals of a timer hit the main thread, where a handler raises within calls, blocks and the
opening and closing of stores. Meanwhile, other threads use the same store. The program prints its
counts, and exits with 0 if all threads still get their answers, ``close()`` returns, and no claim
is left. An exception that Python reports as "ignored" was raised in a finalizer, where no program
sees it.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from async_session_store import (
    ConflictError,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionStore,
    TenantCtx,
    WaitClaimedError,
)
from async_session_store.testing.contract.turn_builders import Message

URL = sys.argv[1]
NAMESPACE = f"test:storm:{os.getpid()}" if URL.startswith("redis") else None

LEASE = 0.5
PLACES = 40
OTHERS = 3
HANG = 60.0
AGAIN = 0.3  # chance that another interrupt follows, which may hit the clean-up
LONGEST_DELAY = 0.002
EDITED = '{"edited":true}'

CTX = TenantCtx(env="test", tenant_id="acme", user_id="u1")


class TimeLimitError(Exception):
    """Raised by the handler, as the soft time limit of a task queue is."""


class Interrupts:
    """Signals that arrive only while an action runs."""

    def __init__(self) -> None:
        self.count = 0
        self._chance = random.Random(7)
        self._is_armed = False
        signal.signal(signal.SIGALRM, self._interrupt)

    def during(self, act: Callable[[], object]) -> None:
        """Run an action, and interrupt it."""
        try:
            try:
                self._is_armed = True
                signal.setitimer(signal.ITIMER_REAL, self._delay())
                act()
            finally:
                self._is_armed = False
        except TimeLimitError:
            pass
        self._is_armed = False
        # Python drops the handler when it exits, and then the timer would end the process.
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._is_armed:
            return
        self.count += 1
        if self._chance.random() < AGAIN:
            signal.setitimer(signal.ITIMER_REAL, self._delay() / 4)
        else:
            self._is_armed = False
        raise TimeLimitError

    def _delay(self) -> float:
        return self._chance.uniform(0.00001, LONGEST_DELAY)


def data(text: str) -> SessionData:
    cursor = SessionCursor(node_pointer="wait")
    return SessionData(tenant_ctx=CTX, flow_id="storm", cursor=cursor, context_json=text)


def scope(place: object) -> ReplyScope:
    return ReplyScope(conversation=f"chat-{place}")


def new_store() -> SessionStore:
    return SessionStore.from_url(URL, namespace=NAMESPACE)


# --- Interrupted actions ----------------------------------------------------------------------


class Actions:
    """The actions of the main thread."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._chance = random.Random(5)
        self._place = 0
        self._acts = (
            *(self.register, self.read, self.edit, self.claim),
            *(self.resume, self.resume, self.resume_and_fail, self.resume_and_ask),
            *(self.take_turn, self.take_turn),
            *(self.keep, self.claim_expired, self.remind, self.let_go),
        )

    def next(self) -> None:
        self._place = self._chance.randrange(PLACES)
        act = self._chance.choice(self._acts)
        with suppress(ConflictError, LookupError):
            act()

    def register(self) -> None:
        self._store.register_wait(CTX, "u1", scope(self._place), self._key, data("{}"))

    def read(self) -> None:
        found = self._store.get_session(self._key)
        assert found is None or found.context_json in ("{}", EDITED)

    def edit(self) -> None:
        self._store.edit_session(self._key, lambda _: data(EDITED))

    def claim(self) -> None:
        claim = self._store.claim_wait(CTX, "u1", scope(self._place), lease=LEASE)
        if claim is not None:
            claim.release()

    def resume(self) -> None:
        with self._store.resume_wait(CTX, "u1", scope(self._place), lease=LEASE):
            pass

    def resume_and_ask(self) -> None:
        with self._store.resume_wait(CTX, "u1", scope(self._place), lease=LEASE):
            self.register()

    def take_turn(self) -> None:
        message = Message(scope=scope(self._place))
        with self._store.turn(
            CTX, message, flow="storm", memory=dict[str, bool], lease=LEASE, wait=2 * LEASE
        ) as turn:
            turn.memory["edited"] = True
            turn.ask("wait")

    def keep(self) -> None:
        """Register a wait that expires at once, and is kept."""
        place = scope(self._place)
        self._store.register_wait(CTX, "u1", place, self._key, data("{}"), 0.001, expired_ttl=HANG)

    def claim_expired(self) -> None:
        for claim in self._store.claim_expired(CTX, limit=3, lease=LEASE):
            claim.release()

    def remind(self) -> None:
        """Take the turn on an expired wait. One is free at the latest when a lease has ended."""
        self.keep()
        for claim in self._store.expired_waits(CTX, lease=LEASE, poll=0.001):
            with self._store.expired_turn(claim, memory=dict[str, bool]) as turn:
                turn.memory["edited"] = True
                turn.ask("wait", ttl=HANG)
            break

    def let_go(self) -> None:
        self.keep()
        waits = self._store.expired_waits(CTX, lease=LEASE, poll=0.001)
        for claim in waits:
            claim.complete()
            waits.stop()

    def resume_and_fail(self) -> None:
        with (
            suppress(KeyError),
            self._store.resume_wait(CTX, "u1", scope(self._place), lease=LEASE),
        ):
            raise KeyError

    @property
    def _key(self) -> str:
        return f"k{self._place}"


def open_and_close(stores: list[SessionStore]) -> None:
    store = new_store()
    stores.append(store)
    with store:
        store.ping()


# --- Other threads ----------------------------------------------------------------------------


class Others:
    """Threads that use the store, each at a scope of its own."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._stopping = threading.Event()
        self.turns = [0] * OTHERS
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._use, args=[number], daemon=True)
            for number in range(OTHERS)
        ]
        for thread in self._threads:
            thread.start()

    def _use(self, number: int) -> None:
        place, key = scope(f"other-{number}"), f"other-{number}"
        try:
            while not self._stopping.is_set():
                text = f'"{self.turns[number]}"'
                self._store.register_wait(CTX, "u1", place, key, data(text))
                with self._store.resume_wait(CTX, "u1", place) as record:
                    assert record is not None
                    assert record.data.context_json == text
                self.turns[number] += 1
        except BaseException as error:
            self._errors.append(error)
            raise

    def assert_all_are_answered(self) -> None:
        before = list(self.turns)
        end = time.monotonic() + HANG / 2
        while not all(now > then for now, then in zip(self.turns, before, strict=True)):
            assert time.monotonic() < end, (self.turns, before)
            time.sleep(0.005)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(HANG / 2)
            assert not thread.is_alive()
        assert not self._errors


# --- The storm --------------------------------------------------------------------------------


def claims_left(store: SessionStore) -> int:
    held = 0
    for place in range(PLACES):
        store.register_wait(CTX, "u1", scope(place), f"k{place}", data("{}"))
        try:
            claim = store.claim_wait(CTX, "u1", scope(place))
        except WaitClaimedError:
            held += 1
        else:
            assert claim is not None
            claim.complete()
    return held


def storm_of_calls(interrupts: Interrupts, until: int) -> int:
    """Interrupt calls and blocks. Return how many claims were left to their leases."""
    store = new_store().open()
    others, actions = Others(store), Actions(store)
    watched = time.monotonic()
    while interrupts.count < until:
        interrupts.during(actions.next)
        if time.monotonic() - watched > 1:
            others.assert_all_are_answered()
            faulthandler.dump_traceback_later(HANG, exit=True)
            watched = time.monotonic()
    others.assert_all_are_answered()
    others.stop()
    left = claims_left(store)
    time.sleep(LEASE)
    assert claims_left(store) == 0
    begun = time.monotonic()
    store.close()
    assert time.monotonic() - begun < HANG / 6
    return left


def storm_of_stores(interrupts: Interrupts, until: int) -> int:
    """Interrupt opening and closing. Return how many stores were opened."""
    opened = 0
    while interrupts.count < until:
        stores: list[SessionStore] = []
        interrupts.during(lambda stores=stores: open_and_close(stores))
        for store in stores:
            store.close()
            opened += 1
        faulthandler.dump_traceback_later(HANG, exit=True)
    return opened


def assert_no_thread_is_left() -> None:
    end = time.monotonic() + HANG / 2
    while threading.active_count() > 1:
        assert time.monotonic() < end, threading.enumerate()
        time.sleep(0.01)


def main(number: int) -> None:
    faulthandler.dump_traceback_later(HANG, exit=True)
    interrupts = Interrupts()
    in_calls = number * 9 // 10
    left = storm_of_calls(interrupts, in_calls)
    opened = storm_of_stores(interrupts, number)
    assert_no_thread_is_left()
    print(
        f"{interrupts.count} interrupts on Python {sys.version.split()[0]}, {URL.split(':')[0]}: "
        f"0 hangs; {left} claims left to their leases at the end; {opened} stores opened"
    )


if __name__ == "__main__":
    main(int(sys.argv[2]))
