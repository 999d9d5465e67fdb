"""Sections 4 and 7: records, with their etag and their deadline."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from async_session_store import NEVER, AsyncSessionStore, SessionRecord
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    data,
    register,
)
from async_session_store.testing.contract.hooks import Hooks


async def etag_of(store: AsyncSessionStore, key: str) -> str:
    record = await store.get_record(key)
    assert record is not None
    return record.etag


def seconds_left(record: SessionRecord) -> float:
    assert record.expires_at is not None
    return (record.expires_at - datetime.now(timezone.utc)).total_seconds()


class Records(Hooks):
    """W8, W8a, E1: what a record tells."""

    async def test_w8_a_record_tells_key_data_etag_and_deadline(
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

    async def test_w8_every_call_gives_the_same_record(self, store: AsyncSessionStore) -> None:
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

    async def test_e1_documents_that_differ_have_etags_that_differ(
        self, store: AsyncSessionStore
    ) -> None:
        etags: set[str] = set()
        await register(store, "k", A)
        etags.add(await etag_of(store, "k"))
        of = CTX.model_copy(update={"attempt": 1})
        changed = data().model_copy(update={"pack_id": "p"})
        for written in (data("new"), data(of=of), changed, data(""), data(" {}")):
            await store.update_session("k", written)
            etags.add(await etag_of(store, "k"))
        await register(store, "k", A, "registered")
        etags.add(await etag_of(store, "k"))
        assert len(etags) == 7

    async def test_e1_what_leaves_the_document_leaves_the_etag(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        etag = await etag_of(store, "k")
        await store.touch_session("k", 60)
        await store.touch_session("k", NEVER)
        await register(store, "winner", A)
        assert await etag_of(store, "k") == etag
