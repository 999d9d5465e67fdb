from __future__ import annotations

import asyncio

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from platform_server import Platform
from scenarios import ASK_DATE, ASK_NAME
from telegram_platform import TOKEN, TelegramPlatform, message_update
from telegram_scenarios import TelegramScenarios
from typing_extensions import override

import telegram_aiogram
from async_session_store import AsyncSessionStore


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
