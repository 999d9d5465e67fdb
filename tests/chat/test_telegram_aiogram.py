from __future__ import annotations

import asyncio

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from platform_server import Platform
from scenarios import ASK_DATE, ASK_NAME, Scenarios
from telegram_platform import NOT_ANSWERED, TOKEN, TOPIC, TelegramPlatform, message_update

import telegram_aiogram
from async_session_store import AsyncSessionStore


class AiogramBot(TelegramPlatform):
    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await self.feed(store, message_update(number, text=text))

    async def feed(self, store: AsyncSessionStore, update: dict[str, object]) -> None:
        dispatcher = telegram_aiogram.new_dispatcher(store)
        async with self.client() as client:
            await dispatcher.feed_raw_update(client, update)

    def client(self) -> Bot:
        server = TelegramAPIServer.from_base(self.platform.url)
        return Bot(TOKEN, session=AiohttpSession(api=server))


@pytest.fixture
def bot(platform: Platform) -> AiogramBot:
    return AiogramBot(platform)


class TestTelegramAiogram(Scenarios):
    pass


@pytest.mark.anyio
@pytest.mark.parametrize("update", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
async def test_what_no_user_wrote_answers_nothing(
    bot: AiogramBot, update: dict[str, object]
) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        await bot.feed(store, update)
        assert bot.sent() == [ASK_NAME]
        await bot.receive(store, "Ann", 4)
        assert bot.sent() == [ASK_NAME, ASK_DATE]


@pytest.mark.anyio
async def test_a_topic_is_answered_where_it_is(bot: AiogramBot) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.feed(store, message_update(1, text="hi", **TOPIC))
    (call,) = bot.messages()
    assert (str(call.fields["chat_id"]), str(call.fields["message_thread_id"])) == (
        "-1001234",
        "77",
    )


@pytest.mark.anyio
async def test_it_polls(bot: AiogramBot) -> None:
    acknowledged = bot.keep(message_update(1, text="hi"), message_update(2, text="Ann"))
    async with AsyncSessionStore.from_url("memory://") as store:
        dispatcher = telegram_aiogram.new_dispatcher(store)
        polling = dispatcher.start_polling(
            bot.client(), handle_as_tasks=False, handle_signals=False
        )
        task = asyncio.create_task(polling)
        await acknowledged.wait()
        await dispatcher.stop_polling()
        await task
    assert bot.sent() == [ASK_NAME, ASK_DATE]
