"""A Telegram bot, written with python-telegram-bot, that books a table and survives restarts.

Get a token from BotFather. Then run, from the root of the repository:

    pip install . python-telegram-bot
    export TELEGRAM_TOKEN=123:abc SESSION_STORE_URL=sqlite:///booking.db
    python examples/telegram_ptb.py

Write to the bot: it asks for a name, a date, and a final yes or no. Stop it with Ctrl-C between any
two messages, start it again, and answer: it continues where it left off. It answers /help at any
time.
"""

import sys

try:
    from telegram import Update
    from telegram.ext import Application, ApplicationBuilder, ContextTypes, MessageHandler, filters
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install . python-telegram-bot")

import booking
from async_session_store import AsyncSessionStore, InvalidInputError, channels


async def on_message(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    try:
        inbound = channels.telegram(update.to_dict(), bot_id=context.bot.id)
    except InvalidInputError:
        return  # not a user's new message: an edit, or someone joined
    await booking.handle(context.bot_data["store"], inbound, update.effective_message.reply_text)


def new_application(builder: ApplicationBuilder, store: AsyncSessionStore) -> Application:
    application = builder.build()
    application.bot_data["store"] = store
    application.add_handler(MessageHandler(filters.ALL, on_message))
    return application


def main() -> None:
    store = AsyncSessionStore.from_env()
    builder = ApplicationBuilder().token(booking.setting("TELEGRAM_TOKEN"))
    builder.post_init(lambda _: store.open()).post_shutdown(lambda _: store.aclose())
    new_application(builder, store).run_polling()


if __name__ == "__main__":
    main()
