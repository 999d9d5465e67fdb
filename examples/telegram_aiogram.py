"""A Telegram bot, written with aiogram, that books a table and survives restarts.

Get a token from BotFather. Then run, from the root of the repository:

    pip install . aiogram
    export TELEGRAM_TOKEN=123:abc SESSION_STORE_URL=sqlite:///booking.db
    python examples/telegram_aiogram.py

Write to the bot: it asks for a name, a date, and a final yes or no. Stop it with Ctrl-C between any
two messages, start it again, and answer: it continues where it left off. It answers /help at any
time. If you do not answer within 30 minutes, it reminds you once. To see that after 10 seconds,
export SESSION_WAIT_TTL_SECS=10.
"""

import asyncio
import sys

try:
    from aiogram import Bot, Dispatcher
    from aiogram.types import Message, Update
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install . aiogram")

import booking
from async_session_store import AsyncSessionStore, InvalidInputError, channels


async def on_message(
    message: Message, event_update: Update, bot: Bot, store: AsyncSessionStore
) -> None:
    update = event_update.model_dump(by_alias=True, exclude_none=True)
    try:
        inbound = channels.telegram(update, bot_id=bot.id)
    except InvalidInputError:
        return  # not a user's message: someone joined, for example
    await booking.handle(store, inbound, message.answer)


def new_dispatcher(store: AsyncSessionStore) -> Dispatcher:
    dispatcher = Dispatcher(store=store)
    dispatcher.message.register(on_message)
    return dispatcher


async def serve(
    dispatcher: Dispatcher, bot: Bot, store: AsyncSessionStore, **options: object
) -> None:
    async def remind(place: channels.Place, text: str) -> None:
        topic = None if place.thread == channels.TELEGRAM_GENERAL_TOPIC else place.thread
        await bot.send_message(place.conversation, text, message_thread_id=topic)

    # SIGTERM and Ctrl-C stop the polling first and the reminders after it. The reminders need the
    # bot, so its session stays open until they have stopped.
    async with bot, booking.reminders(store, "telegram", remind):
        # Not as tasks: a message is acknowledged to Telegram only after it has been handled.
        await dispatcher.start_polling(
            bot, handle_as_tasks=False, close_bot_session=False, **options
        )


async def main() -> None:
    async with AsyncSessionStore.from_env() as store:
        await serve(new_dispatcher(store), Bot(booking.setting("TELEGRAM_TOKEN")), store)


if __name__ == "__main__":
    asyncio.run(main())
