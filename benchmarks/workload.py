"""What is measured: one pause and resume of a flow, with a context of a given size."""

from __future__ import annotations

import json

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    TenantCtx,
    UserId,
)

KIBIBYTE = 1024
TTL = 600  # seconds


def user_ctx(user: str) -> TenantCtx:
    return TenantCtx(env="prod", tenant_id="acme", user_id=user)


def session(ctx: TenantCtx, size: int = KIBIBYTE) -> SessionData:
    answers = {"answers": ["yes"] * (size // 8)}
    return SessionData(
        tenant_ctx=ctx,
        flow_id="booking",
        cursor=SessionCursor(node_pointer="ask_date"),
        context_json=json.dumps(answers)[:size],
    )


async def fill(store: AsyncSessionStore, users: range) -> None:
    """Three waits for each user."""
    for number in users:
        ctx = user_ctx(f"user-{number}")
        data = session(ctx, size=64)
        for topic in range(3):
            scope = ReplyScope(conversation="chat", thread=str(topic))
            key = SessionKey(f"{number}-{topic}")
            await store.register_wait(ctx, UserId(f"user-{number}"), scope, key, data, TTL * 100)
