"""Redis when things go wrong: real servers that refuse, stall, die and come back."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
from cancelled_calls import cancel_a_thousand_calls
from closing_stores import cancel_closing_while_blocked, close_while_many_call
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel

import calls
from async_session_store import (
    AsyncSessionStore,
    InvalidInputError,
    ReplyScope,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.redis._watchdog import Watchdog
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    clear,
    context_of,
    data,
    find,
    listed,
    register,
)
from calls import READS, SHRINKING, Call
from loops import eventually, turn_loop
from redis_server import RedisServer, find_server
from stored_keys import stored_keys
from tcp_proxy import Fault, TcpProxy

pytestmark = pytest.mark.anyio

NS = "faults"
UNKNOWN = "carried out is unknown"
NOTHING = "nothing was written"

GROWING = {**calls.GROWING, **calls.MORE_REGISTRATIONS}
WRITES = {**GROWING, **SHRINKING}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[AsyncSessionStore]:
    async with open_store(server.url) as store:
        yield store


@pytest.fixture
async def behind_proxy(proxy: TcpProxy) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store that waits a second for an answer, behind the proxy."""
    async with open_store(f"{proxy.url}?socket_timeout=1") as store:
        await register(store, "k", A, "old")
        proxy.forget()
        yield store


def open_store(url: str) -> AsyncSessionStore:
    return AsyncSessionStore.from_url(url, namespace=NS)


@contextmanager
def stalled(server: RedisServer) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def connections(client: redis.Redis) -> list[str]:
    """Return the addresses of all other clients."""
    own = str(client.client_id())
    return [item["addr"] for item in client.client_list() if item["id"] != own]


# --- No server, or none that lets us in -------------------------------------------------------


async def test_r1_no_server(server: RedisServer) -> None:
    nowhere = f"redis://127.0.0.1:{server.port}"
    server.process.kill()
    server.process.wait()
    for url in (nowhere, f"unix://{server.socket_path}.none"):
        store = open_store(url)
        with pytest.raises(StoreUnavailableError, match=f"cannot be reached.*{NOTHING}") as caught:
            await store.open()
        assert isinstance(caught.value.__cause__, (redis.RedisError, OSError))


async def test_r5_a_store_may_be_opened_again_when_the_server_is_there(server: RedisServer) -> None:
    server.process.kill()
    server.process.wait()
    store = open_store(server.url)
    with pytest.raises(StoreUnavailableError):
        await store.open()
    with RedisServer.start(port=server.port):
        await store.open()
        await register(store, "k", A)
        assert await find(store, A) == "k"
        await store.aclose()


PASSWORD = "open-sesame"  # the word must not stand where a traceback quotes it


