"""Register a question that another framework left open on Telegram."""

from pydantic import BaseModel

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    SessionCursor,
    SessionData,
    TenantCtx,
    TimeToLive,
    UserId,
    derive_session_key,
)
from async_session_store.channels import Inbound


async def take_over(
    store: AsyncSessionStore,
    ctx: TenantCtx,
    *,
    bot_id: str,
    chat_id: str,
    user_id: str,
    thread_id: str | None = None,
    flow: str,
    node: str,
    memory: BaseModel,
    ttl: TimeToLive = NEVER,
) -> bool:
    """Register the wait at which a turn finds the user's next message.

    Return False if a wait is there already, such as one that an earlier run registered.
    """
    last = Inbound(
        provider="telegram",
        bot_id=bot_id,
        conversation=chat_id,
        thread=thread_id,
        user_id=UserId.encode(user_id),
        delivery_id="unknown",
        text=None,
    )
    owner = ctx.model_copy(update={"user_id": last.user_id})
    data = SessionData(
        tenant_ctx=owner,
        flow_id=flow,
        cursor=SessionCursor(node_pointer=node),
        context_json=memory.model_dump_json(),
    )
    key = derive_session_key(ctx, "moved", bot_id, chat_id, thread_id or "", user_id)
    return await store.register_wait_if_absent(owner, last.user_id, last.scope, key, data, ttl)
