"""Turns on Redis: claims, queues, how the next in line is woken, what Rust peers do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final

import anyio
import pytest
import redis
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    ClaimLostError,
    Keep,
    NewWait,
    ReplyScope,
    StoreUnavailableError,
    StoreUsageError,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.backends.redis import RedisBackend, _turns
from async_session_store.testing.contract.builders import CTX, A, B, data, find, listed, register
from async_session_store.testing.contract.claim_builders import claim
from loops import eventually
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import image, stored_keys
from tcp_proxy import tcp_proxy

pytestmark = pytest.mark.anyio

OWNER: Final = "prod:acme:-:u1"
LONG: Final = 30
TICKET_LENGTH: Final = 16
SOON: Final = 0.15  # seconds; who is not woken looks every 0.3 s
RIGHTS: Final = "+@read +@write +@connection +eval +evalsha +info +time"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def claim_key(namespace: str, scope: ReplyScope = A) -> str:
    return f"{namespace}:claim:{OWNER}:{scope.scope_hash()}"


def queue_key(namespace: str, scope: ReplyScope = A) -> str:
    return f"{namespace}:queue:{OWNER}:{scope.scope_hash()}"


async def begin(store: AsyncSessionStore, scope: ReplyScope = A) -> WaitClaim:
    claimed = await store.claim_wait(CTX, "u1", scope, lease=LONG, begin_at=scope)
    assert claimed is not None
    assert claimed.is_new
    return claimed


def next_wait(scope: ReplyScope = A, context: str = "next") -> NewWait:
    return NewWait(scope, data(context))


# --- What is stored ---------------------------------------------------------------------------


async def test_a_claim_holds_its_token_and_the_identity_of_the_wait(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A)
    claimed = await claim(store, A, lease=LONG)
    identity = redis_client.hget(f"{namespace}:meta:k", "wait")
    assert len(claimed.token) == len(identity) == 32
    assert redis_client.get(claim_key(namespace)) == claimed.token.encode() + identity
    await store.update_session("k", data("new"))  # keeps the identity (K3)
    assert await claimed.complete() is True
    rust.register("k", A)
    claimed = await claim(store, A, lease=LONG)
    identity = redis_client.hget(f"{namespace}:meta:k", "wait")
    assert redis_client.get(claim_key(namespace)) == claimed.token.encode() + identity + b"adopted"
    assert await claimed.complete() is True
    begun = await begin(store)
    assert redis_client.get(claim_key(namespace)) == begun.token.encode()
    assert 29_000 < redis_client.pttl(claim_key(namespace)) <= 30_000


@pytest.mark.parametrize("is_rusts", [False, True], ids=["python", "rust"])
@pytest.mark.parametrize("by", ["register", "clear", "remove", "move", "clear all", "next"])
async def test_n2_a_mark_keeps_the_lease(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    by: str,
    *,
    is_rusts: bool,
) -> None:
    if is_rusts:
        rust.register("k", A)
    else:
        await register(store, "k", A)
    claimed = await claim(store, A, lease=LONG)
    if by == "register":
        await register(store, "other", A)
    elif by == "clear":
        assert await store.clear_wait(CTX, "u1", A)
    elif by == "remove":
        await store.remove_session("k")
    elif by == "move":
        await register(store, "k", B)
    elif by == "clear all":
        assert await store.clear_waits_for_user(CTX, "u1") == 1
    else:
        begun = await begin(store, B)
        assert await begun.complete(NewWait(A, data(), session_key="other"))
    assert redis_client.get(claim_key(namespace)) == claimed.token.encode() + b"superseded"
    assert 29_000 < redis_client.pttl(claim_key(namespace)) <= 30_000
    await claimed.renew()
    before = await listed(store)
    assert await claimed.complete(next_wait()) is False
    assert await listed(store) == before


async def test_the_keys_of_a_queue_expire(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A)
    held = await claim(store, A, lease=LONG)
    turns: list[WaitClaim] = []

    async def wait() -> None:
        turns.append(await claim(store, A, wait=LONG))

    queue = queue_key(namespace)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await eventually(lambda: redis_client.exists(queue) == 1)
        token = redis_client.get(queue).decode()
        assert len(token) == 32
        channel = redis_client.get(f"{queue}:{token}").decode()[TICKET_LENGTH:]
        assert channel.startswith(f"{namespace}:turns:")
        await eventually(lambda: redis_client.pubsub_numsub(channel)[0][1] == 1)
        for key in (queue, f"{queue}:{token}"):
            assert 0 < redis_client.pttl(key) <= 1000
        await held.release()
    assert turns[0].token == token
    assert not redis_client.keys(f"{namespace}:queue:*")
    await turns[0].complete()
    assert stored_keys(redis_client, namespace) == {}


async def test_n1_a_turn_is_two_round_trips_even_when_others_wait(
    redis_server: RedisServer, store: AsyncSessionStore, namespace: str
) -> None:
    await register(store, "k", A)
    async with (
        tcp_proxy(redis_server) as proxy,
        AsyncSessionStore.from_url(proxy.url, namespace=namespace) as watched,
    ):
        for _ in range(2):
            proxy.forget()
            claimed = await watched.claim_wait(CTX, "u1", A, delivery_id=None, begin_at=A)
            assert claimed is not None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: claim(store, A, wait=0.2))
                await anyio.sleep(0.05)
                assert await claimed.complete(next_wait())
                tasks.cancel_scope.cancel()
            assert proxy.round_trips == 2
            await eventually_free(store)


async def eventually_free(store: AsyncSessionStore) -> None:
    """Wait until no claim is held at A."""
    free = await store.claim_wait(CTX, "u1", A, wait=5)
    assert free is not None
    await free.release()


# --- Keys of a wrong type ---------------------------------------------------------------------

WRONG_TYPES: Final[dict[str, Callable[[redis.Redis, str], object]]] = {
    "hash": lambda client, name: client.hset(name, "token", "secret"),
    "list": lambda client, name: client.rpush(name, "secret"),
}
wrong_types: Final = pytest.mark.parametrize("spoil", WRONG_TYPES.values(), ids=WRONG_TYPES)


@wrong_types
@pytest.mark.parametrize("begins", [False, True])
async def test_k2_a_claim_key_of_a_wrong_type_is_held_by_nobody_here(
    store: AsyncSessionStore,
    redis_client: redis.Redis,
    namespace: str,
    spoil: Callable[[redis.Redis, str], object],
    *,
    begins: bool,
) -> None:
    if not begins:
        await register(store, "k", A)
    claimed = await (begin(store) if begins else claim(store, A))
    redis_client.delete(claim_key(namespace))
    spoil(redis_client, claim_key(namespace))
    before = image(redis_client, namespace)
    for use in (claimed.complete, claimed.release, claimed.renew):
        with pytest.raises(ClaimLostError):
            await use()
    with pytest.raises(WaitClaimedError):
        await store.claim_wait(CTX, "u1", A, begin_at=A)
    assert image(redis_client, namespace) == before
    await register(store, "new", A)  # K5: it hinders no other call
    assert await store.clear_wait(CTX, "u1", A)


@wrong_types
async def test_n4_a_queue_of_a_wrong_type_is_an_empty_one(
    store: AsyncSessionStore,
    redis_client: redis.Redis,
    namespace: str,
    spoil: Callable[[redis.Redis, str], object],
) -> None:
    await register(store, "k", A)
    spoil(redis_client, queue_key(namespace))
    held = await claim(store, A)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: claim_and_release(store))
        await anyio.sleep(0.05)
        assert await held.complete(next_wait())
    assert await find(store, A) == "k"


async def claim_and_release(store: AsyncSessionStore) -> None:
    await (await claim(store, A, wait=LONG)).release()


FOLLOWS: Final[dict[str, Callable[[], object]]] = {
    "nothing": lambda: None,
    "keep": lambda: KEEP,
    "next": next_wait,
    "next elsewhere": lambda: next_wait(B),
    "next under another key": lambda: NewWait(A, data(), session_key="other"),
}


@pytest.mark.parametrize("then", FOLLOWS.values(), ids=FOLLOWS)
@pytest.mark.parametrize("kind", ["hash", "stream"])
@pytest.mark.parametrize(
    "spoilt", ["scope", "other scope", "user", "meta", "other meta", "queue", "delivery"]
)
@pytest.mark.parametrize("by", ["python", "rust", "nobody"])
async def test_n1_r4_an_end_that_meets_a_wrong_type_happens_wholly_or_not_at_all(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    by: str,
    spoilt: str,
    kind: str,
    then: Callable[[], NewWait],
) -> None:
    if by == "python":
        await register(store, "k", A)
    elif by == "rust":
        rust.register("k", A)
    claimed = await store.claim_wait(CTX, "u1", A, begin_at=A, delivery_id="event")
    assert claimed is not None
    key = {
        "scope": rust.scope(A, CTX),
        "other scope": rust.scope(B, CTX),
        "user": rust.user(CTX),
        "meta": f"{namespace}:meta:k",
        "other meta": f"{namespace}:meta:other",
        "queue": queue_key(namespace),
        "delivery": f"{namespace}:delivery:{OWNER}:?",
    }[spoilt]
    redis_client.delete(key)
    if kind == "hash":
        redis_client.hset(key, "a", "secret")
    else:
        redis_client.xadd(key, {"a": "secret"})
    before = image(redis_client, namespace)
    try:
        await claimed.complete(then())
    except StoreUnavailableError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal:
        assert "nothing was written" in refusal
        assert image(redis_client, namespace) == before
    else:
        assert not redis_client.exists(claim_key(namespace))
        assert len(redis_client.keys(f"{namespace}:delivery:*")) == 1 + (spoilt == "delivery")


@pytest.mark.parametrize("then", FOLLOWS.values(), ids=FOLLOWS)
@pytest.mark.parametrize("begins", [False, True])
async def test_n1_r4_a_server_out_of_memory_changes_nothing(
    then: Callable[[], NewWait], *, begins: bool
) -> None:
    with (
        RedisServer.start() as server,
        redis.Redis.from_url(server.unix_url) as client,
    ):
        async with AsyncSessionStore.from_url(server.unix_url, namespace="n") as store:
            if not begins:
                await register(store, "k", A)
            claimed = await store.claim_wait(CTX, "u1", A, begin_at=A, delivery_id="event")
            assert claimed is not None
            before = image(client, "n")
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailableError, match="out of memory"):
                await claimed.complete(then())
            assert image(client, "n") == before
            client.config_set("maxmemory", 0)
            await claimed.complete(then())


# --- Rust peers -------------------------------------------------------------------------------


async def test_w8_a_record_shows_no_scope_that_a_rust_process_may_have_changed(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    async def scopes() -> set[ReplyScope | None]:
        (one,) = await store.list_wait_records(CTX, "u1")
        other, record = await store.get_wait(CTX, "u1", A), await store.get_record("k")
        assert other is not None
        assert record is not None
        return {one.scope, other.scope, record.scope}

    await register(store, "k", A)
    assert await scopes() == {A}
    rust.update("k")
    assert await scopes() == {None}
    await (await claim(store, A)).release()  # adopts it
    assert await scopes() == {None}
    await register(store, "k", A)
    await store.update_session("k", data("new"))
    await store.touch_session("k", 60)
    assert await scopes() == {A}
    rust.register("other", A)
    record = await store.get_record("k")
    assert record is not None
    assert record.scope is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"thread":"t"}', b"\xff"])
async def test_w8_r2_a_damaged_scope_spoils_nothing(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str, text: str | bytes
) -> None:
    await register(store, "k", A)
    redis_client.hset(f"{namespace}:meta:k", "place", text)
    record = (await claim(store, A)).record
    assert record.scope is None
    assert record.data == data()


async def test_w8_a_wait_of_an_older_version_has_no_scope(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    await register(store, "k", A)
    redis_client.hdel(f"{namespace}:meta:k", "place")
    claimed = await claim(store, A)
    assert claimed.record.scope is None
    assert await claimed.complete(next_wait())
    record = await store.get_record("k")
    assert record is not None
    assert record.scope == A


async def test_n2_a_wait_that_a_rust_process_cleared_is_taken_for_expired(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A)
    claimed = await claim(store, A)
    rust.clear(A)
    assert await claimed.complete(next_wait()) is True
    assert await find(store, A) == "k"


@pytest.mark.parametrize("by", ["update", "register", "register another", "move"])
async def test_n2_a_wait_that_a_rust_process_wrote_stays(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str, by: str
) -> None:
    await register(store, "k", A)
    claimed = await claim(store, A)
    if by == "update":
        rust.update("k")
    else:
        rust.register("other" if by == "register another" else "k", B if by == "move" else A)
    before = image(redis_client, namespace)
    assert await claimed.complete(next_wait()) is False
    after = image(redis_client, namespace)
    assert {*before} - {*after} == {claim_key(namespace).encode()}


@pytest.mark.parametrize("then", [None, KEEP, next_wait(), next_wait(B)])
async def test_n2_n3_a_wait_that_a_rust_process_registered_in_between_stays(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    then: NewWait | Keep | None,
) -> None:
    begun = await begin(store)
    rust.register("k", A)
    before = image(redis_client, namespace)
    assert await begun.complete(then) is False
    after = image(redis_client, namespace)
    assert {*before} - {*after} == {claim_key(namespace).encode()}
    assert await find(store, A) == "k"
    begun = await begin(store, B)
    rust.register("k", B)
    rust.clear(B)
    assert await begun.complete(next_wait(B)) is True


@pytest.mark.parametrize("is_touched", [False, True])
async def test_n1_the_next_question_may_follow_a_wait_of_a_rust_process(
    store: AsyncSessionStore, rust: RustPeer, *, is_touched: bool
) -> None:
    rust.register("k", A)
    if is_touched:
        await store.touch_session("k", 60)
    claimed = await claim(store, A)
    assert await claimed.complete(next_wait()) is True
    record = await store.get_record("k")
    assert record is not None
    assert (record.data, record.scope) == (data("next"), A)
    assert rust.find(A) == "k"
    assert rust.listed() == ["k"]
    claimed = await claim(store, A)
    assert await claimed.complete(KEEP) is True
    assert await find(store, A) == "k"


# --- Waking the next in line ------------------------------------------------------------------


async def late(holder: AsyncSessionStore, waiting: AsyncSessionStore) -> float:
    """Return the seconds between a claim's end and the claim of the next in line."""
    held = await claim(holder, A, lease=LONG)
    started: list[float] = []

    async def wait() -> None:
        turn = await claim(waiting, A, wait=LONG)
        started.append(monotonic())
        await turn.release()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.35)  # so that its next look is not due soon
        ended = monotonic()
        await held.release()
    return started[0] - ended


