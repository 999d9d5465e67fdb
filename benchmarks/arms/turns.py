"""One turn, as this library, bare drivers and aiogram take it.

A message with a new delivery id comes in for a waiting flow. The flow is resumed, and asks its next
question in the same place. A turn returns what it read. The harness fails if that is empty, so no
arm can win by doing nothing.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import aiosqlite
from aiogram.fsm.storage.base import StorageKey
from aiogram.fsm.storage.redis import RedisStorage
from harness import Step
from pydantic import BaseModel
from redis.asyncio import Redis
from workload import TTL, Caller

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    NewWait,
    ReplyScope,
    SessionData,
    UserId,
)
from async_session_store.abc import Backend

LEASE = 30  # seconds
REMEMBERED = 24 * 60 * 60  # seconds that a delivery is remembered


class Message(NamedTuple):
    """An incoming message."""

    user_id: UserId
    scope: ReplyScope
    delivery_id: str
    text: str

    def scopes(self) -> tuple[ReplyScope, ...]:
        return (self.scope,)


class Answers(BaseModel):
    """The memory of the flow, as ``workload.context_json`` writes it."""

    answers: list[str] = []
    note: str = ""


class Deliveries:
    """A source of delivery ids that are never repeated."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def next(self) -> str:
        return f"update-{next(self._numbers)}"


# --- This library -----------------------------------------------------------------------------


@asynccontextmanager
async def turn(
    backend: Callable[[], Backend], callers: Sequence[Caller]
) -> AsyncIterator[Step[Caller]]:
    """A ``turn`` block that reads and changes the memory."""
    deliveries = Deliveries()

    async def take(caller: Caller) -> str | None:
        message = Message(caller.user, caller.scope, deliveries.next(), "no")
        async with store.turn(
            caller.ctx, message, flow="booking", memory=Answers, ttl=TTL
        ) as taken:
            taken.memory.answers[-1] = taken.text
            taken.ask("ask_date")
        return taken.node

    async with _waiting(backend, callers) as store:
        yield take


@asynccontextmanager
async def resume_and_next(
    backend: Callable[[], Backend], callers: Sequence[Caller]
) -> AsyncIterator[Step[Caller]]:
    """A ``resume_wait`` block. The data of the next question was built before timing starts."""
    deliveries = Deliveries()

    async def take(caller: Caller) -> SessionData:
        async with store.resume_wait(
            caller.ctx, caller.user, caller.scope, delivery_id=deliveries.next()
        ) as wait:
            wait.next(NewWait(caller.scope, caller.data, TTL))
        return wait.data

    async with _waiting(backend, callers) as store:
        yield take


@asynccontextmanager
async def register_and_resume(backend: Callable[[], Backend]) -> AsyncIterator[Step[Caller]]:
    """Register a wait, and resume it in a block that ends the flow."""

    async def take(caller: Caller) -> SessionData:
        await store.register_wait(
            caller.ctx, caller.user, caller.scope, caller.key, caller.data, TTL
        )
        async with store.resume_wait(caller.ctx, caller.user, caller.scope) as wait:
            pass
        return wait.data

    async with AsyncSessionStore(backend()) as store:
        yield take


@asynccontextmanager
async def block(
    backend: Callable[[], Backend], callers: Sequence[Caller]
) -> AsyncIterator[Step[Caller]]:
    """A ``resume_wait`` block that keeps the wait and does nothing else."""

    async def take(caller: Caller) -> SessionData:
        async with store.resume_wait(caller.ctx, caller.user, caller.scope) as wait:
            wait.keep()
        return wait.data

    async with _waiting(backend, callers) as store:
        yield take


@asynccontextmanager
async def claim_and_complete(
    backend: Callable[[], Backend], callers: Sequence[Caller]
) -> AsyncIterator[Step[Caller]]:
    """The work of such a block by hand, without renewals, and without a release on errors."""

    async def take(caller: Caller) -> bool:
        claim = await store.claim_wait(caller.ctx, caller.user, caller.scope)
        return claim is not None and await claim.complete(KEEP)

    async with _waiting(backend, callers) as store:
        yield take


