"""SQLite rows that someone else wrote, and the clock that decides which of them are live."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlite_locks import locked

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    ClaimLostError,
    CorruptSessionError,
    NewWait,
    ReplyScope,
    SessionNotFoundError,
)
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    clear,
    context_of,
    data,
    find,
    listed,
    register,
    register_if_absent,
)
from clock import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store with two waits: "k" at A, and "other" at B."""
    async with AsyncSessionStore(SqliteBackend(path)) as store:
        await register(store, "k", A)
        await register(store, "other", B)
        yield store


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        assert database.execute(statement, values).rowcount == 1


# --- Rows of someone else ---------------------------------------------------------------------


@pytest.mark.parametrize("deadline", ["soon", b"\x00\xff", 1e300, "", 5e12 + 0.5])
async def test_r2_a_deadline_of_a_wrong_type_spoils_only_its_session(
    path: Path, store: AsyncSessionStore, deadline: object
) -> None:
    change(path, "UPDATE sessions SET deadline = ? WHERE key = 'k'", deadline)
    assert [record.key for record in await store.list_wait_records(CTX, "u1")] == ["other"]
    assert await listed(store) == ["k", "other"]
    assert await find(store, A) == "k"
    found = await store.explain(CTX, "u1", [A, B])
    assert [report.session_key for report in found.reports] == ["k", "other"]
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.get_session("k"),
        lambda: store.get_record("k"),
        lambda: store.get_wait(CTX, "u1", A),
        lambda: store.claim_wait(CTX, "u1", A),
        lambda: store.update_session("k", data()),
        lambda: register(store, "k", C),
    ]
    for call in calls:
        with pytest.raises(CorruptSessionError):
            await call()
    await store.purge_expired()
    assert await register(store, "new", A) == "k"
    await store.remove_session("k")
    assert await listed(store) == ["new", "other"]


async def test_t6_a_deadline_after_the_year_9999(path: Path, store: AsyncSessionStore) -> None:
    change(path, "UPDATE sessions SET deadline = ? WHERE key = 'k'", 2**63 - 1)
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert record.expires_at == datetime(9999, 12, 31, tzinfo=timezone.utc)
    assert len(await store.list_wait_records(CTX, "u1")) == 2
    async with store.resume_wait(CTX, "u1", A) as claimed:
        assert claimed == record
    assert await listed(store) == ["other"]


@pytest.mark.parametrize("key", [b"k", b"\xff", "", "x" * 1025])
async def test_r2_a_key_that_is_not_valid_in_any_call_is_not_a_session(
    path: Path, store: AsyncSessionStore, key: object
) -> None:
    change(path, "UPDATE sessions SET key = ? WHERE key = 'k'", key)
    assert await listed(store) == ["other"]
    assert [record.key for record in await store.list_wait_records(CTX, "u1")] == ["other"]
    assert await find(store, A) is None
    assert await store.get_wait(CTX, "u1", A) is None
    assert await store.claim_wait(CTX, "u1", A) is None
    wait = await store.get_wait(CTX, "u1", [A, B])
    assert wait is not None
    assert wait.key == "other"
    assert (await store.explain(CTX, "u1", A)).reports[0].session_key is None
    assert await register_if_absent(store, "new", A)
    assert await listed(store) == ["new", "other"]


async def test_r2_a_key_that_is_not_text(path: Path, store: AsyncSessionStore) -> None:
    change(path, "UPDATE sessions SET key = CAST(x'6bff' AS TEXT) WHERE key = 'k'")
    assert await listed(store) == ["other"]
    assert await find(store, A) is None
    assert await clear(store, A)
    assert await register(store, "new", A) is None


async def test_r2_a_wait_without_identity_is_not_claimed(
    path: Path, store: AsyncSessionStore
) -> None:
    change(path, "UPDATE sessions SET wait_id = NULL WHERE key = 'k'")
    with pytest.raises(CorruptSessionError, match="identity"):
        await store.claim_wait(CTX, "u1", A)
    assert await register(store, "k", A) is None
    assert await store.claim_wait(CTX, "u1", A) is not None


@pytest.mark.parametrize(
    "scope", [None, "", "nonsense", "{}", b"\xff", 7, '{"conversation":"a\\nb"}', "[1]"]
)
async def test_r2_an_unreadable_scope_is_merely_missing_from_the_record(
    path: Path, store: AsyncSessionStore, scope: object
) -> None:
    change(path, "UPDATE sessions SET scope = ? WHERE key = 'k'", scope)
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert (record.key, record.scope) == ("k", None)
    records = await store.list_wait_records(CTX, "u1")
    assert [one.scope for one in records] == [None, B]
    assert await find(store, A) == "k"
    claim = await store.claim_wait(CTX, "u1", A)
    assert claim is not None
    assert claim.record == record
    assert await claim.complete(NewWait(A, data("next")))
    record = await store.get_record("k")
    assert record is not None
    assert record.scope == A


async def test_r2_the_scope_of_a_record_is_the_stored_text_whatever_its_hash(
    path: Path, store: AsyncSessionStore
) -> None:
    change(path, "UPDATE sessions SET scope = ? WHERE key = 'k'", '{"conversation":"sealed"}')
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert record.scope == ReplyScope(conversation="sealed")


@pytest.mark.parametrize("column", ["scope_hash", "wait_id", "deadline", "document", "scope"])
async def test_r2_a_text_that_is_not_utf_8_spoils_only_its_session(
    path: Path, store: AsyncSessionStore, column: str
) -> None:
    change(path, f"UPDATE sessions SET {column} = CAST(x'ff' AS TEXT) WHERE key = 'k'")
    records = await store.list_wait_records(CTX, "u1")
    assert "other" in [record.key for record in records]
    assert await listed(store) == ["k", "other"]
    await store.remove_session("k")
    assert await listed(store) == ["other"]