@pytest.mark.parametrize("login", [f":{PASSWORD}@", f"bot:{PASSWORD}@", ""])
async def test_f8_a_refused_password_is_in_no_text(
    login: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RedisServer.start(requirepass="right") as server:
        store = open_store(f"redis://{login}127.0.0.1:{server.port}")
        with pytest.raises(StoreUnavailableError, match="refuses the user name or pass") as caught:
            await store.open()
    texts = [
        repr(store),
        repr(vars(store)),
        repr(caught.value),
        *traceback.format_exception(caught.value),
        caplog.text,
    ]
    assert PASSWORD not in "".join(texts)


@pytest.mark.parametrize("rest", ["host:port", "[::1", "host/db/x?db=y", "host?socket_timeout=z"])
async def test_f8_a_password_in_a_bad_url_is_in_no_text(rest: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^url: ") as caught:
        open_store(f"redis://:{PASSWORD}@{rest}")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_r1_too_many_clients(server: RedisServer, client: redis.Redis) -> None:
    client.config_set("maxclients", 1)
    with pytest.raises(StoreUnavailableError, match=NOTHING):
        await open_store(server.url).open()
    client.config_set("maxclients", 10)
    async with open_store(server.url) as store:
        await store.ping()


async def test_r1_a_server_that_is_too_old(
    server: RedisServer, client: redis.Redis, proxy: TcpProxy
) -> None:
    version = server.version.encode()
    too_old = b"6.0.".ljust(len(version), b"9")
    proxy.rewrite = lambda reply: reply.replace(version, too_old)
    with pytest.raises(StoreUnavailableError, match=r"Redis 6\.0 is too old.*6\.2"):
        await open_store(proxy.url).open()
    await eventually(lambda: connections(client) == [])


# --- A server that refuses --------------------------------------------------------------------


@pytest.fixture
async def replica(server: RedisServer) -> AsyncIterator[RedisServer]:
    """Yield a replica of a server where one session waits, up to date."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("repl-diskless-sync-delay", 0)
        with RedisServer.start(replicaof=f"127.0.0.1 {server.port}") as replica:
            async with open_store(server.url) as store:
                await register(store, "k", A, "old")
                await register(store, "gone", B)
            client.delete(f"{NS}:session:gone")
            assert client.wait(1, 30_000) == 1
            yield replica


async def test_r1_a_replica_reads(server: RedisServer, replica: RedisServer) -> None:
    async with open_store(server.url) as primary, open_store(replica.url) as store:
        for read in READS.values():
            expected = await read(primary)
            assert expected
            if isinstance(expected, list):
                assert len(expected) == 1
            assert await read(store) == expected
        assert await find(store, B) is None


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
async def test_r1_a_replica_refuses_writes_and_loses_nothing(
    server: RedisServer, replica: RedisServer, call: Call
) -> None:
    with redis.Redis.from_url(replica.url) as client, redis.Redis.from_url(server.url) as primary:
        before = stored_keys(client, NS)
        async with open_store(replica.url) as store:
            with pytest.raises(StoreUnavailableError, match=f"read-only replica.*{NOTHING}"):
                await call(store)
            assert await context_of(store, "k") == "old"
        assert stored_keys(client, NS) == stored_keys(primary, NS) == before


async def test_r1_a_replica_that_lost_its_primary(
    server: RedisServer, replica: RedisServer
) -> None:
    with redis.Redis.from_url(replica.url) as client:
        async with open_store(replica.url) as store:
            client.config_set("replica-serve-stale-data", "no")
            server.process.kill()
            server.process.wait()
            await eventually(lambda: client.info("replication")["master_link_status"] == "down")
            with pytest.raises(StoreUnavailableError, match=f"lost its primary.*{NOTHING}"):
                await find(store, A)
            client.config_set("replica-serve-stale-data", "yes")
            assert await find(store, A) == "k"


@pytest.fixture
async def full(client: redis.Redis, store: AsyncSessionStore) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store on a server that is out of memory."""
    await register(store, "k", A, "old", ttl=600)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    yield store
    client.config_set("maxmemory", 0)


@pytest.mark.parametrize("call", GROWING.values(), ids=GROWING)
async def test_r1_out_of_memory_refuses_each_growing_write_wholly(
    client: redis.Redis, full: AsyncSessionStore, call: Call
) -> None:
    before = stored_keys(client, NS)
    with pytest.raises(StoreUnavailableError, match=f"out of memory.*{NOTHING}"):
        await call(full)
    assert stored_keys(client, NS) == before


async def test_r1_out_of_memory_refuses_even_if_there_is_something_to_repair(
    client: redis.Redis, full: AsyncSessionStore
) -> None:
    client.delete(f"{NS}:session:k")
    with pytest.raises(StoreUnavailableError, match="out of memory"):
        await register(full, "new", A)
    assert client.exists(f"{NS}:session:new") == 0
    client.config_set("maxmemory", 0)
    await register(full, "new", A)
    assert await listed(full) == ["new"]


@pytest.mark.parametrize("call", {**READS, **SHRINKING}.values(), ids={**READS, **SHRINKING})
async def test_r1_out_of_memory_allows_reads_and_removals(
    full: AsyncSessionStore, call: Call
) -> None:
    await call(full)
    assert await full.purge_expired() == 0


async def test_r1_the_same_batch_out_of_memory(full: AsyncSessionStore) -> None:
    outcomes: dict[int, object] = {}

    async def use(number: int) -> None:
        try:
            if number % 2:
                outcomes[number] = await context_of(full, "k")
            else:
                await full.create_session(CTX, data())
        except StoreUnavailableError as error:
            outcomes[number] = str(error)

    async with anyio.create_task_group() as tasks:
        for number in range(32):
            tasks.start_soon(use, number)
    assert {outcomes[number] for number in range(1, 32, 2)} == {"old"}
    assert all("out of memory" in str(outcomes[number]) for number in range(0, 32, 2))


async def test_r1_too_few_replicas(client: redis.Redis, store: AsyncSessionStore) -> None:
    await register(store, "k", A)
    client.config_set("min-replicas-to-write", 1)
    before = stored_keys(client, NS)
    for call in WRITES.values():
        with pytest.raises(StoreUnavailableError, match=NOTHING):
            await call(store)
    assert stored_keys(client, NS) == before
    for read in READS.values():
        assert await read(store)


async def test_r1_another_clients_script_runs_too_long(
    server: RedisServer, client: redis.Redis, store: AsyncSessionStore
) -> None:
    await register(store, "k", A)
    client.config_set("lua-time-limit", 1)
    with redis.Redis.from_url(server.url) as other:
        connection = other.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", 0)
        try:

            def busy() -> bool:
                try:
                    return not client.ping()
                except redis.ResponseError:
                    return True

            await eventually(busy)
            with pytest.raises(StoreUnavailableError, match=f"script.*too long.*{NOTHING}"):
                await register(store, "k2", B)
        finally:
            client.script_kill()
            with pytest.raises(redis.ResponseError, match="killed"):
                connection.read_response()
            other.connection_pool.release(connection)
    assert await listed(store) == ["k"]


ACL = "+@read +@write +@connection +eval +evalsha +info +time"


async def test_a_user_with_the_documented_rights_may_do_everything() -> None:
    with RedisServer.start(user=f"bot on >pw ~{NS}:* -@all {ACL}") as server:
        async with open_store(f"redis://bot:pw@127.0.0.1:{server.port}") as store:
            for call in (*READS.values(), *WRITES.values()):
                await register(store, "k", A)
                await call(store)
            assert await store.purge_expired() == 0
            await store.ping()


async def test_r1_a_right_that_is_taken_away(server: RedisServer, client: redis.Redis) -> None:
    user = {"username": "bot", "enabled": True, "passwords": ["+pw"], "keys": [f"{NS}:*"]}
    client.acl_setuser(**user, commands=["+@all"])
    async with open_store(f"redis://bot:pw@127.0.0.1:{server.port}") as store:
        await register(store, "k", A)
        before = stored_keys(client, NS)
        for commands in (["+@all", "-eval", "-evalsha"], ["+@all", "-@write"], ["+@all", "-set"]):
            client.acl_setuser(**user, commands=commands)
            for name, call in GROWING.items():
                if name != "create_session":  # it needs no script
                    with pytest.raises(StoreUnavailableError, match=f"may not.*{NOTHING}"):
                        await call(store)
        assert stored_keys(client, NS) == before


# --- Each call of a batch is told its own truth -------------------------------------------------


async def outcomes_of(*calls: Awaitable[object]) -> list[object]:
    """Make all calls at once, so that one write sends them. Return each result or error."""
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.fixture
async def in_company(behind_proxy: AsyncSessionStore) -> AsyncSessionStore:
    """Return a store whose last calls came together, so that it waits for more."""
    await outcomes_of(*(behind_proxy.ping() for _ in range(3)))
    return behind_proxy


@pytest.mark.parametrize(
    ("code", "text"), [(b"MASTERDOWN", "lost its primary"), (b"LOADING", "loading its data")]
)
async def test_r4_a_refusal_in_a_batch_fails_only_the_refused_call(
    proxy: TcpProxy, in_company: AsyncSessionStore, client: redis.Redis, code: bytes, text: str
) -> None:
    """A writable replica loses its primary halfway, and is then promoted."""
    client.config_set("replica-serve-stale-data", "no")
    client.config_set("replica-read-only", "no")
    number = 0

    async def lose_the_primary_for_the_fourth() -> None:
        nonlocal number
        number += 1
        if number == 4:
            client.replicaof("127.0.0.1", 1)
        elif number == 5:
            client.replicaof("NO", "ONE")

    proxy.before_each = lose_the_primary_for_the_fourth
    proxy.rewrite = lambda reply: reply.replace(b"-MASTERDOWN", b"-" + code)
    outcomes = await outcomes_of(*(in_company.create_session(CTX, data(f"{n}")) for n in range(8)))
    (refused,) = (outcome for outcome in outcomes if isinstance(outcome, Exception))
    assert outcomes.index(refused) == 3
    assert isinstance(refused, StoreUnavailableError)
    assert text in str(refused)
    assert NOTHING in str(refused)
    del outcomes[3]
    assert [await context_of(in_company, str(key)) for key in outcomes] == list("0124567")


async def test_r4_a_call_refused_for_its_size_leaves_its_neighbours_alone(
    in_company: AsyncSessionStore, client: redis.Redis
) -> None:
    """The server hangs up after such a call, so large calls are sent alone."""
    client.config_set("proto-max-bulk-len", 1024 * 1024)

    def create(number: int) -> Awaitable[object]:
        size = 1024 * 1024 if number == 3 else 300 * 1024
        return in_company.create_session(CTX, data(str(number) * size))

    outcomes = await outcomes_of(*map(create, range(8)))
    large = outcomes.pop(3)
    assert isinstance(large, StoreUnavailableError)
    assert "proto-max-bulk-len" in str(large) or UNKNOWN in str(large)
    stored = [await context_of(in_company, str(key)) for key in outcomes]
    assert [text and text[0] for text in stored] == list("0124567")
    assert client.dbsize() == 1 + 1 + 1 + 1 + 7  # "k" with what leads to it, and seven more


async def test_r4_a_call_that_exceeds_the_query_buffer_leaves_its_neighbours_alone(
    in_company: AsyncSessionStore, client: redis.Redis
) -> None:
    client.config_set("client-query-buffer-limit", 1024 * 1024)

    def create(number: int) -> Awaitable[object]:
        size = 3 * 1024 * 1024 if number == 3 else 30 * 1024
        return in_company.create_session(CTX, data(str(number) * size))

    outcomes = await outcomes_of(*map(create, range(8)))
    large = outcomes.pop(3)
    assert isinstance(large, StoreUnavailableError)
    assert UNKNOWN in str(large)
    stored = [await context_of(in_company, str(key)) for key in outcomes]
    assert [text and text[0] for text in stored] == list("0124567")


async def test_r4_out_of_memory_in_a_batch_fails_only_refused_calls(
    proxy: TcpProxy, in_company: AsyncSessionStore, client: redis.Redis
) -> None:
    number = 0

    async def fill_for_the_fourth() -> None:
        nonlocal number
        number += 1
        if number in (4, 5):
            client.config_set("maxmemory", 1 if number == 4 else 0)

    client.config_set("maxmemory-policy", "noeviction")
    proxy.before_each = fill_for_the_fourth
    outcomes = await outcomes_of(*(in_company.create_session(CTX, data(f"{n}")) for n in range(8)))
    assert "out of memory" in str(outcomes.pop(3))
    assert [await context_of(in_company, str(key)) for key in outcomes] == list("0124567")


# --- A server that does not answer ------------------------------------------------------------


async def test_r4_a_stalled_server(server: RedisServer, client: redis.Redis) -> None:
    async with open_store(f"{server.url}?socket_timeout=1") as store:
        await register(store, "k", A, "old")
        with stalled(server):
            with pytest.raises(StoreTimeoutError, match=UNKNOWN), anyio.fail_after(5):
                await store.update_session("k", data("new"))
            # It has to connect anew, and nothing was sent.
            with pytest.raises(StoreTimeoutError, match=NOTHING), anyio.fail_after(5):
                await store.update_session("k", data("never"))
        with anyio.fail_after(5):
            assert await context_of(store, "k") in ("old", "new")
            await store.update_session("k", data("newest"))
        assert await context_of(store, "k") == "newest"
        assert len(connections(client)) == 1


async def time_outs(*calls: Awaitable[object]) -> list[StoreTimeoutError]:
    """Make all calls at once, and return the error of each."""
    with anyio.fail_after(10):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, StoreTimeoutError)]
    assert len(set(map(id, errors))) == len(calls), outcomes
    return errors


