from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from platform_server import Platform
from scenarios import ASK_DATE, ASK_NAME, REMINDER, miss_deadline, until
from telegram_platform import TOKEN, TOPIC, TelegramPlatform, message_update
from telegram_scenarios import TelegramScenarios
from typing_extensions import override

import telegram_aiogram
from async_session_store import AsyncSessionStore
from async_session_store.backends.memory import MemoryBackend
from booking import RELEASED
from clock import Clock


class AiogramBot(TelegramPlatform):
    @override
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


class TestTelegramAiogram(TelegramScenarios):
    pass


@pytest.mark.anyio
async def test_it_polls(bot: AiogramBot) -> None:
    acknowledged = bot.keep(message_update(1, text="hi"), message_update(2, text="Ann"))
    async with AsyncSessionStore.from_url("memory://") as store, polling(bot, store):
        await acknowledged.wait()
    assert bot.sent() == [ASK_NAME, ASK_DATE]


@pytest.mark.anyio
async def test_it_reminds_where_it_asked_and_then_releases_the_table(bot: AiogramBot) -> None:
    clock = Clock()
    bot.keep(message_update(1, text="hi", **TOPIC))
    async with AsyncSessionStore(MemoryBackend(clock=clock)) as store, polling(bot, store):
        await until(lambda: bot.sent() == [ASK_NAME])
        await miss_deadline(store, "telegram", "5551", clock)
        await until(lambda: bot.sent() == [ASK_NAME, REMINDER])
        await miss_deadline(store, "telegram", "5551", clock)
        await until(lambda: bot.sent() == [ASK_NAME, REMINDER, RELEASED])
    places = [(call.fields["chat_id"], call.fields["message_thread_id"]) for call in bot.messages()]
    assert places == [("-1001234", "77")] * 3


@asynccontextmanager
async def polling(bot: AiogramBot, store: AsyncSessionStore) -> AsyncIterator[None]:
    dispatcher, client = telegram_aiogram.new_dispatcher(store), bot.client()
    serve = telegram_aiogram.serve(dispatcher, client, store, handle_signals=False)
    task = asyncio.create_task(serve)
    yield
    await dispatcher.stop_polling()
    await task
