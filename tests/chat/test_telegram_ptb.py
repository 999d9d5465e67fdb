from __future__ import annotations

import pytest
from platform_server import Platform
from scenarios import ASK_DATE, ASK_NAME
from telegram import Update
from telegram.ext import Application, ApplicationBuilder
from telegram_platform import TOKEN, TelegramPlatform, message_update
from telegram_scenarios import TelegramScenarios
from typing_extensions import override

import telegram_ptb
from async_session_store import AsyncSessionStore


class PtbBot(TelegramPlatform):
    @override
    async def feed(self, store: AsyncSessionStore, update: dict[str, object]) -> None:
        async with self.application(store) as application:
            await application.process_update(Update.de_json(update, application.bot))

    def application(self, store: AsyncSessionStore) -> Application:
        builder = ApplicationBuilder().token(TOKEN).base_url(f"{self.platform.url}/bot")
        return telegram_ptb.new_application(builder, store)


@pytest.fixture
def bot(platform: Platform) -> PtbBot:
    return PtbBot(platform)


class TestTelegramPtb(TelegramScenarios):
    pass


@pytest.mark.anyio
async def test_it_polls(bot: PtbBot) -> None:
    acknowledged = bot.keep(message_update(1, text="hi"), message_update(2, text="Ann"))
    async with (
        AsyncSessionStore.from_url("memory://") as store,
        bot.application(store) as application,
    ):
        await application.start()
        await application.updater.start_polling(poll_interval=0.05)
        await acknowledged.wait()
        await application.updater.stop()
        await application.stop()
    assert bot.sent() == [ASK_NAME, ASK_DATE]