async def test_r4_all_callers_learn_of_a_stalled_server(server: RedisServer) -> None:
    async with open_store(f"{server.url}?socket_timeout=1") as store:
        with stalled(server):
            await time_outs(*(store.get_session(f"k{number}") for number in range(64)))
        assert await store.get_session("k") is None


async def test_r4_calls_that_wait_for_a_server_that_hangs_fail_together(
    server: RedisServer,
) -> None:
    """Each call is large enough for a batch of its own. Their timeouts must not add up."""
    large = "x" * 700 * 1024
    async with open_store(f"{server.url}?socket_timeout=1") as store:
        with stalled(server):
            errors = await time_outs(*(register(store, f"k{n}", A, large) for n in range(12)))
        assert sum(NOTHING in str(error) for error in errors) == 11
        assert await store.get_session("k1") is None


async def test_r4_a_loop_that_was_blocked_finds_the_answers_that_came(server: RedisServer) -> None:
    async with open_store(f"{server.url}?socket_timeout=1") as store:
        await register(store, "k", A, "old")
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(store.update_session, "k", data(str(number)))
            with stalled(server):
                await turn_loop(10)
            time.sleep(1.1)  # noqa: ASYNC251  # it is what some callers do
        assert await context_of(store, "k") == "199"


@pytest.mark.parametrize("own_client", [False, True], ids=["from_url", "own client"])
async def test_r4_a_loop_that_was_blocked_finds_large_answers_too(
    server: RedisServer, *, own_client: bool
) -> None:
    url = f"{server.url}?socket_timeout=1"
    async with (
        Redis.from_url(url) as client,
        AsyncSessionStore(RedisBackend(client, namespace=NS))
        if own_client
        else open_store(url) as store,
    ):
        await register(store, "k", A, "x" * 200 * 1024)
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(store.get_session, "k")
            await turn_loop(10)
            time.sleep(1.1)  # noqa: ASYNC251  # it is what some callers do