@asynccontextmanager
async def _waiting(
    backend: Callable[[], Backend], callers: Sequence[Caller]
) -> AsyncIterator[AsyncSessionStore]:
    """Open a store in which a flow waits for each caller."""
    async with AsyncSessionStore(backend()) as store:
        for one in callers:
            await store.register_wait(one.ctx, one.user, one.scope, one.key, one.data, TTL)
        yield store


# --- By hand ----------------------------------------------------------------------------------


@asynccontextmanager
async def redis_py(url: str, callers: Sequence[Caller]) -> AsyncIterator[Step[Caller]]:
    """Lock, record the delivery, read the document, write the next one, unlock.

    It stores bytes, and it is not safe. A worker that dies after it has recorded the delivery loses
    the message. A worker that outlives its lock overwrites what the next worker wrote, and removes
    that worker's lock.
    """
    deliveries = Deliveries()

    async def take(caller: Caller) -> bytes | None:
        delivery, lock = deliveries.next(), f"raw:lock:{caller.name}"
        if not await client.set(lock, delivery, nx=True, ex=LEASE):
            return None
        record = f"raw:delivery:{caller.name}:{delivery}"
        if not await client.set(record, b"", nx=True, ex=REMEMBERED):
            return None
        document = await client.get(f"raw:session:{caller.name}")
        await client.set(f"raw:session:{caller.name}", caller.document, ex=TTL)
        await client.delete(lock)
        return document

    async with Redis.from_url(url) as client:
        for one in callers:
            await client.set(f"raw:session:{one.name}", one.document, ex=TTL)
        yield take


@asynccontextmanager
async def get_and_set_scripts(url: str, callers: Sequence[Caller]) -> AsyncIterator[Step[Caller]]:
    """The minimum that two scripts can do for a turn: one reads the document, one writes it."""

    async def take(caller: Caller) -> bytes | None:
        key = f"scripted:session:{caller.name}"
        document = await read(keys=[key])
        await write(keys=[key], args=[caller.document, TTL])
        return document

    async with Redis.from_url(url) as client:
        read = client.register_script("return redis.call('GET', KEYS[1])")
        write = client.register_script("return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])")
        for one in callers:
            await client.set(f"scripted:session:{one.name}", one.document, ex=TTL)
        yield take


CREATE = (
    """
CREATE TABLE sessions (
    scope         TEXT NOT NULL PRIMARY KEY,
    deadline      REAL NOT NULL,
    document      BLOB NOT NULL,
    claim         TEXT,
    claimed_until REAL NOT NULL DEFAULT 0
)
""",
    """
CREATE TABLE deliveries (
    scope    TEXT NOT NULL,
    id       TEXT NOT NULL,
    deadline REAL NOT NULL,
    PRIMARY KEY (scope, id)
) WITHOUT ROWID
""",
)
REGISTER = "INSERT INTO sessions (scope, deadline, document) VALUES (?, ?, ?)"
SEEN = "SELECT 1 FROM deliveries WHERE scope = ? AND id = ? AND deadline > ?"
FIND = "SELECT document FROM sessions WHERE scope = ? AND deadline > ? AND claimed_until <= ?"
CLAIM = "UPDATE sessions SET claim = ?, claimed_until = ? WHERE scope = ?"
NEXT = """
UPDATE sessions SET document = ?, deadline = ?, claim = NULL, claimed_until = 0
WHERE scope = ? AND claim = ? AND claimed_until > ?
"""
REMEMBER = "INSERT OR REPLACE INTO deliveries (scope, id, deadline) VALUES (?, ?, ?)"


