"""Moving waits to new ids, seen behind the API of each storage, and pass by pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
from typing_extensions import override

from async_session_store import (
    AsyncSessionStore,
    MovedWaits,
    ReplyScope,
    SessionStoreError,
    channels,
)
from async_session_store.abc import Fence, Outcome, PlacedPage, SessionMove
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.expiry_builders import claim_one, expired, keep
from async_session_store.testing.contract.next_waits import ask
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import image

pytestmark = pytest.mark.anyio

NEW = ctx("u2")
USER = ("u1", "u2")
Z = ReplyScope(conversation="z")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# --- Passes -----------------------------------------------------------------------------------


class Passes(MemoryBackend):
    """Runs something at the end of each pass, as other callers do."""

    def __init__(self, at_end: Callable[[int], Awaitable[object]]) -> None:
        super().__init__()
        self.at_end = at_end
        self.passes = 0

    @override
    async def read_places(self, fence: Fence, cursor: object | None, limit: int) -> PlacedPage:
        page = await super().read_places(fence, cursor, limit)
        if page.cursor is None:
            self.passes += 1
            await self.at_end(self.passes)
        return page


class Restless(MemoryBackend):
    """Changes each session just before it is moved."""

    attempts = 0

    @override
    async def move_session(self, move: SessionMove) -> Outcome:
        self.attempts += 1
        await self.replace(move.key, data(str(self.attempts)), viewer=None, if_match=None)
        return await super().move_session(move)


async def test_o6_a_turn_that_ends_during_the_call_is_followed_by_another_pass() -> None:
    async def complete(number: int) -> None:
        if number == 1:
            assert await held.complete(ask(B))

    backend = Passes(complete)
    async with AsyncSessionStore(backend) as store:
        await register(store, "k", A)
        held = await claim(store, A)
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)
        assert await find(store, B, of=NEW) == "k"
        assert backend.passes == 3


async def test_o6_a_first_pass_that_finds_nothing_is_not_the_last() -> None:
    async def register_behind(number: int) -> None:
        if number == 1:
            await register(store, "behind", A)

    async with AsyncSessionStore(Passes(register_behind)) as store:
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)


async def test_o6_it_gives_up_on_what_changes_again_and_again() -> None:
    backend = Restless()
    async with AsyncSessionStore(backend) as store:
        key = await store.create_session(CTX, data())
        moved = await store.move_waits(SERVICE, user=USER)
        assert moved == MovedWaits(in_use=(key,))
        assert backend.attempts == 10


async def test_o6_a_move_that_a_channel_reports() -> None:
    group = {"id": -4001, "type": "group"}
    update = {"message": {"message_id": 1, "chat": group, "migrate_to_chat_id": -1001}}
    (move,) = channels.telegram_moves({"update_id": 1, **update}, bot_id=7)
    old, new = move.conversation
    async with AsyncSessionStore.from_url("memory://") as store:
        await register(store, "k", ReplyScope(conversation=old))
        moved = await store.move_waits(SERVICE, user=move.user, conversation=move.conversation)
        assert moved == MovedWaits(waits=1)
        assert await find(store, ReplyScope(conversation=new)) == "k"


# --- SQLite -----------------------------------------------------------------------------------


async def test_o6_on_sqlite_a_wait_of_an_older_version_has_no_scope(path: Path) -> None:
    thread = ReplyScope(conversation="a", thread="t")
    async with AsyncSessionStore.from_url(f"sqlite:///{path}") as store:
        await register(store, "whole", A)
        await register(store, "thread", thread)
        with closing(sqlite3.connect(path, isolation_level=None)) as behind:
            behind.execute("UPDATE sessions SET scope = NULL")
        moved = await store.move_waits(SERVICE, user=USER, conversation=("a", "z"))
        assert (moved.waits, moved.unknown_scope) == (2, ("thread",))
        assert await find(store, Z, of=NEW) == "whole"
        assert await find(store, thread, of=NEW) == "thread"


async def test_o6_on_sqlite_damaged_rows_do_no_harm(path: Path) -> None:
    async with AsyncSessionStore.from_url(f"sqlite:///{path}") as store:
        for name in ("k", "blob", "hash", "place", "wrong", "deadline"):
            await register(store, name, ReplyScope(conversation=name))
        with closing(sqlite3.connect(path, isolation_level=None)) as behind:
            behind.execute("UPDATE sessions SET key = x'61' WHERE key = 'blob'")
            behind.execute(
                "UPDATE sessions SET scope_hash = CAST(x'ff' AS TEXT) WHERE key = 'hash'"
            )
            behind.execute("UPDATE sessions SET scope = '{' WHERE key = 'place'")
            behind.execute(
                "UPDATE sessions SET scope = '{\"conversation\":\"k\"}' WHERE key = 'wrong'"
            )
            behind.execute("UPDATE sessions SET deadline = 'soon' WHERE key = 'deadline'")
        moved = await store.move_waits(SERVICE, user=USER)
        assert moved == MovedWaits(waits=3, unknown_scope=("hash",), unreadable=("deadline",))
        assert await listed(store, of=NEW) == ["k", "place", "wrong"]
        moved = await store.move_waits(SERVICE, conversation=("k", "z"))
        assert (moved.waits, await find(store, Z, of=NEW)) == (1, "k")
        assert moved.unknown_scope == ("hash", "place", "wrong")
        assert await find(store, ReplyScope(conversation="wrong"), of=NEW) == "wrong"


# --- Redis ------------------------------------------------------------------------------------


async def test_o6_waits_of_rust_processes_become_the_new_users(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    rust.register("k", A, ttl=60)
    rust.register("updated", B, ttl=60)
    rust.update("updated")  # which drops its deadline; the scope key still has it
    rust.register("large", C, data("x" * 200_000).model_dump_json())
    redis_client.set(f"{namespace}:session:created", data("created").model_dump_json())
    moved = await store.move_waits(SERVICE, user=USER)
    assert moved == MovedWaits(waits=3, sessions=1)
    for key, scope in (("k", A), ("updated", B), ("large", C)):
        assert rust.find(scope) is None
        assert rust.find(scope, of=NEW) == key
        assert await find(store, scope, of=NEW) == key
    assert rust.listed() == []
    assert rust.listed(of=NEW) == await listed(store, of=NEW) == ["k", "large", "updated"]
    for key in ("k", "updated"):
        assert 0 < rust.milliseconds(key) <= 60_000
    assert rust.milliseconds("large") == -1
    created = await store.get_session("created")
    assert created == data("created", of=NEW)
    assert not [name for name in image(redis_client, namespace) if b":u1" in name]


async def test_o6_a_scope_of_a_rust_process_is_known_only_by_its_hash(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    thread = ReplyScope(conversation="a", thread="t")
    rust.register("whole", A)
    rust.register("thread", thread)
    rust.register("elsewhere", B, of=NEW)
    moved = await store.move_waits(SERVICE, conversation=("a", "z"))
    assert moved == MovedWaits(waits=1, unknown_scope=("elsewhere", "thread"))
    assert rust.find(Z) == await find(store, Z) == "whole"
    record = await store.get_record("whole")
    assert record is not None
    assert record.scope == Z
    assert rust.find(thread) == "thread"


async def test_o6_a_session_that_only_a_rust_processs_list_knows_stays(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis
) -> None:
    rust.register("k", A)
    redis_client.delete(rust.scope(A, CTX))
    assert await store.move_waits(SERVICE, user=USER) == MovedWaits(unknown_scope=("k",))
    assert rust.listed() == ["k"]


async def test_o6_f6_a_session_that_only_a_rust_process_can_store_is_named(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    rust.register("team", A, data(of=ctx(team="-")).model_dump_json())
    assert await store.move_waits(SERVICE, user=USER) == MovedWaits(unreadable=("team",))


async def test_o6_a_wait_of_a_rust_process_that_was_adopted(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    rust.register("claimed", A, ttl=60)
    held = await claim(store, A)
    rust.register("touched", B, ttl=60)
    await store.touch_session("touched", 120)
    assert (await store.move_waits(SERVICE, user=USER)).in_use == ("claimed",)
    await held.release()
    assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)
    assert rust.listed(of=NEW) == ["claimed", "touched"]
    assert 60_000 < rust.milliseconds("touched") <= 120_000
    taken = await store.claim_wait(NEW, "u2", A)
    assert taken is not None
    assert await taken.complete()
    assert rust.listed(of=NEW) == ["touched"]


async def test_o6_a_wait_that_a_rust_process_took_over_moves_as_that_process_left_it(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await keep(store, "k", A)
    rust.register("k", B, ttl=60)
    moved = await store.move_waits(SERVICE, user=USER)
    assert moved.waits == 1
    assert rust.find(B, of=NEW) == await find(store, B, of=NEW) == "k"
    assert await find(store, A, of=NEW) is None
    assert redis_client.exists(f"{namespace}:expiring:prod:acme:-:u2") == 0


async def test_o6_many_documents_of_rust_processes_are_examined_in_small_steps(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    for number in range(60):
        document = data("x" * 10_000, of=ctx(f"u{number % 3}")).model_dump_json()
        redis_client.set(f"{namespace}:session:{number}", document)
    redis_client.config_resetstat()
    assert await store.move_waits(SERVICE, user=("u0", "u9")) == MovedWaits(sessions=20)
    stats = redis_client.info("commandstats")
    calls = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))
    assert calls > 20 + 2 * 8


async def test_o6_whatever_keys_look_like(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    names = ["a:session:b", "meta:x", "waits:scope:prod:acme:-:u1:x", "\n", "*", "ü" * 100]
    for number, name in enumerate(names):
        await register(store, name, ReplyScope(conversation=str(number)))
        await keep(store, f"{name} e", ReplyScope(conversation=f"e {number}"), ttl=0.05)
    for name in ("session:list", "meta:list", "waits:scope:prod:acme:-:u1:list", "meta"):
        redis_client.rpush(f"{namespace}:{name}", "of the wrong type")
    await anyio.sleep(0.1)
    moved = await store.move_waits(SERVICE, user=USER)
    assert moved == MovedWaits(waits=len(names), expired_waits=len(names))
    assert await listed(store, of=NEW) == sorted(names)
    assert len(await expired(store, NEW)) == len(names)


async def test_o6_a_nested_namespace_is_left_alone(
    store: AsyncSessionStore, redis_server: RedisServer, namespace: str
) -> None:
    for part in ("x", "session", "meta"):
        nested = AsyncSessionStore.from_url(redis_server.unix_url, namespace=f"{namespace}:{part}")
        async with nested:
            await register(nested, "k", A)
            await keep(nested, "e", B, ttl=0.02)
            await anyio.sleep(0.05)
            moved = await store.move_waits(SERVICE, user=USER)
            assert (moved.waits, moved.sessions, moved.expired_waits) == (0, 0, 0)
            assert await find(nested, A) == "k"
            assert await expired(nested, CTX) == ["e"]
            await nested.erase_user(SERVICE, "u1")


async def test_o6_w1_a_server_without_memory_moves_nothing(
    store_of_its_own: AsyncSessionStore, client: redis.Redis
) -> None:
    store = store_of_its_own
    await keep(store, "k", A, ttl=600)
    await keep(store, "e", B, ttl=0.02)
    await anyio.sleep(0.05)
    before = image(client, "greentic:session")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    with pytest.raises(SessionStoreError):
        await store.move_waits(SERVICE, user=USER)
    client.config_set("maxmemory", 0)
    assert image(client, "greentic:session") == before
    assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1, expired_waits=1)
    moved = await claim_one(store)
    assert moved.record is not None
    assert moved.record.data.owner.user == "u2"


@pytest.fixture
async def store_of_its_own(server: RedisServer) -> Any:
    """Yield a store on a server that the test may reconfigure."""
    async with AsyncSessionStore.from_url(server.unix_url) as store:
        yield store
