"""Move the open questions of an aiogram bot out of its RedisStorage."""

import json

from open_question import take_over
from pydantic import BaseModel
from redis.asyncio import Redis

from async_session_store import NEVER, AsyncSessionStore, TenantCtx

NODES = {"Order:pizza": "take_pizza", "Order:size": "take_size"}  # aiogram's states, your nodes


async def move(
    store: AsyncSessionStore, ctx: TenantCtx, redis: Redis, bot_id: str, memory: type[BaseModel]
) -> int:
    """Return how many questions were moved. Stop the old bot first."""
    moved = 0
    async for key in redis.scan_iter("fsm:*:state"):
        _fsm, chat_id, *thread, user_id, _state = key.decode().split(":")
        state, data, milliseconds = await redis.mget(key, key.removesuffix(b"state") + b"data") + [
            await redis.pttl(key)
        ]
        if state is None or state.decode() not in NODES:
            continue
        moved += await take_over(
            store,
            ctx,
            bot_id=bot_id,
            chat_id=chat_id,
            user_id=user_id,
            thread_id=thread[0] if thread else None,
            flow="order",
            node=NODES[state.decode()],
            memory=memory.model_validate(json.loads(data or b"{}")),
            ttl=milliseconds / 1000 if milliseconds > 0 else NEVER,  # its state_ttl
        )
    return moved
