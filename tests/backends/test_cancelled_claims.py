"""Claims whose caller is cancelled, at each point where it can be, on storage that is shared."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    SessionData,
    WaitClaim,
    WaitClaimedError,
    _claiming_expired,
    _renewing,
)
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    context_of,
    data,
    find,
    register,
)
from loops import eventually, turn_loop

pytestmark = pytest.mark.anyio

Call = Callable[[AsyncSessionStore], Coroutine[Any, Any, object]]
Moment = Callable[["asyncio.Future[object] | None", Callable[[], object]], object]

LONG = 300.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'sessions.db'}"
    url: str = request.getfixturevalue("redis_server").url
    return url


@pytest.fixture
async def stores(
    url: str, namespace: str, redis_client: redis.Redis
) -> AsyncIterator[tuple[AsyncSessionStore, AsyncSessionStore]]:
    """Yield two stores on one storage. Delete what they stored at the end."""
    own_namespace = namespace if url.startswith("redis") else None
    threads = set(threading.enumerate())
    connections = len(redis_client.client_list())
    async with (
        AsyncSessionStore.from_url(url, namespace=own_namespace) as store,
        AsyncSessionStore.from_url(url, namespace=own_namespace) as other,
    ):
        open_connections = len(redis_client.client_list())
        yield store, other
        # A store that had to wait for a turn has one more, on which it is woken.
        assert len(redis_client.client_list()) <= open_connections + 1
    await eventually(lambda: set(threading.enumerate()) <= threads)
    await eventually(lambda: len(redis_client.client_list()) == connections)
    assert not [task for task in asyncio.all_tasks() if "BatchWorker" in repr(task)]


# --- Cancelling at a given point --------------------------------------------------------------


class Interrupted:
    """A call that ``cancel`` hits at a given moment of its ``at``-th wait."""

    def __init__(
        self, call: Awaitable[object], at: int, moment: Moment, cancel: Callable[[], object]
    ) -> None:
        self._call = call
        self._at = at
        self._moment = moment
        self._cancel = cancel
        self.happened = False

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._call.__await__()
        proceed: Callable[[], Any] = partial(next, steps)
        for index in itertools.count():
            try:
                awaited = proceed()
            except StopIteration as end:
                return end.value
            if index == self._at:
                self.happened = True
                self._moment(awaited, self._cancel)
            try:
                proceed = partial(steps.send, (yield awaited))
            except BaseException as error:  # noqa: BLE001  # it is for the call, whatever it is
                proceed = partial(steps.throw, error)
        raise AssertionError


def after_turns(
    turns: int, _awaited: asyncio.Future[object] | None, cancel: Callable[[], object]
) -> None:
    if turns == 0:
        cancel()
    else:
        asyncio.get_running_loop().call_soon(after_turns, turns - 1, None, cancel)


def as_the_answer_comes(
    awaited: asyncio.Future[object] | None, cancel: Callable[[], object]
) -> None:
    """Cancel when the result has come, but the call has not resumed yet."""
    if awaited is None:
        cancel()
    else:
        awaited.add_done_callback(lambda _: cancel())


MOMENTS: dict[str, Moment] = {
    "at once": partial(after_turns, 0),
    "after 1 turn": partial(after_turns, 1),
    "after 2 turns": partial(after_turns, 2),
    "after 4 turns": partial(after_turns, 4),
    "as the answer comes": as_the_answer_comes,
}


async def by_its_task(call: Awaitable[object], at: int, moment: Moment) -> bool:
    """Cancel the task, as asyncio's own timeouts do."""

    async def run() -> bool:
        task = asyncio.current_task()
        assert task is not None
        interrupted = Interrupted(call, at, moment, task.cancel)
        try:
            await interrupted
        except asyncio.CancelledError:
            assert interrupted.happened
        return interrupted.happened

    return await asyncio.ensure_future(run())


async def by_a_scope(call: Awaitable[object], at: int, moment: Moment) -> bool:
    """Cancel a scope of anyio."""
    with anyio.CancelScope() as scope:
        interrupted = Interrupted(call, at, moment, scope.cancel)
        await interrupted
    return interrupted.happened


