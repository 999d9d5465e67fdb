"""Turns of real processes, and of the tasks and threads in one: in order, and each taken once."""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator

import pytest
from turn_processes import Event, TurnWorkers, turn_workers
from turn_worker import CTX, SCOPE, Answers, Message
from worker_processes import Storage

from async_session_store import SessionRecord, SessionStore

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(300)]

QUICK = 3
IN_FLIGHT = 40
"""Users who write at the same time."""

FORMS = [("asyncio", 8, 500), ("asyncio", 1, 150), ("trio", 1, 150), ("threads", 1, 150)]
"""The form of the workers, their number, and the number of users."""


@pytest.fixture
def crowded() -> bool:
    """Leave out the crowded form: the crowd's calls would be announced too."""
    return False


def waiting(storage: Storage, users: list[str]) -> dict[str, SessionRecord]:
    """Return each user's only flow."""
    with SessionStore.from_url(storage.url, namespace=storage.namespace or None) as store:
        found = {user: store.list_wait_records(CTX, user) for user in users}
    assert all(len(records) == 1 for records in found.values())
    assert all(records[0].scope == SCOPE for records in found.values())
    return {user: records[0] for user, records in found.items()}


def taken(record: SessionRecord) -> list[int]:
    return Answers.model_validate_json(record.data.context_json).taken


def handle_quick_messages(
    storage: Storage,
    form: str,
    count: int,
    users: list[str],
    other_ids: Callable[[str, int], tuple[str, ...]],
) -> None:
    """Send each user's messages to any worker, as soon as the storage has the one before."""
    to_send = deque((user, 0) for user in users)
    chance, done, in_flight = random.Random(4), 0, 0
    with turn_workers(storage, count, form=form, take="any") as workers:

        def send(user: str, number: int) -> None:
            pause, more = chance.uniform(0, 0.03), other_ids(user, number)
            message = Message(user, number, pause=pause, other_ids=more)
            workers.send(chance.randrange(count), message)

        while done < len(users) * QUICK:
            while to_send and in_flight < IN_FLIGHT:
                send(*to_send.popleft())
                in_flight += 1
            event = workers.next_event()
            if event.what == "has":
                # The storage has it: the user's next message comes at once, to any process.
                if event.number + 1 < QUICK:
                    send(event.user, event.number + 1)
            else:
                assert event.what == "done", event
                done += 1
                in_flight -= event.number + 1 == QUICK
    found = waiting(storage, users)
    assert sum(taken(record) == list(range(QUICK)) for record in found.values()) == len(users)


@pytest.mark.parametrize(("form", "count", "user_count"), FORMS)
def test_n4_quick_messages_are_handled_in_order(
    storage: Storage, form: str, count: int, user_count: int
) -> None:
    users = [f"user-{number}" for number in range(user_count)]
    handle_quick_messages(storage, form, count, users, lambda _user, _number: ())


def test_k7_n4_quick_messages_known_by_different_ids_are_handled_in_order(
    storage: Storage,
) -> None:
    users = [f"user-{number}" for number in range(100)]

    def other_ids(user: str, number: int) -> tuple[str, ...]:
        """Return no other id of the first message, and then one in every other message."""
        return (f"lasting-{user}",) if number % 2 else ()

    handle_quick_messages(storage, "asyncio", 4, users, other_ids)
    with SessionStore.from_url(storage.url, namespace=storage.namespace or None) as store:
        assert store.count_waits(CTX) == len(users)


