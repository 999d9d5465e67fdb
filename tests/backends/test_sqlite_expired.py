"""Expired waits in a SQLite file: its rows and indexes, damage, older versions and other stores."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from sqlite_schema import run_scripts
from typing_extensions import override

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    NewWait,
    ReplyScope,
    SessionKey,
    SessionNotFoundError,
    TenantCtx,
)
from async_session_store.abc import Claimed, ClaimKey, Outcome, Owner, Unreadable
from async_session_store.backends.sqlite import SqliteBackend, _expired, _kept, _table
from async_session_store.backends.sqlite._database import Operation
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    clear,
    context_of,
    ctx,
    data,
    find,
    listed,
    register,
)
from clock import Clock

pytestmark = pytest.mark.anyio

LEASE: Final = 30_000
TTL: Final = 60.0
KEPT: Final = 600.0
WEEK: Final = 7 * 24 * 3_600_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock(lambda: 1_700_000_000.0)


@pytest.fixture
async def store(path: Path, clock: Clock) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore(SqliteBackend(path, clock=clock)) as store:
        yield store


def content(of: TenantCtx = CTX) -> tuple[str, str]:
    return data(of=of).model_dump_json(exclude={"context_json"}), "{}"


async def ask(
    store: AsyncSessionStore, key: str, at: ReplyScope, *, user: str = "u1", ttl: float = TTL
) -> None:
    """Register a wait that is kept after its deadline."""
    of = ctx(user)
    await store.register_wait(of, user, at, key, data(key, of=of), ttl=ttl, expired_ttl=KEPT)


async def handed_out(store: AsyncSessionStore, limit: int = 10) -> list[str]:
    """Claim the due waits, give them back, and return their keys."""
    claims = await store.claim_expired(limit=limit)
    for claim in claims:
        await claim.release()
    return [key_of(claim.record) for claim in claims]


def key_of(record: object) -> str:
    return str(getattr(record, "key", None))


def rows(path: Path, columns: str = "key") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {columns} FROM sessions ORDER BY rowid").fetchall()


def change(path: Path, statement: str, *values: object, changed: int = 1) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.create_function("now", 0, lambda: 1_700_000_000_000)
        assert database.execute(statement, values).rowcount == changed


# --- The file ---------------------------------------------------------------------------------


async def test_a_file_of_version_5_is_migrated_with_its_content(path: Path, clock: Clock) -> None:
    now = int(clock() * 1000)
    stored = {"live": now + 60_000, "ended": now - 1, "odd": "soon", "endless": None}
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        run_scripts(database, 5)
        for key, deadline in stored.items():
            hashed = ReplyScope(conversation=key).scope_hash()
            database.execute(
                "INSERT INTO sessions (key, env, tenant, team, user, scope_hash, wait_id, deadline,"
                " document, context_json) VALUES (?, 'prod', 'acme', '', 'u1', ?, ?, ?, ?, ?)",
                (key, hashed, key, deadline, *content()),
            )
    async with AsyncSessionStore(SqliteBackend(path, clock=clock)) as store:
        assert await listed(store) == ["endless", "live", "odd"]
        assert await store.purge_expired() == 1
        clock.advance(61)
        assert await store.claim_expired() == []
        await ask(store, "new", A)
        assert rows(path, "key, expired_ttl, due IS NULL") == [
            ("odd", None, 1),
            ("endless", None, 1),
            ("new", KEPT * 1000, 0),
        ]
        clock.advance(60)
        assert await handed_out(store) == ["new"]


def plan_of(statement: str) -> str:
    with closing(sqlite3.connect(":memory:")) as database:
        run_scripts(database, 6)
        values = (None,) * statement.count("?")
        steps = database.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    return "\n".join(step[-1] for step in steps)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (_table._DELETE_EXPIRED, "sessions_by_end (<expr><?)"),
        *(
            (statement.format(within), index)
            for statement in (_expired._IS_DUE, _expired._FIND_DUE)
            for within, index in (
                (_expired._OF_ALL, "sessions_by_due (due<?)"),
                (
                    _expired._OF_TEAM,
                    "sessions_by_team_and_due (env=? AND tenant=? AND team=? AND due<?)",
                ),
                (_expired._OF_USER, "sessions_by_scope (env=? AND tenant=? AND team=? AND user=?"),
            )
        ),
        (_expired._FIND_HELD, "claims_on_expired_waits (token=?)"),
        (_kept._ARE_ANY, "sessions_by_due"),
        (_kept._FIND_AT_SCOPE, "sessions_by_scope (env=? AND tenant=? AND team=? AND user=?"),
        (_kept._FIND_OF_OWNER, "sessions_by_scope (env=? AND tenant=? AND team=? AND user=?"),
    ],
)
def test_due_and_deletable_rows_are_found_by_an_index(statement: str, index: str) -> None:
    plan = plan_of(statement)
    assert f"INDEX {index}" in plan
    assert "SCAN sessions" not in plan
    assert "SCAN queue" not in plan
    if "sessions_by_scope" not in index:
        assert "TEMP B-TREE" not in plan


def write_kept(path: Path, count: int, deadline: int, *, tenant: str = "acme") -> None:
    """Write many waits that are kept for a week, as if they had been registered."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO sessions (key, env, tenant, team, user, scope_hash, wait_id, deadline,"
            " expired_ttl, due, document, context_json)"
            f" VALUES (?, 'prod', '{tenant}', '', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (key, user, f"{n:064x}", key, deadline, WEEK, deadline, *content(of))
                for n in range(count)
                for key, user in [(f"{tenant}{n}", f"user{n}")]
                for of in [ctx(user, tenant=tenant)]
            ),
        )


