"""What goes over the wire to Redis, and what is stored there."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import pytest
import redis
from redis.asyncio import BlockingConnectionPool, Redis

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ConflictError,
    ReplyScope,
    SessionData,
    SessionNotFoundError,
    StoreUnavailableError,
    TenantCtx,
)
from async_session_store.backends.redis import RedisBackend
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
from calls import CALLS, SEVERAL_SCOPES, Call
from redis_server import RedisServer
from stored_keys import BLANKS, documents, image, stored_keys
from tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.anyio

COMMANDS = {"create_session": "SET", "get_session": "GET", "ping": "PING"}
"""The commands of the calls that are not scripts."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(redis_server) as proxy:
        yield proxy


@pytest.fixture
async def watched(proxy: TcpProxy, namespace: str) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store whose traffic goes through the proxy, which has seen nothing yet."""
    async with AsyncSessionStore.from_url(proxy.url, namespace=namespace) as store:
        proxy.forget()
        yield store


def deadline(client: redis.Redis, key: str) -> int:
    """Return a deadline in milliseconds since the epoch. Redis 6.2 knows only the time left."""
    script = """
        local time = redis.call('TIME')
        local left = redis.call('PTTL', KEYS[1])
        return time[1] * 1000 + math.floor(time[2] / 1000) + left
    """
    # The result is too early if a millisecond ended between the two commands.
    return max(client.eval(script, 1, key) for _ in range(20))


# --- Round trips ------------------------------------------------------------------------------


def test_every_public_call_is_counted_here() -> None:
    public = {
        name
        for name, member in inspect.getmembers(AsyncSessionStore)
        if inspect.iscoroutinefunction(inspect.unwrap(member)) and not name.startswith("_")
    }
    several_steps = {"purge_expired", "edit_session", "open", "aclose", "count_waits", "erase_user"}
    several_steps |= {"copy_to", "move_waits"}
    no_command = {"compact"}  # Redis gives space back by itself
    assert {*CALLS, *several_steps, *no_command} == public


@pytest.mark.filterwarnings("ignore:removed in 1.0:DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
async def test_w1_a_call_is_one_command_in_one_round_trip(
    name: str, proxy: TcpProxy, watched: AsyncSessionStore, store: AsyncSessionStore
) -> None:
    for script in ("EVAL", "EVALSHA", "EVALSHA"):
        await register(store, "k", A)
        proxy.forget()
        await CALLS[name](watched)
        assert proxy.names == [COMMANDS.get(name, script)]
        assert proxy.round_trips == 1


@pytest.mark.parametrize("name", SEVERAL_SCOPES)
async def test_w4_w8_x5_several_scopes_are_looked_up_in_one_round_trip(
    name: str, proxy: TcpProxy, watched: AsyncSessionStore, store: AsyncSessionStore
) -> None:
    await register(store, "k", A)
    for script in ("EVAL", "EVALSHA"):
        proxy.forget()
        assert await SEVERAL_SCOPES[name](watched) is not None
        assert proxy.names == [script]
        assert proxy.round_trips == 1


@pytest.mark.filterwarnings("ignore:removed in 1.0:DeprecationWarning")
async def test_a_call_that_finds_or_changes_nothing_is_one_round_trip_too(
    proxy: TcpProxy, watched: AsyncSessionStore
) -> None:
    for call in (*CALLS.values(), *SEVERAL_SCOPES.values()):
        await watched.clear_waits_for_user(CTX, "u1")
        proxy.forget()
        with suppress(SessionNotFoundError):
            await call(watched)
        assert len(proxy.names) == proxy.round_trips == 1


async def test_64_calls_at_once_share_round_trips(
    proxy: TcpProxy, watched: AsyncSessionStore
) -> None:
    done: list[int] = []

    async def use(number: int) -> None:
        key, scope = f"k{number}", ReplyScope(conversation=str(number))
        assert await register(watched, key, scope, key) is None
        assert await find(watched, scope) == key
        assert await context_of(watched, key) == key
        assert await clear(watched, scope, key)
        done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(64):
            tasks.start_soon(use, number)
    assert len(done) == 64
    assert len(proxy.commands) == 64 * 4
    assert proxy.round_trips <= 16


async def test_more_calls_than_a_batch_holds_are_all_answered(watched: AsyncSessionStore) -> None:
    found: list[str | None] = []

    async def use(number: int) -> None:
        await register(watched, f"k{number}", ReplyScope(conversation=str(number)))
        found.append(await find(watched, ReplyScope(conversation=str(number))))

    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(use, number)
    assert sorted(filter(None, found)) == sorted(f"k{number}" for number in range(500))


async def test_t5_purging_scans_in_bounded_steps(
    proxy: TcpProxy, watched: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    for number in range(20):
        await register(watched, f"k{number}", ReplyScope(conversation=str(number)), ttl=NEVER)
    for number in range(20):
        redis_client.delete(f"{namespace}:session:k{number}")
    proxy.forget()
    assert await watched.purge_expired() == 60
    assert set(proxy.names) <= {"SCAN", "SSCAN", "EVAL", "EVALSHA"}
    assert all(b"COUNT" in command for command in proxy.commands if b"SCAN" in command[0])
    assert stored_keys(redis_client, namespace) == {}


async def test_t5_purging_keeps_to_its_namespace(
    redis_server: RedisServer, redis_client: redis.Redis, namespace: str
) -> None:
    pattern, other = f"{namespace}:a*[b]?\\", f"{namespace}:axbxx"
    for name in (pattern, other):
        async with AsyncSessionStore.from_url(redis_server.unix_url, namespace=name) as store:
            await register(store, "k", A)
            redis_client.delete(f"{name}:session:k")
    async with AsyncSessionStore.from_url(redis_server.unix_url, namespace=pattern) as store:
        assert await store.purge_expired() == 3
    assert stored_keys(redis_client, pattern.replace("\\", "\\\\")) == {}
    assert len(stored_keys(redis_client, other)) == 3


@pytest.mark.parametrize("of", [CTX, ctx("u1", team="session")], ids=["usual", "a kind's name"])
@pytest.mark.parametrize(
    "kind",
    [
        *("session", "meta", "meta:more", "claim", "queue", "delivery", "waits", "waits:user"),
        "waits:scope",
    ],
)
async def test_f7_t5_a_namespace_within_another_is_left_alone(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    kind: str,
    of: TenantCtx,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = (namespace, f"{namespace}:{kind}")
    keys = ("k", "a" * 64, "acme:tg:chat:u1", f"acme:tg:chat:{'b' * 64}")
    for name, other in (names, names[::-1]):
        async with (
            AsyncSessionStore.from_url(redis_server.unix_url, namespace=name) as store,
            AsyncSessionStore.from_url(redis_server.unix_url, namespace=other) as beside,
        ):
            for number, key in enumerate(keys):
                scope = ReplyScope(conversation=str(number))
                await register(beside, key, scope, of=of)
                await beside.claim_wait(of, "u1", scope)
            await register(beside, "done", A, of=of)
            async with beside.resume_wait(of, "u1", A, delivery_id="event"):
                pass
            before = own_image(redis_client, other, name)
            await register(store, "k", B, of=of)
            await register(store, "stale", A)
            redis_client.delete(f"{name}:session:stale")
            assert await store.purge_expired() == 3
            await store.clear_waits_for_user(of, "u1")
            assert own_image(redis_client, other, name) == before
            assert await beside.purge_expired() == 0
            assert own_image(redis_client, other, name) == before
            assert len(await beside.list_waits_for_user(of, "u1")) == 4
            assert await beside.clear_waits_for_user(of, "u1") == 4
    assert "wrong type" not in caplog.text


def own_image(client: redis.Redis, namespace: str, other: str) -> dict[bytes, tuple[object, int]]:
    """Return the keys of a namespace, without those of namespaces within it."""
    inner = f"{other}:".encode() if other.startswith(namespace) else b"none"
    return {k: v for k, v in image(client, namespace).items() if not k.startswith(inner)}


# --- Connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_r6_a_callers_client_is_used_as_it_is_and_stays_open(
    redis_server: RedisServer, namespace: str, *, protocol: int, decode_responses: bool
) -> None:
    async with Redis.from_url(
        redis_server.unix_url,
        decode_responses=decode_responses,
        protocol=protocol,
        single_connection_client=False,
        max_connections=1,
    ) as client:
        connection = await client.client_id()
        async with AsyncSessionStore(RedisBackend(client, namespace=namespace)) as store:
            await use_every_call(store)
        assert await client.client_id() == connection
        assert await client.get(f"{namespace}:session:k") is None


@pytest.mark.filterwarnings("ignore:removed in 1.0:DeprecationWarning")
async def use_every_call(store: AsyncSessionStore) -> None:
    await store.ping()
    assert await register(store, "k", A, "clé 日本") is None
    assert await register_if_absent(store, "k2", B)
    assert await store.get_session("k") == data("clé 日本")
    record = await store.get_record("k")
    assert record is not None
    assert await store.get_wait(CTX, "u1", [C, A]) == record
    assert await find(store, C, B) == "k2"
    assert await listed(store) == ["k", "k2"]
    assert [item.key for item in await store.list_wait_records(CTX, "u1")] == ["k", "k2"]
    await store.update_session("k", data("new"))
    await store.touch_session("k", 60)
    assert await register(store, "k3", B) == "k2"
    await store.remove_session("k2")
    assert await store.purge_expired() == 0
    assert await clear(store, A)
    assert await store.clear_waits_for_user(CTX, "u1") == 1
    await store.remove_session(await store.create_session(CTX, data(), ttl=60))


async def test_the_callers_pool_gets_its_connection_back_after_each_call(
    redis_server: RedisServer, namespace: str
) -> None:
    async with (
        Redis.from_url(redis_server.unix_url, max_connections=1) as client,
        AsyncSessionStore(RedisBackend(client, namespace=namespace)) as store,
    ):
        for number in range(5):
            await register(store, f"k{number}", A)
            assert await client.exists(f"{namespace}:session:k{number}") == 1


async def test_the_callers_pool_may_make_callers_wait(
    redis_server: RedisServer, namespace: str
) -> None:
    pool = BlockingConnectionPool.from_url(redis_server.unix_url, max_connections=1, timeout=10)
    async with Redis(connection_pool=pool) as client:
        async with AsyncSessionStore(RedisBackend(client, namespace=namespace)) as store:
            connection = await pool.get_connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(register, store, "k", A)
                await anyio.wait_all_tasks_blocked()
                await pool.release(connection)
            assert await find(store, A) == "k"
        await pool.aclose()


async def test_a_pool_without_a_free_connection_refuses(
    redis_server: RedisServer, namespace: str
) -> None:
    async with (
        Redis.from_url(redis_server.unix_url, max_connections=1) as client,
        AsyncSessionStore(RedisBackend(client, namespace=namespace)) as store,
    ):
        connection = await client.connection_pool.get_connection()
        with pytest.raises(StoreUnavailableError, match=r"no free connection.*nothing was"):
            await register(store, "k", A)
        await client.connection_pool.release(connection)
        assert await listed(store) == []


async def test_a_client_with_another_encoding_writes_utf_8(
    redis_server: RedisServer, redis_client: redis.Redis, namespace: str
) -> None:
    async with (
        Redis.from_url(redis_server.unix_url, encoding="latin-1") as client,
        AsyncSessionStore(RedisBackend(client, namespace=namespace)) as store,
    ):
        for key in ("clé", "日本"):
            await register(store, key, A)
            assert await find(store, A) == key
            assert redis_client.exists(f"{namespace}:session:{key}".encode()) == 1


@pytest.mark.parametrize("kind", ["redis", "unix"])
async def test_urls(redis_server: RedisServer, kind: str) -> None:
    namespace = f"test:{uuid.uuid4().hex}"
    if kind == "redis":
        url = f"redis://127.0.0.1:{redis_server.port}/3"
    else:
        url = f"unix://{redis_server.socket_path}?db=3"
    with redis.Redis.from_url(f"redis://127.0.0.1:{redis_server.port}/3") as client:
        async with AsyncSessionStore.from_url(url, namespace=namespace) as store:
            await register(store, "k", A)
            assert client.exists(f"{namespace}:session:k") == 1
            assert await clear(store, A)
        assert stored_keys(client, namespace) == {}


async def test_a_url_with_a_user_and_a_password(namespace: str) -> None:
    with RedisServer.start(user="bot on >p%40ss:w/rd# ~* +@all") as server:
        login = "bot:p%2540ss%3Aw%2Frd%23"
        for url in (
            f"redis://{login}@127.0.0.1:{server.port}/0",
            f"unix://{login}@{server.socket_path}",
        ):
            async with AsyncSessionStore.from_url(url, namespace=namespace) as store:
                await register(store, "k", A)
                with redis.Redis.from_url(server.url) as client:
                    assert {item["user"] for item in client.client_list()} == {"bot", "default"}


# --- What is stored ---------------------------------------------------------------------------


@pytest.mark.parametrize("team", [None, "team.1"])
async def test_a_wait_is_stored_in_the_layout_of_the_rust_crate(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str, team: str | None
) -> None:
    owner = ctx("u1", team=team)
    await register(store, "k:é", A, "state", of=owner, ttl=60)
    text = f"prod:acme:{team or '-'}:u1"
    scope = f"waits:scope:{text}:{A.scope_hash()}"
    keys = stored_keys(redis_client, namespace)
    assert keys.pop("meta:k:é")[1]  # nobody else's business but its deadline
    document = data("state", of=owner).model_dump_json().encode()
    assert documents(keys) == {
        "session:k:é": (document, True),
        scope: ("k:é".encode(), True),
        f"waits:user:{text}": ({"k:é".encode()}, False),
    }


async def test_e1_each_document_of_this_library_ends_in_a_stamp_of_its_own(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A)
    key, stamps, etags = f"{namespace}:session:k", set(), set()
    for _ in range(10):
        document = redis_client.get(key)
        assert SessionData.model_validate_json(document) == data()
        record = await store.get_record("k")
        assert record is not None
        stamps.add(document[-32:])
        etags.add(record.etag)
        await store.update_session("k", data(), if_match=record.etag)
    assert len(stamps) == len(etags) == 10
    assert {stamp.strip(BLANKS) for stamp in stamps} == {b""}
    assert all(len(etag) == 16 and int(etag, 16) >= 0 for etag in etags)


async def test_e2_a_document_without_our_stamp_has_an_etag_too(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A)
    ours = await store.get_record("k")
    redis_client.set(f"{namespace}:session:k", data("theirs").model_dump_json())
    theirs = await store.get_record("k")
    assert ours is not None
    assert theirs is not None
    with pytest.raises(ConflictError):
        await store.update_session("k", data("lost"), if_match=ours.etag)
    await store.update_session("k", data("new"), if_match=theirs.etag)
    with pytest.raises(ConflictError):
        await store.update_session("k", data("lost"), if_match=theirs.etag)
    assert await context_of(store, "k") == "new"


async def test_t6_session_scope_and_meta_have_one_deadline(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    scope = f"{namespace}:waits:scope:prod:acme:-:u1:{A.scope_hash()}"
    keys = (f"{namespace}:session:k", f"{namespace}:meta:k", scope)

    async def milliseconds() -> int:
        record = await store.get_record("k")
        assert record is not None
        assert record.expires_at is not None
        ends = {deadline(redis_client, key) for key in keys}
        assert len(ends) == 1
        end = ends.pop()
        assert abs(record.expires_at.timestamp() * 1000 - end) <= 2
        seconds, micros = redis_client.time()
        return end - seconds * 1000 - micros // 1000

    await register(store, "k", A, ttl=60)
    assert 55_000 < await milliseconds() <= 60_000
    await store.touch_session("k", 600)
    assert 595_000 < await milliseconds() <= 600_000
    await store.update_session("k", data("new"))
    assert 595_000 < await milliseconds() <= 600_000
    await register(store, "k", A, ttl=36_525 * 86_400)
    assert await milliseconds() > 36_524 * 86_400_000


async def test_t6_a_record_shows_the_same_deadline_each_time(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A, ttl=60)
    told = set()
    for _ in range(500):
        record = await store.get_record("k")
        assert record is not None
        assert record.expires_at is not None
        told.add(round(record.expires_at.timestamp() * 1000))
    assert told == {deadline(redis_client, f"{namespace}:session:k")}


async def test_t2_t3_without_a_deadline_no_key_has_one(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A, ttl=60)
    await register(store, "k", A)
    assert not any(expires for _, expires in stored_keys(redis_client, namespace).values())
    await store.touch_session("k", 60)
    assert sum(expires for _, expires in stored_keys(redis_client, namespace).values()) == 3
    await store.touch_session("k", NEVER)
    assert not any(expires for _, expires in stored_keys(redis_client, namespace).values())


async def test_s1_a_session_that_waits_nowhere_is_one_key(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    key = await store.create_session(CTX, data("state"), ttl=60)
    document = data("state").model_dump_json().encode()
    assert documents(stored_keys(redis_client, namespace)) == {f"session:{key}": (document, True)}
    await store.update_session(key, data("new"))
    document = data("new").model_dump_json().encode()
    assert documents(stored_keys(redis_client, namespace)) == {f"session:{key}": (document, True)}
    await store.remove_session(key)
    assert stored_keys(redis_client, namespace) == {}


@pytest.mark.parametrize(
    "end",
    [
        lambda store: store.remove_session("k"),
        lambda store: clear(store, A),
        lambda store: store.clear_waits_for_user(CTX, "u1"),
    ],
    ids=["remove", "clear", "clear all"],
)
async def test_s4_w6_w8a_a_wait_leaves_no_key(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str, end: Call
) -> None:
    await register(store, "k", B)
    await register(store, "k", A)
    await end(store)
    assert stored_keys(redis_client, namespace) == {}


async def test_w3_a_detached_session_is_two_keys(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "old", A, "state")
    await register(store, "new", A)
    await clear(store, A)
    document = data("state").model_dump_json().encode()
    keys = documents(stored_keys(redis_client, namespace))
    assert keys.pop("meta:old")  # it says that it waits nowhere, whatever a Rust process left
    assert keys == {"session:old": (document, False)}
    await store.remove_session("old")
    assert stored_keys(redis_client, namespace) == {}
