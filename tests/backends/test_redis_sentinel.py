"""A store behind Redis Sentinel: real sentinels, and fail-overs that an operator asks for."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import redis
from redis.asyncio.sentinel import Sentinel

from async_session_store import (
    AsyncSessionStore,
    StoreTimeoutError,
    StoreUnavailableError,
)
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.redis._sentinel import _may_concern, reporting_failovers
from async_session_store.testing.contract.builders import CTX, data
from loops import eventually
from redis_server import RedisServer, find_server, free_port

pytestmark = pytest.mark.anyio

NS = "sentinel"
CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor primary 127.0.0.1 {primary} 1
sentinel down-after-milliseconds primary 1000
sentinel failover-timeout primary 3000
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Group:
    """A primary, its replica, and the ports of two sentinels that watch them."""

    primary: RedisServer
    replica: RedisServer
    ports: tuple[int, ...]

    def fail_over(self) -> None:
        with redis.Redis(port=self.ports[0]) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", "primary")

    def sentinel(self) -> Sentinel:
        return Sentinel([("127.0.0.1", port) for port in self.ports], socket_timeout=1)


@contextmanager
def running_sentinel(primary: RedisServer, folder: Path) -> Iterator[int]:
    port = free_port()
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    configuration.write_text(CONFIGURATION.format(port=port, folder=folder, primary=primary.port))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([find_server(), configuration, "--sentinel"], stdout=log) as process,
    ):
        try:
            yield port
        finally:
            process.kill()


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    with (
        RedisServer.start(repl_diskless_sync_delay=0) as primary,
        RedisServer.start(replicaof=f"127.0.0.1 {primary.port}") as replica,
        running_sentinel(primary, tmp_path / "one") as one,
        running_sentinel(primary, tmp_path / "two") as two,
    ):
        group = Group(primary, replica, (one, two))
        for port in group.ports:
            with redis.Redis(port=port) as sentinel:
                await eventually(lambda s=sentinel: is_ready(s))
        yield group


def is_ready(sentinel: redis.Redis) -> bool:
    try:
        state = sentinel.sentinel_master("primary")
        replicas = sentinel.sentinel_slaves("primary")
    except redis.RedisError:
        return False
    up = [one for one in replicas if one["slave-priority"] and not one["is_disconnected"]]
    return state["num-other-sentinels"] == 1 and any(
        one["master-link-status"] == "ok" for one in up
    )


@asynccontextmanager
async def store_of(group: Group) -> AsyncIterator[AsyncSessionStore]:
    sentinel = group.sentinel()
    client = sentinel.master_for("primary", socket_timeout=1)
    async with client, AsyncSessionStore(RedisBackend(client, namespace=NS)) as store:
        yield store
    for one in sentinel.sentinels:
        await one.aclose()


def named_primary(group: Group) -> int:
    """Return the port of the server that the first Sentinel names as the primary."""
    with redis.Redis(port=group.ports[0]) as sentinel:
        return int(sentinel.sentinel_master("primary")["port"])


def stored(server: RedisServer) -> set[str]:
    """Return the keys of the sessions on a server."""
    with suppress(redis.ConnectionError), redis.Redis.from_url(server.url) as client:
        return {key.decode().removeprefix(f"{NS}:session:") for key in client.scan_iter(count=1000)}
    return set()  # Sentinel cuts the connections of a server that it promotes


@pytest.mark.parametrize("min_replicas", [0, 1])
async def test_r4_a_fail_over_by_hand_is_followed_at_once(group: Group, min_replicas: int) -> None:
    """For ten seconds the old primary goes on acknowledging writes, which are lost later."""
    with redis.Redis.from_url(group.primary.url) as client:
        client.config_set("min-replicas-to-write", min_replicas)
        await eventually(lambda: client.info("replication").get("min_slaves_good_slaves", 1) == 1)
    created: list[str] = []
    named_at = 0.0
    async with store_of(group) as store:
        group.fail_over()
        with anyio.fail_after(30):
            while not named_at or created[-1] not in stored(group.replica):
                with suppress(StoreUnavailableError, StoreTimeoutError):
                    created.append(await store.create_session(CTX, data()))
                if not named_at and named_primary(group) == group.replica.port:
                    named_at = anyio.current_time()
                await anyio.sleep(0.001)
        assert anyio.current_time() - named_at < 5
        later = {await store.create_session(CTX, data()) for _ in range(100)}
        assert later <= stored(group.replica)
    if min_replicas:  # without a replica the old primary refuses writes
        assert len(set(created) - stored(group.replica)) <= 3


async def test_r4_a_sentinel_that_hung_up_is_listened_to_again(group: Group) -> None:
    with redis.Redis(port=group.ports[0]) as sentinel:
        async with store_of(group):
            await eventually(lambda: len(listeners(sentinel)) == 1)
            (before,) = listeners(sentinel)
            sentinel.execute_command("CLIENT", "KILL", "ID", before)
            await eventually(lambda: len(listeners(sentinel) - {before}) == 1)
        await eventually(lambda: not listeners(sentinel))


async def test_r4_a_sentinel_that_refuses_to_subscribe_is_warned_about_once(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis(port=group.ports[0]) as sentinel:
        sentinel.execute_command("ACL", "SETUSER", "default", "-subscribe")
        async with store_of(group):
            await eventually(lambda: "does not announce failovers" in caplog.text)
            await anyio.sleep(1.2)  # it has tried again
            sentinel.execute_command("ACL", "SETUSER", "default", "+subscribe")
            await eventually(lambda: len(listeners(sentinel)) == 1)
    assert [record.name for record in caplog.records].count("async_session_store") == 1


async def test_r4_a_listener_goes_on_after_any_error(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    heard = 0

    def fail_at_first() -> None:
        nonlocal heard
        heard += 1
        if heard == 1:
            raise ZeroDivisionError

    sentinel = Sentinel([("127.0.0.1", group.ports[0])])
    async with (
        sentinel.master_for("primary") as client,
        reporting_failovers(client.connection_pool, fail_at_first),
    ):
        await eventually(lambda: heard == 2)
    for one in sentinel.sentinels:
        await one.aclose()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("data", "concerns"),
    [
        (1, {"primary", "primary2"}),
        (b"primary 127.0.0.1 1 127.0.0.1 2", {"primary"}),
        ("primary 127.0.0.1 1 127.0.0.1 2", {"primary"}),
        (b"primary2 127.0.0.1 1 127.0.0.1 2", {"primary2"}),
        (b"\xff 127.0.0.1 1 127.0.0.1 2", set()),
    ],
)
def test_only_a_switch_of_the_stores_own_primary_is_followed(
    data: object, concerns: set[str]
) -> None:
    assert {
        name for name in ("primary", "primary2") if _may_concern(name, {"data": data})
    } == concerns


def listeners(sentinel: redis.Redis) -> set[str]:
    """Return the ids of the connections that listen for switches."""
    return {item["id"] for item in sentinel.client_list(_type="pubsub")}
