"""Hand-written code on bare drivers: bytes in, bytes out, no owners, no validation."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiosqlite
from harness import Step
from redis.asyncio import Redis
from workload import TTL, Caller

CREATE = """
CREATE TABLE sessions (
    key      TEXT NOT NULL PRIMARY KEY,
    scope    TEXT NOT NULL UNIQUE,
    deadline REAL NOT NULL,
    document BLOB NOT NULL
)
"""
REGISTER = "INSERT OR REPLACE INTO sessions (key, scope, deadline, document) VALUES (?, ?, ?, ?)"
FIND = "SELECT key FROM sessions WHERE scope = ? AND deadline > ?"
GET = "SELECT document FROM sessions WHERE key = ? AND deadline > ?"
UPDATE = "UPDATE sessions SET document = ? WHERE key = ? AND deadline > ?"
CLEAR = "DELETE FROM sessions WHERE scope = ?"


@asynccontextmanager
async def redis_py(url: str, callers: Sequence[Caller]) -> AsyncIterator[Step[Caller]]:
    """SET, GET, GET, SET, DEL on the client's default pool.

    The routes from scopes to keys are written once, before timing starts. Writing one in each
    cycle would take a sixth call.
    """

    async def cycle(caller: Caller) -> bytes | None:
        key = f"raw:session:{caller.name}"
        await client.set(key, caller.document, px=TTL * 1000)
        await client.get(f"raw:scope:{caller.scope.digest}")
        document = await client.get(key)
        await client.set(key, caller.document, keepttl=True)
        await client.delete(key)
        return document

    async with Redis.from_url(url) as client:
        await client.mset({f"raw:scope:{one.scope.digest}": one.name for one in callers})
        yield cycle


@asynccontextmanager
async def sqlite_in_thread(folder: Path, synchronous: str) -> AsyncIterator[Step[Caller]]:
    """A connection that is used in the loop's own thread. Each statement commits by itself.

    Each call blocks the event loop.
    """

    async def cycle(caller: Caller) -> tuple[bytes] | None:
        key, scope = caller.name, caller.scope.digest
        execute(REGISTER, (key, scope, time.time() + TTL, caller.document))
        execute(FIND, (scope, time.time())).fetchone()
        row = execute(GET, (key, time.time())).fetchone()
        execute(UPDATE, (caller.document, key, time.time()))
        execute(CLEAR, (scope,))
        return row

    with closing(sqlite3.connect(folder / "in-thread.db", isolation_level=None)) as connection:
        execute = connection.execute
        for statement in _setup(synchronous):
            execute(statement)
        yield cycle


@asynccontextmanager
async def aiosqlite_hops(folder: Path, synchronous: str) -> AsyncIterator[Step[Caller]]:
    """One hop to aiosqlite's thread for each operation. Each statement commits by itself."""

    async def cycle(caller: Caller) -> list[tuple[bytes]]:
        key, scope = caller.name, caller.scope.digest
        await hop(REGISTER, (key, scope, time.time() + TTL, caller.document))
        await hop(FIND, (scope, time.time()))
        rows = await hop(GET, (key, time.time()))
        await hop(UPDATE, (caller.document, key, time.time()))
        await hop(CLEAR, (scope,))
        return rows

    async with aiosqlite.connect(folder / "aiosqlite.db", isolation_level=None) as connection:
        hop = connection.execute_fetchall
        for statement in _setup(synchronous):
            await hop(statement)
        yield cycle


def _setup(synchronous: str) -> tuple[str, ...]:
    return "PRAGMA journal_mode = WAL", f"PRAGMA synchronous = {synchronous}", CREATE
