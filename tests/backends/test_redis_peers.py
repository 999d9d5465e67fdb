"""What processes with the Rust crate ``greentic-session`` leave behind in a shared namespace.

Each test runs with the commands that the crate sends to Redis, and, under the mark ``interop``,
with the crate itself.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import timedelta, timezone
from typing import Any, TypeVar

import pytest
import redis

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ClaimLostError,
    ConflictError,
    CorruptSessionError,
    DuplicateDeliveryError,
    ReplyScope,
    ScopeReport,
    SessionNotFoundError,
    SessionRecord,
    SessionStoreError,
    StoreUnavailableError,
    TenantCtx,
    TenantMismatchError,
    TimeToLive,
    WaitClaimedError,
    WaitStatus,
)
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    clear,
    context_of,
    ctx,
    data,
    find,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.claim_builders import claim
from calls import CALLS, GROWING, MORE_REGISTRATIONS, SHRINKING, Call
from calls import claim as claim_if_free
from clock import shorten_deadlines
from redis_server import RedisServer
from rust_peers import CratePeer, RustPeer, owner_text
from rust_process import RustError, RustProcess
from stored_keys import documents, image, stored_keys

pytestmark = [pytest.mark.anyio, pytest.mark.one_python]

T = TypeVar("T")

OTHER = ctx(tenant="rival")
WRITES: dict[str, Call] = {**GROWING, **SHRINKING, "claim_wait": claim_if_free}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def layout(redis_client: redis.Redis, namespace: str) -> RustPeer:
    """Return a peer of plain commands, for what the crate would not write."""
    return RustPeer(redis_client, namespace)


@pytest.fixture(params=["commands", pytest.param("crate", marks=pytest.mark.interop)])
def rust(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    layout: RustPeer,
) -> Iterator[RustPeer]:
    if request.param == "commands":
        yield layout
        return
    process: RustProcess = request.getfixturevalue("rust_process")
    with closing(process.redis_store(redis_server.url, namespace)) as store:
        yield CratePeer(redis_client, namespace, store)


def scopes_of(owner: TenantCtx, stored: dict[str, Any]) -> list[str]:
    return sorted(key for key in stored if key.startswith(f"waits:scope:{owner_text(owner)}:"))


async def only(found: Awaitable[Sequence[T]]) -> T:
    (item,) = await found
    return item


async def reports(store: AsyncSessionStore, *scopes: ReplyScope) -> Sequence[ScopeReport]:
    return (await store.explain(CTX, "u1", list(scopes))).reports


# --- Both on one namespace --------------------------------------------------------------------


async def test_a_rust_process_sees_waits_that_are_registered_here(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k1", A)
    await register(store, "k2", B, ttl=60)
    assert (rust.find(A), rust.find(B), rust.listed()) == ("k1", "k2", ["k1", "k2"])
    assert await register(store, "k1", B) == "k2"
    assert (rust.find(A), rust.find(B), rust.listed()) == (None, "k1", ["k1"])
    await store.remove_session("k1")
    assert (rust.find(B), rust.listed()) == (None, [])


async def test_waits_that_a_rust_process_registers_are_seen_here(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    rust.register("k", A, ttl=60)
    record = await store.get_wait(CTX, "u1", [B, A])
    assert record is not None
    assert (record.key, record.data) == ("k", data("rust"))
    assert record.expires_at is not None
    assert await store.get_session("k") == data("rust")
    assert await find(store, A) == "k"
    assert await listed(store) == ["k"]
    assert [item.key for item in await store.list_wait_records(CTX, "u1")] == ["k"]


@pytest.mark.parametrize(
    "end",
    [
        lambda store: clear(store, A),
        lambda store: clear(store, A, "k"),
        lambda store: store.clear_waits_for_user(CTX, "u1"),
        lambda store: store.remove_session("k"),
    ],
    ids=["clear", "clear its key", "clear all", "remove"],
)
async def test_s4_w6_waits_that_a_rust_process_registered_can_be_ended_here(
    store: AsyncSessionStore, rust: RustPeer, end: Call
) -> None:
    rust.register("k", A)
    await end(store)
    assert await store.get_session("k") is None
    assert await find(store, A) is None
    assert await listed(store) == []
    assert (rust.find(A), rust.listed()) == (None, [])


async def test_w4_a_wait_that_a_rust_process_moves_as_it_is_is_found_there(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A, "rust")
    rust.register("k", B)  # with the document that it has, and no deadline either
    assert await find(store, B) == rust.find(B) == "k"
    assert await listed(store) == ["k"]


async def test_w3_each_displaces_the_others_wait(store: AsyncSessionStore, rust: RustPeer) -> None:
    rust.register("theirs", A)
    assert await register(store, "ours", A) == "theirs"
    assert (await listed(store), rust.listed()) == (["ours"], ["ours"])
    rust.register("theirs", A)
    assert (await find(store, A), await listed(store)) == ("theirs", ["theirs"])
    assert await context_of(store, "ours") == "{}"
    # What is done to a detached session does not affect the new one.
    await store.update_session("ours", data("new"))
    await store.remove_session("ours")
    assert (await find(store, A), await listed(store)) == ("theirs", ["theirs"])


async def test_w7_the_wait_of_a_rust_process_counts(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    rust.register("theirs", A)
    assert not await register_if_absent(store, "ours", A)
    rust.remove("theirs")
    assert await register_if_absent(store, "ours", A)


# --- Its update drops the deadline ------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.get_wait(CTX, "u1", A),
        lambda store: store.get_record("k"),
        lambda store: only(store.list_wait_records(CTX, "u1")),
        lambda store: only(reports(store, A)),
    ],
    ids=["get wait", "get record", "list records", "explain"],
)
async def test_t4_a_read_shows_the_deadline_that_a_rust_update_dropped(
    store: AsyncSessionStore,
    rust: RustPeer,
    read: Callable[[AsyncSessionStore], Awaitable[SessionRecord | ScopeReport]],
) -> None:
    await register(store, "k", A, ttl=60)
    expected = (await read(store)).expires_at
    rust.update("k")
    await (await claim(store, A)).release()  # only a call with the scope tells where it waits
    assert (await read(store)).expires_at == expected is not None
    assert rust.milliseconds("k") == -1


@pytest.mark.parametrize("by", ["python", "rust"])
async def test_t3_t4_an_update_restores_the_deadline_that_a_rust_update_dropped(
    store: AsyncSessionStore, rust: RustPeer, by: str
) -> None:
    if by == "python":
        await register(store, "k", A, ttl=60)
    else:
        rust.register("k", A, ttl=60)
    rust.update("k")
    await (await claim(store, A)).release()  # only a call with the scope tells where it waits
    assert rust.milliseconds("k") == -1
    await store.update_session("k", data("new"))
    assert 50_000 < rust.milliseconds("k") <= 60_000


async def test_t3_t4_the_deadline_of_a_scope_that_rust_left_does_not_count(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    """The wait stays where Rust moved it, for ever: better a session that stays than a lost one."""
    await register(store, "k", A, ttl=60)
    rust.register("k", B)
    record = await store.get_record("k")
    assert record is not None
    (listed_record,) = await store.list_wait_records(CTX, "u1")
    assert record.expires_at is listed_record.expires_at is None
    await store.update_session("k", data("new"))
    assert rust.milliseconds("k") == -1
    shorten_deadlines(redis_client, namespace, 61)
    assert await find(store, B) == "k"
    assert (await store.get_session("k")) == data("new")


async def test_w5_a_wait_that_rust_updated_stays_listed_after_its_deadline(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A, ttl=60)
    rust.update("k")
    shorten_deadlines(redis_client, namespace, 61)
    assert await find(store, A) is None
    assert await listed(store) == ["k"]
    assert await store.clear_waits_for_user(CTX, "u1") == 1
    assert await listed(store) == []


async def test_t4_a_wait_of_rust_ends_with_its_scope_key_if_its_own_deadline_was_dropped(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    rust.register("k", A, ttl=60)
    rust.update("k")
    record = await store.get_wait(CTX, "u1", A)
    claimed = await claim(store, A)
    assert record is not None
    assert record.expires_at == claimed.record.expires_at is not None
    await claimed.release()
    shorten_deadlines(redis_client, namespace, 61)
    assert await find(store, A) is None
    assert await store.get_session("k") == data("rust")


async def test_t3_no_deadline_comes_from_nowhere(store: AsyncSessionStore, rust: RustPeer) -> None:
    await register(store, "k", A)
    rust.update("k")
    assert await listed(store) == ["k"]
    assert await find(store, A) == "k"
    assert rust.milliseconds("k") == -1


async def test_t3_a_touched_wait_keeps_its_deadline(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A, ttl=60)
    rust.update("k")
    await store.touch_session("k", NEVER)
    assert await find(store, A) == "k"
    assert rust.milliseconds("k") == -1
    await store.touch_session("k", 600)
    rust.update("k")
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert 590 < seconds_left(record) <= 600


async def test_x4_an_explanation_reports_what_rust_left_and_repairs_nothing(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    rust.register("of rust", A, ttl=60)
    rust.update("of rust")
    await register(store, "removed", B)
    rust.remove("removed")
    rust.register("of another", C)
    rust.register("of another", ReplyScope(conversation="elsewhere"), of=OTHER)
    before = stored_keys(redis_client, namespace)
    of_rust, removed, of_another = (await store.explain(CTX, "u1", [A, B, C])).reports
    assert (of_rust.status, of_rust.session_key) == (WaitStatus.LIVE, "of rust")
    assert of_rust.expires_at is not None
    for report in (removed, of_another):
        assert (report.status, report.session_key) == (WaitStatus.NOTHING, None)
    assert stored_keys(redis_client, namespace) == before
    assert rust.milliseconds("of rust") == -1


def seconds_left(record: SessionRecord) -> float:
    assert record.expires_at is not None
    return record.expires_at.timestamp() - time.time()


def milliseconds_of_scope(client: redis.Redis, rust: RustPeer, scope: ReplyScope) -> int:
    return client.pttl(rust.scope(scope, CTX))


@pytest.mark.parametrize("meanwhile", ["nothing", "update"])
@pytest.mark.parametrize(("ttl", "seconds"), [(NEVER, None), (600, 600), (30, 30)])
async def test_t3_a_wait_that_rust_registered_is_touched(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    ttl: TimeToLive,
    seconds: int | None,
    meanwhile: str,
) -> None:
    rust.register("k", A, ttl=60)
    await store.touch_session("k", ttl)
    if meanwhile == "update":
        await store.update_session("k", data("new"))
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert (record.expires_at is None) == (seconds is None)
    # A claim is the first to know of the scope key, and to write.
    await (await claim(store, A)).release()
    assert await find(store, A) == rust.find(A) == "k"
    for left in (rust.milliseconds("k"), milliseconds_of_scope(redis_client, rust, A)):
        assert left == -1 if seconds is None else seconds - 10 < left / 1000 <= seconds
    rust.update("k")
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert (record.expires_at is None) == (seconds is None)
    await store.remove_session("k")
    assert stored_keys(redis_client, namespace) == {}


@pytest.mark.parametrize("ttl", [NEVER, 600])
async def test_s4_nothing_is_left_of_a_wait_of_rust_that_was_touched(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    ttl: TimeToLive,
) -> None:
    rust.register("k", A)
    await store.touch_session("k", ttl)
    await store.remove_session("k")
    # Its scope key is known to no one but the process that wrote it.
    assert set(stored_keys(redis_client, namespace)) == {rust.scope(A, CTX)[len(namespace) + 1 :]}
    assert await store.purge_expired() == 1
    assert stored_keys(redis_client, namespace) == {}


async def test_t2_a_wait_registered_over_a_touched_one_of_rust_lives_for_ever(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    rust.register("k", A, ttl=60)
    await store.touch_session("k", 30)
    await register(store, "k", A, ttl=NEVER)
    assert [redis_client.pttl(f"{namespace}:{name}") for name in ("session:k", "meta:k")] == [
        -1,
        -1,
    ]
    async with store.resume_wait(CTX, "u1", A) as record:
        assert record is not None
    assert await find(store, A) is None
    assert stored_keys(redis_client, namespace) == {}


async def test_t3_touching_a_session_that_waits_nowhere_leaves_no_trace(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    key = await store.create_session(CTX, data())
    await store.touch_session(key, 60)
    assert set(stored_keys(redis_client, namespace)) == {f"session:{key}"}


# --- Its remove leaves the scope, its move the old scope --------------------------------------


async def test_s4_the_scope_that_a_rust_remove_left_routes_nowhere(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A)
    rust.remove("k")
    assert await find(store, A) is None
    assert await store.get_wait(CTX, "u1", A) is None
    assert len(scopes_of(CTX, stored_keys(redis_client, namespace))) == 1
    assert await store.purge_expired() == 2
    assert stored_keys(redis_client, namespace) == {}


@pytest.mark.parametrize("who", ["rust", "here"])
async def test_s4_a_later_wait_under_the_same_key_is_not_reached_by_it(
    store: AsyncSessionStore, rust: RustPeer, who: str
) -> None:
    if who == "rust":
        rust.register("k", A)
    else:
        await register(store, "k", A)
    rust.remove("k")
    await register(store, "k", B, "later")
    assert await find(store, A) is None
    assert await find(store, B) == "k"
    assert not await clear(store, A)
    assert await context_of(store, "k") == "later"


async def test_w2_registering_here_ends_the_old_scopes_of_a_rust_move(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    rust.register("k", A)
    rust.register("k", B)
    assert await listed(store) == ["k"]
    assert await find(store, A) == await find(store, B) == "k"
    await register(store, "k", C)
    assert not await clear(store, A)
    assert await find(store, A) is None
    assert await register_if_absent(store, "k2", B)
    assert await find(store, C) == "k"


async def test_w2_a_wait_that_rust_moved_routes_from_its_new_scope(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A, ttl=60)
    rust.register("k", B, ttl=600)
    assert await find(store, B) == "k"
    await store.update_session("k", data("new"))
    assert await find(store, B) == "k"
    assert (await listed(store), rust.find(B)) == (["k"], "k")


async def test_w2_a_wait_that_rust_moved_with_its_document_unchanged_routes_there_too(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A, ttl=60)
    rust.register("k", B, data().model_dump_json(), ttl=600)
    assert await find(store, B) == "k"
    assert (await listed(store), rust.find(B)) == (["k"], "k")


async def test_w6_a_rust_clear_of_the_old_scope_ends_the_moved_session_for_good(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    rust.register("k", A)
    rust.register("k", B)
    rust.clear(A)
    assert await find(store, B) is None
    assert await listed(store) == []
    await store.purge_expired()
    assert stored_keys(redis_client, namespace) == {}


async def test_w2_a_rust_clear_of_a_scope_that_was_left_here_does_nothing(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A)
    await register(store, "k", B)
    rust.clear(A)
    assert await find(store, B) == "k"


@pytest.mark.parametrize("claimed_at", [A, B], ids="AB")
async def test_w2_k3_a_claim_does_not_change_where_a_wait_of_rust_is(
    store: AsyncSessionStore, rust: RustPeer, claimed_at: ReplyScope
) -> None:
    rust.register("k", A)
    rust.register("k", B)
    await (await claim(store, claimed_at)).release()
    for scope in (A, B):
        assert rust.find(scope) == await find(store, scope) == "k"
        await (await claim(store, scope)).release()
    assert await (await claim(store, B)).complete() is True
    assert (rust.find(A), await find(store, A, B)) == (None, None)


async def test_w3_a_scope_key_that_rust_left_does_not_find_a_detached_session(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    rust.register("k", B)
    await register(store, "k", A)
    assert await register(store, "k2", A) == "k"
    assert await find(store, B) is None
    assert not await clear(store, B)
    assert await context_of(store, "k") == "{}"
    await store.update_session("k", data("new"))
    assert await find(store, B) is None
    assert await register_if_absent(store, "k3", B)
    # Once Rust registers it there again, it waits there.
    rust.register("k", B)
    assert await find(store, B) == rust.find(B) == "k"


async def test_w3_a_session_displaced_at_one_scope_stays_where_rust_moved_it(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A)
    rust.register("k", B)
    rust.register("k", A)
    assert await register(store, "k2", B) == "k"
    assert rust.find(A) == await find(store, A) == "k"
    assert rust.find(B) == await find(store, B) == "k2"
    assert await listed(store) == ["k", "k2"]


# --- Stale index entries ----------------------------------------------------------------------


async def test_w5_stale_members_are_not_listed_and_go_with_a_write(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "theirs", A, of=OTHER)
    await register(store, "k", A)
    before = stored_keys(redis_client, namespace)
    redis_client.sadd(rust.user(CTX), "gone", "theirs")
    assert await listed(store) == ["k"]
    assert [record.key for record in await store.list_wait_records(CTX, "u1")] == ["k"]
    assert stored_keys(redis_client, namespace) != before
    assert await store.purge_expired() == 2
    assert await store.clear_waits_for_user(CTX, "u1") == 1
    assert await find(store, A, of=OTHER) == "theirs"
    assert not redis_client.exists(rust.user(CTX))


async def test_t5_a_key_that_now_belongs_to_another_owner_leaves_the_set(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A, ttl=60)
    shorten_deadlines(redis_client, namespace, 61)
    await register(store, "k", A, of=ctx("u2"))
    assert await store.purge_expired() == 1
    assert await listed(store) == []
    assert await listed(store, of=ctx("u2")) == ["k"]
    assert await store.purge_expired() == 0


async def test_t5_stale_entries_are_purged_and_nothing_else(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "ours", A, ttl=60)
    rust.register("theirs", B, of=OTHER)
    before = stored_keys(redis_client, namespace)
    await register(store, "k", C)
    rust.remove("k")
    redis_client.sadd(rust.user(OTHER), "gone")
    redis_client.sadd(rust.user(ctx("idle")), "gone")
    assert await store.purge_expired() == 4
    assert stored_keys(redis_client, namespace) == before
    assert await store.purge_expired() == 0


# --- Claims -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [None, 60])
async def test_k3_the_same_document_registered_once_more_is_another_wait(
    store: AsyncSessionStore, rust: RustPeer, ttl: int | None
) -> None:
    rust.register("k", A, ttl=ttl)
    claimed = await claim(store, A)
    rust.register("k", A, ttl=ttl)
    assert await claimed.complete() is False
    assert rust.find(A) == await find(store, A) == "k"
    assert await listed(store) == ["k"]
    assert await (await claim(store, A)).complete() is True


def rust_moves(rust: RustPeer) -> None:
    rust.register("k", B)


def rust_clears_and_registers(rust: RustPeer) -> None:
    rust.clear(A)
    rust.register("k", A)


def rust_removes_and_registers_the_same(rust: RustPeer) -> None:
    rust.remove("k")
    rust.register("k", A, data("state").model_dump_json(), ttl=60)


RUST_CHANGES: dict[str, tuple[Callable[[RustPeer], None], str | None]] = {
    "update": (lambda rust: rust.update("k"), "k"),
    "register": (lambda rust: rust.register("k", A), "k"),
    "register with a ttl": (lambda rust: rust.register("k", A, ttl=600), "k"),
    "register another": (lambda rust: rust.register("k2", A), "k2"),
    "clear": (lambda rust: rust.clear(A), None),
    "clear and register": (rust_clears_and_registers, "k"),
    "remove": (lambda rust: rust.remove("k"), None),
    "remove and register the same": (rust_removes_and_registers_the_same, "k"),
}


@pytest.mark.parametrize("by", ["python", "rust"])
@pytest.mark.parametrize(("change", "left"), RUST_CHANGES.values(), ids=RUST_CHANGES)
async def test_k3_changes_of_a_rust_process_to_a_claimed_wait_stay(
    store: AsyncSessionStore,
    rust: RustPeer,
    by: str,
    change: Callable[[RustPeer], None],
    left: str | None,
) -> None:
    if by == "python":
        await register(store, "k", A, "state", ttl=900)
    else:
        rust.register("k", A, data("state").model_dump_json(), ttl=900)
    claimed = await claim(store, A)
    change(rust)
    assert await find(store, A) == left
    before = await listed(store), await store.get_wait(CTX, "u1", A)
    if left is not None:
        with pytest.raises(WaitClaimedError):
            await claim(store, A)
    assert await claimed.complete() is False
    assert (await listed(store), await store.get_wait(CTX, "u1", A)) == before
    assert rust.find(A) == left
    if left is not None:
        assert await (await claim(store, A)).complete() is True
        assert rust.find(A) is None


async def test_k3_a_wait_that_a_rust_process_moved_during_the_claim_stays(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A, ttl=60)
    claimed = await claim(store, A)
    rust_moves(rust)
    assert await claimed.complete() is False
    assert (rust.find(B), await find(store, B)) == ("k", "k")
    assert await store.get_session("k") == data("rust")


async def test_k3_a_python_update_after_a_rust_update_does_not_make_it_ours(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A, ttl=60)
    claimed = await claim(store, A)
    rust.update("k")
    await store.update_session("k", data("new"))
    assert await claimed.complete() is False
    assert await context_of(store, "k") == "new"
    assert await (await claim(store, A)).complete() is True


@pytest.mark.parametrize("ttl", [None, 60])
async def test_k3_a_wait_of_a_rust_process_is_claimed_updated_and_completed(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    ttl: int | None,
) -> None:
    rust.register("k", A, ttl=ttl)
    claimed = await claim(store, A)
    assert claimed.record.data == data("rust")
    assert (rust.find(A), rust.listed()) == ("k", ["k"])
    assert (rust.milliseconds("k") == -1) == (ttl is None)
    await store.update_session("k", data("new"), if_match=claimed.record.etag)
    await store.touch_session("k", 600)
    assert await claimed.complete() is True
    assert stored_keys(redis_client, namespace) == {}


@pytest.mark.parametrize("ttl", [None, 60])
async def test_k3_a_wait_of_a_rust_process_is_given_back_untouched(
    store: AsyncSessionStore, rust: RustPeer, ttl: int | None
) -> None:
    rust.register("k", A, ttl=ttl)
    before = await store.get_record("k")
    assert before is not None
    for _ in range(2):
        await (await claim(store, A)).release()
        after = await store.get_record("k")
        assert after is not None
        assert (after.data, after.expires_at) == (before.data, before.expires_at)
        assert (rust.find(A), rust.listed()) == ("k", ["k"])
    # A claim is no change, so no one's etag goes bad (K5).
    await store.update_session("k", data("new"), if_match=before.etag)
    with pytest.raises(ConflictError):
        await store.update_session("k", data("lost"), if_match=before.etag)
    async with store.resume_wait(CTX, "u1", A) as record:
        assert record is not None
    assert (rust.find(A), rust.listed()) == (None, [])


async def test_k4_a_question_that_a_rust_process_asks_inside_the_block_stays(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A)
    async with store.resume_wait(CTX, "u1", A, delivery_id="event"):
        rust.register("k", A)
    assert rust.find(A) == "k"
    with pytest.raises(DuplicateDeliveryError):
        await claim(store, A, delivery_id="event")


async def test_k5_a_rust_process_works_while_it_is_claimed(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A)
    await claim(store, A)
    assert (rust.find(A), rust.listed()) == ("k", ["k"])
    rust.update("k")
    assert await store.get_session("k") == data("rust")
    rust.clear(A)
    assert (rust.find(A), rust.listed()) == (None, [])


async def test_f7_claims_of_one_owner_do_not_reach_another(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A)
    claimed = await claim(store, A)
    rust.register("k", A, of=OTHER)
    assert await store.claim_wait(CTX, "u1", A) is None
    assert await claimed.complete() is False
    assert await find(store, A, of=OTHER) == "k"
    theirs = await store.claim_wait(OTHER, "u1", A)
    assert theirs is not None
    assert await theirs.complete() is True


# --- Another owner ----------------------------------------------------------------------------


async def test_f7_another_tenant_that_replaced_a_session_is_left_alone(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A, ttl=60)
    rust.register("k", A, of=OTHER)

    def theirs() -> dict[str, Any]:
        stored = stored_keys(redis_client, namespace)
        return {key: item for key, item in stored.items() if "rival" in key or "session:" in key}

    before = theirs()
    assert len(before) == 3
    assert await find(store, A) is None
    assert await store.get_wait(CTX, "u1", [B, A]) is None
    assert await listed(store) == []
    assert await store.list_wait_records(CTX, "u1") == []
    assert await store.get_session("k", ctx=CTX) is None
    assert await store.get_record("k", ctx=CTX) is None
    assert not await clear(store, A)
    assert not await clear(store, A, "k")
    assert await store.clear_waits_for_user(CTX, "u1") == 0
    unseen: list[Call] = [
        lambda store: store.update_session("k", data(), ctx=CTX),
        lambda store: store.touch_session("k", 5, ctx=CTX),
        lambda store: store.remove_session("k", ctx=CTX),
    ]
    for call in unseen:
        with pytest.raises(SessionNotFoundError):
            await call(store)
    taken: list[Call] = [
        lambda store: store.update_session("k", data()),
        lambda store: register(store, "k", B),
    ]
    for call in taken:
        with pytest.raises(TenantMismatchError) as caught:
            await call(store)
        assert "rival" not in str(caught.value)
    assert await register(store, "k2", A) is None
    after = theirs()
    ours = {"session:k2": after.pop("session:k2")}
    assert documents(ours) == {"session:k2": (data().model_dump_json().encode(), False)}
    assert after == before


@pytest.mark.parametrize(
    "call",
    [
        lambda store: find(store, A, of=OTHER),
        lambda store: store.get_wait(OTHER, "u1", A),
        lambda store: listed(store, of=OTHER),
        lambda store: store.list_wait_records(OTHER, "u1"),
        lambda store: store.get_record("k"),
        lambda store: store.update_session("k", data("new", of=OTHER)),
        lambda store: store.purge_expired(),
    ],
    ids=["find", "get wait", "list", "list records", "get record", "update", "purge"],
)
async def test_f7_keys_that_the_first_owner_left_do_not_reach_the_second(
    store: AsyncSessionStore, rust: RustPeer, call: Call
) -> None:
    await register(store, "k", A, "secret", ttl=60)
    rust.register("k", A, of=OTHER)
    await call(store)
    assert rust.milliseconds("k") == -1
    assert await find(store, A, of=OTHER) == "k"
    assert await listed(store, of=OTHER) == ["k"]
    assert await store.get_session("k", ctx=CTX) is None
    assert await store.get_wait(CTX, "u1", A) is None
    assert await listed(store) == []
    assert await find(store, A) is None


async def test_f7_an_unreadable_session_of_another_owner_is_left_alone(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    # A session of ours was removed by Rust, which left the scope and forgot a member; then
    # another tenant registered under that key, and its document was spoilt.
    rust.register("k", A)
    redis_client.delete(rust.session("k"))
    await register(store, "k", A, of=OTHER)
    redis_client.set(rust.session("k"), "spoilt")

    def theirs() -> dict[str, Any]:
        stored = stored_keys(redis_client, namespace)
        return {key: item for key, item in stored.items() if "acme" not in key}

    before = theirs()
    assert len(before) == 4
    await find(store, A)
    await listed(store)
    await clear(store, A)
    assert theirs() == before
    rust.register("k2", A)
    redis_client.set(rust.scope(A, CTX), "k")
    redis_client.sadd(rust.user(CTX), "k")
    assert await register(store, "k3", A) in (None, "k")
    await store.clear_waits_for_user(CTX, "u1")
    assert theirs() == before


OWNERS = (CTX, OTHER, ctx("u2"), ctx(team="red"))
SCOPES = (A, B)
KEYS = ("k1", "k2", "k3")


async def view(store: AsyncSessionStore, of: TenantCtx) -> list[object]:
    """Return everything that an owner can see."""
    seen: list[object] = [await find(store, scope, of=of) for scope in SCOPES]
    seen += [await listed(store, of=of)]
    for key in KEYS:
        record = await store.get_record(key, ctx=of)
        seen.append(record and (record.data, record.expires_at is None))
    return seen


async def act_here(store: AsyncSessionStore, chance: random.Random, of: TenantCtx) -> str:
    key, scope = chance.choice(KEYS), chance.choice(SCOPES)
    user = of.user_id or ""
    ttl = chance.choice([None, 600])
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "register": lambda: register(store, key, scope, f"{chance.random()}", of=of, ttl=ttl),
        "if absent": lambda: register_if_absent(store, key, scope, of=of, ttl=ttl),
        "update": lambda: store.update_session(key, data("here", of=of), ctx=of),
        "touch": lambda: store.touch_session(key, ttl or NEVER, ctx=of),
        "remove": lambda: store.remove_session(key, ctx=of),
        "clear": lambda: clear(store, scope, of=of),
        "clear all": lambda: store.clear_waits_for_user(of, user),
        "get wait": lambda: store.get_wait(of, user, SCOPES),
        "list records": lambda: store.list_wait_records(of, user),
        "purge": store.purge_expired,
    }
    name = chance.choice(list(calls))
    try:
        await calls[name]()
    except (SessionNotFoundError, TenantMismatchError):
        name += ", refused"
    return f"{owner_text(of)}: {name} {key} {scope.conversation}"


# What the crate refuses: a session that is missing, or another owner's.
REFUSED_IN_RUST = {("update", "not_found"), ("update", "invalid_input"), ("remove", "not_found")}


def act_in_rust(rust: RustPeer, chance: random.Random, of: TenantCtx) -> str:
    key, scope = chance.choice(KEYS), chance.choice(SCOPES)
    name = chance.choice(["register", "register", "update", "remove", "clear"])
    ttl = chance.choice([None, 600])
    calls: dict[str, Callable[[], None]] = {
        "register": lambda: rust.register(key, scope, of=of, ttl=ttl),
        "update": lambda: rust.update(key, of=of),
        "remove": lambda: rust.remove(key, of=of),
        "clear": lambda: rust.clear(scope, of=of),
    }
    try:
        calls[name]()
    except RustError as error:
        if (name, error.code) not in REFUSED_IN_RUST:
            raise
        name += ", refused"
    return f"{owner_text(of)}: rust {name} {key} {scope.conversation}"


@pytest.mark.parametrize("seed", range(20))
async def test_f7_nothing_done_for_one_owner_changes_what_another_sees(
    store: AsyncSessionStore, rust: RustPeer, seed: int
) -> None:
    chance = random.Random(seed)
    history: list[str] = []
    for _ in range(80):
        history.append(act_in_rust(rust, chance, chance.choice(OWNERS)))
        actor = chance.choice(OWNERS)
        others = [owner for owner in OWNERS if owner != actor]
        before = [await view(store, owner) for owner in others]
        history.append(await act_here(store, chance, actor))
        after = [await view(store, owner) for owner in others]
        assert after == before, "\n".join(history[-20:])
        for owner in OWNERS:
            for key in KEYS:
                found = await store.get_session(key, ctx=owner)
                assert found is None or found.tenant_ctx.owner == owner.owner


# --- Documents --------------------------------------------------------------------------------


def document(**changes: object) -> dict[str, Any]:
    return {**data("rust").model_dump(mode="json"), **changes}


def in_context(**changes: object) -> dict[str, Any]:
    return document(tenant_ctx={**CTX.model_dump(mode="json"), **changes})


def without(*names: str) -> dict[str, Any]:
    context = CTX.model_dump(mode="json")
    return document(tenant_ctx={name: context[name] for name in context if name not in names})


def nested(depth: int) -> bytes:
    whole = json.dumps(document())
    return f'{whole[:-1]}, "new": {"[" * depth}{"]" * depth}}}'.encode()


READABLE: dict[str, bytes | dict[str, Any]] = {
    "reordered": dict(reversed(document().items())),
    "white space": json.dumps(document(), indent=4).encode() + b"\r\n\t ",
    "escapes": json.dumps(document(context_json="clé \N{PILE OF POO} \0 \"'\\/")).encode(),
    "no escapes": json.dumps(
        document(context_json="clé \N{PILE OF POO}"), ensure_ascii=False
    ).encode(),
    "unknown fields": document(new={"a": [1, 2.5, None, True, {"b": "c"}]}, cursor_2=[]),
    "unknown fields in the context": in_context(new={"a": []}, x=None),
    "unknown fields in the cursor": document(cursor={"node_pointer": "n", "new": 1}),
    "null optionals": in_context(team=None, team_id=None, session_id=None, deadline=None),
    "more null optionals": document(
        pack_id=None, cursor={"node_pointer": "n", "wait_reason": None}
    ),
    "no attempt": without("attempt"),
    "the largest attempt": in_context(attempt=2**32 - 1),
    "empty attributes": in_context(attributes={}),
    "attributes": in_context(attributes={"a": "b", "": ""}),
    "a deadline": in_context(deadline={"unix_millis": 1_700_000_000_000}),
    "a negative deadline": in_context(deadline={"unix_millis": -1}),
    "a deadline beyond 2**53": in_context(deadline={"unix_millis": 2**60 + 1}),
    "impersonation": in_context(impersonation={"actor_id": "a", "reason": "why"}),
    "impersonation without a reason": in_context(impersonation={"actor_id": "a"}),
    "tenant only": without("tenant_id"),
    "tenant_id only": without("tenant"),
    "user only": without("user_id"),
    "user_id only": without("user"),
    "null twins": in_context(user=None, team=None),
    "empty context_json": document(context_json=""),
    "nested 50 deep": nested(50),
    "unknown numbers": json.dumps(document()).encode()[:-1] + b', "n": [1e3, -0.0, 1E-7, 10]}',
}
UNREADABLE: dict[str, bytes | dict[str, Any]] = {
    "empty": b"",
    "no json": b"\x00\x01secret",
    "cut off": json.dumps(document()).encode()[:-7],
    "something behind it": json.dumps(document()).encode() + b"secret",
    "not utf-8": json.dumps(document()).encode().replace(b"rust", b"\xff\xfe"),
    "null": b"null",
    "a text": b'"secret"',
    "a number": b"7",
    "an array": b"[]",
    "an empty object": b"{}",
    "nested 5,000 deep": nested(5000),
    "nested 100,000 deep": nested(100_000),
    "no env": without("env"),
    "no tenant": without("tenant", "tenant_id"),
    "an env of a wrong type": in_context(env=7),
    "an env with a colon": in_context(env="prod:acme"),
    "an empty tenant": in_context(tenant="", tenant_id=""),
    "tenants that differ": in_context(tenant="acme", tenant_id="other"),
    "users that differ": in_context(user="u1", user_id="u2"),
    "teams that differ": in_context(team="red", team_id="blue"),
    "a user with a newline": in_context(user="u1\n", user_id="u1\n"),
    "a context of a wrong type": document(tenant_ctx=[]),
    "a null context": document(tenant_ctx=None),
    "a null cursor": document(cursor=None),
    "a cursor of a wrong type": document(cursor="n"),
    "no node_pointer": document(cursor={}),
    "a node_pointer of a wrong type": document(cursor={"node_pointer": 7}),
    "a wait_reason of a wrong type": document(cursor={"node_pointer": "n", "wait_reason": 7}),
    "no flow": {name: value for name, value in document().items() if name != "flow_id"},
    "a flow with a space": document(flow_id="a b"),
    "a null flow": document(flow_id=None),
    "a pack of a wrong type": document(pack_id=7),
    "a pack with a colon": document(pack_id="a:b"),
    "no context_json": {k: v for k, v in document().items() if k != "context_json"},
    "a context_json of a wrong type": document(context_json={"a": 1}),
    "a negative attempt": in_context(attempt=-1),
    "an attempt that is too large": in_context(attempt=2**32),
    "an attempt of a wrong type": in_context(attempt="1"),
    "a fractional attempt": in_context(attempt=1.5),
    "a null attempt": in_context(attempt=None),
    "attributes of a wrong type": in_context(attributes={"a": 1}),
    "attributes that are no object": in_context(attributes="a"),
    "attributes that are an array": in_context(attributes=["a"]),
    "a deadline of a wrong type": in_context(deadline=7),
    "a fractional deadline": in_context(deadline={"unix_millis": 1.5}),
    "a deadline without its field": in_context(deadline={}),
    "impersonation without an actor": in_context(impersonation={"reason": "why"}),
    "a session_id of a wrong type": in_context(session_id=7),
}


def as_bytes(found: bytes | dict[str, Any]) -> bytes:
    return found if isinstance(found, bytes) else json.dumps(found).encode()


@pytest.mark.parametrize("stored", READABLE.values(), ids=READABLE)
async def test_m3_documents_that_rust_or_a_newer_peer_may_write_are_read(
    store: AsyncSessionStore,
    layout: RustPeer,
    redis_client: redis.Redis,
    stored: bytes | dict[str, Any],
) -> None:
    layout.register("k", A, as_bytes(stored))
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert record.data.tenant_ctx.owner == CTX.owner
    assert await store.get_session("k", ctx=CTX) == record.data
    assert await listed(store) == ["k"]
    # Writing back what was read changes nothing but the form; null fields are left out.
    await store.update_session("k", record.data, ctx=CTX)
    expected = record.data.model_dump(mode="json")
    assert json.loads(redis_client.get(layout.session("k")) or b"") == expected
    for name in {"new", "cursor_2"} & json.loads(as_bytes(stored)).keys():
        assert expected[name] == json.loads(as_bytes(stored))[name]
    assert await register(store, "k", B) is None
    assert await clear(store, B)


REFUSED_IF_UNREADABLE: list[Call] = [
    lambda store: store.get_session("k"),
    lambda store: store.get_record("k"),
    lambda store: store.get_wait(CTX, "u1", [C, A]),
    lambda store: store.update_session("k", data()),
    lambda store: register(store, "k", A),
    lambda store: register_if_absent(store, "k", C),
]


@pytest.mark.parametrize("stored", UNREADABLE.values(), ids=UNREADABLE)
async def test_r2_documents_that_cannot_be_read_spoil_only_themselves(
    store: AsyncSessionStore,
    layout: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    stored: bytes | dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await register(store, "theirs", A, of=OTHER)
    await register(store, "sound", B)
    layout.register("k", A, "placeholder")
    redis_client.set(layout.session("k"), as_bytes(stored))
    before = stored_keys(redis_client, namespace)
    for call in REFUSED_IF_UNREADABLE:
        with pytest.raises(CorruptSessionError) as caught:
            await call(store)
        assert caught.value.key == "k"
        assert "secret" not in f"{caught.value} {caught.value.__cause__}"
    assert stored_keys(redis_client, namespace) == before
    with caplog.at_level(logging.WARNING, logger="async_session_store"):
        assert [record.key for record in await store.list_wait_records(CTX, "u1")] == ["sound"]
    assert "'k'" in caplog.text
    assert await listed(store) in (["sound"], ["k", "sound"])
    assert stored_keys(redis_client, namespace) == before
    assert await find(store, A) == "k"
    assert await clear(store, A)
    assert await find(store, A) is None
    assert await listed(store) == ["sound"]
    assert await find(store, A, of=OTHER) == "theirs"


async def test_s6_a_document_that_is_too_large_is_unreadable(
    redis_server: RedisServer, namespace: str, rust: RustPeer
) -> None:
    rust.register("k", A, data("x" * 2000).model_dump_json())
    rust.register("sound", B)
    async with AsyncSessionStore.from_url(
        redis_server.unix_url, namespace=namespace, max_document_bytes=1000
    ) as store:
        for call in REFUSED_IF_UNREADABLE:
            with pytest.raises(CorruptSessionError):
                await call(store)
        assert await listed(store) == ["sound"]
        assert await find(store, A) == "k"
        assert await register(store, "k2", A) == "k"
        await store.remove_session("k")


@pytest.mark.parametrize("kind", ["list", "hash", "set"])
async def test_r2_a_key_of_another_type_is_unreadable(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, kind: str
) -> None:
    rust.register("k", A)
    rust.register("sound", B)
    redis_client.delete(rust.session("k"))
    match kind:
        case "list":
            redis_client.rpush(rust.session("k"), "secret")
        case "hash":
            redis_client.hset(rust.session("k"), "a", "secret")
        case _:
            redis_client.sadd(rust.session("k"), "secret")
    for call in REFUSED_IF_UNREADABLE:
        with pytest.raises(CorruptSessionError):
            await call(store)
    assert await listed(store) == ["sound"]
    assert await clear(store, A)
    await store.remove_session("k")


@pytest.mark.filterwarnings("ignore:removed in 1.0:DeprecationWarning")
@pytest.mark.parametrize("spoilt", ["scope", "user", "meta"])
async def test_r1_an_index_key_of_another_type_gives_the_librarys_error(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    spoilt: str,
) -> None:
    keys = {"scope": rust.scope(A, CTX), "user": rust.user(CTX), "meta": f"{namespace}:meta:k"}
    for call in (*CALLS.values(), lambda store: store.purge_expired()):
        await register(store, "sound", A, of=OTHER)
        for key in keys.values():
            redis_client.delete(key)
        await register(store, "k", A)
        redis_client.delete(keys[spoilt])
        redis_client.xadd(keys[spoilt], {"a": "b"})
        with suppress(SessionStoreError):
            await call(store)
        assert await find(store, A, of=OTHER) == "sound"


async def test_f6_the_team_dash_is_another_owner_than_no_team(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    # On the wire its keys are those of no team.
    rust.register("k", A, of=ctx(team="-"))
    before = stored_keys(redis_client, namespace)
    assert await find(store, A) is None
    assert await store.get_wait(CTX, "u1", A) is None
    assert await listed(store) == []
    assert await store.list_wait_records(CTX, "u1") == []
    assert not await clear(store, A)
    assert await store.clear_waits_for_user(CTX, "u1") == 0
    assert await store.get_session("k", ctx=CTX) is None
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k", ctx=CTX)
    with pytest.raises(TenantMismatchError):
        await register(store, "k", B)
    after = stored_keys(redis_client, namespace)
    assert after["session:k"] == before["session:k"]


only_rusts_keys = pytest.mark.parametrize(
    "key", ["x" * 2000, "é" * 600, ""], ids=["2000", "1200", "empty"]
)


@only_rusts_keys
async def test_w4_w5_keys_that_only_rust_allows_are_served(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str, key: str
) -> None:
    rust.register(key, A)
    rust.register("sound", B)
    assert await listed(store) == sorted([key, "sound"])
    records = await store.list_wait_records(CTX, "u1")
    assert sorted(record.key for record in records) == sorted([key, "sound"])
    assert (await reports(store, A))[0].session_key == key
    assert not await register_if_absent(store, "k", A)
    found = await store.find_wait_by_scope(CTX, "u1", A)
    assert found == key
    assert found is not None
    assert await store.get_session(found) == data("rust")
    await store.update_session(found, data("new"))
    await store.touch_session(found, 60)
    assert rust.find(A) == key
    async with store.resume_wait(CTX, "u1", A) as record:
        assert record is not None
        assert (record.key, record.data) == (key, data("new"))
    assert await find(store, A) is rust.find(A) is None
    assert await clear(store, B, "sound")
    assert stored_keys(redis_client, namespace) == {}


@only_rusts_keys
async def test_w3_w6_keys_that_only_rust_allows_are_displaced_and_cleared(
    store: AsyncSessionStore, rust: RustPeer, key: str
) -> None:
    rust.register(key, A)
    found = await store.find_wait_by_scope(CTX, "u1", A)
    assert found is not None
    assert await store.register_wait(CTX, "u1", A, "k", data()) == key
    assert not await store.clear_wait(CTX, "u1", A, session_key=found)
    assert await find(store, A) == "k"
    await store.remove_session(found)
    rust.register(key, A)
    assert await store.clear_wait(CTX, "u1", A, session_key=found)
    assert (await find(store, A), rust.find(A)) == (None, None)


@pytest.mark.parametrize("name", [b"\xff", b"\xe1\xc2\x80\x80\x80", b"\xf0\x90\xc3\xa9\x80\x80"])
async def test_w4_w7_a_key_that_is_not_valid_in_any_call_does_not_count(
    store: AsyncSessionStore, layout: RustPeer, redis_client: redis.Redis, name: bytes
) -> None:
    layout.register("k", A)
    redis_client.delete(layout.scope(A, CTX), layout.user(CTX))
    redis_client.set(layout.scope(A, CTX), name)
    redis_client.sadd(layout.user(CTX), name)
    redis_client.set(layout.session("").encode() + name, data("rust").model_dump_json())
    assert await find(store, A) is None
    assert await listed(store) == []
    assert await store.list_wait_records(CTX, "u1") == []
    assert await store.claim_wait(CTX, "u1", A) is None
    assert await register_if_absent(store, "k2", A)
    assert await find(store, A) == "k2"


# --- What no one of ours would write ---------------------------------------------------------


CENTURIES = 10_000 * 365 * 86_400_000  # milliseconds


@pytest.mark.parametrize("milliseconds", [CENTURIES, 2**53, 2**62])
async def test_t6_a_deadline_beyond_the_year_9999_spoils_nothing(
    store: AsyncSessionStore, layout: RustPeer, redis_client: redis.Redis, milliseconds: int
) -> None:
    layout.register("k", A)
    layout.register("sound", B)
    for name in (layout.session("k"), layout.scope(A, CTX)):
        assert redis_client.pexpire(name, milliseconds)
    records = await store.list_wait_records(CTX, "u1")
    assert sorted(record.key for record in records) == ["k", "sound"]
    claimed = await claim(store, A)
    wait, record = await store.get_wait(CTX, "u1", A), await store.get_record("k")
    assert wait is not None
    assert record is not None
    for found in (wait, record, claimed.record, *(await reports(store, A))):
        assert found.expires_at is not None
        assert found.expires_at.year == 9999
        for hours in (-23, 23):
            found.expires_at.astimezone(timezone(timedelta(hours=hours)))
    await claimed.release()
    layout.update("k")
    await (await claim(store, A)).release()
    await store.update_session("k", data("new"))  # gives the deadline back
    assert layout.milliseconds("k") > 0
    await store.touch_session("k", 60)
    assert await (await claim(store, A)).complete() is True


async def test_x4_a_claim_that_ends_after_the_year_9999_is_reported(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A)
    await claim(store, A)
    (name,) = redis_client.keys(f"{namespace}:claim:*")
    redis_client.pexpire(name, CENTURIES)
    (report,) = await reports(store, A)
    assert report.claimed_until is not None
    assert report.claimed_until.year == 9999


WRONG_TYPES: dict[str, Callable[[redis.Redis, str], object]] = {
    "string": lambda client, name: client.set(name, "secret"),
    "set": lambda client, name: client.sadd(name, "secret"),
    "hash": lambda client, name: client.hset(name, "a", "secret"),
    "stream": lambda client, name: client.xadd(name, {"a": "secret"}),
}


@pytest.mark.filterwarnings("ignore:removed in 1.0:DeprecationWarning")
@pytest.mark.parametrize("name", [*WRITES, *MORE_REGISTRATIONS, "complete", "release"])
@pytest.mark.parametrize("kind", ["hash", "stream"])
@pytest.mark.parametrize("spoilt", ["scope", "other scope", "user", "meta", "claim"])
@pytest.mark.parametrize("by", ["python", "rust"])
async def test_w1_r4_a_write_that_meets_a_wrong_type_is_done_or_changes_nothing(
    store: AsyncSessionStore,
    layout: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    by: str,
    spoilt: str,
    kind: str,
    name: str,
) -> None:
    if by == "python":
        await register(store, "k", A)
    else:
        layout.register("k", A)
    claimed = await claim(store, A) if name in ("complete", "release") else None
    owner = owner_text(CTX)
    key = {
        "scope": layout.scope(A, CTX),
        "other scope": layout.scope(B, CTX),
        "user": layout.user(CTX),
        "meta": f"{namespace}:meta:k",
        "claim": f"{namespace}:claim:{owner}:{A.scope_hash()}",
    }[spoilt]
    redis_client.delete(key)
    WRONG_TYPES[kind](redis_client, key)
    before = image(redis_client, namespace)
    calls: dict[str, Call] = {**WRITES, **MORE_REGISTRATIONS}
    if claimed is not None:
        calls = {"complete": lambda _: claimed.complete(), "release": lambda _: claimed.release()}
    try:
        await calls[name](store)
    except (ClaimLostError, StoreUnavailableError) as error:
        refusal = str(error)
    else:
        return
    assert "nothing was" in refusal
    assert image(redis_client, namespace) == before


@pytest.mark.parametrize("kind", ["string", "set", "stream"])
async def test_r2_a_meta_key_of_a_wrong_type_spoils_no_list_and_no_write(
    store: AsyncSessionStore,
    layout: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    kind: str,
) -> None:
    meta = f"{namespace}:meta:k"

    def spoil() -> None:
        redis_client.delete(meta)
        WRONG_TYPES[kind](redis_client, meta)

    spoil()  # while there is no session
    await register(store, "k", A)
    assert redis_client.type(meta) == b"hash"
    await register(store, "sound", B)
    spoil()
    assert await listed(store) == ["k", "sound"]
    records = await store.list_wait_records(CTX, "u1")
    assert sorted(record.key for record in records) == ["k", "sound"]
    await store.update_session("k", data("new"))
    await store.touch_session("k", 60)
    spoil()
    await (await claim(store, A)).release()
    spoil()
    assert await (await claim(store, A)).complete() is True
    await register(store, "k", A)
    spoil()
    await store.remove_session("k")
    assert await listed(store) == ["sound"]
    layout.register("k", C)
    spoil()
    assert await store.clear_waits_for_user(CTX, "u1") == 2
    assert await listed(store) == []


@pytest.mark.parametrize("kind", ["string", "hash", "stream"])
async def test_t5_purging_skips_an_index_of_a_wrong_type_and_names_it(
    store: AsyncSessionStore,
    layout: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number, user in enumerate(("u0", "u1", "u2")):
        await register(store, f"k{number}", A, of=ctx(user))
        redis_client.delete(layout.session(f"k{number}"))
    spoilt = layout.user(CTX)
    redis_client.delete(spoilt)
    WRONG_TYPES[kind](redis_client, spoilt)
    with caplog.at_level(logging.WARNING, logger="async_session_store"):
        assert await store.purge_expired() == 8
    assert spoilt in caplog.text
    assert "secret" not in caplog.text
    assert list(stored_keys(redis_client, namespace, {b"stream"})) == [spoilt[len(namespace) + 1 :]]


@pytest.mark.parametrize("kind", ["set", "hash", "stream"])
async def test_t5_purging_skips_a_scope_key_of_a_wrong_type_and_names_it(
    store: AsyncSessionStore,
    layout: RustPeer,
    redis_client: redis.Redis,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await register(store, "k", B)
    redis_client.delete(layout.session("k"))
    WRONG_TYPES[kind](redis_client, layout.scope(A, CTX))
    with caplog.at_level(logging.WARNING, logger="async_session_store"):
        assert await store.purge_expired() == 3
    assert layout.scope(A, CTX) in caplog.text
    assert redis_client.exists(layout.scope(A, CTX))
