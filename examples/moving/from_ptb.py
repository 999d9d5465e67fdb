"""Move the open questions of a python-telegram-bot bot out of its PicklePersistence."""

from open_question import take_over
from pydantic import BaseModel
from telegram.ext import PicklePersistence

from async_session_store import AsyncSessionStore, TenantCtx, TimeToLive

NODES = {0: "take_pizza", 1: "take_size"}  # PIZZA, SIZE = range(2)


async def move(
    store: AsyncSessionStore,
    ctx: TenantCtx,
    persistence: PicklePersistence,
    bot_id: str,
    memory: type[BaseModel],
    ttl: TimeToLive,
) -> int:
    """Return how many questions were moved. Stop the old bot first: it writes its file then."""
    moved = 0
    user_data = await persistence.get_user_data()
    conversations = await persistence.get_conversations("order")  # the handler's name
    for (chat_id, user_id), state in conversations.items():  # per_chat and per_user, the default
        moved += await take_over(
            store,
            ctx,
            bot_id=bot_id,
            chat_id=str(chat_id),
            user_id=str(user_id),
            flow="order",
            node=NODES[state],
            memory=memory.model_validate(user_data.get(user_id, {})),
            ttl=ttl,
        )
    return moved
