"""Redis behind networks that delay, forget and move: real servers, and a proxy that does it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import anyio
import pytest
import redis
from redis.asyncio import Redis

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    StoreTimeoutError,
    StoreUnavailableError,
)
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.redis._client import HEALTH_CHECK_INTERVAL
from async_session_store.backends.redis._link import Link, _id_and_address
from async_session_store.backends.redis._protocol import ask
from async_session_store.backends.redis._watchdog import Watchdog
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    clear,
    context_of,
    data,
    find,
    listed,
    register,
)
from loops import eventually, turn_loop
from redis_server import RedisServer
from tcp_proxy import Fault, TcpProxy, tcp_proxy

pytestmark = pytest.mark.anyio

NS = "link"
TIMEOUT = 1.0
# How long the storm lasts; a minute finds what a second and a half may miss.
STORM_SECONDS = float(os.environ.get("STORM_SECONDS", "1.5"))
UNKNOWN = "carried out is unknown"
NOTHING = "nothing was written"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def opened(url: str, *, own_client: bool = False) -> AsyncIterator[AsyncSessionStore]:
    if not own_client:
        async with AsyncSessionStore.from_url(url, namespace=NS) as store:
            yield store
        return
    async with (
        Redis.from_url(url) as client,
        AsyncSessionStore(RedisBackend(client, namespace=NS)) as store,
    ):
        yield store


@pytest.fixture(params=[False, True], ids=["from_url", "own client"])
async def store(
    request: pytest.FixtureRequest, proxy: TcpProxy
) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store behind the proxy where "k" waits at A."""
    url = f"{proxy.url}?socket_timeout={TIMEOUT}"
    async with opened(url, own_client=request.param) as store:
        await register(store, "k", A, "v0")
        proxy.forget()
        yield store


def ids(client: redis.Redis) -> set[int]:
    """Return the ids of the connections of all other clients."""
    return {int(item["id"]) for item in client.client_list()} - {client.client_id()}


# --- What is late -----------------------------------------------------------------------------


async def test_r4_a_call_that_timed_out_does_not_happen_later(
    proxy: TcpProxy, store: AsyncSessionStore, client: redis.Redis
) -> None:
    proxy.fault = Fault.HOLD
    with pytest.raises(StoreTimeoutError, match=UNKNOWN):
        await store.update_session("k", data("v1"))
    proxy.fault = None
    assert await context_of(store, "k") == "v0"
    await store.update_session("k", data("v2"))
    proxy.released.set()
    await eventually(lambda: len(ids(client)) == 1)
    assert await context_of(store, "k") == "v2"


async def test_r4_a_registration_that_timed_out_does_not_outlive_a_clear(
    proxy: TcpProxy, store: AsyncSessionStore, client: redis.Redis
) -> None:
    proxy.fault = Fault.HOLD
    with pytest.raises(StoreTimeoutError, match=UNKNOWN):
        await register(store, "k", A, "v1")
    proxy.fault = None
    assert await clear(store, A)
    proxy.released.set()
    await eventually(lambda: len(ids(client)) == 1)
    assert await find(store, A) is None


async def test_r4_a_call_whose_caller_was_cancelled_does_not_happen_after_its_timeout(
    proxy: TcpProxy, store: AsyncSessionStore, client: redis.Redis
) -> None:
    proxy.fault = Fault.HOLD
    with anyio.move_on_after(TIMEOUT / 5):
        await store.update_session("k", data("v1"))
    proxy.fault = None
    assert await context_of(store, "k") == "v0"
    proxy.released.set()
    await eventually(lambda: len(ids(client)) == 1)
    assert await context_of(store, "k") == "v0"


async def test_r4_a_timed_out_call_is_ended_without_another_call_of_the_store(
    proxy: TcpProxy, store: AsyncSessionStore, server: RedisServer, client: redis.Redis
) -> None:
    """The next reader and writer may be another process."""
    (held,) = ids(client)
    proxy.fault = Fault.HOLD
    with pytest.raises(StoreTimeoutError, match=UNKNOWN):
        await store.update_session("k", data("v1"))
    proxy.fault = None
    await eventually(lambda: held not in ids(client))
    async with opened(server.url) as peer:
        assert await context_of(peer, "k") == "v0"
        await peer.update_session("k", data("v2"))
        proxy.released.set()
        await turn_loop(50)
        assert await context_of(peer, "k") == "v2"


async def test_r4_a_timed_out_call_is_ended_when_the_server_can_be_reached_again(
    proxy: TcpProxy, store: AsyncSessionStore, client: redis.Redis
) -> None:
    proxy.fault = Fault.HOLD
    with pytest.raises(StoreTimeoutError, match=UNKNOWN):
        await store.update_session("k", data("v1"))
    proxy.fault = Fault.CUT_BEFORE
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=NOTHING):
            await context_of(store, "k")
    proxy.fault = None
    await store.update_session("k", data("v2"))
    proxy.released.set()
    await eventually(lambda: len(ids(client)) == 1)
    assert await context_of(store, "k") == "v2"


