from __future__ import annotations

import pytest
from platform_server import Platform
from scenarios import Scenarios
from telegram import Update
from telegram.ext import ApplicationBuilder
from telegram_platform import TOKEN, TelegramPlatform, message_update

import telegram_ptb
from async_session_store import AsyncSessionStore


class PtbBot(TelegramPlatform):
    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await self.feed(store, message_update(number, text=text))

    async def feed(self, store: AsyncSessionStore, update: dict[str, object]) -> None:
        builder = ApplicationBuilder().token(TOKEN).base_url(f"{self.platform.url}/bot")
        async with telegram_ptb.new_application(builder, store) as application:
            await application.process_update(Update.de_json(update, application.bot))


@pytest.fixture
def bot(platform: Platform) -> PtbBot:
    return PtbBot(platform)


class TestTelegramPtb(Scenarios):
    pass
