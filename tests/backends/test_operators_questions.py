"""The questions of docs/how-to/operate.md, each answered by its call, on each backend."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    DuplicateDeliveryError,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
    TimeToLive,
)
from async_session_store.testing.contract.builders import SERVICE, ctx
from async_session_store.testing.contract.listing_sessions import keys
from redis_server import RedisServer

pytestmark = pytest.mark.anyio

CHAT = ReplyScope(conversation="chat-1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite", "redis"])
def place(
    request: pytest.FixtureRequest, redis_server: RedisServer, namespace: str, tmp_path: Path
) -> dict[str, str]:
    """Return the arguments of ``from_url``."""
    places = {
        "memory": {"url": "memory://"},
        "sqlite": {"url": f"sqlite:///{tmp_path}/bot.db"},
        "redis": {"url": redis_server.unix_url, "namespace": namespace},
    }
    return places[request.param]


@pytest.fixture
async def store(place: dict[str, str]) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore.from_url(**place) as store:
        yield store


async def ask(
    store: AsyncSessionStore,
    user: str,
    key: str,
    *,
    at: ReplyScope | None = None,
    flow: str = "order",
    node: str = "take_size",
    ttl: TimeToLive = 3600,
    tenant: str = "acme",
) -> None:
    of = ctx(user, tenant=tenant)
    scope = at or ReplyScope(conversation=key)
    await store.register_wait(of, user, scope, key, paused(of, flow, node), ttl)


def paused(of: TenantCtx, flow: str = "order", node: str = "take_size") -> SessionData:
    return SessionData(
        tenant_ctx=of,
        flow_id=flow,
        cursor=SessionCursor(node_pointer=node),
        context_json='{"pizza": "funghi"}',
    )


async def test_which_waits_does_a_tenant_have_open_now(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "a")
    await ask(store, "bob", "b")
    await ask(store, "alice", "other", tenant="other")
    assert await keys(store.iter_waits(SERVICE)) == ["a", "b"]


async def test_what_does_this_one_hold(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "a", at=CHAT)
    record = await store.get_record("a", ctx=SERVICE)
    assert record is not None
    assert (record.data.flow_id, record.data.cursor.node_pointer) == ("order", "take_size")
    assert record.data.context_json == '{"pizza": "funghi"}'
    assert (record.data.owner.user, record.scope) == ("alice", CHAT)
    assert await store.get_record("a", ctx=ctx(None, tenant="other")) is None


async def test_how_many_expire_today(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "soon", ttl=1800)
    await ask(store, "alice", "later", ttl=timedelta(days=2))
    await ask(store, "alice", "never", ttl=NEVER)
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    assert await store.count_waits(SERVICE, expires_before=tomorrow) == 1


async def test_how_many_wait_at_each_node(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "a")
    await ask(store, "bob", "b")
    await ask(store, "bob", "c", node="pay")
    await ask(store, "bob", "d", flow="ticket")
    nodes = Counter[tuple[str, str]]()
    async for record in store.iter_waits(SERVICE):
        nodes[record.data.flow_id, record.data.cursor.node_pointer] += 1
    assert nodes == {("order", "take_size"): 2, ("order", "pay"): 1, ("ticket", "take_size"): 1}
    assert await store.count_waits(SERVICE, flow_id="order", node="take_size") == 2


async def test_delete_all_that_we_hold_of_a_user(store: AsyncSessionStore) -> None:
    await leave_traces(store, "alice")
    await leave_traces(store, "bob")
    erased = await store.erase_user(SERVICE, "alice")
    assert (erased.waits, erased.sessions, erased.deliveries) == (1, 1, 1)
    assert await keys(store.iter_sessions(SERVICE)) == ["bob-created", "bob-waits"]


async def test_is_anything_left_of_a_user(store: AsyncSessionStore) -> None:
    await leave_traces(store, "alice")
    assert await sessions_of(store, "alice") == ["alice-created", "alice-waits"]
    assert await store.erase_user(SERVICE, "alice")
    assert await sessions_of(store, "alice") == []
    assert not await store.erase_user(SERVICE, "alice")


async def leave_traces(store: AsyncSessionStore, user: str) -> None:
    """Leave a wait, a session that waits nowhere, and a delivery."""
    of = ctx(user)
    await ask(store, user, f"{user}-answered", at=CHAT)
    async with store.resume_wait(of, user, CHAT, delivery_id="d"):
        pass
    await ask(store, user, f"{user}-created", at=CHAT)
    await ask(store, user, f"{user}-waits", at=CHAT)  # and detaches the one before


async def sessions_of(store: AsyncSessionStore, user: str) -> list[str]:
    found = [
        str(record.key)
        async for record in store.iter_sessions(SERVICE)
        if record.data.owner.user == user
    ]
    return sorted(set(found))


async def test_why_is_this_reply_not_resumed(store: AsyncSessionStore) -> None:
    of = TenantCtx(env="prod", tenant_id="acme", team_id="blue", user_id="alice")
    thread = ReplyScope(conversation="chat-1", thread="7")
    await store.register_wait(of, "alice", thread, "a", paused(of), 3600)
    asked_without_team = await store.explain(SERVICE, "alice", [thread, CHAT])
    assert [one.status.value for one in asked_without_team.reports] == ["nothing", "nothing"]
    service = TenantCtx(env="prod", tenant_id="acme", team_id="blue")
    explained = await store.explain(service, "alice", [thread, CHAT])
    waiting = [one for one in explained.reports if one.session_key is not None]
    assert [(one.scope, one.team, one.status.value) for one in waiting] == [
        (thread, "blue", "live")
    ]


async def test_why_is_this_message_not_handled_again(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "a", at=CHAT)
    async with store.resume_wait(SERVICE, "alice", CHAT, delivery_id="d") as wait:
        assert wait is not None
        wait.keep()
    with pytest.raises(DuplicateDeliveryError):
        await store.claim_wait(SERVICE, "alice", CHAT, delivery_id="d")


async def test_until_when_is_this_claim_held_and_how_is_it_ended(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "a", at=CHAT)
    await store.claim_wait(SERVICE, "alice", CHAT, lease=3600)
    (report,) = (await store.explain(SERVICE, "alice", CHAT)).reports
    assert report.claimed_until is not None
    assert report.claimed_until - datetime.now(timezone.utc) > timedelta(minutes=59)
    assert await store.break_claim(SERVICE, "alice", CHAT)
    claim = await store.claim_wait(SERVICE, "alice", CHAT)
    assert claim is not None
    assert await claim.complete()


async def test_which_sessions_wait_nowhere(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "waits")
    await store.register_wait(ctx("bob"), "bob", CHAT, "displaced", paused(ctx("bob")), 3600)
    await store.register_wait(ctx("bob"), "bob", CHAT, "displaces", paused(ctx("bob")), 3600)
    created = await store.create_session(ctx("bob"), paused(ctx("bob")))
    waiting = {record.key async for record in store.iter_waits(SERVICE)}
    nowhere = [one async for one in store.iter_sessions(SERVICE) if one.key not in waiting]
    assert sorted(one.key for one in nowhere) == sorted([created, "displaced"])
    assert all(one.scope is None for one in nowhere)


async def test_how_do_we_move_to_another_storage(
    store: AsyncSessionStore, redis_server: RedisServer, namespace: str
) -> None:
    await ask(store, "alice", "a", at=CHAT)
    url, copies = redis_server.unix_url, f"{namespace}:copies"
    async with AsyncSessionStore.from_url(url, namespace=copies) as other:
        await store.copy_to(other)  # while the bots run
        await ask(store, "bob", "b")
        await store.copy_to(other, again=True)  # once they have stopped
        assert await keys(other.iter_waits(None)) == ["a", "b"]
        assert await other.find_wait_by_scope(SERVICE, "alice", CHAT) == "a"


async def test_the_id_of_a_chat_and_of_a_user_has_changed(store: AsyncSessionStore) -> None:
    await ask(store, "alice", "a", at=CHAT)
    new = ReplyScope(conversation="supergroup-1")
    moved = await store.move_waits(SERVICE, conversation=("chat-1", "supergroup-1"))
    assert (moved.waits, moved.is_complete) == (1, True)
    assert await store.find_wait_by_scope(SERVICE, "alice", new) == "a"
    moved = await store.move_waits(SERVICE, user=("alice", "alice-2"))
    assert (moved.waits, moved.is_complete) == (1, True)
    assert await store.find_wait_by_scope(SERVICE, "alice-2", new) == "a"


async def test_what_takes_the_space_and_how_is_it_given_back(
    store: AsyncSessionStore, place: dict[str, str]
) -> None:
    for number in range(300):
        await ask(store, "alice", f"{number}", ttl=0.01)
    await asyncio.sleep(0.02)
    assert await store.purge_expired() > 0
    freed = await store.compact()
    assert (freed > 0) is place["url"].startswith("sqlite")


@pytest.mark.usefixtures("store")
async def test_is_the_storage_set_up_right(place: dict[str, str]) -> None:
    command = [sys.executable, "-m", "async_session_store", "doctor"]
    environment = {**os.environ, "SESSION_STORE_URL": place["url"]}
    if "namespace" in place:
        environment["SESSION_NAMESPACE"] = place["namespace"]
    done = await anyio.run_process(command, check=False, env=environment)
    kind = place["url"].partition(":")[0]
    # Nobody shares memory. The Redis server of the tests keeps nothing on disk.
    assert done.returncode == {"memory": 4, "sqlite": 0, "unix": 1}[kind], done.stdout
