"""What a log of an object shows: what and where it is, and nothing that is private."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.sentinel import Sentinel

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    FlowId,
    Impersonation,
    InvocationDeadline,
    NewWait,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    SessionRecord,
    SessionStore,
    TenantCtx,
    UserId,
)
from async_session_store._claiming import ClaimRequest
from async_session_store._claiming_expired import ExpiredRequest
from async_session_store._copying import CopiedStore
from async_session_store._listing import Selection
from async_session_store._look_ups import FoundWait
from async_session_store._memory import memory_type
from async_session_store._moving import IdChange
from async_session_store._new_waits import WaitDefaults
from async_session_store.abc import (
    Claimed,
    ClaimKey,
    CopyPage,
    Delivery,
    DeliveryCopy,
    DeliveryName,
    ErasedUser,
    Fence,
    Listing,
    MovedWaits,
    PlacedPage,
    PlacedSession,
    Queued,
    Registration,
    SessionCopy,
    SessionMove,
    SessionName,
    SessionPage,
    StoredSession,
    StoredWait,
    Unreadable,
    WaitState,
)
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.redis._copying import CopyCursor
from async_session_store.backends.redis._paging import ScanCursor
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.backends.sqlite._erasing import User
from async_session_store.bridge import AsyncioBridge
from async_session_store.channels import Inbound, Move, place
from async_session_store.claims import WaitClaim
from async_session_store.explanations import Explanation, ScopeReport, WaitStatus
from async_session_store.greentic import FlowSnapshot, IngressEnvelope, ParkedFlow, RunnerSettings
from async_session_store.models import Owner
from async_session_store.turns import TurnSetting

SECRETS = ("payload", "alice", "secret", "555-0100", "token")
NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)

CTX = TenantCtx(
    env="prod",
    tenant_id="acme",
    team_id="red",
    user_id="alice",
    session_id="secret",
    correlation_id="secret",
    attributes={"secret": "secret"},
    deadline=InvocationDeadline(unix_millis=1),
    idempotency_key="secret",
    impersonation=Impersonation(actor_id="alice", reason="secret"),
)
DATA = SessionData(
    tenant_ctx=CTX,
    flow_id="order",
    cursor=SessionCursor(node_pointer="ask", wait_reason="secret", outbox_marker="secret"),
    context_json='"payload"',
)
NEWER = SessionData.model_validate_json(
    DATA.model_dump_json()[:-1] + ',"newer":{"a":"payload"},"newest":"payload"}'
)
SCOPE = ReplyScope(
    conversation="555-0100", thread="555-0100", reply_to="secret", correlation="secret"
)
RECORD = SessionRecord(SessionKey("k"), DATA, "etag", NOW, SCOPE)
CLAIM = ClaimKey(CTX.owner, "hash", "token", SessionKey("k"))
INBOUND = Inbound(
    provider="whatsapp",
    bot_id="7",
    account="secret",
    user_id=UserId("alice"),
    conversation="555-0100",
    thread="555-0100",
    message_id="secret",
    delivery_id="secret",
    text="payload",
)
SNAPSHOT = FlowSnapshot(pack_id="p", flow_id="order", next_node="ask", state={"payload": "payload"})
PLACED = PlacedSession(RECORD, "hash", waits=True, is_expired=False)
CLAIMED = Claimed(CLAIM, RECORD, NOW)
STORED = StoredWait(CTX.owner, "hash", SCOPE, SessionKey("k"), DATA, 1000)
ENVELOPE = IngressEnvelope(
    tenant="acme",
    flow_id="order",
    session_hint="secret",
    conversation="555-0100",
    user="alice",
    activity_id="secret",
    reply_scope=SCOPE,
)

VALUES: dict[str, tuple[object, str]] = {
    "TenantCtx": (
        CTX,
        (
            "TenantCtx(env='prod', tenant='acme', tenant_id='acme', team='red', team_id='red', "
            "user=<present>, user_id=<present>, session_id=<6 chars>, correlation_id=<6 chars>, "
            "attributes=<1 entry>, deadline=InvocationDeadline(unix_millis=1), attempt=0, "
            "idempotency_key=<6 chars>, impersonation=Impersonation(actor_id=<present>, "
            "reason=<6 chars>))"
        ),
    ),
    "Owner": (CTX.owner, "Owner(env='prod', tenant='acme', team='red', user=<present>)"),
    "Owner without": (
        Owner(CTX.env, CTX.tenant, None, None),
        "Owner(env='prod', tenant='acme', team=None, user=None)",
    ),
    "SessionCursor": (
        DATA.cursor,
        "SessionCursor(node_pointer='ask', wait_reason=<6 chars>, outbox_marker=<6 chars>)",
    ),
    "SessionData": (
        DATA,
        (
            f"SessionData(tenant_ctx={CTX!r}, flow_id='order', "
            f"cursor={DATA.cursor!r}, context_json=<9 chars>)"
        ),
    ),
    "newer SessionData": (NEWER, "context_json=<9 chars>, newer=<1 entry>, newest=<7 chars>)"),
    "ReplyScope": (
        SCOPE,
        (
            "ReplyScope(conversation=<8 chars>, thread=<8 chars>, reply_to=<6 chars>, "
            "correlation=<6 chars>)"
        ),
    ),
    "SessionRecord": (
        RECORD,
        f"SessionRecord(key='k', data={DATA!r}, etag='etag', expires_at={NOW!r}, scope={SCOPE!r})",
    ),
    "Inbound": (
        INBOUND,
        (
            "Inbound(provider='whatsapp', bot_id='7', user_id=<present>, "
            "conversation=<8 chars>, delivery_id=<6 chars>, account=<6 chars>, thread=<8 chars>, "
            "message_id=<6 chars>, text=<7 chars>)"
        ),
    ),
    "Inbound with all of it": (
        replace(
            INBOUND,
            thread=None,
            threads="none",
            values=("payload",),
            options=(("payload", "payload"),),
            command="payload",
            group_id="secret",
            is_ephemeral=True,
            user_aliases=(UserId("555-0100"),),
            conversation_aliases=("555-0100",),
        ),
        "Inbound(provider='whatsapp', bot_id='7', user_id=<present>, ",
    ),
    "Move": (
        Move(
            provider="whatsapp",
            bot_id="7",
            old_conversation="555-0100",
            new_conversation="secret",
            old_user_id=UserId("555-0100"),
            new_user_id=UserId("alice"),
        ),
        (
            "Move(provider='whatsapp', bot_id='7', old_conversation=<8 chars>, "
            "new_conversation=<6 chars>, old_user_id=<present>, new_user_id=<present>)"
        ),
    ),
    "Place": (
        place(INBOUND.scope),
        (
            "Place(provider='whatsapp', bot_id='7', account=<6 chars>, "
            "conversation=<8 chars>, thread=<8 chars>)"
        ),
    ),
    "NewWait": (NewWait(SCOPE, DATA), f"NewWait(scope={SCOPE!r}, ttl=None"),
    "StoredWait": (STORED, "StoredWait(owner=Owner("),
    "ClaimKey": (
        CLAIM,
        (
            f"ClaimKey(owner={CTX.owner!r}, scope_hash='hash', token=<5 chars>, "
            "session_key='k', is_expired=False)"
        ),
    ),
    "Claimed": (CLAIMED, f"Claimed(claim={CLAIM!r}, "),
    "Queued": (Queued(CLAIM, 3), f"Queued(place={CLAIM!r}, free_in=3)"),
    "Unreadable": (Unreadable(SessionKey("k"), CTX.owner, "why"), "Unreadable(key='k', owner="),
    "Registration": (Registration(KEEP, SessionKey("k")), "Registration("),  # type: ignore[arg-type]  # any outcome
    "Delivery": (Delivery(CTX.owner, b"digest", 1), "Delivery("),
    "WaitState": (WaitState(SessionKey("k")), "WaitState(key='k'"),
    "Listing": (Listing((RECORD,)), "Listing(items=(SessionRecord(key='k'"),
    "Fence": (Fence(CTX.env, CTX.tenant_id, None), "Fence(env='prod', tenant='acme', team=None)"),
    "StoredSession": (StoredSession(RECORD, waits=True), "StoredSession(record=SessionRecord("),
    "SessionPage": (SessionPage((), (SessionKey("k"),), "alice"), "SessionPage(sessions=(), unr"),
    "ErasedUser": (ErasedUser(waits=1), "ErasedUser(waits=1, sessions=0, expired_waits=0, "),
    "MovedWaits": (MovedWaits(waits=1), "MovedWaits(waits=1, sessions=0, expired_waits=0, "),
    "PlacedSession": (PLACED, "PlacedSession(record=SessionRecord("),
    "PlacedPage": (PlacedPage((PLACED,), (), "alice"), "PlacedPage(sessions=(PlacedSession("),
    "SessionMove": (
        SessionMove(SessionKey("k"), CTX.owner, "hash", "etag", DATA, "hash", SCOPE),
        "SessionMove(key='k', owner=Owner(env='prod', ",
    ),
    "IdChange": (IdChange((UserId("alice"), UserId("secret")), ("555-0100", "b")), "IdChange()"),
    "CopiedStore": (CopiedStore(waits=1), "CopiedStore(waits=1, sessions=0, "),
    "SessionName": (SessionName(SessionKey("k"), "hash"), "SessionName(key='k', scope_hash='hash'"),
    "DeliveryName": (DeliveryName(CTX.owner, b"digest"), "DeliveryName(owner=Owner("),
    "SessionCopy": (
        SessionCopy(SessionKey("k"), RECORD.data, "hash", SCOPE, 1, None),
        "SessionCopy(key='k', data=SessionData(",
    ),
    "DeliveryCopy": (
        DeliveryCopy(DeliveryName(CTX.owner, b"digest"), 1),
        "DeliveryCopy(name=DeliveryName(owner=Owner(",
    ),
    "CopyPage": (CopyPage((SessionName(SessionKey("payload")),), "alice"), "CopyPage()"),
    "CopyCursor": (
        CopyCursor(b"7", (b"payload",), routed={SessionKey("alice")}),
        "CopyCursor(cursor=b'7', has_begun=False, is_in_routes=False)",
    ),
    "Selection": (
        Selection(None, True, FlowId("order"), "ask", None, "555-0100"),  # noqa: FBT003
        "Selection(fence=None, waits_only=True, flow_id='order', node='ask', ",
    ),
    "ScanCursor": (ScanCursor(b"7", (b"payload",)), "ScanCursor(cursor=b'7')"),
    "User": (User("prod", "acme", "alice"), "User(env='prod', tenant='acme', user=<5 chars>)"),
    "FoundWait": (FoundWait(CTX.owner, SessionKey("k")), "FoundWait(owner=O"),
    "ClaimRequest": (
        ClaimRequest((CTX.owner,), ("hash",), 1, 0, (), None),
        "ClaimRequest(owners=(O",
    ),
    "ExpiredRequest": (ExpiredRequest(CTX.owner, 1, 1), "ExpiredRequest("),
    "TurnSetting": (TurnSetting(CTX, FlowId("order"), memory_type(dict), None), "TurnSetting(ctx="),
    "ScopeReport": (
        ScopeReport(SCOPE, UserId("u1"), None, WaitStatus.LIVE, SessionKey("k"), None, None),
        f"ScopeReport(scope={SCOPE!r}",
    ),
    "Explanation": (
        Explanation(
            (ScopeReport(SCOPE, UserId("u1"), None, WaitStatus.NOTHING, None, None, None),)
        ),
        "Explanation(reports=(ScopeReport(",
    ),
    "FlowSnapshot": (
        SNAPSHOT,
        (
            "FlowSnapshot(pack_id='p', flow_id='order', next_node='ask', "
            "awaiting_submit=False, state=<1 entry>)"
        ),
    ),
    "ParkedFlow": (
        ParkedFlow(snapshot=SNAPSHOT, reason="secret", run={"a": "payload"}),
        f"ParkedFlow(snapshot={SNAPSHOT!r}, reason=<6 chars>, run=<1 entry>)",
    ),
    "IngressEnvelope": (
        ENVELOPE,
        (
            "IngressEnvelope(tenant='acme', flow_id='order', session_hint=<6 chars>, "
            "conversation=<8 chars>, user=<5 chars>, activity_id=<6 chars>, "
            f"reply_scope={SCOPE!r})"
        ),
    ),
    "RunnerSettings": (
        RunnerSettings.from_env(
            {"GREENTIC_SESSION_REDIS_URL": "redis://:secret@host", "GREENTIC_ENV": "prod"}
        ),
        "RunnerSettings(namespace='greentic:session:prod', ",
    ),
}


@pytest.mark.parametrize(("value", "shown"), VALUES.values(), ids=VALUES.keys())
def test_f8_no_value_shows_a_payload_a_user_or_a_secret(value: object, shown: str) -> None:
    assert shown in repr(value)
    for text in (repr(value), str(value), f"{value}", repr([value])):
        assert not [secret for secret in SECRETS if secret in text.replace("token=", "")], text


@pytest.mark.parametrize("value", [value for value, _ in VALUES.values()], ids=VALUES.keys())
def test_a_value_is_copied_and_pickled_as_it_is(value: object) -> None:
    assert copy.copy(value) == value
    if not isinstance(value, TurnSetting):  # which holds what pydantic has compiled
        assert pickle.loads(pickle.dumps(value)) == value


def test_what_bypassed_validation_has_a_repr_too() -> None:
    for model in (SessionData, TenantCtx, ReplyScope):
        assert repr(model.model_construct()).startswith(f"{model.__name__}(")
    odd = SessionData.model_construct(context_json=7, tenant_ctx="alice", flow_id=["payload"])  # type: ignore[arg-type]
    assert "payload" not in repr(odd)
    assert "alice" not in repr(odd)


URLS = {
    "memory://": "memory",
    "sqlite:///bot.db": "sqlite bot.db",
    "sqlite:////var/bot.db": "sqlite /var/bot.db",
    "sqlite://": "sqlite :memory:",
    "redis://me:secret@host": "redis host:6379/0",
    "redis://:secret@host:7000/3?client_name=secret": "redis host:7000/3",
    "redis://[::1]/1": "redis [::1]:6379/1",
    "redis://host?db=4&password=secret": "redis host:6379/4",
    "rediss://me:secret@host": "rediss host:6379/0",
    "unix://me:secret@/run/redis.sock?db=3": "unix /run/redis.sock/3",
}


@pytest.mark.parametrize(("url", "where"), URLS.items(), ids=URLS.values())
def test_a_store_says_where_it_stores_and_whether_it_is_open(url: str, where: str) -> None:
    for kind in (AsyncSessionStore, SessionStore):
        store = kind.from_url(url)
        assert repr(store) == str(store) == f"<{kind.__name__} {where}, not open>"


def test_a_namespace_of_ones_own_is_shown() -> None:
    store = AsyncSessionStore.from_url("redis://host", namespace="mine")
    assert repr(store) == "<AsyncSessionStore redis host:6379/0, namespace mine, not open>"
    assert repr(store._storage) == "<RedisBackend redis host:6379/0, namespace mine>"


CLIENTS: dict[str, tuple[Callable[[], Redis], str]] = {
    "plain": (lambda: Redis(host="host", port=7000, db=3, password="secret"), "host:7000/3"),
    "default": (Redis, "localhost:6379/0"),
    "blocking": (
        lambda: Redis(connection_pool=BlockingConnectionPool(host="host", password="secret")),
        "host:6379/0",
    ),
    "sentinel": (
        lambda: Sentinel([("host", 26379)], password="secret").master_for("mymaster", db=2),
        "mymaster/2 by Sentinel",
    ),
}


@pytest.mark.parametrize(("client", "where"), CLIENTS.values(), ids=CLIENTS.keys())
def test_a_clients_password_is_not_shown(client: Callable[[], Redis], where: str) -> None:
    assert repr(RedisBackend(client())) == f"<RedisBackend redis {where}>"


def test_backends_and_bridges_say_where() -> None:
    assert repr(MemoryBackend()) == "<MemoryBackend memory>"
    assert repr(SqliteBackend("bot.db")) == "<SqliteBackend sqlite bot.db>"
    assert repr(AsyncioBridge(SqliteBackend("bot.db"))) == "<AsyncioBridge sqlite bot.db>"


def test_a_backend_of_ones_own_has_a_repr() -> None:
    class Mine(MemoryBackend):
        location = "mine"

    assert repr(Mine()) == "<Mine mine>"
    assert repr(AsyncSessionStore(Mine())) == "<AsyncSessionStore mine, not open>"


def test_a_store_shows_its_state() -> None:
    async def main() -> None:
        store = AsyncSessionStore.from_url("memory://")
        async with store:
            assert repr(store) == "<AsyncSessionStore memory, open>"
        assert repr(store) == "<AsyncSessionStore memory, closed>"

    asyncio.run(main())
    with SessionStore.from_url("memory://") as store:
        assert repr(store) == "<SessionStore memory, open>"
        assert repr(store._crossing) == "<Crossing to a thread of its own, open>"
    assert repr(store) == "<SessionStore memory, closed>"


def test_claims_blocks_and_turns_say_what_they_are_about() -> None:
    ctx = TenantCtx(env="prod", tenant_id="acme", user_id="alice")
    data = DATA.model_copy(update={"tenant_ctx": ctx})
    with SessionStore.from_url("memory://") as store:
        store.register_wait(ctx, "alice", SCOPE, "k", data)
        claim = store.claim_wait(ctx, "alice", SCOPE, lease=2.5)
        assert repr(claim) == "<SyncWaitClaim on session 'k', lease 2.5 s>"
        assert claim is not None
        assert repr(claim._claim) == "<WaitClaim on session 'k', lease 2.5 s>"
        assert claim.complete()
        assert repr(store.claim_wait(ctx, "alice", SCOPE, begin_at=SCOPE)) == (
            "<SyncWaitClaim on an empty scope, lease 30 s>"
        )
        store.register_wait(ctx, "alice", INBOUND.scope, "q", data)
        block = store.resume_wait(ctx, "alice", INBOUND.scope)
        assert repr(block) == "<SyncWaitBlock, not claimed>"
        with block as wait:
            assert repr(wait) == "<ResumedWait of session 'q'>"
            assert repr(block) == "<SyncWaitBlock of <WaitClaim on session 'q', lease 30 s>>"
        store.register_wait(ctx, "alice", INBOUND.scope, "q", data)
        with store.turn(ctx, INBOUND, flow="order", memory=dict) as turn:
            assert repr(turn) == "<Turn of flow 'order' at 'ask'>"
            turn.end()
        with store.turn(ctx, other_inbound(), flow="order", memory=dict) as turn:
            assert repr(turn) == "<Turn of flow 'order', which begins>"
            turn.end()


def other_inbound() -> Inbound:
    return Inbound(
        provider="whatsapp",
        bot_id="7",
        user_id=UserId("alice"),
        conversation="555-0100",
        delivery_id="other",
        text="payload",
    )


def test_a_claim_that_may_be_lost_says_so() -> None:
    claim = WaitClaim(MemoryBackend, CLAIMED, 1000, None, 0.0, WaitDefaults(None, None, 1))
    assert repr(claim) == "<WaitClaim on session 'k', lease 1 s, lost>"
    expired = Claimed(CLAIM._replace(is_expired=True), RECORD, NOW)
    claim = WaitClaim(MemoryBackend, expired, 60_000, None, 1e12, WaitDefaults(None, None, 1))
    assert repr(claim) == "<WaitClaim on expired session 'k', lease 60 s>"


def test_every_public_type_that_holds_data_is_in_the_table() -> None:
    from async_session_store import abc, channels, greentic, models

    held = {type(value).__name__ for value, _ in VALUES.values()}
    names = {*models.__all__, *abc.__all__, *channels.__all__, *greentic.__all__}
    kinds: dict[str, Any] = {}
    for module in (models, abc, channels, greentic):
        kinds.update({name: getattr(module, name) for name in module.__all__})
    fields = {
        name
        for name in names
        if isinstance(kinds[name], type)
        and (
            hasattr(kinds[name], "model_fields")
            or hasattr(kinds[name], "_fields")
            or hasattr(kinds[name], "__dataclass_fields__")
        )
    }
    assert fields - held <= {"Impersonation", "InvocationDeadline"}, "these are in TenantCtx"
