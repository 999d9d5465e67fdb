"""What every chat example must do, whatever its framework.

A test module has a fixture ``bot``, which passes messages to its framework, and a subclass of the
scenarios: ``class TestMyFramework(Scenarios)``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Protocol

import pytest

from async_session_store import AsyncSessionStore
from booking import HELP, TIME_TO_ANSWER, ctx_of
from clock import Clock

ASK_NAME = "What name should the booking be under?"
ASK_DATE = "Hello Ann. What date would you like? Please write it like 2030-12-31."
ASK_DATE_AGAIN = "That's not a date. Please write it like 2030-12-31."
CONFIRM = "A table for Ann on 2030-05-01. Shall I book it, yes or no?"
BOOKED = "Done! Your table is booked for Ann on 2030-05-01."

REMINDER = f"Are you still there? {ASK_NAME}"

FLOW = {"hi": ASK_NAME, "Ann": ASK_DATE, "2030-05-01": CONFIRM, "yes": BOOKED}


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


async def miss_deadline(store: AsyncSessionStore, provider: str, user: str, clock: Clock) -> None:
    """Let the time to answer pass once the question is stored, which is after the bot sent it."""
    for _ in range(1000):
        if await store.list_waits_for_user(ctx_of(provider), user):
            clock.advance(TIME_TO_ANSWER.total_seconds())
            return
        await asyncio.sleep(0.01)
    raise AssertionError


class Bot(Protocol):
    """An example bot, and the platform that it talks to."""

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        """Create new bot objects, and feed a user's message to them.

        ``number`` identifies the message. A message that is delivered again has the same number.
        """

    def sent(self) -> list[str]:
        """Return all texts that the bot has sent so far."""


class Chat:
    """One user's chat with a bot that restarts for each message."""

    def __init__(
        self,
        bot: Bot,
        new_store: Callable[[], AsyncSessionStore],
        advance: Callable[[timedelta], None],
    ) -> None:
        self.advance = advance
        self._bot = bot
        self._new_store = new_store
        self._number = 1000

    async def say(self, text: str) -> list[str]:
        """Write a message. Return what the bot sends."""
        return await self.say_at_once(text)

    async def say_at_once(self, *texts: str) -> list[str]:
        """Write several messages at once, each to a bot of its own. Return what the bots send."""
        numbers = [self._number + more for more, _ in enumerate(texts, 1)]
        self._number = numbers[-1]
        return await self._heard(map(self._deliver, texts, numbers))

    async def repeat(self, text: str, times: int = 1) -> list[str]:
        """Deliver the last message again, to several bots at once. Return what they send."""
        return await self._heard(self._deliver(text, self._number) for _ in range(times))

    async def _heard(self, deliveries: Iterable[Awaitable[None]]) -> list[str]:
        before = len(self._bot.sent())
        await asyncio.gather(*deliveries)
        return self._bot.sent()[before:]

    async def _deliver(self, text: str, number: int) -> None:
        async with self._new_store() as store:
            await self._bot.receive(store, text, number)


@pytest.mark.anyio
class Scenarios:
    """The common tests. They use the fixture ``chat``, which uses the fixture ``bot``."""

    async def test_it_continues_after_a_restart_between_any_two_messages(self, chat: Chat) -> None:
        for text, answer in FLOW.items():
            assert await chat.say(text) == [answer]

    async def test_it_starts_a_new_flow_when_one_has_ended(self, chat: Chat) -> None:
        for text in FLOW:
            await chat.say(text)
        assert await chat.say("hi") == [ASK_NAME]

    async def test_it_answers_a_redelivered_message_once(self, chat: Chat) -> None:
        for text, answer in FLOW.items():
            assert await chat.say(text) == [answer]
            assert await chat.repeat(text, times=2) == []

    async def test_it_answers_a_redelivered_command_once(self, chat: Chat) -> None:
        assert await chat.say("help") == [HELP]
        assert await chat.repeat("help") == []

    async def test_it_starts_one_flow_for_two_first_messages_at_once(self, chat: Chat) -> None:
        answers = await chat.say_at_once("Ann", "Ann")
        assert answers == [ASK_NAME, ASK_DATE]

    async def test_it_starts_one_flow_for_a_first_message_delivered_twice_at_once(
        self, chat: Chat
    ) -> None:
        assert await chat.repeat("hi", times=2) == [ASK_NAME]
        assert await chat.say("Ann") == [ASK_DATE]

    @pytest.mark.parametrize("answered", range(1, len(FLOW)))
    async def test_it_starts_a_new_flow_when_a_reply_is_too_late(
        self, chat: Chat, answered: int
    ) -> None:
        texts = list(FLOW)
        for text in texts[:answered]:
            await chat.say(text)
        chat.advance(TIME_TO_ANSWER)
        assert await chat.say(texts[answered]) == [ASK_NAME]

    async def test_it_continues_when_a_reply_is_just_in_time(self, chat: Chat) -> None:
        for text, answer in FLOW.items():
            assert await chat.say(text) == [answer]
            chat.advance(TIME_TO_ANSWER - timedelta(minutes=1))

    async def test_it_answers_a_command_in_between_and_continues(self, chat: Chat) -> None:
        for text, answer in FLOW.items():
            assert await chat.say("help") == [HELP]
            assert await chat.say(text) == [answer]

    async def test_it_asks_again_when_it_cannot_parse_an_answer(self, chat: Chat) -> None:
        await chat.say("hi")
        await chat.say("Ann")
        assert await chat.say("tomorrow") == [ASK_DATE_AGAIN]
        assert await chat.say("2030-05-01") == [CONFIRM]
        assert await chat.say("perhaps") == ["Please answer yes or no."]
        assert await chat.say("no") == ["OK, I haven't booked anything."]