async def test_r4_nobody_elses_connection_is_ended() -> None:
    """A restarted server numbers its connections from 1 again. INFO may be forbidden."""
    user = "bot on >pw ~* &* +@all -info"
    with RedisServer.start(user=user) as server, redis.Redis.from_url(server.unix_url) as client:
        async with tcp_proxy(server) as proxy:
            login = proxy.url.replace("//", "//bot:pw@")
            async with opened(f"{login}?socket_timeout={TIMEOUT}") as store:
                (lost_id,) = ids(client)
                proxy.fault = Fault.HOLD
                with pytest.raises(StoreTimeoutError, match=UNKNOWN):
                    await store.ping()
                proxy.fault = Fault.CUT_BEFORE
                with pytest.raises(StoreUnavailableError):
                    await store.ping()  # it has not got through
                server.process.kill()
                server.process.wait()
                with (
                    RedisServer.start(port=server.port, user=user) as restarted,
                    bystanders(restarted, lost_id) as before,
                    redis.Redis.from_url(restarted.unix_url) as restarted_client,
                ):
                    assert lost_id in before
                    proxy.server = restarted
                    proxy.fault = None
                    await store.ping()
                    assert before <= ids(restarted_client)


@contextmanager
def bystanders(server: RedisServer, lost_id: int) -> Iterator[set[int]]:
    """Connect until a connection has the id, and a few times more."""
    with ExitStack() as open_ones:
        found = {0}
        while max(found) < lost_id + 5:
            one = redis.Redis.from_url(server.url, single_connection_client=True)
            found.add(open_ones.enter_context(one).client_id())
        yield found - {0}


@pytest.mark.parametrize("rest", ["laddr=127.0.0.1:6379 fd=8", "fd=8 name="])
@pytest.mark.parametrize("address", ["127.0.0.1:4242", "[::1]:4242", "/tmp/of two words/socket:0"])
def test_r4_a_connection_is_known_by_its_id_and_address(address: str, rest: str) -> None:
    information = f"id=7 addr={address} {rest} age=0 idle=0".encode()
    assert _id_and_address(information) == (b"7", address.encode())


@pytest.mark.parametrize(("allowed", "refused"), [("kill", "info"), ("info", "kill")])
async def test_r4_a_user_who_may_not_kill_cannot_open(
    server: RedisServer, client: redis.Redis, allowed: str, refused: str
) -> None:
    """Without the right to kill, a timed-out call might happen later."""
    rights = ["+@all", "-client", f"+client|{allowed}"]
    client.acl_setuser("bot", enabled=True, passwords=["+pw"], keys=["*"], commands=rights)
    named = rf"client\|{refused}" if server.version >= "7" else "client"
    with pytest.raises(StoreUnavailableError, match=rf"may not run a command.*\+{named}$"):
        async with opened(f"redis://bot:pw@127.0.0.1:{server.port}"):
            pass


async def test_r4_a_proxy_that_holds_calls_back_at_random(proxy: TcpProxy) -> None:
    """The state that a caller sees after a timed-out call stays until the caller changes it."""
    chance = random.Random(1)
    end = anyio.current_time() + STORM_SECONDS
    timed_out = 0

    async def look(store: AsyncSessionStore, key: str) -> str | None:
        nonlocal timed_out
        while True:
            try:
                return await context_of(store, key)
            except (StoreTimeoutError, StoreUnavailableError):
                timed_out += 1

    async def call(store: AsyncSessionStore, number: int) -> None:
        key, scope = f"k{number}", ReplyScope(conversation=f"{number}")
        turn = 0
        while anyio.current_time() < end:
            turn += 1
            with suppress(StoreTimeoutError, StoreUnavailableError):
                if chance.random() < 0.3:
                    await clear(store, scope)
                else:
                    await register(store, key, scope, f"{turn}")
            seen = await look(store, key)
            for _ in range(3):
                assert await look(store, key) == seen
                await anyio.sleep(chance.uniform(0, 0.05))

    async def hold_at_random() -> None:
        while True:
            await anyio.sleep(chance.uniform(0, 0.1))
            proxy.released.clear()
            proxy.fault = Fault.HOLD
            await anyio.sleep(0.1)
            proxy.fault = None
            await anyio.sleep(chance.uniform(0.1, 0.4))  # some calls time out before, some after
            proxy.released.set()

    async with (
        opened(f"{proxy.url}?socket_timeout=0.2") as store,
        anyio.create_task_group() as holding,
    ):
        holding.start_soon(hold_at_random)
        async with anyio.create_task_group() as callers:
            for number in range(8):
                callers.start_soon(call, store, number)
        holding.cancel_scope.cancel()
    assert timed_out