async def test_r4_a_timeout_that_a_callee_swallowed_is_not_a_cancellation() -> None:
    """asyncio.wait_for of Python 3.11 does that, where a write ends at the same time."""
    watchdog, now = Watchdog(), asyncio.get_running_loop().time
    with pytest.raises(TimeoutError), watchdog:  # noqa: PT012  # both are the point
        watchdog.expect(now())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(1)
        watchdog.expect(now())
        await asyncio.sleep(1)
    if sys.version_info >= (3, 11):  # which began to count them
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


@pytest.mark.parametrize("namespace", ["", "caf\udce9", None], ids=ascii)
async def test_a_namespace_that_is_not_text_is_refused(server: RedisServer, namespace: Any) -> None:
    """An environment variable that is not UTF-8 arrives with lone surrogates."""
    async with Redis.from_url(server.url) as client:
        with pytest.raises(InvalidInputError, match=r"^namespace: "):
            RedisBackend(client, namespace=namespace)


async def test_r4_a_client_without_a_timeout_waits_5_seconds(server: RedisServer) -> None:
    async with (
        Redis.from_url(server.url, socket_timeout=None, socket_connect_timeout=None) as client,
        AsyncSessionStore(RedisBackend(client, namespace=NS)) as store,
    ):
        begun = anyio.current_time()
        with stalled(server), pytest.raises(StoreTimeoutError, match=UNKNOWN):
            await store.ping()
        assert 4 < anyio.current_time() - begun < 8


