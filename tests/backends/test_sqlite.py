from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from backend_hooks import SqliteHooks
from sqlite_schema import run_scripts
from typing_extensions import override

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    ReplyScope,
    SessionKey,
    WaitClaimedError,
)
from async_session_store.abc import ClaimKey, Outcome, StoredWait
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.backends.sqlite._database import Operation
from async_session_store.testing import SharedStorageSuite
from async_session_store.testing.contract.builders import (
    CTX,
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
from async_session_store.testing.contract.claim_builders import claim, is_claimed
from clock import Clock


class TestSqlite(SqliteHooks, SharedStorageSuite):
    async def test_t6_a_session_lives_to_its_last_millisecond(self, tmp_path: Path) -> None:
        clock = Clock(lambda: 1_700_000_000.0)
        async with AsyncSessionStore(SqliteBackend(tmp_path / "exact.db", clock=clock)) as store:
            key = await store.create_session(CTX, data(), ttl=60)
            clock.advance(59.999)
            assert await store.get_session(key) is not None
            clock.advance(0.001)
            assert await store.get_session(key) is None

    async def test_x5_an_explanation_is_one_read_transaction(self, tmp_path: Path) -> None:
        writes: list[bool] = []

        class Watched(SqliteBackend):
            @override
            async def _submit(self, operation: Operation, size: int = 0) -> object:
                writes.append(operation.writes)
                return await super()._submit(operation, size)

        async with AsyncSessionStore(Watched(tmp_path / "watched.db")) as store:
            await register(store, "k", A)
            writes.clear()
            found = await store.explain(ctx(team="blue"), "u1", [B, A])
        assert [report.session_key for report in found.reports] == [None, None, None, "k"]
        assert writes == [False]

    async def test_a_new_wait_takes_the_place_of_expired_ones(self, tmp_path: Path) -> None:
        clock = Clock(lambda: 1_700_000_000.0)
        async with AsyncSessionStore(SqliteBackend(tmp_path / "new.db", clock=clock)) as store:
            await register(store, "k", A, "old", ttl=0.05)
            await register(store, "gone", B, "old", ttl=0.05)
            clock.advance(0.06)
            await register(store, "k", B, "new")
            assert await listed(store) == ["k"]
            assert await context_of(store, "k") == "new"
            assert await find(store, A) is None

    async def test_t5_writes_reclaim_expired_sessions(self, tmp_path: Path) -> None:
        clock, path = Clock(lambda: 1_700_000_000.0), tmp_path / "busy.db"
        async with AsyncSessionStore(SqliteBackend(path, clock=clock)) as store:
            for number in range(200):
                await register(store, f"k{number}", ReplyScope(conversation=str(number)), ttl=0.01)
                clock.advance(0.01)
            with closing(sqlite3.connect(path)) as database:
                (left,) = database.execute("SELECT count(*) FROM sessions").fetchone()
        assert left <= 12

    async def test_m1_the_document_is_stored_beside_its_context(
        self, store: AsyncSessionStore
    ) -> None:
        of = ctx(team="blue")
        await register(store, "k", A, '{"a": "\x00"}', of=of)
        with self.behind() as database:
            (row,) = database.execute(
                "SELECT key, env, tenant, team, user, scope_hash, deadline, document, context_json"
                " FROM sessions"
            )
        *columns, document, context = row
        assert columns == ["k", "prod", "acme", "blue", "u1", A.scope_hash(), None]
        assert context == '{"a": "\x00"}'
        whole = json.loads(data(of=of).model_dump_json())
        del whole["context_json"]
        assert json.loads(document) == whole

    async def test_a_file_of_version_1_is_migrated(self, tmp_path: Path) -> None:
        path, now = tmp_path / "old.db", int(time.time() * 1000)
        write_version_1(path, deadline=now + 600_000)
        async with AsyncSessionStore(SqliteBackend(path)) as store:
            assert await listed(store) == ["for ever", "k"]
            assert await context_of(store, "created") == "state"
            record = await store.get_wait(CTX, "u1", A)
            assert record is not None
            assert record.data == data("state")
            assert record.expires_at is not None
            claimed = await claim(store, A)
            assert await is_claimed(store, A)
            await store.update_session("k", data("new"))
            assert await claimed.complete() is True
            claimed = await claim(store, B, delivery_id="event")
            await register(store, "for ever", B, "next")
            assert await claimed.complete() is False
            async with store.resume_wait(CTX, "u1", B):
                pass
            assert await listed(store) == []
            assert await register(store, "created", A) is None
            assert await (await claim(store, A)).complete() is True
        async with AsyncSessionStore(SqliteBackend(path)) as store:
            with pytest.raises(DuplicateDeliveryError):
                await claim(store, B, delivery_id="event")

    async def test_k6_deliveries_of_version_2_are_remembered(self, tmp_path: Path) -> None:
        path, now = tmp_path / "old.db", int(time.time() * 1000)
        ids = ["event", "é" * 512, "\x00", "expired"]
        write_version_2(path, {one: now + 60_000 * (one != "expired") for one in ids})
        async with AsyncSessionStore(SqliteBackend(path)) as store:
            await register(store, "k", A)
            for delivery_id in ids[:-1]:
                with pytest.raises(DuplicateDeliveryError):
                    await claim(store, A, delivery_id=delivery_id)
            await register(store, "other", B)
            assert await (await claim(store, B, delivery_id="event")).complete()
            assert await (await claim(store, A, delivery_id="expired")).complete()

    async def test_waits_of_version_1_get_identities_of_their_own(self, tmp_path: Path) -> None:
        path = tmp_path / "old.db"
        write_version_1(path, deadline=None)
        async with AsyncSessionStore(SqliteBackend(path)) as store:
            await store.ping()
        with closing(sqlite3.connect(path)) as database:
            ids = dict(database.execute("SELECT key, wait_id FROM sessions").fetchall())
            (version,) = database.execute("PRAGMA user_version").fetchone()
        assert version == 6
        assert ids.pop("created") is None
        assert len(set(ids.values())) == 2
        assert all(ids.values())

    @pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
    async def test_claims_of_an_older_version_are_held_and_completed(
        self, tmp_path: Path, version: int
    ) -> None:
        path, owner = tmp_path / "old.db", data().owner
        write_claimed(path, version)
        async with AsyncSessionStore(SqliteBackend(path), default_wait_ttl=600) as store:
            record = await store.get_wait(CTX, "u1", A)
            assert record is not None
            assert (record.key, record.scope) == ("k", None)
            if version == 1:
                held = (await claim(store, A))._claim
            else:
                held = ClaimKey(owner, A.scope_hash(), "token", record.key)
            for options in ({}, {"wait": 0.05}):
                with pytest.raises(WaitClaimedError):
                    await store.claim_wait(CTX, "u1", A, **options)
            assert await is_claimed(store, A)
            following = StoredWait(owner, A.scope_hash(), A, record.key, data("next"), None)
            done = await store._storage.complete_claim(held, deliveries=(), then=following)
            assert done is Outcome.DONE
            record = await store.get_wait(CTX, "u1", A)
            assert record is not None
            assert (record.data, record.scope) == (data("next"), A)

    @pytest.mark.parametrize("version", [2, 3, 4, 5])
    async def test_n2_a_claim_of_an_older_version_is_superseded(
        self, tmp_path: Path, version: int
    ) -> None:
        path = tmp_path / "old.db"
        write_claimed(path, version)
        async with AsyncSessionStore(SqliteBackend(path)) as store:
            await clear(store, A)
            held = ClaimKey(data().owner, A.scope_hash(), "token", SessionKey("k"))
            following = StoredWait(held.owner, A.scope_hash(), A, SessionKey("k"), data(), None)
            done = await store._storage.complete_claim(held, deliveries=(), then=following)
            assert done is Outcome.MISSING
            assert await listed(store) == []

    async def test_a_migrated_file_has_the_schema_of_a_new_one(self, tmp_path: Path) -> None:
        schemas = []
        for version in range(7):
            path = tmp_path / f"{version}.db"
            if version:
                write_claimed(path, version)
            async with AsyncSessionStore(SqliteBackend(path)) as store:
                await store.ping()
            with closing(sqlite3.connect(path)) as database:
                schemas.append(database.execute("SELECT name, sql FROM sqlite_master").fetchall())
        for schema in schemas:
            assert sorted(schema, key=str) == sorted(schemas[0], key=str)

    def test_the_reference_describes_each_column(self) -> None:
        text = Path(__file__).parents[2].joinpath("docs/reference/wire-format.md")
        described = text.read_text(encoding="utf-8").split("## SQLite")[1]
        with closing(sqlite3.connect(":memory:")) as database:
            run_scripts(database, 6)
            names = database.execute(
                "SELECT tables.name, columns.name FROM sqlite_master AS tables,"
                " pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
            ).fetchall()
        assert len(names) > 30
        for table, column in names:
            assert f"`{table}`" in described
            assert f"`{column}`" in described


def write_claimed(path: Path, version: int) -> None:
    """Write a file of an older version: a wait "k" at A, claimed if the version knows claims."""
    document = json.loads(data().model_dump_json())
    del document["context_json"]
    place = ("prod", "acme", "", "u1", A.scope_hash())
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        run_scripts(database, version)
        database.execute(
            "INSERT INTO sessions"
            " (env, tenant, team, user, scope_hash, key, document, context_json)"
            " VALUES (?, ?, ?, ?, ?, 'k', ?, 'state')",
            (*place, json.dumps(document)),
        )
        if version == 1:
            return
        database.execute("UPDATE sessions SET wait_id = 'id'")
        database.execute(
            "INSERT INTO claims (env, tenant, team, user, scope_hash, token, wait_id, deadline)"
            " VALUES (?, ?, ?, ?, ?, 'token', 'id', ?)",
            (*place, int(time.time() * 1000) + 600_000),
        )


def write_version_2(path: Path, deliveries: dict[str, int]) -> None:
    """Write a file of version 2, with deliveries at the scope A."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        run_scripts(database, 2)
        database.executemany(
            f"INSERT INTO deliveries VALUES ('prod', 'acme', '', 'u1', '{A.scope_hash()}', ?, ?)",
            deliveries.items(),
        )


def write_version_1(path: Path, *, deadline: int | None) -> None:
    """Write a file of version 1, with two waits and a session."""
    document = json.loads(data().model_dump_json())
    del document["context_json"]
    schema = files("async_session_store.backends.sqlite").joinpath("schema", "1.sql")
    rows = [
        ("k", A.scope_hash(), deadline),
        ("for ever", B.scope_hash(), None),
        ("created", None, None),
    ]
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(schema.read_text(encoding="utf-8"))
        database.execute("PRAGMA user_version = 1")
        database.executemany(
            "INSERT INTO sessions VALUES (?, 'prod', 'acme', '', 'u1', ?, ?, ?, 'state')",
            [(*row, json.dumps(document)) for row in rows],
        )