class Conversation:
    """A user who answers each question after it was asked."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.number = 0
        """The number of the next unhandled message, and so the count of handled ones."""
        self.holders: set[int] = set()
        """The workers that have the message."""


class Platform:
    """A loop that delivers each message until it was handled, and kills workers meanwhile."""

    def __init__(self, workers: TurnWorkers, kills: int, messages: int) -> None:
        self._workers = workers
        self._kills = kills
        self._messages = messages
        self._chance = random.Random(kills)
        self._alive = set(range(4))
        self._killed = 0
        self.repeated = 0
        self.talks = {f"user-{number}": Conversation(f"user-{number}") for number in range(8)}

    def run(self) -> None:
        self._deliver_all()
        while self._killed < self._kills or self._least_handled() < self._messages:
            event = self._workers.next_event()
            if event.what == "ready":
                self._alive.add(event.worker)
                self._deliver_all()
            elif event.what == "died":
                self._on_death(event.worker)
            elif event.what != "has":
                self._on_answer(event)

    def _least_handled(self) -> int:
        return min(talk.number for talk in self.talks.values())

    def _on_death(self, worker: int) -> None:
        self._killed += 1
        self._alive.discard(worker)
        self._workers.start(worker)
        for talk in self.talks.values():
            if worker in talk.holders:
                talk.holders.discard(worker)
                self.repeated += not talk.holders
        self._deliver_all()

    def _on_answer(self, event: Event) -> None:
        # A message that was handled before its worker could say so is a duplicate.
        assert event.what in ("done", "duplicate", "lost"), event
        talk = self.talks[event.user]
        talk.holders.discard(event.worker)
        if event.what != "lost" and event.number == talk.number:
            talk.number += 1
            talk.holders.clear()
        if not talk.holders:
            self._deliver(talk)
            if self._chance.random() < 0.1:
                self._deliver(talk)  # delivered twice at once

    def _deliver_all(self) -> None:
        for talk in self.talks.values():
            if not talk.holders:
                self._deliver(talk)

    def _deliver(self, talk: Conversation) -> None:
        if not self._alive:
            return
        dies_after = None
        if self._killed < self._kills and self._chance.random() < 0.3:
            dies_after = self._chance.uniform(0.0005, 0.02)
        worker = self._chance.choice(sorted(self._alive))
        talk.holders.add(worker)
        pause = self._chance.uniform(0, 0.006)
        message = Message(talk.user, talk.number, lease=1.0, pause=pause, dies_after=dies_after)
        self._workers.send(worker, message)


def kill_workers_in_their_turns(storage: Storage, kills: int, messages: int) -> int:
    """Let 4 workers take turns, and kill them now and then. Return how many messages came again."""
    with turn_workers(storage, 4) as workers:
        platform = Platform(workers, kills, messages)
        platform.run()
    for user, record in waiting(storage, list(platform.talks)).items():
        # Each message once, and the flow waits for the answer to the question after the last.
        last = int(record.data.cursor.node_pointer)
        assert taken(record) == list(range(last))
        assert last in (platform.talks[user].number, platform.talks[user].number + 1)
    return platform.repeated


def test_n1_n3_messages_are_handled_once_by_workers_that_are_killed(storage: Storage) -> None:
    assert kill_workers_in_their_turns(storage, kills=25, messages=15) > 10


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_n1_n3_messages_are_handled_once_however_often_workers_are_killed(
    storage: Storage, request: pytest.FixtureRequest
) -> None:
    kills = int(request.config.getoption("--rounds"))
    assert kill_workers_in_their_turns(storage, kills, messages=3 * kills) > kills / 4


@pytest.fixture
def stopped(storage: Storage) -> Iterator[TurnWorkers]:
    """Yield a worker that was suspended in a turn until its lease had ended."""
    with turn_workers(storage, 2) as workers:
        workers.send(0, Message("ann", 0))
        workers.expect("has")
        workers.expect("done")
        workers.send(0, Message("ann", 1, lease=1.0, pause=0.3))
        workers.expect("has")
        workers.signal(0, signal.SIGSTOP)
        time.sleep(1.2)
        yield workers


def test_n5_a_worker_that_was_suspended_changes_nothing_that_its_successor_wrote(
    storage: Storage, stopped: TurnWorkers
) -> None:
    for number in (1, 2):
        stopped.send(1, Message("ann", number))
        assert stopped.expect("has").worker == 1
        stopped.expect("done")
    before = waiting(storage, ["ann"])
    assert taken(before["ann"]) == [0, 1, 2]
    stopped.signal(0, signal.SIGCONT)
    event = stopped.expect("lost")
    assert (event.worker, event.number) == (0, 1)
    assert waiting(storage, ["ann"]) == before


def test_n5_a_worker_that_was_suspended_changes_nothing_while_its_successor_works(
    storage: Storage, stopped: TurnWorkers
) -> None:
    stopped.send(1, Message("ann", 1, pause=1.0))
    stopped.expect("has")
    before = waiting(storage, ["ann"])
    stopped.signal(0, signal.SIGCONT)
    assert stopped.expect("lost").worker == 0
    assert waiting(storage, ["ann"]) == before
    stopped.expect("done")
    assert taken(waiting(storage, ["ann"])["ann"]) == [0, 1]


def test_n4_a_process_that_dies_in_the_queue_holds_nobody_up(storage: Storage) -> None:
    with turn_workers(storage, 3) as workers:
        workers.send(0, Message("ann", 0, pause=0.6))
        workers.expect("has")
        workers.send(1, Message("ann", 1))
        workers.expect("has")
        workers.send(2, Message("ann", 1))  # the same message, delivered again behind it
        workers.expect("has")
        workers.signal(1, signal.SIGKILL)
        begun = time.monotonic()
        seen = defaultdict(list)
        while "done" not in seen or len(seen["done"]) < 2:
            event = workers.next_event()
            seen[event.what].append(event.number)
        assert seen["done"] == [0, 1]
        assert time.monotonic() - begun < 3
