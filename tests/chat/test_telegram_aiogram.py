from __future__ import annotations

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from platform_server import Platform
from scenarios import Scenarios
from telegram_platform import TOKEN, TelegramPlatform, message_update

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