# --- What was idle ----------------------------------------------------------------------------


async def test_r4_a_connection_that_a_nat_has_forgotten_loses_no_write(proxy: TcpProxy) -> None:
    url = f"{proxy.url}?health_check_interval=1&socket_timeout=2"
    for own_client in (False, True):
        async with opened(url, own_client=own_client) as store:
            await register(store, "k", A, "v0")
            proxy.lose_all()
            await anyio.sleep(1.1)
            proxy.forget()
            with anyio.fail_after(10):
                await store.update_session("k", data("v1"))
            assert proxy.names[0] == "PING"
            assert proxy.names.count("EVALSHA") + proxy.names.count("EVAL") == 1
            assert await context_of(store, "k") == "v1"


async def test_r4_a_connection_that_is_not_idle_for_long_is_not_checked(
    proxy: TcpProxy, store: AsyncSessionStore
) -> None:
    await anyio.sleep(0.2)
    await store.update_session("k", data("v1"))
    assert proxy.names == ["EVAL"]


async def test_r4_a_connection_that_outlived_the_gap_is_kept(proxy: TcpProxy) -> None:
    async with opened(f"{proxy.url}?health_check_interval=1") as store:
        await register(store, "k", A, "v0")
        await anyio.sleep(1.1)
        proxy.forget()
        assert await context_of(store, "k") == "v0"
        assert await context_of(store, "k") == "v0"
        assert proxy.names == ["PING", "GET", "GET"]


@pytest.mark.parametrize(
    ("options", "interval"), [("", HEALTH_CHECK_INTERVAL), ("?health_check_interval=7", 7)]
)
async def test_the_interval_is_that_of_the_url(
    server: RedisServer, options: str, interval: int
) -> None:
    backend = RedisBackend.from_url(server.url + options)
    settings = backend._client.connection_pool.connection_kwargs
    assert settings["health_check_interval"] == interval


# --- What has moved ---------------------------------------------------------------------------


@asynccontextmanager
async def moved(proxy: TcpProxy, server: RedisServer) -> AsyncIterator[None]:
    """Point the name at a new primary. The old one stays up, as its replica."""
    host_port = f"127.0.0.1 {server.port}"
    with RedisServer.start(replicaof=host_port, repl_diskless_sync_delay=0) as promoted:
        with (
            redis.Redis.from_url(server.unix_url) as old,
            redis.Redis.from_url(promoted.unix_url) as new,
        ):
            old.config_set("repl-diskless-sync-delay", 0)
            await eventually(lambda: new.info("replication")["master_link_status"] == "up")
            assert old.wait(1, 10_000) == 1
            new.replicaof("NO", "ONE")
            old.replicaof("127.0.0.1", promoted.port)
            await eventually(lambda: old.info("replication")["master_link_status"] == "up")
        proxy.server = promoted
        yield


async def test_r4_after_one_refused_call_the_next_reaches_the_new_primary(
    server: RedisServer, proxy: TcpProxy, store: AsyncSessionStore
) -> None:
    async with moved(proxy, server):
        assert await context_of(store, "k") == "v0"
        with pytest.raises(StoreUnavailableError, match=f"read-only replica.*{NOTHING}"):
            await store.update_session("k", data("v1"))
        await store.update_session("k", data("v2"))
        assert await context_of(store, "k") == "v2"
        await store.create_session(CTX, data())


async def test_r4_a_plain_write_finds_the_new_primary_too(
    server: RedisServer, proxy: TcpProxy, store: AsyncSessionStore
) -> None:
    async with moved(proxy, server):
        with pytest.raises(StoreUnavailableError, match=f"read-only replica.*{NOTHING}"):
            await store.create_session(CTX, data())
        await store.create_session(CTX, data())