async def test_r4_a_client_that_retries_sends_a_write_once(
    proxy: TcpProxy, client: redis.Redis
) -> None:
    async with (
        Redis.from_url(proxy.url, socket_timeout=2, retry_on_timeout=True) as own,
        AsyncSessionStore(RedisBackend(own, namespace=NS)) as store,
    ):
        proxy.forget()
        proxy.fault = Fault.CUT_AFTER
        with pytest.raises(StoreUnavailableError, match=UNKNOWN):
            await store.create_session(CTX, data())
        proxy.fault = None
        await store.ping()
    assert proxy.names.count("SET") == 1
    assert len(stored_keys(client, NS)) == 1


async def test_r4_a_dropped_reply(
    proxy: TcpProxy, behind_proxy: AsyncSessionStore, client: redis.Redis
) -> None:
    proxy.fault = Fault.SWALLOW
    with pytest.raises(StoreTimeoutError, match=UNKNOWN):
        await behind_proxy.create_session(CTX, data())
    proxy.fault = None
    assert await context_of(behind_proxy, "k") == "old"
    assert proxy.names.count("SET") == 1
    assert sum(key.startswith("session:") for key in stored_keys(client, NS)) == 2


@pytest.mark.parametrize(("fault", "ran"), [(Fault.CUT_BEFORE, 0), (Fault.CUT_AFTER, 1)])
async def test_r4_a_connection_cut_after_sending(
    proxy: TcpProxy,
    behind_proxy: AsyncSessionStore,
    client: redis.Redis,
    fault: Fault,
    ran: int,
) -> None:
    client.config_resetstat()
    proxy.fault = fault
    with pytest.raises(StoreUnavailableError, match=f"connection broke.*{UNKNOWN}") as caught:
        await register(behind_proxy, "k2", B)
    assert isinstance(caught.value.__cause__, (redis.RedisError, OSError))
    proxy.fault = None
    await behind_proxy.ping()
    assert proxy.names.count("EVALSHA") == 1
    assert client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0) == ran
    assert await listed(behind_proxy) == ["k", "k2"][: 1 + ran]


