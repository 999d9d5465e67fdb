"""A Telegram bot with aiogram that books a table, and goes on where it was when it is restarted.

BotFather gives you a token. From the root of the repository:

    pip install . aiogram
    export TELEGRAM_TOKEN=123:abc SESSION_STORE_URL=sqlite:///booking.db
    python examples/telegram_aiogram.py

Write to the bot: it asks for a name, for a date, and for a yes. End it with Ctrl-C between any two
messages, start it again, and answer: it goes on. /help is answered at any time. If you do not
answer for 30 minutes, it reminds you once; export SESSION_WAIT_TTL_SECS=10 to see it sooner.
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
        return  # someone joined, say: it answers nothing
    await booking.handle(store, inbound, message.answer)


def new_dispatcher(store: AsyncSessionStore) -> Dispatcher:
    dispatcher = Dispatcher(store=store)
    dispatcher.message.register(on_message)
    return dispatcher


async def serve(
    dispatcher: Dispatcher, bot: Bot, store: AsyncSessionStore, **options: object
) -> None:
    async def remind(place: channels.Place, text: str) -> None:
        await bot.send_message(place.conversation, text, message_thread_id=place.thread)

    # SIGTERM and Ctrl-C end the polling, and then the reminders. They need the bot until then.
    async with bot, booking.reminders(store, "telegram", remind):
        # One message after the other: Telegram hears that it was handled when it was.
        await dispatcher.start_polling(
            bot, handle_as_tasks=False, close_bot_session=False, **options
        )


async def main() -> None:
    async with AsyncSessionStore.from_env() as store:
        await serve(new_dispatcher(store), Bot(booking.setting("TELEGRAM_TOKEN")), store)


if __name__ == "__main__":
    asyncio.run(main())