async def test_r4_of_many_calls_only_those_in_flight_are_refused(
    server: RedisServer, proxy: TcpProxy, store: AsyncSessionStore
) -> None:
    async with moved(proxy, server):
        calls = [register(store, f"k{n}", ReplyScope(conversation=f"{n}")) for n in range(500)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refused = [number for number, outcome in enumerate(outcomes) if outcome is not None]
        assert 1 <= len(refused) <= 128
        assert all("read-only replica" in str(outcomes[number]) for number in refused)
        stored = {f"k{n}" for n in range(500) if n not in refused}
        assert set(await listed(store)) == {"k", *stored}


async def test_r1_in_a_batch_on_a_replica_reads_are_answered(
    server: RedisServer, proxy: TcpProxy, store: AsyncSessionStore
) -> None:
    async with moved(proxy, server):
        read, write, again = await asyncio.gather(
            context_of(store, "k"),
            store.update_session("k", data("v1")),
            context_of(store, "k"),
            return_exceptions=True,
        )
        assert read == again == "v0"
        assert isinstance(write, StoreUnavailableError)


async def test_r4_after_one_refused_call_no_connection_of_the_pool_leads_to_the_old_primary(
    server: RedisServer, proxy: TcpProxy
) -> None:
    async with (
        Redis.from_url(proxy.url) as own,
        AsyncSessionStore(RedisBackend(own, namespace=NS)) as store,
    ):
        held = [await own.connection_pool.get_connection() for _ in range(3)]
        await store.create_session(CTX, data())
        async with moved(proxy, server):
            with pytest.raises(StoreUnavailableError, match=f"read-only replica.*{NOTHING}"):
                await store.create_session(CTX, data())
            for connection in held:  # what came back last is what the pool gives out next
                await own.connection_pool.release(connection)
                await store.create_session(CTX, data())


async def test_r4_a_switch_that_is_heard_while_connecting_is_followed(proxy: TcpProxy) -> None:
    async with Redis.from_url(proxy.url) as own:
        watchdog = Watchdog()
        link = Link(own.connection_pool, TIMEOUT, watchdog)
        with RedisServer.start() as promoted:

            async def switch() -> None:
                if proxy.commands[-1][:2] == [b"CLIENT", b"KILL"]:  # the last that is sent there
                    proxy.before_each = None
                    proxy.server = promoted
                    link.change()

            proxy.before_each = switch
            connection = await link.ready()
            (port,) = await ask(connection, ("CONFIG", "GET", "port"))
            assert port == {b"port": b"%d" % promoted.port}
            proxy.forget()
            assert await link.ready() is connection
            assert proxy.names == []
            await link.release()
        watchdog.close()


# --- A caller's own pool ----------------------------------------------------------------------


async def test_r3_no_call_gets_anothers_reply_when_its_connection_is_disconnected(
    proxy: TcpProxy,
) -> None:
    """The owner of the pool may disconnect it. redis-py would reconnect for the next command."""
    first_may_go = asyncio.Event()
    commands = 0

    async def hold() -> None:
        nonlocal commands
        commands += 1
        if commands == 1:
            await first_may_go.wait()
        elif commands == 2:
            await anyio.sleep_forever()

    async with (
        Redis.from_url(proxy.url) as own,
        AsyncSessionStore(RedisBackend(own, namespace=NS)) as store,
    ):
        for name in "abc":
            await register(store, name, ReplyScope(conversation=name), name)
        await asyncio.gather(*(store.ping() for _ in "abc"))  # the next calls go together, too
        proxy.forget()
        proxy.before_each = hold
        calls = [asyncio.ensure_future(context_of(store, name)) for name in "ab"]
        await eventually(lambda: proxy.names == ["GET", "GET"])
        calls.append(asyncio.ensure_future(context_of(store, "c")))
        await turn_loop(3)
        (connection,) = own.connection_pool._in_use_connections
        first_may_go.set()
        with anyio.fail_after(10):
            while not await connection.can_read():  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0)
            await connection.disconnect(nowait=True)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[0] == "a"
        assert isinstance(outcomes[1], StoreUnavailableError)
        assert isinstance(outcomes[2], StoreUnavailableError)
        assert await context_of(store, "c") == "c"


async def test_r4_a_pools_connection_that_others_connected_anew_is_known_by_its_new_id(
    proxy: TcpProxy, client: redis.Redis
) -> None:
    async with (
        Redis.from_url(f"{proxy.url}?socket_timeout={TIMEOUT}", max_connections=1) as own,
        AsyncSessionStore(RedisBackend(own, namespace=NS)) as store,
    ):
        await register(store, "k", A, "v0")
        await own.connection_pool.disconnect()
        await own.ping()
        await store.ping()
        proxy.fault = Fault.HOLD
        with pytest.raises(StoreTimeoutError, match=UNKNOWN):
            await store.update_session("k", data("v1"))
        proxy.fault = None
        assert await context_of(store, "k") == "v0"
        proxy.released.set()
        await eventually(lambda: len(ids(client)) == 1)
        assert await context_of(store, "k") == "v0"


async def test_r4_a_connection_that_was_disconnected_is_not_asked(server: RedisServer) -> None:
    """redis-py would reconnect for a command, and so mix the replies of two connections."""
    async with Redis.from_url(server.url) as own:
        connection = await own.connection_pool.get_connection()
        await connection.disconnect()
        with pytest.raises(ConnectionAbortedError):
            await ask(connection, ("CLIENT", "INFO"))
        assert not connection.is_connected
        await own.connection_pool.release(connection)
