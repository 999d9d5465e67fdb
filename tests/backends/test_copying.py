"""Copying between all storages, beside Rust processes, and when it is interrupted."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import anyio
import pytest
import redis
from typing_extensions import override

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    CopiedStore,
    CopyOutdatedError,
    ReplyScope,
    StoreUnavailableError,
)
from async_session_store.abc import CopyPage, DeliveryCopy, SessionCopy, SessionName
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.models import SessionKey
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    ctx,
    data,
    find,
    register,
)
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.copying import (
    assert_equal,
    has_handled,
    of_kinds,
    store_everything,
)
from async_session_store.testing.contract.expiry_builders import claim_all, keep, keys_of
from redis_server import RedisServer
from rust_peers import RustPeer, owner_text
from stored_keys import image

pytestmark = pytest.mark.anyio

STORAGES = ["memory", "sqlite", "redis"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def elsewhere() -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore.from_url("memory://") as store:
        yield store


# --- From each storage to each ----------------------------------------------------------------


@pytest.mark.parametrize("to", STORAGES)
@pytest.mark.parametrize("kind", STORAGES)
async def test_o5_from_each_storage_to_each(
    kind: str, to: str, tmp_path: Path, redis_server: RedisServer, namespace: str
) -> None:
    def store_of(name: str, side: str) -> AsyncSessionStore:
        if name == "redis":
            url = redis_server.unix_url
            return AsyncSessionStore.from_url(url, namespace=f"{namespace}:{side}")
        url = f"sqlite:///{tmp_path / side}.db" if name == "sqlite" else "memory://"
        return AsyncSessionStore.from_url(url)

    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(store_of(kind, "source"))
        target = await stack.enter_async_context(store_of(to, "target"))
        stored = await store_everything(source)
        assert of_kinds(await source.copy_to(target)) == stored
        await assert_equal(source, target)
        assert await has_handled(target, "event")
        await source.remove_session("waits")
        await register(source, "in a team", B, "moved", of=ctx(team="blue"), ttl=60)
        await source.copy_to(target, again=True)
        await assert_equal(source, target)
        copied = await target.copy_to(source, again=True)
        assert (copied.written, copied.removed) == (0, 0)


# --- Beside Rust processes --------------------------------------------------------------------


async def test_o5_waits_of_rust_processes_are_copied_with_their_places(
    store: AsyncSessionStore,
    elsewhere: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
) -> None:
    rust.register("k", A, ttl=60)
    rust.register("other", A, of=ctx(tenant="other"))
    rust.register("displaced", B)
    rust.register("large", B, data("x" * 200_000).model_dump_json())
    rust.register("touched", C)
    await store.touch_session("touched", 60)
    redis_client.set(rust.session("created"), data().model_dump_json())
    redis_client.set(rust.scope(ReplyScope(conversation="stale"), CTX), "gone")
    before = image(redis_client, namespace)
    copied = await store.copy_to(elsewhere)
    assert copied == CopiedStore(waits=4, sessions=2, written=6)
    assert image(redis_client, namespace) == before
    assert [await find(elsewhere, at) for at in (A, B, C)] == ["k", "large", "touched"]
    assert await find(elsewhere, A, of=ctx(tenant="other")) == "other"
    for key in ("k", "touched"):
        record = await elsewhere.get_record(key)
        assert record is not None
        assert record.expires_at is not None
    rust.register("k", C)  # both scope keys lead to it now, and the copy has it at one of them
    rust.update("large")
    await store.copy_to(elsewhere, again=True)
    assert await find(elsewhere, A, C) == "k"
    assert await find(elsewhere, B) == "large"
    assert await elsewhere.get_session("large") == data("rust")


async def test_o5_rust_processes_read_a_copy(
    store: AsyncSessionStore, elsewhere: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(elsewhere, "k", A, ttl=60)
    await register(elsewhere, "displaced", B)
    await register(elsewhere, "waits", B)
    await elsewhere.copy_to(store)
    assert [rust.find(at) for at in (A, B)] == ["k", "waits"]
    assert rust.listed() == ["k", "waits"]
    assert 50_000 < rust.milliseconds("k") <= 60_000
    rust.clear(A)
    assert await find(store, A) is None


async def test_o5_what_only_rust_processes_can_store_is_named(
    store: AsyncSessionStore,
    elsewhere: AsyncSessionStore,
    rust: RustPeer,
) -> None:
    rust.register("", A)
    rust.register("k" * 1025, B)
    rust.register("team", C, of=ctx(team="x"), document=data(of=ctx(team="-")).model_dump_json())
    rust.register("k", C)
    copied = await store.copy_to(elsewhere)
    assert (copied.waits, copied.sessions) == (1, 0)
    assert sorted(copied.left_out) == ["", "k" * 1025, "team"]


@pytest.mark.parametrize("name", ["x", "session", "meta", "delivery", "waits:scope"])
async def test_o5_a_nested_namespace_is_left_alone(
    store: AsyncSessionStore,
    elsewhere: AsyncSessionStore,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    name: str,
) -> None:
    inner = f"{namespace}:{name}"
    async with AsyncSessionStore.from_url(redis_server.unix_url, namespace=inner) as nested:
        stored = await store_everything(nested)
        RustPeer(redis_client, inner).register("of rust", A)
        assert await store.copy_to(elsewhere) == CopiedStore()
        await register(store, "outer", B)
        await store.copy_to(nested, again=True)
        assert of_kinds(await nested.copy_to(elsewhere)) == CopiedStore(waits=1)
    assert stored.waits


# --- Damaged storage --------------------------------------------------------------------------


async def test_o5_damaged_rows_do_not_keep_the_others_from_being_copied(
    path: Path, elsewhere: AsyncSessionStore
) -> None:
    async with AsyncSessionStore.from_url(f"sqlite:///{path}") as store:
        for name in ("k", "blob", "not utf-8", "deadline", "scope", "kept"):
            await keep(store, name, ReplyScope(conversation=name), ttl=600)
        with closing(sqlite3.connect(path, isolation_level=None)) as behind:
            behind.execute("UPDATE sessions SET key = x'61' WHERE key = 'blob'")
            behind.execute("UPDATE sessions SET key = CAST(x'ff' AS TEXT) WHERE key = 'not utf-8'")
            behind.execute("UPDATE sessions SET deadline = 'soon' WHERE key = 'deadline'")
            behind.execute("UPDATE sessions SET scope_hash = x'ff' WHERE key = 'scope'")
            behind.execute("UPDATE sessions SET expired_ttl = 'long' WHERE key = 'kept'")
        copied = await store.copy_to(elsewhere)
        assert (copied.waits, copied.sessions, copied.left_out) == (2, 1, ("deadline",))
        assert (await store.copy_to(elsewhere, again=True)).written == 0


async def test_o4_o5_o6_r2_a_damaged_owner_does_not_keep_the_others_from_being_found(
    path: Path, elsewhere: AsyncSessionStore
) -> None:
    async with AsyncSessionStore.from_url(f"sqlite:///{path}") as store:
        for name in ("not utf-8", "blob", "whole"):
            await register(store, name, ReplyScope(conversation=name))
        with closing(sqlite3.connect(path, isolation_level=None)) as behind:
            update = "UPDATE sessions SET user = {} WHERE key = '{}'"
            behind.execute(update.format("CAST(x'ff' AS TEXT)", "not utf-8"))
            behind.execute(update.format("x'ff'", "blob"))
        for of in (None, SERVICE):
            assert [record.key async for record in store.iter_sessions(of)] == ["whole"]
        copied = await store.copy_to(elsewhere)
        assert (copied.waits, sorted(copied.left_out)) == (1, ["blob", "not utf-8"])
        assert (await store.move_waits(SERVICE, user=("u1", "u2"))).waits == 1


@pytest.mark.parametrize(
    "damage",
    ["deadline = 'soon'", "digest = 'text'", "env = CAST(x'ff' AS TEXT)", "env = x'ff'"],
)
async def test_o5_a_damaged_delivery_does_not_keep_the_others_from_being_copied(
    path: Path, elsewhere: AsyncSessionStore, damage: str
) -> None:
    async with AsyncSessionStore.from_url(f"sqlite:///{path}") as store:
        for event in ("1", "2", "3"):
            await register(store, "k", A)
            await (await claim(store, A, delivery_id=event)).complete()
        with closing(sqlite3.connect(path, isolation_level=None)) as behind:
            first = "digest = (SELECT min(digest) FROM deliveries)"
            behind.execute(f"UPDATE deliveries SET {damage} WHERE {first}")
        assert await store.copy_to(elsewhere) == CopiedStore(deliveries=2, written=2)


async def test_o5_keys_of_the_wrong_type_do_not_keep_the_others_from_being_copied(
    store: AsyncSessionStore,
    elsewhere: AsyncSessionStore,
    redis_client: redis.Redis,
    namespace: str,
) -> None:
    await register(store, "k", A)
    owner = owner_text(CTX)
    for name in (
        *(
            "session:list",
            "meta:list",
            f"delivery:{owner}:{'x' * 20}",
            f"waits:user:{owner_text(ctx('u2'))}",
        ),
        *(f"waits:scope:{owner}:list", f"delivery:{owner}:short", "expiring:all", "session:meta:x"),
    ):
        redis_client.rpush(f"{namespace}:{name}", "of the wrong type")
    redis_client.set(f"{namespace}:session:".encode() + b"\xff", data().model_dump_json())
    redis_client.set(f"{namespace}:meta:".encode() + b"\xff", "x")
    nested = f"{namespace}:delivery:session:a:b:c:{'x' * 20}"  # a session of a nested namespace
    redis_client.set(nested, data().model_dump_json(), ex=600)
    copied = await store.copy_to(elsewhere)
    assert of_kinds(copied) == CopiedStore(waits=1)
    assert copied.left_out == ("list",)


# --- Interrupted or in use --------------------------------------------------------------------


class Busy(MemoryBackend):
    """A backend on which a bot stores a session whenever a page of names is read."""

    @override
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        page = await super().list_copies(cursor, limit)
        await self.insert(SessionKey(f"k{len(self._sessions.by_key)}"), data(), None)
        return page


class Failing(MemoryBackend):
    """A backend that fails after some writes of copies."""

    writes_left = 2

    @override
    async def put_copies(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        if not self.writes_left:
            raise StoreUnavailableError("the storage failed")
        self.writes_left -= 1
        await super().put_copies(copies)


async def test_o5_a_source_in_use_is_copied_but_never_called_equal(
    elsewhere: AsyncSessionStore,
) -> None:
    async with AsyncSessionStore(Busy()) as store:
        await register(store, "k", A)
        assert (await store.copy_to(elsewhere)).written == 1
        with pytest.raises(CopyOutdatedError, match="1 differences were left") as caught:
            await store.copy_to(elsewhere, again=True)
    assert caught.value.differences == 1


async def test_o5_a_copy_that_failed_is_completed() -> None:
    async with (
        AsyncSessionStore.from_url("memory://") as store,
        AsyncSessionStore(failing := Failing()) as target,
    ):
        for number in range(1000):
            await register(store, f"k{number}", A, of=ctx(f"u{number}"))
        with pytest.raises(StoreUnavailableError):
            await store.copy_to(target)
        assert 0 < await target.count_waits(None) < 1000
        failing.writes_left = 100
        copied = await store.copy_to(target, again=True)
        assert 0 < copied.written < 1000
        assert await target.count_waits(None) == copied.waits == 1000


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_o5_r3_a_copy_that_was_cancelled_is_completed(
    kind: str, path: Path, redis_server: RedisServer, namespace: str, elsewhere: AsyncSessionStore
) -> None:
    url = f"sqlite:///{path}" if kind == "sqlite" else redis_server.unix_url
    spaced = namespace if kind == "redis" else None
    for number in range(1000):
        await register(elsewhere, f"k{number}", A, of=ctx(f"u{number}"), ttl=600)
    async with AsyncSessionStore.from_url(url, namespace=spaced) as target:
        for delay in (0.005, 0.02, 0.05):
            with anyio.move_on_after(delay):
                await elsewhere.copy_to(target, again=True)
        await elsewhere.copy_to(target, again=True)
        assert await target.count_waits(None) == 1000
        await assert_equal(elsewhere, target)


async def test_o5_one_entry_that_is_listed_twice_counts_once() -> None:
    class Twice(MemoryBackend):
        @override
        async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
            name = SessionName(SessionKey("k"))
            return CopyPage((name, name), None if cursor else 1)

    async with (
        AsyncSessionStore(Twice()) as store,
        AsyncSessionStore.from_url("memory://") as target,
    ):
        await register(store, "k", A)
        assert await store.copy_to(target) == CopiedStore(waits=1, written=1)


# --- Redis ------------------------------------------------------------------------------------


async def test_o5_q1_waits_that_expire_between_two_pages_are_copied(
    redis_server: RedisServer, namespace: str, elsewhere: AsyncSessionStore
) -> None:
    class Slow(RedisBackend):
        @override
        async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
            page = await super().list_copies(cursor, limit)
            if cursor is None:
                await anyio.sleep_until(expired_by)
            return page

    async with AsyncSessionStore(
        Slow.from_url(redis_server.unix_url, namespace=namespace)
    ) as store:
        for number in range(300):
            await keep(store, f"k{number}", A, of=ctx(f"u{number}"), ttl=1.5)
        expired_by = anyio.current_time() + 1.6
        copied = await store.copy_to(elsewhere)
    assert copied.waits + copied.expired_waits == 300


@pytest.mark.parametrize("word", ["session", "meta", "claim", "delivery", "waits", "expiring"])
async def test_o5_ids_may_be_words_that_keys_are_made_of(
    store: AsyncSessionStore, elsewhere: AsyncSessionStore, rust: RustPeer, word: str
) -> None:
    of = ctx(word, team=word)
    await keep(store, f"acme:{word}:expired", A, of=of, ttl=0.02)
    await register(store, f"acme:{word}:waits", B, of=of)
    handled = await store.claim_wait(of, word, B, delivery_id="event")
    assert handled is not None
    await handled.complete(KEEP)
    rust.register("rust", C, of=of)
    await anyio.sleep(0.05)
    copied = await store.copy_to(elsewhere)
    assert of_kinds(copied) == CopiedStore(waits=2, expired_waits=1, deliveries=1)
    assert await find(elsewhere, C, of=of) == "rust"


async def test_o4_o5_o6_a_displaced_session_is_listed_whatever_its_key_looks_like(
    store: AsyncSessionStore, elsewhere: AsyncSessionStore
) -> None:
    displaced, waits = "delivery:webchat:1", "delivery:webchat:2"
    await register(elsewhere, displaced, A, ttl=600)
    await register(elsewhere, waits, A)
    await elsewhere.copy_to(store)
    assert sorted([one.key async for one in store.iter_sessions(SERVICE)]) == [displaced, waits]
    assert (await store.move_waits(SERVICE, user=("u1", "u2"))).sessions == 1
    found = {one.key: one async for one in store.iter_sessions(SERVICE)}
    assert sorted(found) == [displaced, waits]
    assert found[displaced].expires_at is not None
    assert found[displaced].data.owner.user == "u2"
    erased = await store.erase_user(SERVICE, "u2")
    assert (erased.waits, erased.sessions) == (1, 1)


async def test_o5_k3_a_copy_supersedes_what_was_claimed_there(
    store: AsyncSessionStore, elsewhere: AsyncSessionStore
) -> None:
    await register(store, "old", A)
    held = await claim(store, A)
    await register(elsewhere, "k", A)
    await elsewhere.copy_to(store, again=True)
    assert not await held.complete()
    assert await find(store, A) == "k"


async def test_o5_an_expired_wait_that_was_claimed_before_is_handed_out_from_the_copy(
    store: AsyncSessionStore, elsewhere: AsyncSessionStore
) -> None:
    await keep(elsewhere, "k", A, ttl=0.02)
    await anyio.sleep(0.05)
    await elsewhere.copy_to(store)
    by_user, by_service = await claim_all(store, CTX), await claim_all(store, SERVICE)
    assert keys_of(by_user) == ["k"]
    assert by_service == []
    await by_user[0].release()
    assert keys_of(await claim_all(store, SERVICE)) == ["k"]