async def test_n4_the_next_in_line_is_woken(
    redis_server: RedisServer, store: AsyncSessionStore, namespace: str
) -> None:
    await register(store, "k", A)
    async with AsyncSessionStore.from_url(redis_server.url, namespace=namespace) as other:
        for waiting in (other, store, other):
            assert min([await late(store, waiting) for _ in range(3)]) < SOON


@pytest.mark.parametrize("is_claimed", [False, True])
async def test_n4_a_caller_that_leaves_a_queue_for_another_scope_wakes_the_next(
    store: AsyncSessionStore, *, is_claimed: bool
) -> None:
    """The first in the queue at A finds the flow at B, and claims it or waits for it there."""

    async def late() -> float:
        await register(store, "k", A)
        held = await claim(store, A, lease=LONG)
        ended: list[float] = []

        async def second() -> None:
            await store.claim_wait(CTX, "u1", A, wait=LONG)
            ended.append(monotonic())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: claim(store, A, B, wait=LONG))
            await anyio.sleep(0.1)
            tasks.start_soon(second)
            await anyio.sleep(0.35)
            assert await held.complete(next_wait(B))
            freed = monotonic()
            await eventually(lambda: bool(ended))
            tasks.cancel_scope.cancel()
        await store.clear_wait(CTX, "u1", B)
        return ended[0] - freed

    begun = await begin(store, B) if is_claimed else None
    assert min([await late() for _ in range(3)]) < SOON
    assert begun is None or await begun.complete() is False


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_n4_r6_with_a_client_of_the_callers_own(
    redis_server: RedisServer,
    store: AsyncSessionStore,
    namespace: str,
    *,
    protocol: int,
    decode_responses: bool,
) -> None:
    await register(store, "k", A)
    async with Redis.from_url(
        redis_server.unix_url, protocol=protocol, decode_responses=decode_responses
    ) as client:
        async with AsyncSessionStore(RedisBackend(client, namespace=namespace)) as own:
            assert min([await late(store, own) for _ in range(3)]) < SOON
            assert len(client.connection_pool._in_use_connections) == 1
        assert not client.connection_pool._in_use_connections
        for _ in range(3):  # none of them hears messages any more
            assert await client.ping()


