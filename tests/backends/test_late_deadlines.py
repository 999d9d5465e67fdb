"""Deadlines and leases that ``datetime`` cannot hold, as a peer may have left them."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime, timedelta, timezone

import pytest
from backend_hooks import RedisHooks, SqliteHooks
from typing_extensions import override

from async_session_store import AsyncSessionStore, WaitClaimedError
from async_session_store.abc import Backend
from async_session_store.backends import _time
from async_session_store.testing.contract.builders import CTX, A, B, clear, data, listed, register
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.hooks import SharedHooks

LATEST = datetime(9999, 12, 31, tzinfo=timezone.utc)
YEAR_10000 = 253_402_300_800_000  # milliseconds since the epoch
LATE = (YEAR_10000, 2**62 - 1)
late = pytest.mark.parametrize("milliseconds", LATE)


def test_t6_the_last_day_stands_for_all_later_days() -> None:
    assert _time.utc_from_ms(0) == datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert _time.utc_from_ms(YEAR_10000 - 86_400_001) == LATEST - timedelta(milliseconds=1)
    assert LATEST.astimezone(timezone(timedelta(hours=14))).tzinfo is not None  # no OverflowError
    assert [_time.utc_from_ms(one) for one in (*LATE, 2**63 - 1)] == [LATEST] * 3


class LateDeadlines(SharedHooks):
    @abstractmethod
    def set_deadline(self, key: str, milliseconds: int) -> None:
        """Set the deadline of a session behind the API, in milliseconds since the epoch."""

    @abstractmethod
    def set_lease(self, milliseconds: int) -> None:
        """Set the end of the lease of the only claim, behind the API."""

    @late
    async def test_t6_r2_a_session_with_a_late_deadline_spoils_nothing(
        self, store: AsyncSessionStore, milliseconds: int
    ) -> None:
        await register(store, "late", A, "late")
        await register(store, "sound", B, "sound", ttl=60)
        self.set_deadline("late", milliseconds)
        records = await store.list_wait_records(CTX, "u1")
        assert [record.key for record in records] == ["late", "sound"]
        assert records[0].expires_at == LATEST
        assert records[0].data == data("late")
        assert await listed(store) == ["late", "sound"]
        found = await store.get_record("late")
        assert found is not None
        assert found.expires_at == LATEST
        assert await store.get_wait(CTX, "u1", [A, B]) == found
        (report,) = (await store.explain(CTX, "u1", A)).reports
        assert report.expires_at == LATEST

        claimed = await claim(store, A)
        assert claimed.record == found
        assert await claimed.complete()
        await store.purge_expired()
        assert await listed(store) == ["sound"]

    @late
    async def test_t6_a_claim_with_a_late_deadline_is_held(
        self, backend: Backend, store: AsyncSessionStore, milliseconds: int
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        self.set_lease(milliseconds)
        (report,) = (await store.explain(CTX, "u1", A)).reports
        assert report.claimed_until == LATEST
        async with self.refused(backend, WaitClaimedError, "another worker"):
            await claim(store, A)
        await claimed.renew()
        assert claimed.lease_ends_at < LATEST
        assert await claimed.complete()

    @late
    async def test_t3_a_late_deadline_can_be_moved(
        self, store: AsyncSessionStore, milliseconds: int
    ) -> None:
        await register(store, "late", A)
        self.set_deadline("late", milliseconds)
        await store.update_session("late", data("new"))
        await store.touch_session("late", 60)
        record = await store.get_wait(CTX, "u1", A)
        assert record is not None
        assert record.expires_at is not None
        assert record.expires_at < LATEST
        assert await clear(store, A)


class TestSqlite(SqliteHooks, LateDeadlines):
    @override
    def set_deadline(self, key: str, milliseconds: int) -> None:
        with self.behind() as database:
            database.execute("UPDATE sessions SET deadline = ? WHERE key = ?", (milliseconds, key))

    @override
    def set_lease(self, milliseconds: int) -> None:
        with self.behind() as database:
            database.execute("UPDATE claims SET deadline = ?", (milliseconds,))


class TestRedis(RedisHooks, LateDeadlines):
    @override
    def set_deadline(self, key: str, milliseconds: int) -> None:
        self.behind.pexpireat(f"{self.namespace}:session:{key}", milliseconds)

    @override
    def set_lease(self, milliseconds: int) -> None:
        (claim,) = self.behind.scan_iter(f"{self.namespace}:claim:*")
        self.behind.pexpireat(claim, milliseconds)
