"""Erasing a user, seen behind the API of each storage."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import anyio
import pytest
import redis

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ErasedUser,
    ReplyScope,
    StoreTimeoutError,
)
from async_session_store.abc import ErasedUser as ErasedUserOfABackend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.backends.sqlite._erasing import User
from async_session_store.models import EnvId, SessionKey, TenantId, UserId
from async_session_store.testing.contract.builders import (
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
from async_session_store.testing.contract.claim_builders import begin, claim
from async_session_store.testing.contract.erasing import store_everything
from async_session_store.testing.contract.expiry_builders import claim_all, keep
from async_session_store.testing.contract.next_waits import ask
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import image

pytestmark = pytest.mark.anyio

SECRET = "4111-1111-1111-1111"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# --- SQLite -----------------------------------------------------------------------------------


@pytest.fixture
async def sqlite_store(path: Path) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore(SqliteBackend(path, busy_timeout=0.3)) as store:
        yield store


def bytes_on_disk(path: Path) -> bytes:
    """Return the file and its log, also the parts of them that are not in use."""
    return b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))


@pytest.mark.parametrize("size", [1, 2000, 100_000])
async def test_o2_nothing_is_left_in_the_files(
    sqlite_store: AsyncSessionStore, path: Path, size: int
) -> None:
    of, other = ctx("alice"), ctx("bob")
    for number in range(20):
        own, theirs = (ReplyScope(conversation=f"{name} {number}") for name in ("alice", "bob"))
        await register(sqlite_store, f"alice {number}", own, SECRET * size, of=of)
        await register(sqlite_store, f"bob {number}", theirs, "theirs" * size, of=other)
    await store_everything(sqlite_store, of, "alice")
    assert SECRET.encode() in bytes_on_disk(path)
    erased = await sqlite_store.erase_user(SERVICE, "alice")
    assert (erased.waits, erased.sessions) == (21, 2)
    found = bytes_on_disk(path)
    assert b"bob 7" in found
    assert b"alice" not in found
    assert SECRET.encode() not in found


async def test_o2_a_reader_that_is_in_the_way_of_the_log_is_reported(
    sqlite_store: AsyncSessionStore, path: Path
) -> None:
    await register(sqlite_store, "k", A, SECRET)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        with pytest.raises(StoreTimeoutError, match="call again"):
            await sqlite_store.erase_user(SERVICE, "u1")
        assert await listed(sqlite_store) == []
        await register(sqlite_store, "k2", A, of=ctx("u2"))
    assert SECRET.encode() in bytes_on_disk(path)
    assert not await sqlite_store.erase_user(SERVICE, "u1")
    assert SECRET.encode() not in bytes_on_disk(path)
    assert await listed(sqlite_store, of=ctx("u2")) == ["k2"]


async def test_o2_deliveries_in_more_teams_than_one_step_looks_at(
    sqlite_store: AsyncSessionStore, path: Path
) -> None:
    await (await begin(sqlite_store, A, delivery_id="event")).complete()
    with closing(sqlite3.connect(path, isolation_level=None)) as behind:
        rows = [("prod", "acme", f"t{number}", "u1", b"d", 2**50) for number in range(0, 1200, 50)]
        rows += [("prod", "acme", "t7", "u1", b"%d" % number, 2**50) for number in range(2100)]
        rows += [("prod", "acme", f"t{number}", "u2", b"d", 2**50) for number in range(1200)]
        behind.execute("BEGIN")
        behind.executemany("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?)", rows)
        behind.execute("COMMIT")
        assert (await sqlite_store.erase_user(SERVICE, "u1")).deliveries == 1 + 24 + 2100
        assert behind.execute("SELECT DISTINCT user FROM deliveries").fetchall() == [("u2",)]


async def test_o2_rows_with_damaged_keys_and_deadlines_are_erased(
    sqlite_store: AsyncSessionStore, path: Path
) -> None:
    for number in range(3):
        await register(sqlite_store, f"k{number}", ReplyScope(conversation=str(number)))
    with closing(sqlite3.connect(path, isolation_level=None)) as behind:
        behind.execute("UPDATE sessions SET key = x'ff' WHERE key = 'k0'")
        behind.execute("UPDATE sessions SET key = CAST(x'ff' AS TEXT) WHERE key = 'k1'")
        behind.execute("UPDATE sessions SET deadline = 'never' WHERE key = 'k2'")
        assert (await sqlite_store.erase_user(SERVICE, "u1")).waits == 3
        assert behind.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


async def test_o2_a_claim_that_was_made_during_the_erasure_is_superseded(
    sqlite_store: AsyncSessionStore,
) -> None:
    backend = sqlite_store._backend
    assert isinstance(backend, SqliteBackend)
    await register(sqlite_store, "live", A)
    await keep(sqlite_store, "expired", B, ttl=0.02)
    await anyio.sleep(0.05)
    user = User(env="prod", tenant="acme", user="u1")
    await backend._erasing(lambda tables: tables.erasing.erase_claims(user))
    on_live, (on_expired,) = await claim(sqlite_store, A), await claim_all(sqlite_store)
    theirs = await sqlite_store.claim_wait(ctx("u2"), "u2", A, begin_at=A)
    assert theirs is not None
    await backend._erase_sessions(user)
    assert not await on_live.complete(ask(A))
    assert not await on_expired.complete(ask(B))
    assert await listed(sqlite_store) == []
    assert await theirs.complete()


async def test_o2_later_deletions_do_not_pay_for_it(
    sqlite_store: AsyncSessionStore,
) -> None:
    backend = sqlite_store._backend
    assert isinstance(backend, SqliteBackend)

    async def setting() -> object:
        return await backend._reading(
            lambda tables: tables.erasing._execute("PRAGMA secure_delete", ()).fetchone()[0]
        )

    for value, stored in (("OFF", 0), ("FAST", 2), ("ON", 1)):
        pragma = f"PRAGMA secure_delete = {value}"
        await backend._reading(lambda tables: tables.erasing._execute(pragma, ()).fetchone())  # noqa: B023
        await register(sqlite_store, "k", A)
        await sqlite_store.erase_user(SERVICE, "u1")
        assert await setting() == stored


# --- Redis ------------------------------------------------------------------------------------


@contextmanager
def unchanged(client: redis.Redis, namespace: str) -> Iterator[None]:
    before = image(client, namespace)
    yield
    assert image(client, namespace) == before


async def test_o2_waits_and_sessions_of_rust_processes_are_erased(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    rust.register("other", A, of=ctx("u2"))
    with unchanged(redis_client, namespace):
        rust.register("k", A, ttl=60)
        rust.register("k2", B)
        rust.register("k2", C)  # the old scope still leads there
        redis_client.set(f"{namespace}:session:created", data().model_dump_json())
        large = data("x" * 200_000).model_dump_json()
        redis_client.set(f"{namespace}:session:large", large)
        await register(store, "ours", ReplyScope(conversation="d"))
        redis_client.set(f"{namespace}:session:ours", data("rust").model_dump_json())
        erased = await store.erase_user(SERVICE, "u1")
        assert erased == ErasedUser(waits=3, sessions=2)


async def test_o2_many_documents_of_rust_processes_are_examined_in_small_steps(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    for number in range(60):
        document = data("x" * 10_000, of=ctx(f"u{number % 2}")).model_dump_json()
        redis_client.set(f"{namespace}:session:{number}", document)
    redis_client.config_resetstat()
    assert (await store.erase_user(SERVICE, "u1")).sessions == 30
    stats = redis_client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] + stats.get("cmdstat_eval", {"calls": 0})["calls"] > 8
    assert len(image(redis_client, namespace)) == 30


async def test_o2_a_key_that_a_rust_process_gave_to_another_owner_stays_theirs(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await keep(store, "k", A)
    rust.register("k", A, of=ctx("u2"))
    assert await store.erase_user(SERVICE, "u1") == ErasedUser()
    assert await find(store, A, of=ctx("u2")) == "k"
    assert not [name for name in image(redis_client, namespace) if b":u1" in name]
    assert redis_client.exists(f"{namespace}:meta:k") == 0


async def test_o2_whatever_keys_look_like(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    keys = ["a:session:b", "meta:x", "claim:prod:acme:-:u1:x", "\n", "*", "a\nb", "ü" * 100]
    for number, key in enumerate(keys):
        await register(store, key, ReplyScope(conversation=str(number)))
    assert (await store.erase_user(SERVICE, "u1")).waits == len(keys)
    assert image(redis_client, namespace) == {}


async def test_o2_keys_of_the_wrong_type_are_erased_if_their_names_are_the_users(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    owner = "prod:acme:-:u1"
    for name in (f"waits:user:{owner}", f"waits:scope:{owner}:{'a' * 64}", f"claim:{owner}:x"):
        redis_client.hset(f"{namespace}:{name}", "field", "value")
    redis_client.set(f"{namespace}:expiring:{owner}", "text")
    foreign = [f"{namespace}:session:list", f"{namespace}:meta:list", f"{namespace}:expiring:all"]
    foreign += [f"{namespace}:expiring:prod:acme:-", f"{namespace}:mine"]
    for name in foreign:
        redis_client.rpush(name, "value")
    assert await store.erase_user(SERVICE, "u1") == ErasedUser(claims=1)
    assert sorted(image(redis_client, namespace)) == sorted(name.encode() for name in foreign)


async def test_o2_index_entries_that_were_left_behind_are_erased(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await keep(store, "other", A, of=ctx("u2"))
    with unchanged(redis_client, namespace):
        index = f"{namespace}:expiring:prod:acme:-"
        redis_client.zadd(index, {f"u1:{number}": number for number in range(1000)})
        redis_client.sadd(f"{namespace}:expiring:prod:acme:-:u1", "gone")
        redis_client.sadd(f"{namespace}:waits:user:prod:acme:-:u1", *map(str, range(1000)))
        await keep(store, "k", B)
        assert await store.erase_user(SERVICE, "u1") == ErasedUser(waits=1)


async def test_o2_tokens_of_claims_on_expired_waits_are_erased(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await keep(store, "k", A, ttl=0.02)
    await keep(store, "other", A, ttl=0.02, of=ctx("u2"))
    await anyio.sleep(0.05)
    assert len(await claim_all(store)) == 2
    assert await store.erase_user(SERVICE, "u1") == ErasedUser(expired_waits=1, claims=1)
    named = json.dumps(sorted(map(str, image(redis_client, namespace).items())))
    assert ":u1" not in named
    assert len([name for name in image(redis_client, namespace) if b":claim:" in name]) == 2


async def test_o2_a_nested_namespace_is_left_alone(
    store: AsyncSessionStore, redis_server: RedisServer, namespace: str
) -> None:
    nested = AsyncSessionStore.from_url(redis_server.unix_url, namespace=f"{namespace}:x")
    async with nested:
        stored = await store_everything(nested)
        assert await store.erase_user(SERVICE, "u1") == ErasedUser()
        assert await nested.erase_user(SERVICE, "u1") == stored


async def test_o2_a_session_whose_owner_cannot_be_determined_stays(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    redis_client.set(f"{namespace}:session:k", b"not json")
    redis_client.sadd(f"{namespace}:waits:user:prod:acme:-:u1", "k")
    assert await store.erase_user(SERVICE, "u1") == ErasedUser()
    assert list(image(redis_client, namespace)) == [f"{namespace}:session:k".encode()]


async def test_o2_a_turn_that_completes_while_the_erasure_looks_elsewhere(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    pipeline = redis_client.pipeline()
    for number in range(2000):
        pipeline.set(f"{namespace}:session:filler {number}", b"not json")
    pipeline.execute()
    for number in range(40):
        scope = ReplyScope(conversation=str(number))  # its keys are elsewhere in the scan
        turn = await begin(store, scope)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.erase_user, SERVICE, "u1")
            await anyio.sleep(0.001 * (6 + number % 16))
            with suppress(ClaimLostError):
                await turn.complete(ask(scope))
        assert await listed(store) == []


async def test_o2_others_claims_are_not_touched(store: AsyncSessionStore) -> None:
    other = ctx("u2")
    await register(store, "k", A)
    await register(store, "k2", A, of=other)
    held = await claim(store, A)
    theirs = await store.claim_wait(other, "u2", A)
    assert theirs is not None
    await store.erase_user(SERVICE, "u1")
    assert not held.lost
    assert await theirs.complete()


# --- Memory -----------------------------------------------------------------------------------


class MissingOneSession(MemoryBackend):
    """Stores a session behind the first pass, as a turn does that completes during the pass."""

    passes = 0

    async def erase_user(self, env: EnvId, tenant: TenantId, user: UserId) -> ErasedUser:
        erased = await super().erase_user(env, tenant, user)
        self.passes += 1
        if self.passes == 1:
            await self.insert(SessionKey("behind"), data(), None)
        return erased


async def test_o2_a_first_pass_that_finds_nothing_is_not_the_last() -> None:
    async with AsyncSessionStore(MissingOneSession()) as store:
        assert await store.erase_user(SERVICE, "u1") == ErasedUser(sessions=1)
        assert await store.get_session("behind") is None


def test_the_counts_add_up() -> None:
    assert ErasedUserOfABackend is ErasedUser
    one = ErasedUser(1, 2, 3, 4, 5, 6)
    assert one + one == ErasedUser(2, 4, 6, 8, 10, 12)
    assert one
    assert not ErasedUser()
