from __future__ import annotations

import pytest
from platform_server import Platform
from scenarios import ASK_DATE, ASK_NAME, Scenarios
from telegram import Update
from telegram.ext import Application, ApplicationBuilder
from telegram_platform import NOT_ANSWERED, TOKEN, TOPIC, TelegramPlatform, message_update

import telegram_ptb
from async_session_store import AsyncSessionStore


class PtbBot(TelegramPlatform):
    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await self.feed(store, message_update(number, text=text))

    async def feed(self, store: AsyncSessionStore, update: dict[str, object]) -> None:
        async with self.application(store) as application:
            await application.process_update(Update.de_json(update, application.bot))

    def application(self, store: AsyncSessionStore) -> Application:
        builder = ApplicationBuilder().token(TOKEN).base_url(f"{self.platform.url}/bot")
        return telegram_ptb.new_application(builder, store)


@pytest.fixture
def bot(platform: Platform) -> PtbBot:
    return PtbBot(platform)


class TestTelegramPtb(Scenarios):
    pass


@pytest.mark.anyio
@pytest.mark.parametrize("update", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
async def test_what_no_user_wrote_answers_nothing(bot: PtbBot, update: dict[str, object]) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        await bot.feed(store, update)
        assert bot.sent() == [ASK_NAME]
        await bot.receive(store, "Ann", 4)
        assert bot.sent() == [ASK_NAME, ASK_DATE]


@pytest.mark.anyio
async def test_a_topic_is_answered_where_it_is(bot: PtbBot) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.feed(store, message_update(1, text="hi", **TOPIC))
    (call,) = bot.messages()
    assert (str(call.fields["chat_id"]), str(call.fields["message_thread_id"])) == (
        "-1001234",
        "77",
    )


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