async def test_r4_a_cut_in_a_pipeline_reaches_all_its_callers(
    proxy: TcpProxy, behind_proxy: AsyncSessionStore
) -> None:
    outcomes: list[str] = []

    async def create() -> None:
        with pytest.raises(StoreUnavailableError) as caught:
            await behind_proxy.create_session(CTX, data())
        outcomes.append(str(caught.value))

    async with anyio.create_task_group() as tasks:  # after calls in company none is sent alone
        for _ in range(3):
            tasks.start_soon(behind_proxy.ping)
    proxy.fault = Fault.CUT_BEFORE
    async with anyio.create_task_group() as tasks:
        for _ in range(32):
            tasks.start_soon(create)
    assert len(outcomes) == 32
    assert all(UNKNOWN in text for text in outcomes)
    assert proxy.names.count("SET") == 32
    proxy.fault = None
    assert await context_of(behind_proxy, "k") == "old"


# --- A server that comes back -----------------------------------------------------------------


async def test_r4_an_idle_store_outlives_a_restart_of_the_server(server: RedisServer) -> None:
    async with open_store(server.url) as store:
        for call in (*READS.values(), *WRITES.values()):
            await register(store, "k", A)
            await call(store)
        server.process.kill()
        server.process.wait()
        with RedisServer.start(port=server.port):
            await turn_loop(3)  # it sees that the connection is closed
            for call in (*READS.values(), *WRITES.values()):
                await register(store, "k", A)
                await call(store)


async def test_r4_a_store_that_found_no_server_goes_on_when_it_is_back(server: RedisServer) -> None:
    async with open_store(server.url) as store:
        await register(store, "k", A)
        server.process.kill()
        server.process.wait()
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await register(store, "k", A)
        with RedisServer.start(port=server.port):
            await register(store, "k", A)
            assert await find(store, A) == "k"


async def test_w1_scripts_that_the_server_forgot_are_sent_anew(
    proxy: TcpProxy, behind_proxy: AsyncSessionStore, client: redis.Redis
) -> None:
    for _ in range(2):
        client.script_flush()
        proxy.forget()
        assert await register(behind_proxy, "k2", A) in ("k", None)
        assert proxy.names == ["EVALSHA", "EVAL"]
        assert await clear(behind_proxy, A)
        await register(behind_proxy, "k", A)


async def test_w1_a_script_that_was_forgotten_is_sent_once_for_many_calls(
    proxy: TcpProxy, behind_proxy: AsyncSessionStore, client: redis.Redis
) -> None:
    await behind_proxy.list_wait_records(CTX, "u1")
    await find(behind_proxy, A)
    client.script_flush()
    proxy.forget()
    calls = [find(behind_proxy, ReplyScope(conversation=f"{n}")) for n in range(20)]
    await asyncio.gather(*calls, behind_proxy.list_wait_records(CTX, "u1"))
    assert proxy.names.count("EVAL") == 2  # one of each script


async def test_w1_scripts_forgotten_at_any_moment(
    proxy: TcpProxy, behind_proxy: AsyncSessionStore, client: redis.Redis
) -> None:
    async def flush() -> None:
        client.script_flush()

    async def use(number: int) -> None:
        key, scope = f"k{number}", ReplyScope(conversation=str(number))
        assert await register(behind_proxy, key, scope, key) is None
        assert await find(behind_proxy, scope) == key

    proxy.before_each = flush
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(use, number)


async def test_w1_scripts_forgotten_while_many_call(
    store: AsyncSessionStore, client: redis.Redis
) -> None:
    async def use(number: int) -> None:
        key, scope = f"k{number}", ReplyScope(conversation=str(number))
        for turn in range(20):
            assert await register(store, key, scope, f"{key}/{turn}") is None
            assert await find(store, scope) == key
            assert await context_of(store, key) == f"{key}/{turn}"
            assert await clear(store, scope, key)
            if turn % 5 == number % 5:
                client.script_flush()

    async with anyio.create_task_group() as tasks:
        for number in range(32):
            tasks.start_soon(use, number)
    assert stored_keys(client, NS) == {}


