"""O5: all that a store holds is copied to another one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    CopiedStore,
    DuplicateDeliveryError,
    InvalidInputError,
    SessionRecord,
    StoreUsageError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    EVERYTHING,
    A,
    B,
    C,
    clear,
    ctx,
    data,
    find,
    register,
    with_unknown_fields,
)
from async_session_store.testing.contract.claim_builders import claim, record_of
from async_session_store.testing.contract.expiry_builders import claim_all, keep, keys_of
from async_session_store.testing.contract.hooks import Hooks, SharedHooks

OTHER = ctx(tenant="other")
BLUE = ctx(team="blue")
SECOND = timedelta(seconds=1)


async def has_handled(store: AsyncSessionStore, event: str) -> bool:
    """Return whether a store remembers a delivery at ``B``. A wait must be live there."""
    try:
        claimed = await claim(store, B, delivery_id=event)
    except DuplicateDeliveryError:
        return True
    await claimed.release()
    return False


async def handle(store: AsyncSessionStore, event: str) -> None:
    """Handle a delivery at ``B``, and leave a wait there."""
    await register(store, "handled", B)
    await (await claim(store, B, delivery_id=event)).complete()
    await register(store, "handled", B)


async def store_everything(store: AsyncSessionStore) -> CopiedStore:
    """Store something of each kind. Return what it is."""
    await keep(store, "expired", A, ttl=0.02)
    await anyio.sleep(0.05)
    await register(store, "waits", A, ttl=600)
    await register(store, "in a team", A, of=BLUE)
    await register(store, "of another tenant", A, of=OTHER)
    await register(store, "displaced", C, ttl=600)
    await keep(store, "kept", C, ttl=600)
    await handle(store, "event")
    await store.create_session(CTX, data("waits nowhere"), ttl=600)
    await store.create_session(EVERYTHING.tenant_ctx, with_unknown_fields())
    return CopiedStore(waits=5, sessions=3, expired_waits=1, deliveries=1)


async def records(store: AsyncSessionStore) -> dict[str, SessionRecord]:
    return {str(record.key): record async for record in store.iter_sessions(None)}


async def assert_equal(source: AsyncSessionStore, target: AsyncSessionStore) -> None:
    """Check that two stores have the same sessions, waits, expired waits, and deadlines."""
    expected, copied = await records(source), await records(target)
    assert copied.keys() == expected.keys()
    for key, record in expected.items():
        assert copied[key].data == record.data
        assert_near(copied[key].expires_at, record.expires_at)
        assert copied[key].scope == record.scope
        assert await found_at(target, copied[key]) == await found_at(source, record)
    expired, copies = await claim_all(source), await claim_all(target)
    assert sorted(keys_of(copies)) == sorted(keys_of(expired))
    assert sorted(one.is_overtaken for one in copies) == sorted(one.is_overtaken for one in expired)
    for one in [*expired, *copies]:
        await one.release()


async def found_at(store: AsyncSessionStore, record: SessionRecord) -> str | None:
    owner = record.data.tenant_ctx
    return None if record.scope is None else await find(store, record.scope, of=owner)


def assert_near(one: datetime | None, other: datetime | None) -> None:
    assert (one is None) == (other is None)
    assert one is None or other is None or abs(one - other) < SECOND


def of_kinds(copied: CopiedStore) -> CopiedStore:
    return CopiedStore(copied.waits, copied.sessions, copied.expired_waits, copied.deliveries)


class Copying(Hooks):
    """O5: what is copied, and what is not."""

    @pytest.fixture
    async def elsewhere(self) -> AsyncIterator[AsyncSessionStore]:
        """Yield an open store on other storage, which is empty."""
        async with self.store_class.from_url("memory://") as store:
            yield store

    @pytest.fixture(params=["from here", "to here"])
    def sides(
        self, request: pytest.FixtureRequest, store: AsyncSessionStore, elsewhere: AsyncSessionStore
    ) -> tuple[AsyncSessionStore, AsyncSessionStore]:
        """Return the source and the target of a copy. One of them is on the tested backend."""
        return (store, elsewhere) if request.param == "from here" else (elsewhere, store)

    async def test_o5_all_that_is_stored_is_copied(
        self, sides: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        source, target = sides
        stored = await store_everything(source)
        copied = await source.copy_to(target)
        assert of_kinds(copied) == stored
        assert (copied.written, copied.removed, copied.left_out) == (10, 0, ())
        await assert_equal(source, target)
        assert await has_handled(target, "event")
        assert not await has_handled(target, "another event")
        again = await source.copy_to(target, again=True)
        assert (of_kinds(again), again.written, again.removed) == (stored, 0, 0)

    async def test_o5_a_copy_is_brought_up_to_date(
        self, sides: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        source, target = sides
        await store_everything(source)
        await source.copy_to(target)
        await source.update_session("waits", data("updated"))
        await source.touch_session("in a team", 60)
        await register(source, "displaced", A)  # displaces another one
        await keep(source, "kept", C, ttl=60, expired_ttl=60)
        await source.remove_session("of another tenant")
        await (await claim_all(source))[0].complete()
        await register(source, "new", C, of=ctx("u2"))
        await handle(source, "another event")
        copied = await source.copy_to(target, again=True)
        assert copied.removed == 2
        assert of_kinds(copied) == CopiedStore(waits=5, sessions=3, deliveries=2)
        await assert_equal(source, target)
        assert await has_handled(target, "another event")
        assert await target.get_session("of another tenant") is None

    async def test_o5_w2_waits_that_changed_their_places(
        self, sides: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        source, target = sides
        for key, at in (("k1", A), ("k2", B), ("k3", C)):
            await register(source, key, at)
        await source.copy_to(target)
        for key, at in (("k1", B), ("k2", C), ("k3", A)):
            await register(source, key, at)
        await source.copy_to(target, again=True)
        assert [await find(target, at) for at in (A, B, C)] == ["k3", "k1", "k2"]

    @pytest.mark.parametrize("kind", ["session", "expired wait", "delivery"])
    async def test_o5_the_other_store_must_be_empty(
        self, store: AsyncSessionStore, elsewhere: AsyncSessionStore, kind: str
    ) -> None:
        if kind == "session":
            await store.create_session(CTX, data())
        elif kind == "expired wait":
            await keep(store, "k", A, ttl=0.02)
            await anyio.sleep(0.05)
        else:
            await handle(store, "event")
            await clear(store, B)
        await register(elsewhere, "new", C)
        with pytest.raises(InvalidInputError, match=r"other: it is not empty; .*again=True"):
            await elsewhere.copy_to(store)
        assert await store.get_session("new") is None
        copied = await elsewhere.copy_to(store, again=True)
        assert (copied.written, copied.removed) == (1, 1)
        await assert_equal(elsewhere, store)

    async def test_o5_what_has_ended_does_not_count(
        self, backend: Backend, store: AsyncSessionStore, elsewhere: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=10)
        await keep(store, "kept", B, ttl=10, expired_ttl=10)
        await self.advance(backend, 21)
        await register(elsewhere, "new", A)
        assert (await elsewhere.copy_to(store)).written == 1
        assert await find(store, A) == "new"
        assert (await store.copy_to(elsewhere, again=True)).written == 0

    async def test_o5_deadlines_are_as_far_away_by_another_clock(
        self, backend: Backend, store: AsyncSessionStore, elsewhere: AsyncSessionStore
    ) -> None:
        await self.advance(backend, 100_000)
        await register(store, "k", A, ttl=600)
        await store.copy_to(elsewhere)
        record = await elsewhere.get_record("k")
        assert record is not None
        assert_near(record.expires_at, datetime.now(timezone.utc) + timedelta(seconds=600))
        await store.remove_session("k")
        await elsewhere.copy_to(store)
        await self.advance(backend, 590)
        assert await find(store, A) == "k"
        await self.advance(backend, 11)
        assert await find(store, A) is None

    async def test_o5_claims_are_not_copied(
        self, sides: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        source, target = sides
        await register(source, "k", A)
        await keep(source, "expired", B, ttl=0.02)
        await anyio.sleep(0.05)
        held = await claim(source, A)
        (held_expired,) = await claim_all(source)
        await source.copy_to(target)
        assert record_of(await claim(target, A)).key == "k"
        assert keys_of(await claim_all(target)) == ["expired"]
        assert await held.complete()
        assert await held_expired.complete()

    async def test_o5_q2_a_copied_wait_expires_for_a_worker(
        self, backend: Backend, store: AsyncSessionStore, elsewhere: AsyncSessionStore
    ) -> None:
        await keep(elsewhere, "k", A, ttl=10, expired_ttl=20)
        await elsewhere.copy_to(store)
        await self.advance(backend, 11)
        assert keys_of(await claim_all(store, lease=1)) == ["k"]
        await self.advance(backend, 20)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_o5_t5_nothing_is_left_of_what_is_removed_again(
        self, backend: Backend, store: AsyncSessionStore, elsewhere: AsyncSessionStore
    ) -> None:
        await store_everything(elsewhere)
        await elsewhere.copy_to(store)
        async with self.store_class.from_url("memory://") as other:
            await register(other, "k", B)
            assert (await other.copy_to(store, again=True)).removed == 10
        await store.remove_session("k")
        assert await self.leftovers(backend) == []

    async def test_o5_an_empty_store_is_not_the_source_of_an_earlier_copy(
        self, sides: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        empty, other = sides
        assert await empty.copy_to(other, again=True) == CopiedStore()
        await register(empty, "ended", B)
        await clear(empty, B)
        stored = await store_everything(other)
        with pytest.raises(InvalidInputError, match="this store holds nothing"):
            await empty.copy_to(other, again=True)
        assert of_kinds(await other.copy_to(empty)) == stored

    async def test_o5_many_sessions_of_any_size(
        self, sides: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        source, target = sides
        large = "x" * 3_000_000
        for number in range(300):
            await register(source, f"k{number}", A, of=ctx(f"u{number}"))
        for number in range(3):
            await register(source, f"large{number}", A, large, of=ctx(f"l{number}"))
        copied = await source.copy_to(target)
        assert (copied.waits, copied.written) == (303, 303)
        assert await target.count_waits(None) == 303
        assert (await source.copy_to(target, again=True)).written == 0

    async def test_o5_r5_other_must_be_an_open_store(self, store: AsyncSessionStore) -> None:
        with pytest.raises(InvalidInputError, match=r"other: give an? "):
            await store.copy_to(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        unopened = self.store_class.from_url("memory://")
        with pytest.raises(StoreUsageError, match="not open"):
            await store.copy_to(unopened)


class CopyingUnreadable(SharedHooks):
    """O5, R2: documents that cannot be read are left out, and named."""

    async def test_o5_r2_a_session_that_cannot_be_read_is_left_out(
        self, backend: Backend, store: AsyncSessionStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        await register(store, "k", A)
        await register(store, "damaged", B)
        async with self.store_class.from_url("memory://") as elsewhere:
            await store.copy_to(elsewhere)
            await self.overwrite(backend, "damaged", b"secret")
            caplog.set_level(logging.WARNING)
            copied = await store.copy_to(elsewhere, again=True)
            assert (copied.waits, copied.removed, copied.left_out) == (1, 1, ("damaged",))
            assert await elsewhere.get_session("damaged") is None
        assert "session 'damaged' is not copied" in caplog.text
        assert "secret" not in caplog.text

    async def test_o5_what_cannot_be_read_in_the_copy_is_replaced(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with self.store_class.from_url("memory://") as elsewhere:
            await register(elsewhere, "k", A)
            await register(elsewhere, "gone", B)
            await elsewhere.copy_to(store)
            await elsewhere.remove_session("gone")
            for key in ("k", "gone"):
                await self.overwrite(backend, key, b"")
            copied = await elsewhere.copy_to(store, again=True)
            assert (copied.written, copied.removed) == (1, 1)
            assert await store.get_session("k") == data()

    async def test_o5_s6_a_session_that_is_too_large_for_the_copy_is_left_out(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "x" * 2000)
        async with self.store_class.from_url("memory://", max_document_bytes=1000) as elsewhere:
            assert (await store.copy_to(elsewhere)).left_out == ("k",)
