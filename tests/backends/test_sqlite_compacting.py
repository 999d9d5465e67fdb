"""A SQLite file gives space back to the disk while other processes use it (O7)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from sqlite_process import SqliteProcess, sqlite_process

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    StoreTimeoutError,
    StoreUnavailableError,
)
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import listed, register

pytestmark = pytest.mark.anyio

SESSIONS = 300


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store whose file consists of unused pages for the most part."""
    backend = SqliteBackend(path, synchronous="NORMAL", busy_timeout=0.5)
    async with AsyncSessionStore(backend) as store:
        async with anyio.create_task_group() as tasks:
            for number in range(SESSIONS):
                tasks.start_soon(fill, store, f"k{number}")
        async with anyio.create_task_group() as tasks:
            for number in range(SESSIONS):
                if number % 3:
                    tasks.start_soon(store.remove_session, f"k{number}")
        yield store


async def fill(store: AsyncSessionStore, key: str) -> None:
    await register(store, key, ReplyScope(conversation=key), "x" * 4_000)


def size(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return database.execute("SELECT rowid, * FROM sessions ORDER BY key").fetchall()


async def test_o7_the_file_and_its_log_become_smaller(path: Path, store: AsyncSessionStore) -> None:
    before, stored = size(path), rows(path)
    freed = await store.compact()
    assert freed == before - size(path) > SESSIONS * 4_000 / 2
    assert path.with_name("bot.db-wal").stat().st_size == 0
    assert rows(path) == stored  # also the rowids, by which erase_user goes on after a step
    await fill(store, "new")
    assert await store.compact() == 0 or size(path) < before


async def test_o7_other_processes_read_and_write_all_the_time(
    path: Path, store: AsyncSessionStore
) -> None:
    expected = {f"k{number}" for number in range(0, SESSIONS, 3)}
    with sqlite_process(path) as one, sqlite_process(path) as two:
        for process in (one, two):
            process.do("open")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_repeatedly, one, "one")
            tasks.start_soon(write_repeatedly, two, "two")
            for number in range(5):
                await store.compact()
                await fill(store, f"mine-{number}")
        for process in (one, two):
            process.do("register last")
            process.do("close")
    written = {f"{name}-{number}" for name in ("one", "two") for number in range(40)}
    expected |= written | {f"mine-{number}" for number in range(5)} | {"last"}
    assert {*map(str, await listed(store))} == expected
    assert {row[1] for row in rows(path)} == expected


async def write_repeatedly(process: SqliteProcess, name: str) -> None:
    for number in range(40):
        await anyio.to_thread.run_sync(process.do, f"register {name}-{number}")


async def test_o7_another_process_is_in_the_way(path: Path, store: AsyncSessionStore) -> None:
    before, stored = size(path), rows(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="nothing was changed, as another"):
            await store.compact()
        assert size(path) == before
        other.execute("ROLLBACK")
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM sessions").fetchone()
        with pytest.raises(StoreTimeoutError, match="the file was rewritten, but the -wal"):
            await store.compact()
        other.execute("COMMIT")
    await store.compact()
    assert size(path) < before
    assert rows(path) == stored


async def test_o7_a_longer_pause_than_was_allowed(path: Path, store: AsyncSessionStore) -> None:
    before, stored = size(path), rows(path)
    with pytest.raises(StoreUnavailableError, match="nothing was changed"):
        await store.compact(max_pause=0.001)
    assert size(path) == before
    assert rows(path) == stored
    await fill(store, "k0")
    assert await store.compact() > 0


async def test_o7_a_database_in_memory_has_nothing_on_a_disk() -> None:
    async with AsyncSessionStore.from_url("sqlite://") as store:
        await fill(store, "k")
        assert await store.compact() == 0