SENTINEL = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor primary 127.0.0.1 {primary} 1
sentinel down-after-milliseconds primary 300
sentinel failover-timeout primary 3000
"""


@contextmanager
def sentinel_of(primary: RedisServer, folder: Path) -> Iterator[Sentinel]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "sentinel.conf"
    config.write_text(SENTINEL.format(port=port, folder=folder, primary=primary.port))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([find_server(), config, "--sentinel"], stdout=log) as process,
    ):
        try:
            yield Sentinel([("127.0.0.1", port)], socket_timeout=1)
        finally:
            process.kill()


async def test_r4_a_store_behind_sentinel_follows_a_failover(
    server: RedisServer, replica: RedisServer, tmp_path: Path
) -> None:
    async def tried(call: Callable[[], Awaitable[object]]) -> object:
        with anyio.fail_after(30):
            while True:
                try:
                    return await call()
                except (StoreUnavailableError, redis.ConnectionError):
                    await anyio.sleep(0.05)

    with sentinel_of(server, tmp_path) as sentinel:

        async def known_replicas() -> None:
            if not await sentinel.discover_slaves("primary"):
                raise redis.ConnectionError

        await tried(known_replicas)
        client = sentinel.master_for("primary", socket_timeout=1)
        async with client, AsyncSessionStore(RedisBackend(client, namespace=NS)) as store:
            assert await find(store, A) == "k"
            server.process.kill()
            assert await tried(lambda: register(store, "new", B)) is None
            assert await listed(store) == ["k", "new"]
        for sentinel_client in sentinel.sentinels:
            await sentinel_client.aclose()
    with redis.Redis.from_url(replica.url) as behind:
        assert behind.exists(f"{NS}:session:new") == 1


# --- Cancellation -----------------------------------------------------------------------------


async def test_r3_a_thousand_cancelled_calls(server: RedisServer, client: redis.Redis) -> None:
    async with open_store(server.url) as store:
        await cancel_a_thousand_calls(store)
        assert len(connections(client)) == 1
        waits = await listed(store)
        for key in waits:
            assert await context_of(store, key)
        assert await store.clear_waits_for_user(CTX, "u1") == len(waits)
    assert stored_keys(client, NS) == {}
    await eventually(lambda: connections(client) == [])


async def test_r3_cancelled_calls_leave_the_callers_pool_whole(
    server: RedisServer, client: redis.Redis
) -> None:
    async with Redis.from_url(server.url, max_connections=1) as own:
        async with AsyncSessionStore(RedisBackend(own, namespace=NS)) as store:
            for turns in range(60):
                task = asyncio.ensure_future(register(store, "k", A))
                await turn_loop(turns)
                task.cancel()
                await asyncio.wait([task])
            await register(store, "k", A)
        assert await own.ping()
        assert len(connections(client)) == 1


async def test_r3_a_call_cancelled_while_the_server_stalls_is_followed_by_others(
    server: RedisServer, client: redis.Redis
) -> None:
    async with open_store(server.url) as store:
        await register(store, "k", A)
        with stalled(server):
            begun = anyio.current_time()
            with anyio.move_on_after(0.05):
                await register(store, "k", B)
            assert anyio.current_time() - begun < 2
        assert await find(store, B) == "k"
        assert await find(store, A) is None
        assert len(connections(client)) == 1


async def test_r3_a_waiting_call_that_is_cancelled_is_never_sent(
    proxy: TcpProxy, behind_proxy: AsyncSessionStore
) -> None:
    proxy.fault = Fault.SWALLOW
    async with anyio.create_task_group() as tasks:

        async def first() -> None:
            with pytest.raises(StoreTimeoutError):
                await behind_proxy.ping()

        tasks.start_soon(first)
        await eventually(lambda: proxy.names == ["PING"])
        with anyio.move_on_after(0.05):
            await register(behind_proxy, "k2", B)
    proxy.fault = None
    assert await listed(behind_proxy) == ["k"]
    assert await find(behind_proxy, B) is None


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_r3_opening_cancelled_half_way_leaves_nothing(
    server: RedisServer, client: redis.Redis, turns: int
) -> None:
    before = asyncio.all_tasks()
    opening = asyncio.ensure_future(open_store(server.url).open())
    await turn_loop(turns)
    opening.cancel()
    await asyncio.wait([opening])
    if not opening.cancelled():
        await opening.result().aclose()
    assert asyncio.all_tasks() == before
    await eventually(lambda: connections(client) == [])


@pytest.mark.parametrize("seconds", [0.01, 0.1])
async def test_r3_opening_cancelled_while_the_server_stalls_leaves_nothing(
    server: RedisServer, client: redis.Redis, seconds: float
) -> None:
    before = asyncio.all_tasks()
    with stalled(server), anyio.fail_after(15), anyio.move_on_after(seconds) as limit:
        await open_store(f"{server.url}?socket_timeout=1&socket_connect_timeout=1").open()
    assert limit.cancelled_caught
    assert asyncio.all_tasks() == before
    await eventually(lambda: connections(client) == [])


# --- Closing ----------------------------------------------------------------------------------


async def test_r5_closing_while_calls_are_in_flight(server: RedisServer) -> None:
    async with open_store(server.url) as store:
        await close_while_many_call(store)


async def test_r5_calls_in_flight_when_closing_begins_are_finished(
    server: RedisServer, client: redis.Redis
) -> None:
    store = await open_store(server.url).open()
    finished: list[str] = []

    async def call(number: int) -> None:
        await register(store, f"k{number}", ReplyScope(conversation=str(number)))
        finished.append(f"k{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(call, number)
        await turn_loop(2)
        await store.aclose()
    assert len(finished) == 300
    await eventually(lambda: connections(client) == [])


@pytest.mark.parametrize("native", [True, False], ids=["task.cancel", "cancel scope"])
async def test_r5_closing_is_not_interrupted(
    server: RedisServer, client: redis.Redis, *, native: bool
) -> None:
    before = asyncio.all_tasks()
    store = await open_store(server.url).open()
    await cancel_closing_while_blocked(store, stalled(server), native=native)
    assert asyncio.all_tasks() == before
    await eventually(lambda: connections(client) == [])


async def test_r4_closing_is_bounded(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_session_store.backends.redis._batches.CLOSE_TIMEOUT", 0.2)
    store = await open_store(server.url).open()
    with stalled(server):
        call = asyncio.ensure_future(store.ping())
        await asyncio.sleep(0.05)
        begun = anyio.current_time()
        await store.aclose()
        assert anyio.current_time() - begun < 2
    with pytest.raises(StoreUnavailableError, match="outcome is unknown"):
        await call


NO_CLOSE = """
import asyncio, sys
from redis.asyncio import Redis
from async_session_store import AsyncSessionStore
from async_session_store.backends.redis import RedisBackend

