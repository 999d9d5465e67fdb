"""How a SQLite backend wakes those who wait for their turn, and what it costs the file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
from sqlite_process import sqlite_process
from typing_extensions import override

from async_session_store import AsyncSessionStore, NewWait, StoreUsageError
from async_session_store.abc import PLACE_TTL, Claimed, ClaimKey, Outcome, Queued
from async_session_store.backends.sqlite import SqliteBackend, _turns
from async_session_store.backends.sqlite._database import Operation
from async_session_store.testing.contract.builders import CTX, A, B, data, register
from async_session_store.testing.contract.claim_builders import claim
from clock import Clock
from loops import eventually

pytestmark = pytest.mark.anyio

OWNER = data().owner
SOON = 1.0  # seconds; far less than a test waits


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Counting(SqliteBackend):
    """A backend that counts its accesses to the file."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        super().__init__(path, clock=clock)
        self.reads = self.writes = 0

    @override
    def _submit(self, operation: Operation, size: int = 0) -> Awaitable[object]:
        self.writes += operation.writes
        self.reads += not operation.writes
        return super()._submit(operation, size)


@asynccontextmanager
async def opened(path: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[Counting]:
    backend = Counting(path, clock)
    await backend.open(max_document_bytes=2**20)
    try:
        yield backend
    finally:
        await backend.aclose()


async def ask(
    backend: SqliteBackend, token: str, *, at: str = A.scope_hash(), lease: int = 60_000
) -> Claimed | Queued:
    found = await backend.claim_wait(
        [OWNER], [at], token=token, lease=lease, deliveries=[], begin_at=at, queue=True
    )
    assert isinstance(found, (Claimed, Queued))
    return found


async def take(backend: SqliteBackend, token: str, *, lease: int = 60_000) -> ClaimKey:
    found = await ask(backend, token, lease=lease)
    assert isinstance(found, Claimed)
    return found.claim


async def queue(backend: SqliteBackend, token: str) -> ClaimKey:
    found = await ask(backend, token)
    assert isinstance(found, Queued)
    return found.place


async def ends(waiting: Awaitable[None]) -> bool:
    began_at = time.monotonic()
    await asyncio.wait_for(waiting, 20)
    return time.monotonic() - began_at < SOON


@contextmanager
def data_version(path: Path) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the number of the last commit to the file."""
    with closing(sqlite3.connect(path)) as database:
        yield lambda: int(database.execute("PRAGMA data_version").fetchone()[0])


async def test_n4_waiting_for_another_process_writes_nothing(path: Path) -> None:
    async with opened(path) as holder, opened(path) as other:
        held = await take(holder, "holder")
        place = await queue(other, "other")
        writes = other.writes
        with data_version(path) as version:
            before = version()
            waiting = asyncio.ensure_future(other.wait_for_turn(place, 10))
            await asyncio.sleep(0.3)
            assert version() == before
        assert not waiting.done()
        assert (other.writes, 4 <= other.reads <= 13) == (writes, True)
        assert await holder.release_claim(held) is Outcome.DONE
        assert await ends(waiting)
        await take(other, "other")


async def test_n4_all_waiting_callers_share_each_poll(path: Path) -> None:
    async with opened(path) as holder, opened(path) as other:
        held = await take(holder, "holder")
        places = [await queue(other, f"other-{number}") for number in range(50)]
        waiting = [asyncio.ensure_future(other.wait_for_turn(place, 0.3)) for place in places]
        await asyncio.wait(waiting)
        assert other.reads <= 13
        assert await holder.release_claim(held) is Outcome.DONE


async def test_n4_the_end_of_a_claim_wakes_the_next_of_the_same_process_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "_PAUSE", 60.0)
    async with opened(path) as backend:
        held = await take(backend, "first")
        places = [await queue(backend, token) for token in ("second", "third")]
        second, third = (
            asyncio.ensure_future(backend.wait_for_turn(place, 10)) for place in places
        )
        await asyncio.sleep(0)
        assert await backend.complete_claim(held, deliveries=(), then=None) is Outcome.DONE
        assert await ends(second)
        assert not third.done()
        held = await take(backend, "second")
        assert await backend.release_claim(held) is Outcome.DONE
        assert await ends(third)


async def test_n4_a_place_that_is_given_up_wakes_the_next_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "_PAUSE", 60.0)
    async with opened(path) as backend:
        held = await take(backend, "first")
        second, third = [await queue(backend, token) for token in ("second", "third")]
        assert await backend.release_claim(held) is Outcome.DONE
        waiting = asyncio.ensure_future(backend.wait_for_turn(third, 10))
        await asyncio.sleep(0)
        assert await backend.release_claim(second) is Outcome.DONE
        assert await ends(waiting)


async def test_n4_a_caller_that_finds_nothing_wakes_the_next_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "_PAUSE", 60.0)
    async with opened(path) as backend:
        held = await take(backend, "first")
        await queue(backend, "second")
        third = await queue(backend, "third")
        assert await backend.release_claim(held) is Outcome.DONE
        waiting = asyncio.ensure_future(backend.wait_for_turn(third, 10))
        await asyncio.sleep(0)
        found = await backend.claim_wait(
            *([OWNER], [A.scope_hash()]),
            token="second",
            lease=60_000,
            deliveries=[],
            begin_at=None,
            queue=True,
        )
        assert found is Outcome.MISSING
        assert await ends(waiting)


async def test_n4_the_end_of_a_lease_wakes_the_next(path: Path) -> None:
    async with opened(path) as backend:
        await take(backend, "dead", lease=400)
        place = await queue(backend, "next")
        writes = backend.writes
        assert await ends(asyncio.ensure_future(backend.wait_for_turn(place, 10)))
        assert backend.writes == writes
        await take(backend, "next")


async def test_n4_a_killed_process_holds_nobody_up_longer_than_its_place_lasts(
    path: Path,
) -> None:
    async with AsyncSessionStore(SqliteBackend(path)) as store:
        await register(store, "k", A)
        held = await claim(store, A)
        with sqlite_process(path) as first:
            first.do("open")
            first.do("queue a")
            waiting = asyncio.ensure_future(store.claim_wait(CTX, "u1", A, wait=20))
            await asyncio.sleep(0.1)
            first.kill()
        await held.release()
        began_at = time.monotonic()
        assert await waiting is not None
        assert time.monotonic() - began_at < PLACE_TTL / 1000 + 0.5


async def test_n4_a_late_caller_keeps_its_place_if_nobody_took_its_turn(
    path: Path,
) -> None:
    clock = Clock(time.time)
    async with opened(path, clock) as backend:
        held = await take(backend, "first")
        for token in ("second", "third"):
            await queue(backend, token)
        clock.advance(1.5)
        await queue(backend, "second")
        await queue(backend, "third")
        assert await backend.release_claim(held) is Outcome.DONE
        await queue(backend, "third")
        await take(backend, "second")


async def test_n4_places_that_nobody_could_renew_keep_their_order(path: Path) -> None:
    clock = Clock(time.time)
    async with opened(path, clock) as backend:
        held = await take(backend, "first")
        for token in ("second", "third", "fourth"):
            await queue(backend, token)
        clock.advance(1.5)  # as if the file had been locked
        for token in ("fourth", "third", "second"):
            await queue(backend, token)
        for token in ("second", "third", "fourth"):
            assert await backend.release_claim(held) is Outcome.DONE
            assert await backend._next_in_line() == {token}
            held = await take(backend, token)


async def test_n4_a_dead_caller_holds_nobody_up_even_if_the_clock_was_set_back(path: Path) -> None:
    clock = Clock(time.time)
    async with opened(path, clock) as backend:
        held = await take(backend, "first")
        await queue(backend, "dead")
        clock.advance(-3600)
        place = await queue(backend, "next")
        assert await backend.release_claim(held) is Outcome.DONE
        assert await ends(asyncio.ensure_future(backend.wait_for_turn(place, 10)))
        await take(backend, "next")


async def test_n4_lost_places_slow_nobody_down(path: Path) -> None:
    clock = Clock(lambda: 2e9)
    async with opened(path, clock) as backend:
        held = await take(backend, "first")
        for name in ("dead", "live"):
            await asyncio.gather(*(queue(backend, f"{name}-{number}") for number in range(2000)))
            clock.advance(0.6)
        assert await backend.release_claim(held) is Outcome.DONE
        began_at = time.process_time()
        assert await backend._next_in_line() == {"live-0"}
        assert time.process_time() - began_at < 0.1


async def test_n4_lost_places_leave_the_file(path: Path) -> None:
    clock = Clock(time.time)
    async with opened(path, clock) as backend:
        await take(backend, "first")
        for number in range(9):
            await queue(backend, f"dead-{number}")
        clock.advance(3)
        await ask(backend, "elsewhere", at=B.scope_hash())
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT * FROM queue").fetchall() == []


async def test_r5_closing_wakes_all_waiting_callers(path: Path) -> None:
    async with opened(path) as backend:
        await take(backend, "first")
        place = await queue(backend, "next")
        waiting = asyncio.ensure_future(backend.wait_for_turn(place, 10))
        await asyncio.sleep(0.1)
    assert await ends(waiting)
    with pytest.raises(StoreUsageError, match="closed"):
        await queue(backend, "next")


async def test_r5_a_caller_that_stops_waiting_leaves_nothing_behind(path: Path) -> None:
    async with opened(path) as backend:
        await take(backend, "first")
        place = await queue(backend, "next")
        tasks = asyncio.all_tasks()
        waiting = asyncio.ensure_future(backend.wait_for_turn(place, 10))
        await asyncio.sleep(0.1)
        # A poll may be under way, and ends by itself.
        await eventually(lambda: asyncio.all_tasks() == {*tasks, waiting})
        waiting.cancel()
        await asyncio.wait([waiting])
        reads = backend.reads
        await asyncio.sleep(0.1)
        assert backend.reads == reads


async def test_r5_a_backend_that_was_never_opened_grants_no_turn(path: Path) -> None:
    with pytest.raises(StoreUsageError, match="not open"):
        await SqliteBackend(path).wait_for_turn(ClaimKey(OWNER, A.scope_hash(), "token"), 1)


async def test_n2_a_wait_that_expired_and_was_reclaimed_is_not_superseded(path: Path) -> None:
    clock = Clock(time.time)
    async with AsyncSessionStore(SqliteBackend(path, clock=clock)) as store:
        await register(store, "k", A, ttl=10)
        held = await claim(store, A)
        clock.advance(10)
        assert await store.purge_expired() == 1
        assert await held.complete(NewWait(A, data("next"))) is True
        assert await register(store, "other", A) == "k"
