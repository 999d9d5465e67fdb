"""Back-ups and restores, by the commands of docs/how-to/back-up.md, on SQLite and Redis."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest
import redis

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    StoreUnavailableError,
    WaitClaimedError,
)
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    find,
    register,
)
from async_session_store.testing.contract.claim_builders import claim
from redis_server import RedisServer

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[1] / "docs/how-to/back-up.md"
LEASE = 600  # seconds: longer than the test


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def run(command: str, folder: Path, **environment: str) -> None:
    """Run the lines of a block of the page as a shell would."""
    pattern = rf"<!-- command: {command} -->\n```console\n(.*?)```"
    block = re.search(pattern, PAGE.read_text(), re.DOTALL)
    assert block is not None
    script = "\n".join(re.findall(r"^\$ (.*)$", block[1], re.MULTILINE))
    program = re.findall(r"\b(sqlite3|redis-cli)\b", script)
    if program and shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    subprocess.run(
        ["/bin/sh", "-ec", script], check=True, cwd=folder, env={**os.environ, **environment}
    )


class Storage(Protocol):
    @property
    def url(self) -> str: ...
    def back_up(self) -> None: ...
    def restore(self) -> None: ...


class File:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/bot.db"

    def back_up(self) -> None:
        run("back up SQLite", self.folder)

    def restore(self) -> None:
        run("restore SQLite", self.folder)


class Server:
    """A Redis server with a folder of its own, which survives a restart."""

    def __init__(self, folder: Path, servers: ExitStack) -> None:
        self.folder = folder
        self._servers = servers
        self.start(appendonly="yes")

    def start(self, appendonly: str) -> None:
        self._servers.close()
        started = RedisServer.start(dir=str(self.folder), appendonly=appendonly)
        self._server = self._servers.enter_context(started)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def run(self, command: str) -> None:
        path = path_with_redis_cli(self.folder, self._server.port)
        run(command, self.folder, PATH=path, DIR=str(self.folder))

    def back_up(self) -> None:
        self.run("back up Redis")

    def restore(self) -> None:
        self._servers.close()
        shutil.copy(self.folder / "backup.rdb", self.folder / "dump.rdb")
        shutil.rmtree(self.folder / "appendonlydir")
        self.start(appendonly="no")
        with self.client as client:
            client.config_set("appendonly", "yes")
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.01)
        self.start(appendonly="yes")


def path_with_redis_cli(folder: Path, port: int) -> str:
    """Return a PATH where ``redis-cli`` talks to a port."""
    program = folder / "bin" / "redis-cli"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shutil.which("redis-cli")} -p {port} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as servers:
        yield servers


@pytest.fixture(params=["sqlite", "redis"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, servers: ExitStack) -> Storage:
    return File(tmp_path) if request.param == "sqlite" else Server(tmp_path, servers)


async def test_a_restore_brings_back_what_was_answered_since(storage: Storage) -> None:
    async with AsyncSessionStore.from_url(storage.url) as store:
        await register(store, "handled", A)
        await (await claim(store, A, delivery_id="before")).complete()
        await register(store, "answered later", A)
        await register(store, "expires", B, ttl=1)
        await register(store, "claimed", C)
        held = await claim(store, C, lease=LEASE)
        storage.back_up()
        await held.complete()
        await (await claim(store, A, delivery_id="after")).complete()
        await register(store, "asked later", B)
        await store.erase_user(SERVICE, "u1")
    await asyncio.sleep(1)  # until the wait has expired
    storage.restore()
    async with AsyncSessionStore.from_url(storage.url) as store:
        assert await find(store, A) == "answered later"
        assert await find(store, B) is None
        assert await store.list_waits_for_user(CTX, "u1") == ["answered later", "claimed"]
        with pytest.raises(DuplicateDeliveryError):
            await claim(store, A, delivery_id="before")
        again = await claim(store, A, delivery_id="after")
        assert await again.complete() is True
        with pytest.raises(WaitClaimedError):
            await claim(store, C)
        assert await store.break_claim(SERVICE, "u1", C)
        assert await (await claim(store, C)).complete() is True


async def test_a_copy_by_cp_lacks_what_is_in_the_log(tmp_path: Path) -> None:
    async with AsyncSessionStore.from_url(f"sqlite:///{tmp_path}/bot.db") as store:
        await register(store, "acknowledged", A)
        shutil.copy(tmp_path / "bot.db", tmp_path / "copy.db")
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            assert copy.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


async def test_a_back_up_is_readable_by_its_owner_alone(storage: Storage, tmp_path: Path) -> None:
    async with AsyncSessionStore.from_url(storage.url) as store:
        await register(store, "k", A)
    storage.back_up()
    assert mode_of_back_up(tmp_path) & 0o077 == 0


def mode_of_back_up(folder: Path) -> int:
    (file,) = folder.glob("backup.*")
    return file.stat().st_mode


async def test_a_restore_with_a_step_forgotten_is_refused(tmp_path: Path) -> None:
    file = File(tmp_path)
    async with AsyncSessionStore.from_url(file.url) as store:
        await register(store, "k", A)
        file.back_up()
        await register(store, "k2", B)
        (tmp_path / "backup.db").replace(tmp_path / "bot.db")
        with pytest.raises(
            StoreUnavailableError, match="was deleted or replaced while it was open"
        ):
            await register(store, "k3", C)
    with pytest.raises(StoreUnavailableError, match=r"the -wal and -shm .* are not its own"):
        await AsyncSessionStore.from_url(file.url).open()
    for log in ("bot.db-wal", "bot.db-shm"):
        (tmp_path / log).unlink()
    async with AsyncSessionStore.from_url(file.url) as store:
        assert await store.list_waits_for_user(CTX, "u1") == ["k"]


async def test_redis_ignores_a_snapshot_if_it_keeps_a_log(
    tmp_path: Path, servers: ExitStack
) -> None:
    server = Server(tmp_path, servers)
    async with AsyncSessionStore.from_url(server.url) as store:
        await register(store, "k", A)
    server.back_up()
    servers.close()
    shutil.copy(tmp_path / "backup.rdb", tmp_path / "dump.rdb")
    shutil.rmtree(tmp_path / "appendonlydir")
    server.start(appendonly="yes")
    with server.client as client:
        assert client.dbsize() == 0


async def test_redis_with_a_log_survives_being_killed(tmp_path: Path, servers: ExitStack) -> None:
    server = Server(tmp_path, servers)
    async with AsyncSessionStore.from_url(server.url) as store:
        await register(store, "k", A)
        server.start(appendonly="yes")  # kills the one that runs
    async with AsyncSessionStore.from_url(server.url) as store:
        assert await find(store, A) == "k"


async def test_the_log_of_redis_is_restored(tmp_path: Path, servers: ExitStack) -> None:
    server = Server(tmp_path, servers)
    async with AsyncSessionStore.from_url(server.url) as store:
        await register(store, "k", A)
        server.run("back up the log of Redis")
        await register(store, "k2", B)
    servers.close()
    shutil.rmtree(tmp_path / "appendonlydir")
    (tmp_path / "backup-aof").rename(tmp_path / "appendonlydir")
    server.start(appendonly="yes")
    async with AsyncSessionStore.from_url(server.url) as store:
        assert await store.list_waits_for_user(CTX, "u1") == ["k"]