async def test_n4_a_lost_connection_is_made_anew(
    store: AsyncSessionStore, redis_client: redis.Redis
) -> None:
    await register(store, "k", A)
    assert min([await late(store, store) for _ in range(3)]) < SOON
    assert redis_client.client_kill_filter(_type="pubsub") == 1
    assert await late(store, store) < 1
    assert min([await late(store, store) for _ in range(3)]) < SOON


async def test_n4_r4_the_next_in_line_is_woken_after_a_restart_of_the_server_too() -> None:
    with RedisServer.start() as server:
        port = server.port
        store = AsyncSessionStore.from_url(server.url, namespace="n")
        await store.open()
        await register(store, "k", A)
        assert min([await late(store, store) for _ in range(3)]) < SOON
    with RedisServer.start(port=port):
        with contextlib.suppress(StoreUnavailableError):
            await store.ping()  # it may find out only now
        await register(store, "k", A)
        assert await late(store, store) < 1
        await anyio.sleep(1)  # after which the next who waits lets it listen again
        assert min([await late(store, store) for _ in range(3)]) < SOON
        await store.aclose()


@pytest.fixture
def guarded(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer.start(
        user=f"bot on >pw resetchannels ~n:* -@all {RIGHTS} {request.param}"
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("guarded", "warns"),
    [
        ("+subscribe +publish &n:turns:*", False),
        ("+subscribe +publish", True),
        ("+publish &n:turns:*", True),
        ("+subscribe &n:turns:*", False),
    ],
    ids=["all", "no channel", "no subscribe", "no publish"],
    indirect=["guarded"],
)
async def test_n4_without_the_permission_callers_go_on_looking(
    guarded: RedisServer, caplog: pytest.LogCaptureFixture, *, warns: bool
) -> None:
    url = f"redis://bot:pw@127.0.0.1:{guarded.port}"
    async with AsyncSessionStore.from_url(url, namespace="n") as store:
        await register(store, "k", A)
        for _ in range(2):
            assert await late(store, store) < 1
        assert await find(store, A) == "k"
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert len(warnings) == warns
    if warns:
        assert "+subscribe" in warnings[0]
        assert "n:turns:*" in warnings[0]


@pytest.mark.parametrize("is_own", [False, True])
async def test_n4_a_pool_of_one_connection_is_left_to_the_calls(
    redis_server: RedisServer, store: AsyncSessionStore, namespace: str, *, is_own: bool
) -> None:
    await register(store, "k", A)
    if is_own:
        pool = BlockingConnectionPool.from_url(redis_server.unix_url, max_connections=1, timeout=1)
        client = Redis.from_pool(pool)
        async with client, AsyncSessionStore(RedisBackend(client, namespace=namespace)) as small:
            assert await late(store, small) < 1
            assert await client.ping()
    else:
        url = f"{redis_server.unix_url}?max_connections=1"
        async with AsyncSessionStore.from_url(url, namespace=namespace) as small:
            assert await late(store, small) < 1


async def test_n4_r6_a_callers_pool_of_two_connections_is_left_to_the_caller_and_the_calls(
    redis_server: RedisServer, store: AsyncSessionStore, namespace: str
) -> None:
    await register(store, "k", A)
    held = await claim(store, A, lease=LONG)
    pool = ConnectionPool.from_url(redis_server.unix_url, max_connections=2)
    async with (
        Redis.from_pool(pool) as client,
        AsyncSessionStore(RedisBackend(client, namespace=namespace)) as small,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(lambda: claim(small, A, wait=LONG))
        await anyio.sleep(0.2)
        async with client.pipeline() as pipeline:  # it holds a connection, as a caller's WATCH does
            await pipeline.watch("key")
            assert await find(small, A) == "k"
        await held.release()


async def test_r5_listening_ends_with_the_store(
    redis_server: RedisServer, redis_client: redis.Redis, namespace: str
) -> None:
    tasks, connections = asyncio.all_tasks(), len(redis_client.client_list())
    async with AsyncSessionStore.from_url(redis_server.url, namespace=namespace) as store:
        await register(store, "k", A)
        await late(store, store)
        assert len(redis_client.client_list()) == connections + 2
    assert asyncio.all_tasks() == tasks
    await eventually(lambda: len(redis_client.client_list()) == connections)


async def test_r5_closing_ends_all_waiting(
    redis_server: RedisServer, store: AsyncSessionStore, namespace: str
) -> None:
    await register(store, "k", A)
    await claim(store, A, lease=LONG)
    async with anyio.create_task_group() as tasks:
        async with AsyncSessionStore.from_url(redis_server.url, namespace=namespace) as closing:

            async def wait() -> None:
                with pytest.raises(StoreUsageError, match="closed"):
                    await claim(closing, A, wait=LONG)

            tasks.start_soon(wait)
            await anyio.sleep(0.1)
        tasks.cancel_scope.deadline = anyio.current_time() + 2
    assert not tasks.cancel_scope.cancelled_caught


async def test_n4_an_idle_connection_goes_back_to_the_pool(
    redis_server: RedisServer,
    store: AsyncSessionStore,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_turns, "_IDLE", 0.5)
    await register(store, "k", A)
    async with Redis.from_url(redis_server.unix_url) as client:
        in_use = client.connection_pool._in_use_connections
        async with AsyncSessionStore(RedisBackend(client, namespace=namespace)) as own:
            for _ in range(2):
                assert min([await late(store, own) for _ in range(3)]) < SOON
                await eventually(lambda: not in_use)
                await anyio.sleep(0.5)
