from contextlib import suppress

from aiogram import Bot
from aiogram.types import Message, Update
from pydantic import BaseModel

from async_session_store import AsyncSessionStore, DuplicateDeliveryError, TenantCtx, channels

CTX = TenantCtx(env="prod", tenant_id="pizzeria")


class Order(BaseModel):
    pizza: str | None = None


async def on_message(message: Message, event_update: Update, bot: Bot, store: AsyncSessionStore):
    update = event_update.model_dump(by_alias=True, exclude_none=True)
    inbound = channels.telegram(update, bot_id=bot.id)
    with suppress(DuplicateDeliveryError):
        async with store.turn(CTX, inbound, flow="order", memory=Order, ttl=1800) as turn:
            if turn.is_new:
                await message.answer("Which pizza?")
                turn.ask("take_pizza")
            elif turn.node == "take_pizza":
                turn.memory.pizza = turn.text
                await message.answer("What size?")
                turn.ask("take_size")
            else:
                await message.answer(f"One {turn.text} {turn.memory.pizza}.")
                turn.end()
