"""The public API as a user writes it. It is type-checked, not run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from redis.asyncio import Redis
from typing_extensions import assert_type

from async_session_store import (
    KEEP,
    NEVER,
    AsyncSessionStore,
    ClaimLostError,
    ConflictError,
    CopiedStore,
    CorruptSessionError,
    DuplicateDeliveryError,
    EnvId,
    ErasedUser,
    ErrorCode,
    ExpiredWaits,
    Explanation,
    FlowId,
    Impersonation,
    Incoming,
    InvalidInputError,
    InvocationDeadline,
    MovedWaits,
    NewWait,
    ReplyScope,
    ResumedWait,
    ScopeReport,
    SessionCursor,
    SessionData,
    SessionKey,
    SessionNotFoundError,
    SessionRecord,
    SessionStore,
    SessionStoreError,
    StoreUsageError,
    SyncExpiredWaits,
    SyncWaitClaim,
    TenantCtx,
    TenantId,
    TimeToLive,
    Turn,
    UserId,
    WaitClaim,
    WaitClaimedError,
    WaitStatus,
    canonical_session_key,
    derive_session_key,
    telegram_update_to_session_key,
    webhook_to_session_key,
)
from async_session_store.abc import Backend, Claimed, Delivery, Outcome, Queued, Unreadable
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.channels import (
    TELEGRAM_GENERAL_TOPIC,
    Inbound,
    Move,
    discord,
    google_chat,
    line,
    matrix,
    mattermost,
    messenger,
    scope_from_text,
    scope_to_text,
    slack,
    slack_moves,
    split_line,
    split_messenger,
    split_whatsapp,
    teams,
    telegram,
    telegram_moves,
    twilio,
    webchat,
    webex,
    whatsapp,
    whatsapp_moves,
)
from async_session_store.greentic import (
    FlowSnapshot,
    IngressEnvelope,
    ParkedFlow,
    RunnerSettings,
    is_welcome_mark,
)

ctx = TenantCtx(env="prod", tenant_id="acme", user_id="u1")
full = TenantCtx(
    env="prod",
    tenant="acme",
    team="blue",
    user=UserId("u1"),
    session_id="s",
    attributes={"a": "1"},
    deadline=InvocationDeadline(unix_millis=1),
    attempt=1,
    impersonation=Impersonation(actor_id="root", reason="support"),
)
data = SessionData(
    tenant_ctx=ctx,
    flow_id="order",
    pack_id="shop",
    cursor=SessionCursor(node_pointer="ask", wait_reason="reply"),
    context_json="{}",
)
scope = ReplyScope(conversation="chat-1", thread="topic-9")

TenantCtx(env="prod", tennant_id="acme")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
SessionData(flow_id="order")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ReplyScope(conversation=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ctx.env = "test"  # type: ignore[misc, assignment]  # pyright: ignore[reportAttributeAccessIssue]

assert_type(ctx.tenant_id, TenantId)
assert_type(ctx.user_id, UserId | None)
assert_type(data.flow_id, FlowId)
assert_type(data.context_json, str)
assert_type(scope.scope_hash(), str)
assert_type(data.model_copy(update={"context_json": "new"}), SessionData)
assert_type(UserId.encode("29:1abc"), UserId)
assert_type(UserId("u1").upper(), str)
assert_type(SessionData.model_validate_json(b"{}"), SessionData)

assert_type(telegram_update_to_session_key("bot", -100, 7), SessionKey)
assert_type(webhook_to_session_key("github", "repo", "42"), SessionKey)
assert_type(canonical_session_key("acme", "telegram", None, "u1"), SessionKey)
assert_type(derive_session_key(ctx, "chat", "u1"), SessionKey)


async def sessions(store: AsyncSessionStore) -> None:
    assert_type(await store.create_session(ctx, data), SessionKey)
    key = await store.create_session(ctx, data, ttl=timedelta(minutes=30))
    assert_type(await store.get_session(key), SessionData | None)
    assert_type(await store.get_session("key", ctx=ctx), SessionData | None)
    assert_type(await store.get_record(key, ctx=ctx), SessionRecord | None)
    await store.update_session(key, data, ctx=ctx)
    await store.touch_session("key", NEVER, ctx=ctx)
    await store.touch_session(key, 60.5)
    await store.remove_session(key, ctx=ctx)
    assert_type(await store.purge_expired(), int)
    await store.purge_expired(limit=10)
    erased = await store.erase_user(ctx, "u1")
    assert_type(erased, ErasedUser)
    assert_type(erased.waits, int)
    async for record in store.iter_waits(ctx, flow_id="order", node="ask", conversation="a"):
        assert_type(record, SessionRecord)
    async for record in store.iter_sessions(None, page=10):
        assert_type(record, SessionRecord)
    assert_type(await store.count_waits(ctx, expires_before=datetime.now(timezone.utc)), int)
    moved = await store.move_waits(ctx, user=("u1", UserId("u2")), conversation=("a", "b"))
    assert_type(moved, MovedWaits)
    assert_type(moved.taken, tuple[SessionKey, ...])
    assert_type(moved.is_complete, bool)
    assert_type(await store.break_claim(ctx, "u1", ReplyScope(conversation="a")), bool)
    copied = await store.copy_to(store, again=True)
    assert_type(copied, CopiedStore)
    assert_type(copied.left_out, tuple[SessionKey, ...])
    assert_type(await store.compact(max_pause=timedelta(seconds=1)), int)
    await store.ping()

    await store.touch_session(key)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await store.touch_session(key, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.get_session(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.create_session(ctx, data, 60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def waits(store: AsyncSessionStore, ttl: TimeToLive) -> None:
    detached = await store.register_wait(ctx, "u1", scope, "key", data, ttl=ttl)
    assert_type(detached, SessionKey | None)
    await store.register_wait(ctx, UserId("u1"), scope, SessionKey("key"), data, 60)
    assert_type(await store.register_wait_if_absent(ctx, "u1", scope, "key", data, NEVER), bool)
    assert_type(await store.find_wait_by_scope(ctx, "u1", scope), SessionKey | None)
    assert_type(await store.find_wait_by_scope(ctx, "u1", [scope, scope]), SessionKey | None)
    assert_type(await store.get_wait(ctx, "u1", (scope,)), SessionRecord | None)
    assert_type(await store.find_wait_by_scope(ctx, ["u1", UserId("u2")], scope), SessionKey | None)
    assert_type(await store.get_wait(ctx, (UserId("u1"),), [scope]), SessionRecord | None)
    await store.get_wait(ctx, [7], scope)  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await store.clear_wait(ctx, ["u1"], scope)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await store.list_waits_for_user(ctx, "u1"), list[SessionKey])
    assert_type(await store.list_wait_records(ctx, "u1"), list[SessionRecord])
    assert_type(await store.clear_wait(ctx, "u1", scope, session_key="key"), bool)
    assert_type(await store.clear_waits_for_user(ctx, "u1"), int)
    await store.clear_wait(ctx, "u1", [scope])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.find_by_user(ctx, "u1")  # type: ignore[deprecated]  # pyright: ignore[reportDeprecated]


async def from_a_payload(store: AsyncSessionStore, payload: dict[str, object]) -> None:
    inbound = telegram(payload, bot_id=4242)
    assert_type(inbound, Inbound)
    assert_type(inbound.user_id, UserId)
    assert_type(inbound.scope, ReplyScope)
    assert_type(inbound.scopes(), tuple[ReplyScope, ...])
    assert_type(inbound.expecting(reply_to=78), ReplyScope)
    assert_type(inbound.delivery_id, str)
    assert_type(inbound.text, str | None)
    for one in split_whatsapp(payload):
        assert_type(whatsapp(one), Inbound)
    for one in split_messenger(payload):
        assert_type(messenger(one), Inbound)
    for one in split_line(payload):
        assert_type(line(one), Inbound)
    assert_type(google_chat(payload, bot_id=7), Inbound)
    assert_type(matrix(payload, bot_id="@bot:example.org", room_id="!room"), Inbound)
    assert_type(mattermost(payload, bot_id="bot"), Inbound)
    assert_type(twilio(payload), Inbound)
    matrix(payload)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    for other in (slack(payload), teams(payload), webex(payload), webex(payload, payload)):
        assert_type(other, Inbound)
    slack(payload, bot_id="A0", allow_user_tokens=True)
    telegram(payload, bot_id="4242", discussion_group=True)
    assert_type(inbound.user_ids, tuple[UserId, ...])
    assert_type(inbound.conversation_aliases, tuple[str, ...])
    assert_type(inbound.values, tuple[str, ...])
    assert_type(inbound.command, str | None)
    assert_type(dict(inbound.options), dict[str, str])
    assert_type(inbound.group_id, str | None)
    assert_type(inbound.is_ephemeral, bool)
    assert_type(scope_to_text(inbound.scope), str)
    assert_type(scope_from_text("scope:"), ReplyScope)
    assert_type(TELEGRAM_GENERAL_TOPIC, str)
    for moves in (
        telegram_moves(payload, bot_id=4242),
        slack_moves(payload, bot_id="A0"),
        whatsapp_moves(payload),
    ):
        assert_type(moves, tuple[Move, ...])
        assert_type(moves[0].scope(inbound.scope), ReplyScope)
        assert_type(moves[0].conversation, tuple[str, str])
        assert_type(moves[0].user, tuple[UserId, UserId] | None)
    discord(payload, bot_id="7")
    webchat(payload, bot_id="orders", conversation_id="c", user_id="u")
    async with store.resume_wait(
        ctx, inbound.user_id, inbound.scopes(), delivery_id=inbound.delivery_id
    ) as wait:
        assert_type(wait, ResumedWait | None)
    async with store.resume_wait(
        ctx, inbound.user_ids, inbound.scopes(), begin_at=inbound.scope
    ) as begun:
        assert_type(begun, ResumedWait)
        assert_type(begun.user_id, UserId)
    telegram(payload)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    telegram(b"{}", bot_id=4242)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    inbound.text = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def explaining(store: AsyncSessionStore) -> None:
    found = await store.explain(ctx, "u1", [scope, scope])
    assert_type(found, Explanation)
    assert_type(found.same_user, bool)
    assert_type(found.reports, tuple[ScopeReport, ...])
    assert_type(found.reports[0].status, WaitStatus)
    assert_type(found.reports[0].user_id, UserId)
    await store.explain(ctx, ["u1", "u2"], scope)
    assert_type(found.reports[0].claimed_until, datetime | None)


async def backend_claims(backend: Backend, delivery: Delivery) -> None:
    assert_type(delivery.digest, bytes)
    found = await backend.claim_wait(
        [ctx.owner],
        [scope.scope_hash()],
        token="t",
        lease=30_000,
        deliveries=[delivery],
        begin_at=None,
        queue=True,
    )
    assert_type(found, Claimed | Queued | Unreadable | Outcome)
    if isinstance(found, Claimed):
        assert_type(
            await backend.complete_claim(found.claim, deliveries=[delivery], then=KEEP), Outcome
        )


async def claims(store: AsyncSessionStore) -> None:
    claim = await store.claim_wait(ctx, ["u1", "u2"], scope)
    if claim is not None:
        assert_type(claim.user_id, UserId)
    claim = await store.claim_wait(ctx, "u1", scope)
    assert_type(claim, WaitClaim | None)
    claim = await store.claim_wait(
        ctx,
        UserId("u1"),
        [scope, scope],
        lease=timedelta(minutes=1),
        wait=2.5,
        delivery_id="event",
        dedupe_ttl=timedelta(days=7),
    )
    if claim is not None:
        assert_type(claim.record, SessionRecord | None)
        assert_type(claim.is_new, bool)
        assert_type(claim.is_expired, bool)
        assert_type(claim.is_overtaken, bool)
        assert_type(claim.token, str)
        assert_type(claim.lease, timedelta)
        assert_type(claim.lease_ends_at, datetime)
        await claim.renew()
        await claim.renew(60)
        await claim.release()
        assert_type(await claim.complete(), bool)
        assert_type(await claim.complete(KEEP), bool)
        assert_type(await claim.complete(then=NewWait(scope, data, 60, "key")), bool)
        claim.record = claim.record  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    async with store.resume_wait(
        ctx, "u1", (scope,), lease=30, wait=timedelta(seconds=5), delivery_id=None, dedupe_ttl=60
    ) as wait:
        assert_type(wait, ResumedWait | None)
    await store.claim_wait(ctx, "u1", scope, 30)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await store.claim_wait(ctx, "u1", scope, lease=NEVER)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.claim_wait(ctx, "u1", scope, delivery_id=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Order(BaseModel):
    pizza: str | None = None


def ask_again(turn: Turn[Incoming, Any]) -> None:
    turn.ask(turn.node or "start")
    turn.inbound = turn.inbound  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def turns(store: AsyncSessionStore, inbound: Inbound) -> None:
    async with store.turn(ctx, inbound, flow="order", memory=Order, ttl=1800) as turn:
        assert_type(turn, Turn[Inbound, Order])
        assert_type(turn.memory, Order)
        assert_type(turn.memory_as(dict[str, int]), dict[str, int])
        assert_type(turn.inbound, Inbound)
        assert_type(turn.text, str | None)
        assert_type(turn.node, str | None)
        turn.memory.pizza = turn.text
        ask_again(turn)
        answer_or_remind(turn)
        assert_type(turn.is_expired, bool)
        assert_type(turn.is_overtaken, bool)
        turn.ask("take_size", at=inbound.expecting(reply_to=7), ttl=NEVER)
        turn.ask("take_size", ttl=1800, expired_ttl=timedelta(days=1))
        turn.ask("take_size", expired_ttl=NEVER)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        turn.keep()
        turn.end()
        turn.ask(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with store.turn(ctx, inbound, flow=None, memory=dict[str, str]) as maybe:
        assert_type(maybe, Turn[Inbound, dict[str, str]] | None)
    async with store.resume_wait(ctx, "u1", scope, begin_at=scope) as wait:
        assert_type(wait, ResumedWait)
        assert_type(wait.record, SessionRecord | None)
        assert_type(wait.data, SessionData)
        assert_type(wait.scope, ReplyScope | None)
        wait.next(NewWait(scope, data))
    store.turn(ctx, "hi", flow="order", memory=Order)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


def sync_operators(store: SessionStore) -> None:
    for record in store.iter_waits(ctx):
        assert_type(record, SessionRecord)
    for record in store.iter_sessions(None):
        assert_type(record, SessionRecord)
    assert_type(store.count_waits(ctx), int)
    assert_type(store.erase_user(ctx, "u1"), ErasedUser)
    assert_type(store.move_waits(ctx, conversation=("a", "b")), MovedWaits)
    assert_type(store.copy_to(store), CopiedStore)
    assert_type(store.break_claim(ctx, "u1", ReplyScope(conversation="a")), bool)
    assert_type(store.compact(), int)


def sync_turns(store: SessionStore, inbound: Inbound) -> None:
    with store.turn(ctx, inbound, flow="order", memory=Order) as turn:
        assert_type(turn, Turn[Inbound, Order])
    with store.turn(ctx, inbound, flow=None, memory=Order) as maybe:
        assert_type(maybe, Turn[Inbound, Order] | None)


def answer_or_remind(turn: Turn[Inbound | None, Order]) -> None:
    """Handle a question for messages and for users who did not answer."""
    if turn.inbound is None:
        turn.ask("take_size", ttl=60)
    else:
        assert_type(turn.inbound, Inbound)
        turn.memory.pizza = turn.text


async def expired_waits(store: AsyncSessionStore, inbound: Inbound) -> None:
    await store.register_wait(ctx, "u1", scope, "key", data, 60, expired_ttl=3600)
    await store.register_wait_if_absent(ctx, "u1", scope, "key", data, expired_ttl=0)
    assert_type(await store.claim_expired(), list[WaitClaim])
    assert_type(await store.claim_expired(ctx, limit=10, lease=60), list[WaitClaim])
    waits = store.expired_waits(ctx, lease=timedelta(minutes=1), poll=0.1)
    assert_type(waits, ExpiredWaits)
    async for claim in waits:
        assert_type(claim, WaitClaim)
        async with store.expired_turn(claim, memory=Order, ttl=1800) as turn:
            assert_type(turn, Turn[None, Order])
            assert_type(turn.memory, Order)
            assert_type(turn.inbound, None)
            answer_or_remind(turn)
            turn.ask("take_size", at=scope, expired_ttl=3600)
        await claim.complete(NewWait(scope, data, 60, expired_ttl=3600))
        waits.stop()
    await store.claim_expired("u1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    store.expired_turn(inbound, memory=Order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def sync_expired_waits(store: SessionStore) -> None:
    assert_type(store.claim_expired(ctx, limit=10), list[SyncWaitClaim])
    waits = store.expired_waits()
    assert_type(waits, SyncExpiredWaits)
    for claim in waits:
        assert_type(claim.is_expired, bool)
        assert_type(claim.is_overtaken, bool)
        with store.expired_turn(claim, memory=Order) as turn:
            assert_type(turn, Turn[None, Order])
        waits.stop()


async def conditional_writes(store: AsyncSessionStore) -> None:
    def fn(old: SessionData) -> SessionData:
        return old.model_copy(update={"context_json": "new"})

    record = await store.get_record("key")
    if record is not None:
        await store.update_session("key", data, ctx=ctx, if_match=record.etag)
    assert_type(await store.edit_session("key", fn, ctx=ctx), SessionData)
    await store.update_session("key", data, if_match=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.edit_session("key", str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def records(store: AsyncSessionStore) -> None:
    record = await store.get_wait(ctx, "u1", scope)
    if record is not None:
        assert_type(record.key, SessionKey)
        assert_type(record.data, SessionData)
        assert_type(record.etag, str)
        assert_type(record.expires_at, datetime | None)
        record.etag = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def opening() -> None:
    async with AsyncSessionStore.from_url(
        "sqlite:///bot.db",
        default_wait_ttl=86400,
        default_session_ttl=NEVER,
        default_expired_ttl=timedelta(days=1),
    ) as store:
        assert_type(store, AsyncSessionStore)
    AsyncSessionStore.from_url("redis://host", namespace="mine", max_document_bytes=1000)
    assert_type(await AsyncSessionStore.from_env().open(), AsyncSessionStore)
    await store.aclose()

    backends: list[Backend] = [
        MemoryBackend(),
        SqliteBackend("bot.db"),
        SqliteBackend(Path("bot.db"), synchronous="NORMAL"),
        RedisBackend(Redis.from_url("redis://host"), namespace="mine"),
    ]
    AsyncSessionStore(backends[0], default_wait_ttl=timedelta(hours=1))
    AsyncSessionStore("memory://")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SqliteBackend("bot.db", synchronous="OFF")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def errors(store: AsyncSessionStore) -> None:
    try:
        await store.remove_session("key")
    except SessionNotFoundError as error:
        assert_type(error.key, str)
    except CorruptSessionError as error:
        assert_type(error.reason, str)
    except WaitClaimedError as error:
        assert_type(error.code, ErrorCode)
    except (ClaimLostError, DuplicateDeliveryError) as error:
        conflict: ConflictError = error
        assert_type(conflict.code, ErrorCode)
    except InvalidInputError as error:
        assert_type(error.code, ErrorCode)
    except StoreUsageError as error:
        usage: SessionStoreError = error
        assert_type(usage.code, ErrorCode)
    except SessionStoreError as error:
        assert_type(error.code, ErrorCode)


async def beside_a_runner() -> None:
    runner = RunnerSettings.from_env()
    assert_type(runner.env, EnvId)
    assert_type(runner.wait_ttl, TimeToLive)
    RunnerSettings.from_env({"GREENTIC_ENV": "prod"})
    store = AsyncSessionStore.from_url(
        runner.url, namespace=runner.namespace, default_wait_ttl=runner.wait_ttl
    )
    envelope = IngressEnvelope(tenant="acme", env=runner.env, flow_id="booking", user="9001")
    assert_type(envelope.user_id, UserId)
    assert_type(envelope.scope, ReplyScope)
    snapshot = FlowSnapshot(pack_id="p", flow_id="booking", next_node="n", state={"vars": {"a": 1}})
    flow = ParkedFlow(snapshot=snapshot, reason="reply")
    written = envelope.session_data(flow)
    assert_type(written, SessionData)
    await store.register_wait(
        envelope.ctx, envelope.user_id, envelope.scope, envelope.session_key, written
    )
    async with store.resume_wait(envelope.ctx, envelope.user_id, envelope.scopes()) as record:
        if record is not None and not is_welcome_mark(record.key):
            found = ParkedFlow.from_session(record.data)
            assert_type(found, ParkedFlow)
            assert_type(found.snapshot.state["vars"], object)
    IngressEnvelope(tenant="acme")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    snapshot.next_node = "n2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