def resume(connection: sqlite3.Connection, scope: str, delivery: str) -> bytes | None:
    """Claim a session in one transaction. Return its document, or None for a repeated delivery."""
    execute, now = connection.execute, time.time()
    execute("BEGIN IMMEDIATE")
    document = None
    if execute(SEEN, (scope, delivery, now)).fetchone() is None:
        row = execute(FIND, (scope, now, now)).fetchone()
        if row is not None:
            execute(CLAIM, (delivery, now + LEASE, scope))
            (document,) = row
    execute("COMMIT")
    return document


def ask_next(connection: sqlite3.Connection, scope: str, delivery: str, document: bytes) -> bool:
    """Store the next document and the delivery, and end the claim, in one transaction."""
    execute, now = connection.execute, time.time()
    execute("BEGIN IMMEDIATE")
    is_held = execute(NEXT, (document, now + TTL, scope, delivery, now)).rowcount == 1
    if is_held:
        execute(REMEMBER, (scope, delivery, now + REMEMBERED))
    execute("COMMIT")
    return is_held


@asynccontextmanager
async def sqlite_in_thread(
    folder: Path, synchronous: str, callers: Sequence[Caller]
) -> AsyncIterator[Step[Caller]]:
    """A connection in the loop's own thread, and a transaction for each half of the turn.

    Each transaction blocks the event loop.
    """
    deliveries = Deliveries()

    async def take(caller: Caller) -> bool:
        scope, delivery = caller.scope.digest, deliveries.next()
        found = resume(connection, scope, delivery)
        return found is not None and ask_next(connection, scope, delivery, caller.document)

    file = folder / "turns-in-thread.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        _fill(connection, synchronous, callers)
        yield take


@asynccontextmanager
async def aiosqlite_hops(
    folder: Path, synchronous: str, callers: Sequence[Caller]
) -> AsyncIterator[Step[Caller]]:
    """One hop to aiosqlite's thread for each of the two transactions."""
    deliveries = Deliveries()

    async def take(caller: Caller) -> bool:
        scope, delivery = caller.scope.digest, deliveries.next()
        found = await hop(resume, raw, scope, delivery)
        return found is not None and await hop(ask_next, raw, scope, delivery, caller.document)

    file = folder / "turns-aiosqlite.db"
    async with aiosqlite.connect(file, isolation_level=None) as connection:
        # aiosqlite's public methods run only one statement per hop.
        hop, raw = connection._execute, connection._conn
        await hop(_fill, raw, synchronous, callers)
        yield take


def _fill(connection: sqlite3.Connection, synchronous: str, callers: Sequence[Caller]) -> None:
    opening = ("PRAGMA journal_mode = WAL", f"PRAGMA synchronous = {synchronous}", *CREATE)
    for statement in opening:
        connection.execute(statement)
    for one in callers:
        connection.execute(REGISTER, (one.scope.digest, time.time() + TTL, one.document))


# --- Another library --------------------------------------------------------------------------


@asynccontextmanager
async def aiogram_redis(url: str, callers: Sequence[Caller]) -> AsyncIterator[Step[Caller]]:
    """The state and data of a user in a chat. It neither claims nor remembers deliveries."""

    async def take(caller: Caller) -> dict[str, Any] | None:
        key = _storage_key(caller)
        state = await storage.get_state(key)
        data = await storage.get_data(key)
        await storage.set_state(key, "booking:ask_date")
        await storage.set_data(key, caller.fields)
        return data if state else None

    async with AsyncExitStack() as stack:
        storage = RedisStorage.from_url(url, state_ttl=TTL, data_ttl=TTL)
        stack.push_async_callback(storage.close)
        for one in callers:
            await storage.set_state(_storage_key(one), "booking:ask_date")
            await storage.set_data(_storage_key(one), one.fields)
        yield take


def _storage_key(caller: Caller) -> StorageKey:
    return StorageKey(bot_id=2, chat_id=2, user_id=caller.number)
