"""What a command printed, and what the tests store before they run one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
)

PLACE = ("--env", "prod", "--tenant", "acme", "--user", "alice", "--conversation", "chat-1")
TENANT = ("--env", "prod", "--tenant", "acme")


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only JSON document that it printed."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Ran]


def in_store(use: Callable[[AsyncSessionStore], Awaitable[object]]) -> None:
    """Let a function use the storage that the environment names."""

    async def use_it() -> None:
        async with AsyncSessionStore.from_env() as store:
            await use(store)

    asyncio.run(use_it())


async def ask(
    store: AsyncSessionStore,
    user: str,
    conversation: str,
    *,
    tenant: str = "acme",
    team: str | None = None,
    node: str = "take_size",
    context: str = '{"n": 1}',
    key: str | None = None,
    thread: str | None = None,
    ttl: float | None = None,
) -> None:
    """Register a wait of a flow, under the key ``user-conversation``."""
    ctx = TenantCtx(env="prod", tenant_id=tenant, team_id=team, user_id=user)
    cursor = SessionCursor(node_pointer=node)
    data = SessionData(tenant_ctx=ctx, flow_id="order", cursor=cursor, context_json=context)
    scope = ReplyScope(conversation=conversation, thread=thread)
    await store.register_wait(ctx, user, scope, key or f"{user}-{conversation}", data, ttl)


async def fill(store: AsyncSessionStore) -> None:
    """Register three waits in two tenants. A worker holds a claim on the first."""
    await ask(store, "alice", "chat-1")
    await ask(store, "bob", "chat-2", team="red", node="take_name", thread="7", ttl=3600)
    await ask(store, "alice", "chat-1", tenant="other", key="others")
    ctx = TenantCtx(env="prod", tenant_id="acme")
    await store.claim_wait(ctx, "alice", ReplyScope(conversation="chat-1"), lease=600)
