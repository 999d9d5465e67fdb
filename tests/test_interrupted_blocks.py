"""``SessionStore``: an interrupt at each opcode at which a block begins and ends, one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from async_session_store import (
    ClaimLostError,
    ReplyScope,
    SessionStore,
    SyncWaitClaim,
    WaitClaimedError,
)
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, data
from async_session_store.testing.contract.turn_builders import Message, Order
from opcodes import Interrupt, Tracer, steps

LEASE = 0.5


def scope(number: int) -> ReplyScope:
    return ReplyScope(conversation=f"chat-{number}")


def resume(store: SessionStore, number: int) -> None:
    with store.resume_wait(CTX, "u1", scope(number), lease=LEASE):
        pass


def fail(store: SessionStore, number: int) -> None:
    with store.resume_wait(CTX, "u1", scope(number), lease=LEASE):
        raise KeyError


def take_turn(store: SessionStore, number: int) -> None:
    message = Message("hi", scope=scope(number))
    with store.turn(CTX, message, flow="order", memory=Order, lease=LEASE) as turn:
        turn.memory.toppings.append("olives")
        turn.ask("take_size")


def begin(store: SessionStore, number: int) -> None:
    message = Message("hi", scope=scope(-number))
    with store.turn(CTX, message, flow="order", memory=Order, lease=LEASE) as turn:
        turn.ask("take_size")


def claim(store: SessionStore, number: int) -> None:
    held = store.claim_wait(CTX, "u1", scope(number), lease=LEASE)
    assert held is not None
    held.release()


@pytest.mark.parametrize("use", [resume, fail, claim, take_turn, begin])
def test_r3_no_claim_is_renewed_without_a_holder_wherever_its_thread_was_interrupted(
    use: Callable[[SessionStore, int], None],
) -> None:
    # A thread of its own, as Python 3.13 goes on handling an error for good where a trace raises
    # between the last line of an except clause and its end.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(interrupt_everywhere, use).result()


def interrupt_everywhere(use: Callable[[SessionStore, int], None]) -> None:
    errors: list[BaseException] = []  # kept, and with them all that their tracebacks hold
    with SessionStore(MemoryBackend()) as store:
        number = 0
        tracer = Tracer(0)
        while tracer.left <= 0:
            number += 1
            store.register_wait(CTX, "u1", scope(number), f"k{number}", data())
            tracer = Tracer(number)
            try:
                tracer.run(partial(use, store, number))
            except (Interrupt, KeyError) as error:
                errors.append(error)
        assert number > steps(100)
        time.sleep(2 * LEASE)  # a renewal may have been under way
        for each in range(1, number + 1):
            for at in (each, -each):
                if store.get_wait(CTX, "u1", scope(at)) is not None:
                    assert_not_claimed(store, at)


def assert_not_claimed(store: SessionStore, number: int) -> None:
    try:
        held = store.claim_wait(CTX, "u1", scope(number))
    except WaitClaimedError:
        pytest.fail(f"interrupted at opcode {number}, it is still claimed")
    assert held is not None
    held.release()


def give_back_expired(store: SessionStore) -> None:
    for held in store.claim_expired(lease=LEASE, limit=2):
        held.release()


def take_expired_turn(store: SessionStore) -> None:
    for held in store.claim_expired(lease=LEASE):
        with store.expired_turn(held, memory=Order) as turn:
            turn.memory.toppings.append("olives")
            turn.ask("take_size")


def take_late_turn(store: SessionStore) -> None:
    for held in store.claim_expired(lease=0.02):
        time.sleep(0.01)  # so that the block renews it first
        with store.expired_turn(held, memory=Order):
            pass


def iterate(store: SessionStore) -> None:
    waits = store.expired_waits(lease=LEASE, poll=0.001)
    for held in waits:
        held.complete()
        waits.stop()


@pytest.mark.parametrize("use", [give_back_expired, take_expired_turn, take_late_turn, iterate])
def test_r3_q2_no_expired_wait_is_held_without_a_holder_wherever_its_thread_was_interrupted(
    use: Callable[[SessionStore], None],
) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(interrupt_everywhere_in_a_worker, use).result()


def interrupt_everywhere_in_a_worker(use: Callable[[SessionStore], None]) -> None:
    errors: list[BaseException] = []  # kept, and with them all that their tracebacks hold
    backend = MemoryBackend()
    with SessionStore(backend) as store:
        number = 0
        tracer = Tracer(0)
        while tracer.left <= 0:
            number += 1
            at, key = scope(number), f"k{number}"
            store.register_wait(CTX, "u1", at, key, data(), 0.001, expired_ttl=600)
            time.sleep(0.002)
            tracer = Tracer(number)
            try:
                tracer.run(partial(use, store))
            except (Interrupt, ClaimLostError) as error:
                errors.append(error)
        assert number > steps(100)
        time.sleep(2 * LEASE)  # a renewal may have been under way
        claims: list[SyncWaitClaim] = []
        while more := store.claim_expired(limit=1000):
            claims += more
        assert {one.record.key for one in claims if one.record} == set(
            backend._sessions.kept.sessions
        )
