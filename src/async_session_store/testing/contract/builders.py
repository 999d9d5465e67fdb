"""Contexts, data and scopes, and the common calls with defaults for minor arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    Impersonation,
    InvocationDeadline,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    SessionNotFoundError,
    TenantCtx,
    TimeToLive,
)

Call = Callable[[AsyncSessionStore], Coroutine[Any, Any, object]]

A: Final = ReplyScope(conversation="a")
B: Final = ReplyScope(conversation="b")
C: Final = ReplyScope(conversation="c")


def ctx(
    user: str | None = "u1", *, env: str = "prod", tenant: str = "acme", team: str | None = None
) -> TenantCtx:
    return TenantCtx(env=env, tenant_id=tenant, team_id=team, user_id=user)


CTX: Final = ctx()
SERVICE: Final = ctx(None)
"""The context of a service: it has no user."""


def data(context: str = "{}", *, of: TenantCtx = CTX) -> SessionData:
    return SessionData(
        tenant_ctx=of,
        flow_id="order",
        cursor=SessionCursor(node_pointer="ask"),
        context_json=context,
    )


EVERYTHING = SessionData(
    tenant_ctx=TenantCtx(
        env="prod",
        tenant_id="acme",
        team_id="blue",
        user_id="u1",
        session_id="s",
        flow_id="f",
        node_id="n",
        provider_id="p",
        trace_id="t",
        i18n_id="de-CH",
        correlation_id="c",
        attributes={"a": "1", "": "", "a.b": "\x00", "ключ": "😀"},
        deadline=InvocationDeadline(unix_millis=2**63),
        attempt=2**32 - 1,
        idempotency_key="i",
        impersonation=Impersonation(actor_id="root", reason="support"),
    ),
    flow_id="order",
    pack_id="pack",
    cursor=SessionCursor(node_pointer="ask", wait_reason="reply", outbox_marker="o"),
    context_json='{"step": 1}',
)
"""Data with a value in every field."""

UNKNOWN: dict[str, Any] = {
    "null": None,
    "big": 2**70,
    "float": 1.5,
    "nested": {"list": [1, [True, {"ü": "\x00"}]], "": {}},
    "empty list": [],
    "deep": json.loads("[" * 100 + "]" * 100),
}
"""The value of a field that the library does not know."""


def with_unknown_fields() -> SessionData:
    """Return data that has an unknown field in each of its parts, as a newer peer writes it."""
    document = EVERYTHING.model_dump(mode="json")
    ctx = document["tenant_ctx"]
    for part in (document, ctx, ctx["deadline"], ctx["impersonation"], document["cursor"]):
        part["newer"] = UNKNOWN
    return SessionData.model_validate_json(json.dumps(document))


def with_context(old: SessionData, context: str) -> SessionData:
    return old.model_copy(update={"context_json": context})


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
    """Call the deprecated method, and check that it warns."""
    with pytest.warns(DeprecationWarning, match="find_wait_by_scope"):
        return await store.find_by_user(by, user)  # type: ignore[deprecated]  # pyright: ignore[reportDeprecated]


async def context_of(store: AsyncSessionStore, key: str) -> str | None:
    found = await store.get_session(key)
    return None if found is None else found.context_json


async def etag_of(store: AsyncSessionStore, key: str) -> str:
    record = await store.get_record(key)
    assert record is not None
    return record.etag


async def expires_at(store: AsyncSessionStore, key: str) -> datetime | None:
    record = await store.get_record(key)
    assert record is not None
    return record.expires_at


class BlockError(Exception):
    """The error that the block of a test raises."""


STRANGERS = {
    "another env": ctx(env="test"),
    "another tenant": ctx(tenant="other"),
    "another team": ctx(team="blue"),
    "another user": ctx("u2"),
}
stranger_contexts: pytest.MarkDecorator = pytest.mark.parametrize(
    "stranger", STRANGERS.values(), ids=STRANGERS.keys()
)


async def assert_waits_untouched(store: AsyncSessionStore) -> None:
    """Check that the wait ``k`` at ``A``, with the context ``mine``, is as it was registered."""
    assert await find(store, A) == "k"
    assert await listed(store) == ["k"]
    assert await context_of(store, "k") == "mine"


async def assert_gone(store: AsyncSessionStore, key: str, at: ReplyScope) -> None:
    """Check that no read finds the session, and that each write of it is refused."""
    assert await store.get_session(key) is None
    assert await store.get_session(key, ctx=CTX) is None
    assert await store.get_record(key) is None
    assert await find(store, at) is None
    assert await store.get_wait(CTX, "u1", at) is None
    assert key not in await listed(store)
    assert key not in [record.key for record in await store.list_wait_records(CTX, "u1")]
    assert not await clear(store, at)
    assert not await clear(store, at, key)
    with pytest.raises(SessionNotFoundError):
        await store.update_session(key, data())
    with pytest.raises(SessionNotFoundError):
        await store.touch_session(key, 60)
    with pytest.raises(SessionNotFoundError):
        await store.touch_session(key, NEVER)
    with pytest.raises(SessionNotFoundError):
        await store.remove_session(key)
    assert await store.get_session(key) is None