@pytest.mark.parametrize("column", ["token", "wait_id", "superseded", "deadline"])
async def test_r2_a_claim_with_a_text_that_is_not_utf_8_hinders_nobody_for_long(
    path: Path, store: AsyncSessionStore, column: str
) -> None:
    held = await store.claim_wait(CTX, "u1", A, lease=0.3)
    assert held is not None
    change(path, f"UPDATE claims SET {column} = CAST(x'ff' AS TEXT)")
    assert (await store.explain(CTX, "u1", A)).reports[0].session_key == "k"
    with suppress(ClaimLostError):
        assert await held.complete(KEEP) is (column == "deadline")
    claim = await store.claim_wait(CTX, "u1", A, wait=5)
    assert claim is not None
    assert await claim.complete()


async def test_w8_a_session_that_an_older_version_detached_waits_nowhere(
    path: Path, store: AsyncSessionStore
) -> None:
    # It knows no column "scope", and has the file open since before the file was migrated.
    change(path, "UPDATE sessions SET scope_hash = NULL WHERE key = 'k'")
    record = await store.get_record("k")
    assert record is not None
    assert record.scope is None


async def test_r2_a_document_damaged_during_a_claim_is_not_replaced(
    path: Path, store: AsyncSessionStore
) -> None:
    claim = await store.claim_wait(CTX, "u1", A)
    assert claim is not None
    change(path, "UPDATE sessions SET document = 'nonsense' WHERE key = 'k'")
    with pytest.raises(CorruptSessionError):
        await claim.complete(NewWait(A, data("next")))
    await claim.renew()
    assert await claim.complete()


async def test_r2_a_claim_with_an_odd_deadline_hinders_nobody(
    path: Path, store: AsyncSessionStore
) -> None:
    assert await store.claim_wait(CTX, "u1", A) is not None
    change(path, "UPDATE claims SET deadline = 'soon'")
    assert (await store.explain(CTX, "u1", A)).reports[0].session_key == "k"
    claim = await store.claim_wait(CTX, "u1", A)
    assert claim is not None
    assert await claim.complete()


@pytest.mark.parametrize("deadline", ["'soon'", "''", "x'00ff'", "CAST(x'ff' AS TEXT)", "1e300"])
async def test_r2_a_place_in_a_queue_with_an_odd_deadline_holds_nobody_up(
    path: Path, store: AsyncSessionStore, deadline: str
) -> None:
    claim = await store.claim_wait(CTX, "u1", A)
    assert claim is not None
    waiting = asyncio.ensure_future(store.claim_wait(CTX, "u1", A, wait=20))
    await asyncio.sleep(0.05)
    change(
        path,
        "INSERT INTO queue SELECT 0, env, tenant, team, user, scope_hash, x'ff',"
        f" {deadline} FROM queue",
    )
    await claim.release()
    claim = await asyncio.wait_for(waiting, 5)
    assert claim is not None
    await claim.release()
    await store.purge_expired()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM queue").fetchone() == (0,)


# --- The clock --------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time)


async def test_t4_a_session_that_expires_while_a_call_waits_for_the_lock_is_gone(
    path: Path, clock: Clock
) -> None:
    backend = SqliteBackend(path, busy_timeout=20, clock=clock)
    async with AsyncSessionStore(backend) as store:
        for call, gone in (
            (lambda: store.touch_session("k", 600), SessionNotFoundError),
            (lambda: store.update_session("k", data("new")), SessionNotFoundError),
            (lambda: store.remove_session("k"), SessionNotFoundError),
            (lambda: clear(store, A), False),
            (lambda: clear(store, A, "k"), False),
            (lambda: store.clear_waits_for_user(CTX, "u1"), 0),
            (lambda: store.claim_wait(CTX, "u1", A), None),
        ):
            await register(store, "k", A, ttl=60)
            with locked(path) as release:
                task = asyncio.ensure_future(call())
                await asyncio.sleep(0.05)
                clock.advance(60)
                release()
                await asyncio.wait([task])
            if isinstance(gone, type):
                assert isinstance(task.exception(), gone)
            else:
                assert task.result() == gone
            assert await context_of(store, "k") is None


async def test_k2_a_claim_that_ends_while_a_call_waits_for_the_lock_is_lost(
    path: Path, clock: Clock
) -> None:
    backend = SqliteBackend(path, busy_timeout=20, clock=clock)
    async with AsyncSessionStore(backend) as store:
        await register(store, "k", A)
        for use in ("renew", "release", "complete"):
            claim = await store.claim_wait(CTX, "u1", A, lease=30)
            assert claim is not None
            with locked(path) as release:
                task = asyncio.ensure_future(getattr(claim, use)())
                await asyncio.sleep(0.05)
                clock.advance(30)
                release()
                await asyncio.wait([task])
            assert isinstance(task.exception(), ClaimLostError)


async def test_t4_a_deadline_counts_from_when_the_lock_was_acquired(
    path: Path, clock: Clock
) -> None:
    async with AsyncSessionStore(SqliteBackend(path, busy_timeout=20, clock=clock)) as store:
        with locked(path) as release:
            task = asyncio.ensure_future(register(store, "k", ReplyScope(conversation="a"), ttl=60))
            await asyncio.sleep(0.05)
            clock.advance(50)
            release()
            await task
        clock.advance(59)
        assert await context_of(store, "k") is not None