class Steps:
    """A counter of SQLite's work, in thousands of steps of its virtual machine."""

    def __init__(self, backend: SqliteBackend) -> None:
        self._backend = backend
        self.count = 0

    async def watch(self) -> None:
        database = await self._backend._reading(
            lambda tables: tables.sessions._execute.__self__,  # type: ignore[attr-defined]
            single=True,
        )
        assert isinstance(database, sqlite3.Connection)
        database.set_progress_handler(self._step, 1000)

    def _step(self) -> int:
        self.count += 1
        return 0


async def test_t5_sweeps_and_polls_skip_kept_waits(path: Path, clock: Clock) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        write_kept(path, 20_000, int(clock() * 1000) - 1, tenant="other")
        steps = Steps(backend)
        await steps.watch()
        for number in range(20):
            await register(store, "k", ReplyScope(conversation=str(number)), ttl=0.01)
            clock.advance(0.2)
        assert await store.purge_expired() == 1
        for _ in range(20):
            assert await store.claim_expired(SERVICE) == []
            assert await store.claim_expired(CTX) == []
        assert len(await store.claim_expired(limit=3)) == 3
        assert steps.count <= 30
    assert len(rows(path)) == 20_000


async def test_q4_a_user_in_a_team_with_many_due_waits(path: Path, clock: Clock) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        write_kept(path, 20_000, int(clock() * 1000) - 1)
        await ask(store, "mine", A)
        clock.advance(60)
        steps = Steps(backend)
        await steps.watch()
        (claim,) = await store.claim_expired(CTX, limit=5)
        assert key_of(claim.record) == "mine"
        assert steps.count <= 2


async def test_q1_a_wait_without_expired_ttl_is_in_no_further_index(
    path: Path, store: AsyncSessionStore
) -> None:
    await register(store, "k", A, ttl=60)
    await store.register_wait(CTX, "u1", B, "zero", data(), ttl=60, expired_ttl=0)
    assert rows(path, "expired_ttl, due") == [(None, None)] * 2


# --- Rows moved aside -------------------------------------------------------------------------