async def main(turns):
    if sys.argv[2] == "url":
        store = AsyncSessionStore.from_url(sys.argv[1])
    else:
        store = AsyncSessionStore(RedisBackend(Redis.from_url(sys.argv[1])))
    await store.open()
    await store.ping()
    tasks = [asyncio.ensure_future(store.get_session(f"k{n}")) for n in range(200)]
    for _ in range(turns):
        await asyncio.sleep(0)

for turns in range(12):
    asyncio.run(main(turns))
print("ended")
"""


@pytest.mark.parametrize("client", ["url", "own"])
def test_r5_a_loop_that_ends_without_closing(server: RedisServer, client: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", NO_CLOSE, server.url, client],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "ended\n", "")


async def test_r1_every_error_is_the_librarys(server: RedisServer) -> None:
    """Whatever happens to the server during many calls, callers get only the library's errors."""
    errors: list[Exception] = []

    async def call(store: AsyncSessionStore, number: int) -> None:
        key, scope = f"k{number}", ReplyScope(conversation=str(number))
        for _ in range(20):
            try:
                await register(store, key, scope, key)
                assert await context_of(store, key) == key
            except SessionStoreError as error:
                errors.append(error)

    async with (
        open_store(f"{server.url}?socket_timeout=1") as store,
        anyio.create_task_group() as tasks,
    ):
        for number in range(32):
            tasks.start_soon(call, store, number)
        await anyio.sleep(0.01)
        server.process.kill()
    assert errors
    assert {type(error) for error in errors} <= {StoreUnavailableError, StoreTimeoutError}
