"""What opening a store on Redis checks: the server's kind, what may be lost, what may be done."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
import redis
from redis.asyncio import Connection, ConnectionPool, Redis

from async_session_store import AsyncSessionStore, InvalidInputError, StoreUnavailableError
from async_session_store.backends.redis import RedisBackend, _server
from async_session_store.backends.redis._server import Refusal, ServerInfo, parse_info
from async_session_store.testing.contract.builders import A, find, register
from loops import eventually
from redis_server import RedisServer, find_server
from stored_keys import stored_keys

pytestmark = pytest.mark.anyio

NS = "opening"
ALL = "+@read +@write +@connection +eval +evalsha +info +time"
KINDS = ("session", "meta", "waits", "claim", "queue", "delivery", "expiring")
ALL_BUT_EXPIRING = " ".join(f"~{NS}:{kind}:*" for kind in KINDS[:-1])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def open_store(url: str, namespace: str = NS) -> AsyncSessionStore:
    return AsyncSessionStore.from_url(url, namespace=namespace)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- The server's kind ------------------------------------------------------------------------


async def test_r5_cluster_mode_is_refused() -> None:
    with (
        RedisServer.start(cluster_enabled="yes") as server,
        pytest.raises(StoreUnavailableError, match=r"cluster mode.*connect to a single server"),
    ):
        await open_store(server.url).open()


@pytest.mark.parametrize("slots", [range(0), range(8192), range(16384)], ids=len)
async def test_r5_cluster_mode_is_found_out_without_info(slots: range) -> None:
    with (
        RedisServer.start(cluster_enabled="yes", user="bot on >pw ~* +@all -info") as server,
        redis.Redis.from_url(server.unix_url) as client,
    ):
        if slots:
            client.execute_command("CLUSTER ADDSLOTS", *slots)
        with pytest.raises(StoreUnavailableError, match=r"as in cluster mode"):
            await open_store(f"redis://bot:pw@127.0.0.1:{server.port}").open()


async def test_r5_a_database_that_the_server_does_not_have(server: RedisServer) -> None:
    with pytest.raises(StoreUnavailableError, match="no database of that number"):
        await open_store(f"redis://127.0.0.1:{server.port}/77").open()


@contextmanager
def sentinel(folder: Path) -> Iterator[int]:
    """Run a Sentinel that watches no server, and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\n")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([find_server(), config, "--sentinel"], stdout=log) as process,
    ):
        try:
            yield port
        finally:
            process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_r5_a_sentinel_is_refused(tmp_path: Path) -> None:
    with sentinel(tmp_path) as port:
        await eventually(lambda: listens(port))
        with pytest.raises(StoreUnavailableError, match=r"this is a Sentinel.*master_for"):
            await open_store(f"redis://127.0.0.1:{port}").open()


@pytest.mark.parametrize(
    ("lines", "info"),
    [
        ("", ServerInfo()),
        ("redis_version:6.2.0", ServerInfo((6, 2))),
        ("redis_version:6.0.16", ServerInfo((6, 0))),
        ("redis_version:10.0.1", ServerInfo((10, 0))),
        ("redis_version:255.255.255", ServerInfo((255, 255))),
        ("redis_version:7.4-rc1", ServerInfo((7, 4))),
        ("redis_version:unstable", ServerInfo()),
        ("redis_version:7.2.4 valkey_version:9.1.2 server_mode:standalone", ServerInfo((7, 2))),
        ("redis_mode:standalone cluster_enabled:0", ServerInfo()),
        ("redis_mode:cluster", ServerInfo(is_cluster=True)),
        ("server_mode:cluster", ServerInfo(is_cluster=True)),
        ("cluster_enabled:1", ServerInfo(is_cluster=True)),
        ("redis_mode:sentinel", ServerInfo(is_sentinel=True)),
        ("server_mode:sentinel", ServerInfo(is_sentinel=True)),
        ("role:master", ServerInfo()),
        ("role:slave", ServerInfo(is_replica=True)),
        ("maxmemory:0 maxmemory_policy:allkeys-lru", ServerInfo()),
        ("maxmemory_policy:allkeys-lru", ServerInfo()),
        ("maxmemory:1048576 maxmemory_policy:noeviction", ServerInfo()),
        (
            "maxmemory:1048576 maxmemory_policy:volatile-ttl",
            ServerInfo(eviction_policy="volatile-ttl"),
        ),
    ],
)
def test_info_is_read(lines: str, info: ServerInfo) -> None:
    reply = "# Server\r\n" + lines.replace(" ", "\r\n") + "\r\nconfig_file:/a:b\r\n\r\n"
    assert parse_info(reply.encode()) == info


