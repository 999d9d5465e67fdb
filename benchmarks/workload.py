"""The callers, and what each stores: a paused flow with a context of a given size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    TenantCtx,
    UserId,
)

DISK = Path(__file__).parents[1] / ".cache"  # a temporary folder may be in memory, not on disk
KIBIBYTE = 1024
TTL = 600  # seconds


@dataclass(frozen=True)
class Caller:
    """A user, where they reply, and the session that waits for it, built before timing starts."""

    number: int
    ctx: TenantCtx
    user: UserId
    scope: ReplyScope
    key: SessionKey
    name: str
    """The key as plain text."""
    data: SessionData
    document: bytes
    """The data as JSON, for arms that store bytes."""
    fields: dict[str, Any]
    """The same as a mapping, for arms that store mappings."""


def callers(count: int, size: int) -> list[Caller]:
    return [caller(number, size) for number in range(count)]


def caller(number: int, size: int) -> Caller:
    user = f"user-{number}"
    ctx = user_ctx(user)
    data = session(ctx, size)
    document = data.model_dump_json().encode()
    scope = ReplyScope(conversation="chat", thread=f"topic-{number}")
    name = f"flow-{number}"
    return Caller(
        number=number,
        ctx=ctx,
        user=UserId(user),
        scope=scope,
        key=SessionKey(name),
        name=name,
        data=data,
        document=document,
        fields=json.loads(document),
    )


def user_ctx(user: str) -> TenantCtx:
    return TenantCtx(env="prod", tenant_id="acme", user_id=user)


def session(ctx: TenantCtx, size: int = KIBIBYTE) -> SessionData:
    return SessionData(
        tenant_ctx=ctx,
        flow_id="booking",
        cursor=SessionCursor(node_pointer="ask_date"),
        context_json=context_json(size),
    )


def context_json(size: int) -> str:
    """Return JSON of exactly ``size`` characters."""
    answers = {"answers": ["yes"] * (size // 8), "note": ""}
    answers["note"] = "." * (size - len(json.dumps(answers)))
    return json.dumps(answers)


async def fill(store: AsyncSessionStore, users: range) -> None:
    """Register three waits for each user."""
    for number in users:
        ctx = user_ctx(f"user-{number}")
        data = session(ctx, size=64)
        for topic in range(3):
            scope = ReplyScope(conversation="chat", thread=str(topic))
            key = SessionKey(f"{number}-{topic}")
            await store.register_wait(ctx, UserId(f"user-{number}"), scope, key, data, TTL * 100)
