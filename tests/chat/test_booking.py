"""The flow itself, without a framework, and cases that are hard to show with one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from scenarios import ASK_DATE, ASK_NAME, BOOKED, CONFIRM, REMINDER, Scenarios, miss_deadline, until

import booking
from async_session_store import AsyncSessionStore, StoreUnavailableError, UserId
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.channels import Inbound, Place
from booking import HELP, RELEASED, TRY_AGAIN
from clock import Clock


def inbound(text: str | None, number: int) -> Inbound:
    return Inbound(
        provider="test",
        bot_id="booking",
        conversation="chat-42",
        user_id=UserId("alice"),
        delivery_id=str(number),
        text=text,
    )


class PlainBot:
    def __init__(self) -> None:
        self._sent: list[str] = []

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await booking.handle(store, inbound(text, number), self.send)

    async def send(self, text: str) -> None:
        self._sent.append(text)

    async def remind(self, place: Place, text: str) -> None:
        assert place.conversation == "chat-42"
        await self.send(text)

    def sent(self) -> list[str]:
        return list(self._sent)


@pytest.fixture
def bot() -> PlainBot:
    return PlainBot()


class TestBooking(Scenarios):
    pass


@pytest.mark.anyio
async def test_an_answer_that_could_not_be_sent_is_sent_when_the_message_is_redelivered(
    bot: PlainBot,
) -> None:
    async def fail(text: str) -> None:
        raise ConnectionError(text)

    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        with pytest.raises(ConnectionError):
            await booking.handle(store, inbound("Ann", 2), fail)
        await bot.receive(store, "Ann", 2)
    assert bot.sent() == [ASK_NAME, ASK_DATE]


@pytest.mark.anyio
async def test_a_photo_is_not_a_name(bot: PlainBot) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        await booking.handle(store, inbound(None, 2), bot.send)
    assert bot.sent() == [ASK_NAME, "Please type a name."]


@pytest.mark.anyio
async def test_the_user_is_asked_to_try_again_when_the_storage_is_unavailable(
    bot: PlainBot,
) -> None:
    class AwayBackend(MemoryBackend):
        async def claim_wait(self, *_: object, **__: object) -> NoReturn:
            raise StoreUnavailableError("away")

    async with AsyncSessionStore(AwayBackend()) as store:
        await bot.receive(store, "hi", 1)
    assert bot.sent() == [TRY_AGAIN]


class Late:
    """A chat in which a test decides when the time to answer is over."""

    def __init__(self, bot: PlainBot, store: AsyncSessionStore, clock: Clock) -> None:
        self.bot = bot
        self.store = store
        self._clock = clock
        self._number = 0

    async def hear(self, *texts: str) -> None:
        for text in texts:
            self._number += 1
            await self.bot.receive(self.store, text, self._number)

    async def miss_deadline(self) -> None:
        await miss_deadline(self.store, "test", "alice", self._clock)

    def reminders(self) -> AbstractAsyncContextManager[None]:
        return booking.reminders(self.store, "test", self.bot.remind)

    async def has_said(self, *texts: str) -> None:
        await until(lambda: self.bot.sent() == [*texts])


@pytest.fixture(params=["memory", "sqlite"])
async def late(
    request: pytest.FixtureRequest, bot: PlainBot, tmp_path: Path
) -> AsyncIterator[Late]:
    booking.held.clear()
    clock = Clock(time.time)
    backends = {"memory": MemoryBackend, "sqlite": partial(SqliteBackend, tmp_path / "bot.db")}
    async with AsyncSessionStore(backends[request.param](clock=clock)) as store:
        yield Late(bot, store, clock)


TO_CONFIRM = {"hi": ASK_NAME, "Ann": ASK_DATE, "2030-05-01": CONFIRM}


@pytest.mark.anyio
async def test_it_reminds_once_and_then_releases_the_table(late: Late) -> None:
    await late.hear(*TO_CONFIRM)
    said = list(TO_CONFIRM.values())
    async with late.reminders():
        await late.miss_deadline()
        said.append(f"Are you still there? {CONFIRM}")
        await late.has_said(*said)
        assert len(booking.held) == 1
        await late.miss_deadline()
        await late.has_said(*said, RELEASED)
    assert booking.held == set()
    await late.hear("hi")
    await late.has_said(*said, RELEASED, ASK_NAME)


@pytest.mark.anyio
async def test_a_user_who_answers_a_reminder_is_reminded_of_the_next_question_too(
    late: Late,
) -> None:
    await late.hear("hi")
    async with late.reminders():
        await late.miss_deadline()
        await late.has_said(ASK_NAME, REMINDER)
        await late.hear("help", "Ann")
        await late.miss_deadline()
        ask_date_again = (
            "Are you still there? What date would you like? Please write it like 2030-12-31."
        )
        await late.has_said(ASK_NAME, REMINDER, HELP, ASK_DATE, ask_date_again)
        await late.hear("2030-05-01", "yes")
    assert late.bot.sent()[-1] == BOOKED
    assert booking.held == set()


@pytest.mark.anyio
async def test_a_user_who_has_started_again_is_not_reminded_of_the_old_flow(late: Late) -> None:
    await late.hear(*TO_CONFIRM)
    await late.miss_deadline()
    await late.hear(*TO_CONFIRM)
    assert len(booking.held) == 2
    async with late.reminders():
        await until(lambda: len(booking.held) == 1)
        await late.hear("yes")
    await late.has_said(*TO_CONFIRM.values(), *TO_CONFIRM.values(), BOOKED)


@pytest.mark.anyio
async def test_a_reminder_that_could_not_be_sent_is_sent_later(
    late: Late, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [ConnectionError("away")]

    async def fail_once(place: Place, text: str) -> None:
        if failures:
            raise failures.pop()
        await late.bot.remind(place, text)

    await late.hear("hi")
    await late.miss_deadline()
    async with booking.reminders(late.store, "test", fail_once):
        await late.has_said(ASK_NAME, REMINDER)
    assert [record.message for record in caplog.records] == [
        "could not handle an expired wait; it will be handed out again"
    ]


def test_it_reminds_in_a_terminal() -> None:
    with subprocess.Popen(
        [sys.executable, booking.__file__],
        env={**os.environ, "SESSION_STORE_URL": "memory://", "SESSION_WAIT_TTL_SECS": "0.3"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        print("hi", file=process.stdin, flush=True)
        said = [process.stdout.readline().strip() for _ in range(3)]
        process.stdin.close()
    assert (said, process.returncode) == ([ASK_NAME, REMINDER, RELEASED], 0)


def test_it_continues_after_the_terminal_was_closed(tmp_path: Path) -> None:
    assert terminal(tmp_path, "hi", "Ann") == [ASK_NAME, ASK_DATE]
    assert terminal(tmp_path, "/help", "2030-05-01", "yes") == [HELP, CONFIRM, BOOKED]


def terminal(folder: Path, *lines: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, booking.__file__],
        env={**os.environ, "SESSION_STORE_URL": "sqlite:///booking.db"},
        cwd=folder,
        input="\n".join([*lines, ""]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()
