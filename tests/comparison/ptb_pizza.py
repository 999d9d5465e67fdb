from telegram import Update
from telegram.ext import ContextTypes, ConversationHandler, MessageHandler, filters

PIZZA, SIZE = range(2)


async def start(update: Update, context: ContextTypes.DEFAULT_TYPE):
    await update.message.reply_text("Which pizza?")
    return PIZZA


async def take_pizza(update: Update, context: ContextTypes.DEFAULT_TYPE):
    context.user_data["pizza"] = update.message.text
    await update.message.reply_text("What size?")
    return SIZE


async def take_size(update: Update, context: ContextTypes.DEFAULT_TYPE):
    await update.message.reply_text(f"One {update.message.text} {context.user_data['pizza']}.")
    return ConversationHandler.END


conversation = ConversationHandler(
    entry_points=[MessageHandler(filters.TEXT, start)],
    states={
        PIZZA: [MessageHandler(filters.TEXT, take_pizza)],
        SIZE: [MessageHandler(filters.TEXT, take_size)],
    },
    fallbacks=[],
    name="order",
    persistent=True,
)
