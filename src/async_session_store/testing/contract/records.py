"""W8, W8a: records, with their etag, deadline and scope."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from async_session_store import NEVER, AsyncSessionStore, ReplyScope, SessionRecord
from async_session_store.testing.contract.builders import CTX, A, B, C, data, register
from async_session_store.testing.contract.claim_builders import claim, record_of
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.next_waits import ask


def seconds_left(record: SessionRecord) -> float:
    assert record.expires_at is not None
    return (record.expires_at - datetime.now(timezone.utc)).total_seconds()


class Records(Hooks):
    """W8, W8a: the contents of a record, whichever call returns it."""

    async def test_w8_a_record_has_key_data_etag_and_deadline(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        record = await store.get_wait(CTX, "u1", A)
        assert record is not None
        assert (record.key, record.data) == ("k", data("state"))
        assert record.etag
        assert isinstance(record.etag, str)
        assert record.expires_at is not None
        assert record.expires_at.utcoffset() == timedelta(0)
        assert 590 < seconds_left(record) <= 600.001

    async def test_w8_every_call_returns_the_same_record(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, ttl=NEVER)
        record = await store.get_record("k")
        assert record is not None
        assert record.expires_at is None
        assert await store.get_wait(CTX, "u1", A) == record
        assert await store.list_wait_records(CTX, "u1") == [record]

    async def test_w8_reading_twice_gives_equal_records(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state", ttl=600)
        first = await store.get_record("k")
        await store.update_session("k", data("state"))
        await register(store, "other", B)
        again = await store.get_record("k")
        assert first is not None
        assert again is not None
        assert (again.data, again.expires_at) == (first.data, first.expires_at)
        assert await store.get_wait(CTX, "u1", A) == again

    async def test_w8_a_session_that_waits_nowhere_has_a_record(
        self, store: AsyncSessionStore
    ) -> None:
        key = await store.create_session(CTX, data("state"), ttl=600)
        record = await store.get_record(key)
        assert record is not None
        assert (record.key, record.data) == (key, data("state"))
        assert 590 < seconds_left(record) <= 600.001

    async def test_w8a_the_records_of_all_waits_are_listed(self, store: AsyncSessionStore) -> None:
        await register(store, "k3", A, "third", ttl=300)
        await register(store, "k1", B, "first", ttl=100)
        await register(store, "k2", C, "second", ttl=NEVER)
        await store.create_session(CTX, data())
        records = await store.list_wait_records(CTX, "u1")
        assert [(record.key, record.data.context_json) for record in records] == [
            ("k1", "first"),
            ("k2", "second"),
            ("k3", "third"),
        ]
        assert 90 < seconds_left(records[0]) <= 100.001
        assert records[1].expires_at is None
        assert 290 < seconds_left(records[2]) <= 300.001

    async def test_w8_a_record_shows_where_its_session_waits(
        self, store: AsyncSessionStore
    ) -> None:
        full = ReplyScope(conversation="c/1", thread="ü", reply_to="", correlation='"\\')
        await register(store, "k", full)
        detached, created = "k2", await store.create_session(CTX, data())
        await register(store, detached, A)
        await register(store, "k3", A)
        held = await claim(store, full)
        found = [
            await store.get_wait(CTX, "u1", full),
            await store.get_record("k"),
            held.record,
            (await store.list_wait_records(CTX, "u1"))[0],
        ]
        assert [record and record.scope for record in found] == [full] * 4
        await held.release()
        assert await self._scope_of(store, "k3") == A
        assert await self._scope_of(store, detached) is None
        assert await self._scope_of(store, created) is None

    async def test_w8_the_record_of_a_moved_session_shows_its_new_scope(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await store.update_session("k", data("new"))
        await store.touch_session("k", 600)
        assert await self._scope_of(store, "k") == A
        await register(store, "k", B)
        assert await self._scope_of(store, "k") == B
        assert await (await claim(store, B)).complete(ask(C))
        assert record_of(await claim(store, C)).scope == C

    @staticmethod
    async def _scope_of(store: AsyncSessionStore, key: str) -> ReplyScope | None:
        record = await store.get_record(key)
        assert record is not None
        return record.scope