each_moment = pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
each_way = pytest.mark.parametrize("cancelled", [by_its_task, by_a_scope])
Way = Callable[[Awaitable[object], int, Moment], Awaitable[bool]]


# --- What is left -----------------------------------------------------------------------------


async def assert_not_stuck(other: AsyncSessionStore) -> None:
    """Check that the wait was completed, or that another worker gets it at once."""
    claim = await other.claim_wait(CTX, "u1", A)
    if claim is None:
        assert await find(other, A) is None
        assert await other.get_session("k") is None
    else:
        assert await claim.complete()


class BlockError(Exception):
    """Raised in a block."""


async def complete(store: AsyncSessionStore) -> None:
    claim = await store.claim_wait(CTX, "u1", A, lease=LONG)
    assert claim is not None
    try:
        await claim.complete()
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True), suppress(ClaimLostError):
            await claim.release()
        raise


async def resume(store: AsyncSessionStore) -> None:
    async with store.resume_wait(CTX, "u1", A, lease=LONG) as record:
        assert record is not None
        await store.get_session(record.key)


async def resume_and_renew(store: AsyncSessionStore) -> None:
    async with store.resume_wait(CTX, "u1", A, lease=LONG) as record:
        assert record is not None
        await asyncio.sleep(0.03)


async def resume_with_an_error(store: AsyncSessionStore) -> None:
    with suppress(BlockError):
        async with store.resume_wait(CTX, "u1", A, lease=LONG) as record:
            assert record is not None
            raise BlockError


async def resume_and_ask_again(store: AsyncSessionStore) -> None:
    async with store.resume_wait(CTX, "u1", A, lease=LONG) as record:
        assert record is not None
        await register(store, "k", A, "next")


CALLS: dict[str, Call] = {
    "complete": complete,
    "resume": resume,
    "resume and renew": resume_and_renew,
    "resume with an error": resume_with_an_error,
    "resume and ask again": resume_and_ask_again,
}


@each_way
@each_moment
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_r3_a_wait_is_not_stuck(
    stores: tuple[AsyncSessionStore, AsyncSessionStore],
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    moment: Moment,
    cancelled: Way,
) -> None:
    monkeypatch.setattr(_renewing, "_RENEWALS", LONG / 0.01)
    store, other = stores
    tasks = asyncio.all_tasks()
    points = itertools.count()
    happened = True
    while happened:
        await register(other, "k", A, "old")
        happened = await cancelled(call(store), next(points), moment)
        assert asyncio.all_tasks() == tasks
        await assert_not_stuck(other)
    assert next(points) > 2


@each_way
@each_moment
async def test_r3_a_cancelled_call_leaves_no_claim(
    stores: tuple[AsyncSessionStore, AsyncSessionStore], moment: Moment, cancelled: Way
) -> None:
    store, other = stores
    claims: list[WaitClaim] = []

    async def claim() -> None:
        claim = await store.claim_wait(CTX, "u1", A, lease=LONG)
        assert claim is not None
        claims.append(claim)

    await register(other, "k", A)
    points = itertools.count()
    happened = True
    while happened:
        happened = await cancelled(claim(), next(points), moment)
        if claims:
            await claims.pop().release()
        again = await other.claim_wait(CTX, "u1", A)
        assert again is not None
        await again.release()


@each_way
@each_moment
async def test_r3_a_call_cancelled_in_the_queue_leaves_no_claim(
    stores: tuple[AsyncSessionStore, AsyncSessionStore], moment: Moment, cancelled: Way
) -> None:
    store, other = stores
    await register(other, "k", A)
    held = await other.claim_wait(CTX, "u1", A, lease=LONG)
    assert held is not None
    with pytest.raises(WaitClaimedError):  # from now on, a task may listen for the store's turns
        await store.claim_wait(CTX, "u1", A, wait=0.05)
    await held.release()
    tasks = asyncio.all_tasks()
    for point in range(8):
        held = await other.claim_wait(CTX, "u1", A, lease=LONG)
        assert held is not None
        turn = store.claim_wait(CTX, "u1", A, lease=LONG, wait=LONG)
        assert await cancelled(turn, point, moment)
        # SQLite's poll of the queues may be under way, and ends by itself.
        await eventually(lambda: asyncio.all_tasks() == tasks)
        with pytest.raises(WaitClaimedError):
            await other.claim_wait(CTX, "u1", A)
        await held.release()
    await assert_not_stuck(other)


