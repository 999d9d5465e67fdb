"""Contexts, data and scopes, and the common calls with the arguments that rarely matter."""

from __future__ import annotations

from typing import Final

import pytest

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    TenantCtx,
    TimeToLive,
)

A: Final = ReplyScope(conversation="a")
B: Final = ReplyScope(conversation="b")
C: Final = ReplyScope(conversation="c")


def ctx(
    user: str | None = "u1", *, env: str = "prod", tenant: str = "acme", team: str | None = None
) -> TenantCtx:
    return TenantCtx(env=env, tenant_id=tenant, team_id=team, user_id=user)


CTX: Final = ctx()
SERVICE: Final = ctx(None)
"""A context without a user."""


def data(context: str = "{}", *, of: TenantCtx = CTX) -> SessionData:
    return SessionData(
        tenant_ctx=of,
        flow_id="order",
        cursor=SessionCursor(node_pointer="ask"),
        context_json=context,
    )


async def register(
    store: AsyncSessionStore,
    key: str,
    at: ReplyScope,
    context: str = "{}",
    *,
    of: TenantCtx = CTX,
    ttl: TimeToLive | None = None,
) -> SessionKey | None:
    return await store.register_wait(
        of, of.owner.user or "", at, key, data(context, of=of), ttl=ttl
    )


async def register_if_absent(
    store: AsyncSessionStore,
    key: str,
    at: ReplyScope,
    context: str = "{}",
    *,
    of: TenantCtx = CTX,
    ttl: TimeToLive | None = None,
) -> bool:
    return await store.register_wait_if_absent(
        of, of.owner.user or "", at, key, data(context, of=of), ttl=ttl
    )


async def find(
    store: AsyncSessionStore, *scopes: ReplyScope, of: TenantCtx = CTX
) -> SessionKey | None:
    return await store.find_wait_by_scope(of, of.owner.user or "", scopes)


async def listed(store: AsyncSessionStore, *, of: TenantCtx = CTX) -> list[SessionKey]:
    return await store.list_waits_for_user(of, of.owner.user or "")


async def clear(
    store: AsyncSessionStore, at: ReplyScope, key: str | None = None, *, of: TenantCtx = CTX
) -> bool:
    return await store.clear_wait(of, of.owner.user or "", at, session_key=key)


async def find_by_user(
    store: AsyncSessionStore, user: str = "u1", *, by: TenantCtx = CTX
) -> tuple[SessionKey, SessionData] | None:
    """Call the deprecated method, and check that it says so."""
    with pytest.warns(DeprecationWarning, match="find_wait_by_scope"):
        return await store.find_by_user(by, user)  # type: ignore[deprecated]  # pyright: ignore[reportDeprecated]


async def context_of(store: AsyncSessionStore, key: str) -> str | None:
    found = await store.get_session(key)
    return None if found is None else found.context_json