# --- What may be lost -------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_r5_a_server_that_may_evict_is_warned_about(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", policy)
    async with open_store(server.url) as store:
        await register(store, "k", A)
        assert await find(store, A) == "k"
    (warning,) = warnings_of(caplog)
    assert policy in warning
    assert "set noeviction" in warning


async def test_r5_a_server_that_evicts_nothing_is_not_warned_about(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for maxmemory, policy in (("0", "allkeys-lru"), ("100mb", "noeviction")):
        client.config_set("maxmemory", maxmemory)
        client.config_set("maxmemory-policy", policy)
        async with open_store(server.url):
            pass
    assert warnings_of(caplog) == []


async def test_r5_a_replica_is_warned_about(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer.start(replicaof=f"127.0.0.1 {server.port}") as replica:
        async with open_store(replica.url) as store:
            await store.ping()
    (warning,) = warnings_of(caplog)
    assert "replica" in warning


@pytest.mark.parametrize("command", ["config", "info"])
async def test_r5_a_user_without_the_info_command_can_open(
    server: RedisServer, client: redis.Redis, command: str
) -> None:
    rights = ["+@all", f"-{command}"]
    client.acl_setuser("bot", enabled=True, passwords=["+pw"], keys=["*"], commands=rights)
    async with open_store(f"redis://bot:pw@127.0.0.1:{server.port}") as store:
        await register(store, "k", A)


# --- What may be done -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rights", "advice"),
    [
        (f"~* {ALL} -eval -evalsha", r"grant it \+eval"),
        (f"~* {ALL} -evalsha", r"grant it \+evalsha"),
        (f"~* {ALL} -@write", r"grant it \+set .*\+srem"),
        (f"~* {ALL} -set", r"grant it \+set$"),
        (f"~* {ALL} -hset -sadd -scan", r"grant it \+scan \+hset \+sadd$"),
        (f"~* {ALL} -del", r"grant it \+del$"),
        (f"~* {ALL} -time", r"grant it \+time$"),
        (f"~other:* {ALL}", rf"grant it ~{NS}:\*"),
        (f"~{NS}:session:* {ALL}", rf"grant it ~{NS}:\*"),
        (f"~* {ALL} -zadd -hdel", r"grant it \+hdel \+zadd$"),
        (f"~{NS}:session:* ~{NS}:waits:* ~{NS}:meta:* ~{NS}:claim:* {ALL}", rf"~{NS}:\*"),
        (f"{ALL_BUT_EXPIRING} {ALL}", rf"~{NS}:\*"),
    ],
)
async def test_r5_a_user_without_the_permissions_is_refused(rights: str, advice: str) -> None:
    with (
        RedisServer.start(user=f"bot on >sesame -@all {rights}") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        with pytest.raises(StoreUnavailableError, match=f"its user may not.*{advice}"):
            await open_store(f"redis://bot:sesame@127.0.0.1:{server.port}").open()
        # Without the right to remove them, the keys that were tried go by themselves.
        assert all(expires for _, expires in stored_keys(client, NS).values())
        await eventually(lambda: client.dbsize() == 0)


async def test_r5_opening_leaves_no_key(server: RedisServer, client: redis.Redis) -> None:
    async with open_store(server.url):
        assert client.dbsize() == 0


async def test_r5_a_namespace_of_odd_characters_is_named_as_a_pattern() -> None:
    namespace = "a[b]*c"
    with (
        RedisServer.start(user=f"bot on >pw ~x:* {ALL}") as server,
        pytest.raises(StoreUnavailableError, match=re.escape(r"~a\[b\]\*c:*")),
    ):
        await open_store(f"redis://bot:pw@127.0.0.1:{server.port}", namespace).open()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_r5_opening_checks_on_either_protocol(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture, protocol: int
) -> None:
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    async with open_store(f"{server.url}?protocol={protocol}") as store:
        await register(store, "k", A)
    assert len(warnings_of(caplog)) == 1


async def test_r5_a_full_server_can_be_opened(server: RedisServer, client: redis.Redis) -> None:
    async with open_store(server.url) as store:
        await register(store, "k", A)
    client.config_set("maxmemory", 1)
    async with open_store(server.url) as store:
        assert await find(store, A) == "k"


@pytest.mark.parametrize(
    ("command", "text", "advice"),
    [
        ("SET", "The user executing the script can't run this command", "grant it +set"),
        ("SET", "User key has no permissions to run the 'set' command", "grant it +set"),
        ("EVAL", "this user has no permissions to run the 'eval' command", "grant it +eval"),
        ("SET", "The user executing the script can't access at least one of the keys", "~n:*"),
        ("EVAL", "this user has no permissions to access one of the keys", "grant it ~n:*"),
        ("SET", "ACL failure in script: No permissions to access a key", "grant it ~n:*"),
        ("HSET", "User slots has no permissions to run the 'hset' command", "grant it +hset"),
        ("HSET", "User unknown has no permissions to run the 'hset' command", "grant it +hset"),
        ("SET", "User undeclared has no permissions to access the 'n:1' key", "grant it ~n:*"),
        ("EVAL", "CROSSSLOT Keys in request don't hash to the same slot", "single server"),
        ("SET", "Script attempted to access a non local key in a cluster node", "single server"),
        ("SET", "script tried accessing undeclared key", "single server"),
        ("EVAL", "unknown command `eval`, with args beginning with:", "does not know EVAL"),
    ],
)
def test_r5_a_permanent_refusal_says_what_to_do(command: str, text: str, advice: str) -> None:
    with pytest.raises(StoreUnavailableError, match=re.escape(advice)):
        _server.check_permissions([Refusal(command, text)], "n:*")


@pytest.mark.parametrize(
    "text",
    [
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
        "NOREPLICAS Not enough good replicas to write.",
    ],
)
def test_r5_a_temporary_refusal_is_left_to_the_calls(text: str) -> None:
    _server.check_permissions([Refusal("SET", text)], "n:*")


def test_r5_the_probe_tries_every_command() -> None:
    folder = files("async_session_store.backends.redis").joinpath("lua")
    sources = {file.name: file.read_text() for file in folder.iterdir()}
    probe = sources.pop("probe.lua")
    called = re.findall(r"redis\.p?call\('([A-Z]+)'", "".join(sources.values()))
    sent = {"GET", "SET", "SCAN", "SSCAN"}  # without a script
    # Where PEXPIRETIME is refused, another takes its place; where PUBLISH is, nobody is woken.
    optional = {"PEXPIRETIME", "PUBLISH"}
    assert (
        set(re.findall(r"'([A-Z]{3,})'", probe)) - {"PX", "COUNT", "WRONGTYPE"}
        == {
            *called,
            *sent,
        }
        - optional
    )


def test_r5_a_client_that_imitates_redis_py_is_refused() -> None:
    class Imitation(Connection):
        async def read_response(self, **_options: object) -> None:
            """Return replies from elsewhere, as imitations of a server do."""

    client = Redis(connection_pool=ConnectionPool(connection_class=Imitation))
    with pytest.raises(InvalidInputError, match=r"Imitation.*memory://"):
        RedisBackend(client)
