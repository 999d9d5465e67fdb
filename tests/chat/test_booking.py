"""The flow itself, without a framework; and what a framework cannot easily show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from scenarios import ASK_DATE, ASK_NAME, BOOKED, CONFIRM, Scenarios

import booking
from async_session_store import AsyncSessionStore, StoreUnavailableError, UserId
from async_session_store.backends.memory import MemoryBackend
from async_session_store.channels import Inbound
from booking import HELP, TRY_AGAIN


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

    def sent(self) -> list[str]:
        return list(self._sent)


@pytest.fixture
def bot() -> PlainBot:
    return PlainBot()


class TestBooking(Scenarios):
    pass


@pytest.mark.anyio
async def test_an_answer_that_could_not_be_sent_is_sent_when_the_message_comes_again(
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
async def test_a_photo_is_no_name(bot: PlainBot) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        await booking.handle(store, inbound(None, 2), bot.send)
    assert bot.sent() == [ASK_NAME, "Please write a name."]


@pytest.mark.anyio
async def test_the_user_is_asked_to_try_again_when_the_storage_is_away(bot: PlainBot) -> None:
    class AwayBackend(MemoryBackend):
        async def claim_wait(self, *_: object, **__: object) -> NoReturn:
            raise StoreUnavailableError("away")

    async with AsyncSessionStore(AwayBackend()) as store:
        await bot.receive(store, "hi", 1)
    assert bot.sent() == [TRY_AGAIN]


def test_it_goes_on_in_a_terminal_that_was_closed(tmp_path: Path) -> None:
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
