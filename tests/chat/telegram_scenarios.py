"""Scenarios for every bot on Telegram, in addition to the common ones."""

from __future__ import annotations

import pytest
from scenarios import ASK_DATE, ASK_NAME, Scenarios
from telegram_platform import NOT_ANSWERED, TOPIC, TelegramPlatform, message_update

from async_session_store import AsyncSessionStore


class TelegramScenarios(Scenarios):
    """Scenarios whose fixture ``bot`` returns a :class:`TelegramPlatform`."""

    @pytest.mark.parametrize("update", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
    async def test_updates_that_are_not_a_users_turn_are_not_answered(
        self, bot: TelegramPlatform, update: dict[str, object]
    ) -> None:
        async with AsyncSessionStore.from_url("memory://") as store:
            await bot.receive(store, "hi", 1)
            await bot.feed(store, update)
            assert bot.sent() == [ASK_NAME]
            await bot.receive(store, "Ann", 4)
            assert bot.sent() == [ASK_NAME, ASK_DATE]

    async def test_a_message_in_a_topic_is_answered_there(self, bot: TelegramPlatform) -> None:
        async with AsyncSessionStore.from_url("memory://") as store:
            await bot.feed(store, message_update(1, text="hi", **TOPIC))
        (call,) = bot.messages()
        assert (str(call.fields["chat_id"]), str(call.fields["message_thread_id"])) == (
            "-1001234",
            "77",
        )