@each_way
@each_moment
async def test_r3_q2_a_cancelled_call_leaves_no_claim_on_an_expired_wait(
    stores: tuple[AsyncSessionStore, AsyncSessionStore], moment: Moment, cancelled: Way
) -> None:
    store, other = stores
    claims: list[WaitClaim] = []

    async def claim() -> None:
        claims.extend(await store.claim_expired(limit=5, lease=LONG))

    await keep_two(other)
    points = itertools.count()
    happened = True
    while happened:
        happened = await cancelled(claim(), next(points), moment)
        while claims:
            await claims.pop().release()
        again = await other.claim_expired(limit=5)
        assert len(again) == 2
        for one in again:
            await one.release()


async def keep_two(store: AsyncSessionStore) -> None:
    """Register two waits that nobody answers in time."""
    for key, at in (("k", A), ("k2", B)):
        await store.register_wait(CTX, "u1", at, key, data(), 0.001, expired_ttl=LONG)
    await asyncio.sleep(0.005)


async def let_go(store: AsyncSessionStore) -> None:
    async for claim in store.expired_waits(lease=LONG, poll=0.01):
        async with store.expired_turn(claim, memory=dict[str, str]):
            await store.ping()
        break


async def ask_again(store: AsyncSessionStore) -> None:
    async for claim in store.expired_waits(lease=LONG, poll=0.01):
        async with store.expired_turn(claim, memory=dict[str, str]) as turn:
            turn.ask("again", ttl=LONG)
        break


async def too_soon(store: AsyncSessionStore) -> None:
    waits = store.expired_waits(lease=LONG, poll=0.02)
    for _ in range(3):
        async with store.expired_turn(await anext(waits), memory=dict[str, str]) as turn:
            turn.keep()


EXPIRED: dict[str, Call] = {
    "let go": let_go,
    "ask again": ask_again,
    "too soon": too_soon,
}


@each_way
@each_moment
@pytest.mark.parametrize("call", EXPIRED.values(), ids=EXPIRED)
async def test_r3_q2_expired_waits_are_not_stuck(
    stores: tuple[AsyncSessionStore, AsyncSessionStore],
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    moment: Moment,
    cancelled: Way,
) -> None:
    monkeypatch.setattr(
        _claiming_expired, "_FRESH_SHARE", 2
    )  # so that each turn begins by renewing its claim
    store, other = stores
    tasks = asyncio.all_tasks()
    points = itertools.count()
    happened = True
    while happened:
        await keep_two(other)
        happened = await cancelled(call(store), next(points), moment)
        await turn_loop(1)  # as after an edit
        assert asyncio.all_tasks() == tasks
        claims = await other.claim_expired(limit=5)
        live = await other.list_waits_for_user(CTX, "u1")
        keys = [claim.record.key for claim in claims if claim.record is not None]
        assert len(keys) + len(live) == len({*keys, *live}) >= (1 if call is let_go else 2)
        for claim in claims:
            assert await claim.complete() is True
        await other.clear_waits_for_user(CTX, "u1")
    assert next(points) > 2


@each_way
@each_moment
async def test_r3_an_edit_happens_wholly_or_not_at_all(
    stores: tuple[AsyncSessionStore, AsyncSessionStore], moment: Moment, cancelled: Way
) -> None:
    store, other = stores
    tasks = asyncio.all_tasks()

    def edited(current: SessionData) -> SessionData:
        return data(f"{current.context_json} edited")

    points = itertools.count()
    happened = True
    while happened:
        await register(other, "k", A, "old")
        happened = await cancelled(store.edit_session("k", edited), next(points), moment)
        # What the cancelled caller left is settled for its own store first, and ends before.
        state = await context_of(store, "k")
        await turn_loop(1)  # the worker lets others have a turn after a call that came alone
        assert asyncio.all_tasks() == tasks
        assert state in ("old", "old edited")
        assert await context_of(other, "k") == state
        await store.edit_session("k", edited)
        assert await context_of(other, "k") == f"{state} edited"
        await assert_not_stuck(other)
    assert next(points) > 1, "none was cut off"  # on SQLite only the write waits