async def test_q4_an_expired_wait_is_moved_aside_for_another_session(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    for key in ("first", "second", "third"):
        await ask(store, key, A)
        clock.advance(60)
    await ask(store, "live", A)
    hashed = A.scope_hash()
    expected = [f"{hashed}:first", f"{hashed}:second", f"{hashed}:third", hashed]
    assert rows(path, "scope_hash") == [(one,) for one in expected]
    assert await listed(store) == ["live"]
    assert await find(store, A) == "live"
    assert len(await store.list_wait_records(CTX, "u1")) == 1
    for key in ("first", "second", "third"):
        (claim,) = await store.claim_expired(limit=5)
        assert claim.record is not None
        assert (claim.record.key, claim.record.scope) == (key, A)
        assert claim.record.data == data(key)
        assert await claim.complete()
    assert await listed(store) == ["live"]
    assert rows(path) == [("live",)]


async def test_n4_a_row_moved_aside_waits_for_the_claims_and_the_queue_of_its_scope(
    path: Path, clock: Clock
) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        await ask(store, "aside", A)
        clock.advance(60)
        await register(store, "live", A)
        claim = await store.claim_wait(CTX, "u1", A)
        assert claim is not None
        assert await store.claim_expired() == []
        queued = await backend.claim_wait(
            [CTX.owner], [A.scope_hash()], token="next", lease=LEASE, deliveries=(), begin_at=None,
            queue=True,
        )  # fmt: skip
        await claim.release()
        assert await store.claim_expired() == []
        await backend.release_claim(ClaimKey(CTX.owner, A.scope_hash(), "next"))
        assert not isinstance(queued, Claimed)
        assert await handed_out(store) == ["aside"]


@pytest.mark.parametrize("by_key", [False, True])
async def test_q4_clearing_a_scope_ends_waits_moved_aside(
    path: Path, store: AsyncSessionStore, clock: Clock, *, by_key: bool
) -> None:
    for key in ("first", "second"):
        await ask(store, key, A)
        clock.advance(60)
    await ask(store, "elsewhere", B, ttl=1)
    await ask(store, "another", A, user="u2", ttl=1)
    clock.advance(1)
    if by_key:
        assert await clear(store, A, "first") is False
        assert sorted(rows(path)) == [("another",), ("elsewhere",), ("second",)]
    assert await clear(store, A) is False
    assert sorted(rows(path)) == [("another",), ("elsewhere",)]
    assert await store.clear_waits_for_user(CTX, "u1") == 0
    assert rows(path) == [("another",)]


async def test_q4_the_key_of_a_row_moved_aside_is_registered_anew(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    await ask(store, "k", A)
    clock.advance(60)
    await register(store, "live", A)
    (claim,) = await store.claim_expired()
    await register(store, "k", B)
    await store.remove_session("k")
    await store.remove_session("live")
    assert await claim.complete(NewWait(A, data("late"))) is False
    assert rows(path) == []


async def test_n2_ending_an_expired_wait_leaves_the_claim_on_another(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    await ask(store, "first", A)
    clock.advance(60)
    await ask(store, "second", A)
    clock.advance(60)
    (claim,) = await store.claim_expired()
    assert key_of(claim.record) == "first"
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("second")
    assert await claim.complete(NewWait(A, data("asked again")))
    assert rows(path, "key, context_json") == [("first", "asked again")]


async def test_q3_a_reply_that_began_before_the_deadline_ends_a_wait_moved_aside(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    await ask(store, "k", A)
    claim = await store.claim_wait(CTX, "u1", A, lease=600)
    assert claim is not None
    clock.advance(60)
    await register(store, "live", A)
    assert await claim.complete(NewWait(A, data("next"))) is False
    assert rows(path) == [("live",)]


# --- Deadlines that pass in the middle of an operation ----------------------------------------


class TickingClock(Clock):
    """A clock that, on request, moves by a millisecond with each look."""

    ticks = False

    @override
    def __call__(self) -> float:
        if self.ticks:
            self.advance(0.001)
        return super().__call__()


READINGS: Final = 25
"""Milliseconds: longer than any operation takes."""


@pytest.mark.parametrize(
    "then", [None, NewWait(A, data("next")), NewWait(A, data("next"), session_key="other")]
)
async def test_q3_a_wait_that_is_completed_at_its_deadline_is_not_handed_out_too(
    path: Path, then: NewWait | None
) -> None:
    clock = TickingClock(lambda: 1_700_000_000.0)
    async with AsyncSessionStore(SqliteBackend(path, clock=clock)) as store:
        for reading in range(READINGS):
            await ask(store, "k", A)
            claim = await store.claim_wait(CTX, "u1", A, lease=600)
            assert claim is not None
            clock.advance(TTL - reading / 1000)
            clock.ticks = True
            assert await claim.complete(then)
            clock.ticks = False
            clock.advance(1)
            assert await store.claim_expired() == []
            await store.clear_waits_for_user(CTX, "u1")


async def test_a_deadline_that_an_older_process_moved_may_pass_during_its_correction(
    path: Path,
) -> None:
    clock = TickingClock(lambda: 1_700_000_000.0)
    async with AsyncSessionStore(SqliteBackend(path, clock=clock)) as store:
        for reading in range(READINGS):
            await ask(store, "k", A)
            change(path, "UPDATE sessions SET deadline = deadline + 1000")
            clock.advance(TTL + 1 - reading / 1000)
            clock.ticks = True
            found = await handed_out(store)
            clock.ticks = False
            clock.advance(1)
            assert found or await handed_out(store) == ["k"]


# --- Damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["soon", b"\x00", "", 0.5, -7, 0, -(2**63)])
@pytest.mark.parametrize("column", ["expired_ttl", "due"])
async def test_r2_a_damaged_column_removes_no_live_row_and_spoils_nothing_else(
    path: Path, store: AsyncSessionStore, clock: Clock, column: str, value: object
) -> None:
    await ask(store, "k", A)
    await ask(store, "other", B)
    change(path, f"UPDATE sessions SET {column} = ? WHERE key = 'k'", value)
    assert await store.claim_expired(limit=5) == []
    assert await store.purge_expired() == 0
    assert await listed(store) == ["k", "other"]
    await store.touch_session("k", 30)
    clock.advance(60)
    for _ in range(2):
        assert "other" in await handed_out(store)
        assert set(await handed_out(store)) <= {"k", "other"}
    await register(store, "new", A)
    assert await find(store, A) == "new"
    clock.advance(KEPT + 60)
    assert await store.claim_expired(limit=5) == []
    await store.purge_expired()
    assert {key for (key,) in rows(path)} <= {"k", "new"}
    assert await context_of(store, "k") is None


@pytest.mark.parametrize("deadline", ["soon", b"\x00\xff", 1e300, "", 5e12 + 0.5])
async def test_r2_a_deadline_of_a_wrong_type_is_never_due(
    path: Path, store: AsyncSessionStore, clock: Clock, deadline: object
) -> None:
    await ask(store, "k", A)
    change(path, "UPDATE sessions SET deadline = ?", deadline)
    clock.advance(60)
    assert await store.claim_expired() == []
    assert rows(path, "due") == [(None,)]
    clock.advance(KEPT)
    assert await store.purge_expired() == 0
    assert await find(store, A) == "k"


COLUMNS: Final = (
    *("key", "env", "tenant", "team", "user", "scope_hash", "wait_id"),
    *("document", "context_json", "scope"),
)
ALL_BUT_THE_KEY: Final = frozenset(COLUMNS[1:])


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    ("value", "spoils"),
    [
        ("CAST(x'ff' AS TEXT)", ALL_BUT_THE_KEY - {"wait_id", "scope"}),
        ("x'ff'", ALL_BUT_THE_KEY - {"wait_id", "scope"}),
        ("'x'", {"env", "tenant", "team", "user", "document"}),
    ],
)
async def test_r2_a_damaged_row_does_not_hold_up_the_others(
    path: Path,
    store: AsyncSessionStore,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    column: str,
    value: str,
    spoils: set[str],
) -> None:
    await ask(store, "k", A)
    await ask(store, "other", B)
    change(path, f"UPDATE sessions SET {column} = {value} WHERE key = 'k'")
    clock.advance(60)
    found = await handed_out(store)
    assert "other" in found
    assert ("'k' is not handed out" in caplog.text) is (column in spoils)
    assert ("k" in found) is (column not in spoils | {"key"})
    caplog.clear()
    assert sorted(await handed_out(store)) == sorted(found)
    assert not caplog.text
    clock.advance(KEPT)
    assert await store.purge_expired() >= 2


async def test_r2_an_unreadable_document_is_reported_once_and_kept(
    path: Path, clock: Clock
) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        await ask(store, "k", A)
        change(path, "UPDATE sessions SET document = 'nonsense'")
        clock.advance(60)
        (found,) = await backend.claim_expired(None, ["one", "two"], LEASE)
        assert isinstance(found, Unreadable)
        assert (found.key, found.owner) == ("k", CTX.owner)
        assert await backend.claim_expired(None, ["one", "two"], LEASE) == ()
        await register(store, "live", A)
        assert rows(path) == [("k",), ("live",)]
        clock.advance(KEPT)
        assert await store.purge_expired() == 1


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'ff'", "CAST(env AS BLOB)"])
@pytest.mark.parametrize("column", ["env", "tenant", "team", "user"])
async def test_r2_removing_an_expired_wait_copes_with_a_damaged_owner(
    path: Path, store: AsyncSessionStore, clock: Clock, column: str, value: str
) -> None:
    await ask(store, "k", A)
    change(path, f"UPDATE sessions SET {column} = {value}")
    clock.advance(60)
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k", ctx=CTX)
    assert rows(path) == [("k",)]
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k")
    assert rows(path) == []


async def test_f7_a_row_whose_owner_differs_from_its_documents_is_not_handed_out(
    path: Path, clock: Clock
) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        await ask(store, "k", A)
        change(path, "UPDATE sessions SET tenant = 'other'")
        clock.advance(60)
        fence = Owner(ctx(tenant="other").owner.env, ctx(tenant="other").owner.tenant, None, None)
        (found,) = await backend.claim_expired(fence, ["one"], LEASE)
        assert isinstance(found, Unreadable)
        assert found.owner is None


async def test_r2_a_claim_with_an_odd_deadline_hinders_no_worker(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    await ask(store, "k", A)
    clock.advance(60)
    assert len(await store.claim_expired()) == 1
    change(path, "UPDATE claims SET deadline = 'soon'")
    assert await handed_out(store) == ["k"]


# --- Several stores ---------------------------------------------------------------------------


class Watched(SqliteBackend):
    """A backend that records for each operation whether it writes."""

    writes: list[bool]

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        self.writes = []
        await super().open(max_document_bytes=max_document_bytes)

    @override
    async def _submit(self, operation: Operation, size: int = 0) -> object:
        self.writes.append(operation.writes)
        return await super()._submit(operation, size)


async def test_q2_two_stores_on_one_file_claim_each_wait_once(path: Path, clock: Clock) -> None:
    one, two = Watched(path, clock=clock), Watched(path, clock=clock)
    async with AsyncSessionStore(one) as first, AsyncSessionStore(two) as second:
        for number in range(4):
            await ask(first, f"k{number}", ReplyScope(conversation=str(number)))
            clock.advance(1)
        two.writes.clear()
        assert await second.claim_expired(limit=5) == []
        clock.advance(60)
        claims = await first.claim_expired(limit=2)
        assert [key_of(claim.record) for claim in claims] == ["k0", "k1"]
        assert [key_of(claim.record) for claim in await second.claim_expired()] == ["k2"]
        assert [key_of(claim.record) for claim in await first.claim_expired(limit=9)] == ["k3"]
        two.writes.clear()
        assert await second.claim_expired(limit=9) == []
        assert two.writes == [False]  # all is claimed
        assert await claims[1].complete()
        await claims[0].release()
        assert await handed_out(second) == ["k0"]
        clock.advance(31)  # the leases of the others have ended
        assert await handed_out(second) == ["k2", "k3", "k0"]


async def test_q2_a_caller_that_asks_again_gets_the_claims_of_its_tokens(
    path: Path, clock: Clock
) -> None:
    backend = Watched(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        for number in range(4):
            await ask(
                store, f"k{number}", A if number < 2 else ReplyScope(conversation=f"{number}")
            )
            clock.advance(60)
        first = await backend.claim_expired(None, ["a", "b"], LEASE)
        of_k0, of_k2 = first
        assert isinstance(of_k0, Claimed)
        assert isinstance(of_k2, Claimed)
        # k1 is at the scope of k0, and k3 was due later.
        assert [of_k0.claim.session_key, of_k2.claim.session_key] == ["k0", "k2"]
        clock.advance(1)
        tokens = [of_k0.claim.token, of_k2.claim.token]
        assert await backend.claim_expired(None, tokens, LEASE) == first
        *held, new = await backend.claim_expired(None, [*tokens, "c", "d"], LEASE)
        assert held == [*first]
        assert isinstance(new, Claimed)
        assert new.claim == of_k2.claim._replace(
            scope_hash=new.claim.scope_hash, token=new.claim.token, session_key=SessionKey("k3")
        )
        await register(store, "live", A)
        overtaken = of_k0._replace(is_overtaken=True)
        assert await backend.claim_expired(None, tokens, LEASE) == (overtaken, of_k2)
        with pytest.raises(SessionNotFoundError):
            await store.remove_session("k0")
        assert await backend.claim_expired(None, tokens, LEASE) == (of_k2,)
        assert await backend.release_claim(of_k0.claim) is Outcome.DONE


async def test_q2_the_claim_of_a_reply_is_not_taken_for_a_workers(path: Path, clock: Clock) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        await ask(store, "k", A)
        claim = await store.claim_wait(CTX, "u1", A, lease=600)
        assert claim is not None
        clock.advance(60)
        assert await store.claim_expired() == []
        assert await claim.complete(KEEP)
        assert await handed_out(store) == ["k"]


async def test_q2_many_outdated_rows_are_skipped_in_several_steps(path: Path, clock: Clock) -> None:
    backend = Watched(path, clock=clock)
    async with AsyncSessionStore(backend) as store:
        write_kept(path, 600, int(clock() * 1000))
        clock.advance(7 * 24 * 3600)
        await ask(store, "k", A)
        clock.advance(60)
        backend.writes.clear()
        assert await handed_out(store, 1) == ["k"]
        assert backend.writes.count(True) == 4
        clock.advance(KEPT)
        assert await store.purge_expired() == len(rows(path)) + 597


# --- Processes with an older version ----------------------------------------------------------


OLD_TOUCH: Final = "UPDATE sessions SET deadline = now() + ? WHERE key = 'k'"
OLD_DETACH: Final = "UPDATE sessions SET scope_hash = NULL, scope = NULL WHERE key = 'k'"
OLD_REGISTER: Final = (
    "INSERT OR REPLACE INTO sessions (env, tenant, team, user, key, scope_hash, wait_id, deadline,"
    " document, context_json, scope) SELECT env, tenant, team, user, key, scope_hash, 'new',"
    " deadline, document, context_json, scope FROM sessions WHERE key = 'k'"
)


async def test_an_older_process_may_move_a_deadline(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    await ask(store, "k", A)
    change(path, OLD_TOUCH, 90_000)
    clock.advance(60)
    assert await store.claim_expired() == []
    assert await find(store, A) == "k"
    clock.advance(30)
    assert await handed_out(store) == ["k"]


async def test_an_older_process_may_remove_a_deadline(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    await ask(store, "k", A)
    change(path, OLD_TOUCH, None)
    clock.advance(60)
    for _ in range(2):
        assert await store.claim_expired() == []
    assert rows(path, "due") == [(None,)]
    await store.touch_session("k", 60)
    clock.advance(60)
    assert await handed_out(store) == ["k"]


async def test_sessions_that_an_older_process_detached_or_registered_are_not_handed_out(
    path: Path, store: AsyncSessionStore, clock: Clock
) -> None:
    for statement in (OLD_DETACH, OLD_REGISTER):
        await ask(store, "k", A)
        change(path, statement)
        clock.advance(60)
        assert await store.claim_expired() == []
        assert rows(path, "due") == [(None,)]
    clock.advance(KEPT)
    assert await store.purge_expired() == 1
