"""Section 8, Q1, Q2: waits that nobody answers, and the workers that claim them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import pytest

from async_session_store import (
    KEEP,
    NEVER,
    AsyncSessionStore,
    ClaimLostError,
    InvalidInputError,
    NewWait,
    ReplyScope,
    SessionKey,
    TenantCtx,
    TimeToLive,
    WaitClaim,
    WaitClaimedError,
    WaitStatus,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    clear,
    context_of,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claims import claim, record_of, try_claim
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.taking_turns import Message, Order

Kept = timedelta | float


async def keep(
    store: AsyncSessionStore,
    key: str,
    at: ReplyScope,
    context: str = "{}",
    *,
    of: TenantCtx = CTX,
    ttl: TimeToLive | None = 60,
    expired_ttl: Kept | None = 600,
) -> SessionKey | None:
    """Register a wait that is kept for a worker after its deadline."""
    return await store.register_wait(
        of, of.owner.user or "", at, key, data(context, of=of), ttl, expired_ttl=expired_ttl
    )


async def claim_all(
    store: AsyncSessionStore, by: TenantCtx | None = None, *, lease: float = 30
) -> list[WaitClaim]:
    return await store.claim_expired(by, limit=100, lease=lease)


async def claim_one(store: AsyncSessionStore, *, lease: float = 30) -> WaitClaim:
    """Claim the expired wait that is longest overdue."""
    claims = await store.claim_expired(lease=lease)
    assert len(claims) == 1
    return claims[0]


def keys_of(claims: list[WaitClaim]) -> list[str]:
    return [str(record_of(one).key) for one in claims]


async def expired(store: AsyncSessionStore, by: TenantCtx | None = None) -> list[str]:
    """Name the expired waits that a worker would get. It gives them back."""
    claims = await claim_all(store, by)
    for one in claims:
        await one.release()
    return keys_of(claims)


async def register_with(store: AsyncSessionStore) -> None:
    await keep(store, "k", A)


async def register_if_absent_with(store: AsyncSessionStore) -> None:
    assert await store.register_wait_if_absent(CTX, "u1", A, "k", data(), 60, expired_ttl=600)


async def ask_next_with(store: AsyncSessionStore) -> None:
    await register(store, "k", A)
    held = await claim(store, A)
    assert await held.complete(NewWait(A, data(), 60, expired_ttl=600))


async def begin_with(store: AsyncSessionStore) -> None:
    held = await store.claim_wait(CTX, "u1", A, begin_at=A)
    assert held is not None
    assert await held.complete(NewWait(A, data(), 60, "k", expired_ttl=timedelta(minutes=10)))


async def take_turn_with(store: AsyncSessionStore) -> None:
    await register(store, "k", A)
    async with store.turn(CTX, Message(), flow="order", memory=Order) as turn:
        turn.ask("next", ttl=60, expired_ttl=600)


WAYS: list[Callable[[AsyncSessionStore], Awaitable[None]]] = [
    register_with,
    register_if_absent_with,
    ask_next_with,
    begin_with,
    take_turn_with,
]

REFUSED: list[Any] = [-1, -0.001, math.nan, math.inf, "1", True, NEVER, timedelta(days=36_526)]


class ExpiredWaits(Hooks):
    """Q1, Q2: ``expired_ttl``, and ``claim_expired``."""

    # --- Q1: kept for a worker ----------------------------------------------------------------

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
    async def test_q1_at_its_deadline_only_a_worker_finds_it(
        self, backend: Backend, store: AsyncSessionStore, way: Callable[..., Awaitable[None]]
    ) -> None:
        await way(store)
        assert await find(store, A) == "k"
        await self.advance(backend, 61)
        assert await find(store, A) is None
        assert await store.get_wait(CTX, "u1", [A]) is None
        assert await store.get_session("k") is None
        assert await store.get_record("k") is None
        assert await listed(store) == []
        assert await store.list_wait_records(CTX, "u1") == []
        assert await try_claim(store, A) is None
        assert (await store.explain(CTX, "u1", A)).reports[0].status is WaitStatus.NOTHING
        assert await expired(store) == ["k"]

    async def test_q1_q3_before_its_deadline_no_worker_finds_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await claim_all(store) == []
        await self.advance(backend, 58)
        assert await claim_all(store) == []
        assert await find(store, A) == "k"

    async def test_q1_the_claim_has_the_session_as_it_was(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        scope = ReplyScope(conversation="c", thread="t", reply_to="r", correlation="x")
        await keep(store, "k", scope, "state")
        record = await store.get_record("k")
        assert record is not None
        assert record.expires_at is not None
        await self.advance(backend, 61)
        held = await claim_one(store)
        found = record_of(held)
        assert (found.key, found.data, found.scope) == ("k", data("state"), scope)
        assert found.expires_at is not None
        off = found.expires_at - (record.expires_at)
        assert abs(off) < timedelta(seconds=62)  # a storage's deadlines may have been shortened
        assert held.is_expired
        assert not held.is_overtaken
        assert not held.is_new
        assert held.lease_ends_at > datetime.now(timezone.utc)

    async def test_q1_however_short_its_time_to_live_it_is_kept(
        self, store: AsyncSessionStore
    ) -> None:
        keys = [f"k{number}" for number in range(90)]
        for number, key in enumerate(keys):
            at = ReplyScope(conversation=str(number))
            if number % 3:
                await keep(store, key, at, ttl=60 if number % 3 == 1 else 0.001)
            if number % 3 == 1:
                await store.touch_session(key, 0.001)
            elif number % 3 == 0:
                held = await store.claim_wait(CTX, "u1", at, begin_at=at)
                assert held is not None
                assert await held.complete(NewWait(at, data(), 0.001, key, expired_ttl=600))
        await anyio.sleep(0.01)
        assert sorted(keys_of(await claim_all(store))) == sorted(keys)

    async def test_q1_what_was_updated_since_is_handed_out(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, "old")
        await store.update_session("k", data("new"))
        await store.edit_session("k", lambda old: data(old.context_json + "er"))
        await self.advance(backend, 61)
        assert record_of(await claim_one(store)).data == data("newer")

    async def test_q1_t2_it_is_off_unless_it_is_asked_for(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await keep(store, "k2", B, expired_ttl=0)
        await keep(store, "k3", C, expired_ttl=timedelta(0))
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_q1_a_store_has_a_default(self, backend: Backend) -> None:
        async with self.store_class(backend, default_expired_ttl=600) as store:
            await register(store, "k", A, ttl=60)
            await keep(store, "k2", B, expired_ttl=0)
            await keep(store, "k3", C, expired_ttl=1200)
            await self.advance(backend, 61)
            assert sorted(await expired(store)) == ["k", "k3"]
            await self.advance(backend, 600)
            assert await expired(store) == ["k3"]

    async def test_q1_a_wait_without_a_deadline_never_expires(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=None)
        await keep(store, "k2", B, ttl=NEVER)
        await self.advance(backend, 1_000_000)
        assert await claim_all(store) == []
        assert await listed(store) == ["k", "k2"]

    async def test_q1_w3_a_detached_session_is_no_expired_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await register(store, "k2", A) == "k"
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        assert await find(store, A) == "k2"

    async def test_q1_t5_a_detached_session_is_reclaimed_at_its_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await register(store, "k2", A, ttl=30) == "k"
        await self.advance(backend, 61)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_q1_w2_a_moved_wait_expires_where_it_is(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await keep(store, "k", B, ttl=100)
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await self.advance(backend, 40)
        assert record_of(await claim_one(store)).scope == B
        assert await claim_all(store) == []

    async def test_q1_registered_anew_without_it_is_no_longer_kept(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("expired_ttl", REFUSED, ids=repr)
    async def test_q1_t1_a_time_that_is_none_is_refused(
        self, backend: Backend, store: AsyncSessionStore, expired_ttl: Any
    ) -> None:
        await register(store, "k9", C)
        held = await claim(store, C)
        async with self.refused(backend, InvalidInputError, "expired_ttl"):
            await keep(store, "k", A, expired_ttl=expired_ttl)
        async with self.refused(backend, InvalidInputError, "expired_ttl"):
            await store.register_wait_if_absent(
                CTX, "u1", A, "k", data(), 60, expired_ttl=expired_ttl
            )
        async with self.refused(backend, InvalidInputError, "expired_ttl"):
            await held.complete(NewWait(A, data(), expired_ttl=expired_ttl))
        await held.release()
        async with store.turn(CTX, Message(scope=C), flow="order", memory=Order) as turn:
            with pytest.raises(InvalidInputError, match="expired_ttl"):
                turn.ask("next", expired_ttl=expired_ttl)
        with pytest.raises(InvalidInputError, match="default_expired_ttl"):
            self.store_class(backend, default_expired_ttl=expired_ttl)

    async def test_q1_q2_t5_after_its_time_it_is_gone_and_purged(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=60, expired_ttl=100)
        await self.advance(backend, 158)
        assert await expired(store) == ["k"]
        await self.advance(backend, 3)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_q2_t5_nothing_reclaims_it_before(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        for number in range(40):
            await register(store, f"gone {number}", ReplyScope(conversation=str(number)), ttl=10)
        await self.advance(backend, 61)
        await store.purge_expired()
        for number in range(40):
            scope = ReplyScope(conversation=f"new {number}")
            await register(store, f"new {number}", scope)
            await (await claim(store, scope)).complete()
        await store.purge_expired()
        assert await expired(store) == ["k"]

    # --- Q2: to one worker at a time ----------------------------------------------------------

    async def test_q2_the_longest_overdue_come_first(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        users = [ctx("u1"), ctx("u2", tenant="other"), ctx("u3", team="t")]
        for number, ttl in enumerate([30, 10, 50, 20, 60, 40]):
            scope = ReplyScope(conversation=str(number))
            await keep(store, f"k{ttl}", scope, of=users[number % 3], ttl=ttl)
        await self.advance(backend, 55)
        claims = await store.claim_expired(limit=2)
        assert keys_of(claims) == ["k10", "k20"]
        assert keys_of(await store.claim_expired()) == ["k30"]
        assert keys_of(await claim_all(store)) == ["k40", "k50"]
        assert await claim_all(store) == []

    async def test_q2_one_worker_at_a_time(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(10):
            await keep(store, f"k{number}", ReplyScope(conversation=str(number)))
        await self.advance(backend, 61)
        claimed: list[str] = []

        async def worker() -> None:
            while claims := await store.claim_expired(limit=2):
                claimed.extend(keys_of(claims))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(worker)
        assert sorted(claimed) == [f"k{number}" for number in range(10)]

    async def test_q2_completed_it_is_gone(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        held = await claim_one(store)
        assert await held.complete() is True
        assert await claim_all(store) == []
        with pytest.raises(ClaimLostError):
            await held.complete()
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("at", [A, B], ids=["here", "elsewhere"])
    @pytest.mark.parametrize("key", [None, "k2"])
    async def test_q2_n1_a_worker_may_ask_again(
        self, backend: Backend, store: AsyncSessionStore, at: ReplyScope, key: str | None
    ) -> None:
        await keep(store, "k", A, "first")
        await self.advance(backend, 61)
        held = await claim_one(store)
        again = NewWait(at, data("again"), 60, key, expired_ttl=600)
        assert await held.complete(again) is True
        assert await find(store, at) == (key or "k")
        assert await listed(store) == [key or "k"]
        assert await claim_all(store) == []
        await self.advance(backend, 61)
        assert record_of(await claim_one(store)).data == data("again")
        assert await claim_all(store) == []

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_q2_n2_it_does_not_ask_where_another_flow_waits_by_now(
        self, backend: Backend, store: AsyncSessionStore, when: str
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        if when == "before":
            await register(store, "k2", A, "theirs")
        held = await claim_one(store)
        assert held.is_overtaken is (when == "before")
        if when == "after":
            await register(store, "k2", A, "theirs")
        assert await held.complete(NewWait(A, data("again"))) is False
        assert await find(store, A) == "k2"
        assert await listed(store) == ["k2"]
        assert await context_of(store, "k2") == "theirs"
        assert await claim_all(store) == []  # it would be handed out for ever
        await self.advance(backend, 100_000)
        assert await find(store, A) == "k2"

    async def test_q2_it_is_let_go_of_even_where_another_flow_waits_by_now(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        await register(store, "k2", A)
        held = await claim_one(store)
        await register(store, "k3", A)
        assert await held.complete() is True
        assert await find(store, A) == "k3"
        assert await claim_all(store) == []

    async def test_q2_kept_it_is_handed_out_again(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        assert await (await claim_one(store)).complete(KEEP) is True
        assert await find(store, A) is None
        assert await (await claim_one(store)).complete() is True

    @pytest.mark.parametrize("how", ["released", "kept"])
    async def test_q2_given_back_it_comes_after_what_was_due_before(
        self, backend: Backend, store: AsyncSessionStore, how: str
    ) -> None:
        for key, at, ttl in (("k1", A, 10), ("k2", B, 20), ("k3", C, 30)):
            await keep(store, key, at, ttl=ttl)
        await self.advance(backend, 61)
        first = await claim_one(store)
        if how == "released":
            await first.release()
        else:
            await first.complete(KEEP)
        assert keys_of(await claim_all(store)) == ["k2", "k3", "k1"]

    async def test_q2_given_back_it_comes_after_what_fell_due_meanwhile(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A, ttl=10)
        await keep(store, "k2", B, ttl=20)
        await self.advance(backend, 15)
        first = await claim_one(store)
        await self.advance(backend, 10)
        await first.release()
        assert keys_of(await claim_all(store)) == ["k2", "k1"]

    async def test_q2_t3_touched_it_falls_due_later(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for key, at, ttl in (("k1", A, 10), ("k2", B, 20), ("k3", C, 40)):
            await keep(store, key, at, ttl=ttl)
        await store.touch_session("k1", 30)
        await self.advance(backend, 61)
        assert keys_of(await claim_all(store)) == ["k2", "k1", "k3"]

    async def test_q2_k2_a_worker_that_dies_gives_it_back(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        dead = await claim_one(store, lease=10)
        assert await claim_all(store) == []
        await self.advance(backend, 11)
        held = await claim_one(store)
        for end in (dead.complete, dead.release, dead.renew):
            with pytest.raises(ClaimLostError):
                await end()
        with pytest.raises(ClaimLostError):
            await dead.complete(NewWait(A, data("again")))
        assert await find(store, A) is None
        assert await held.complete() is True

    async def test_q2_k2_it_is_renewed(self, backend: Backend, store: AsyncSessionStore) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        held = await claim_one(store, lease=10)
        await self.advance(backend, 8)
        await held.renew()
        await self.advance(backend, 8)
        assert await claim_all(store) == []
        assert await held.complete() is True

    async def test_q2_k1_a_late_reply_waits_its_turn(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        held = await claim_one(store)
        with pytest.raises(WaitClaimedError):
            await store.claim_wait(CTX, "u1", A, begin_at=A)
        new: list[bool] = []

        async def reply() -> None:
            late = await store.claim_wait(CTX, "u1", A, wait=20, begin_at=A)
            assert late is not None
            new.append(late.is_new)
            await late.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reply)
            await anyio.sleep(0.05)
            assert new == []
            await held.complete(NewWait(A, data("again")))
        assert new == [False]

    async def test_q2_k1_where_a_claim_is_held_it_is_left_out(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await keep(store, "k2", B, ttl=100)
        await self.advance(backend, 101)
        hello = await store.claim_wait(CTX, "u1", A, begin_at=A)
        assert hello is not None
        assert await expired(store) == ["k2"]
        assert await hello.complete(NewWait(A, data("new flow"), session_key="k3"))
        assert sorted(await expired(store)) == ["k", "k2"]
        assert await find(store, A) == "k3"

    async def test_q2_several_at_one_scope_are_handed_out_one_after_the_other(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for key in ("k1", "k2", "k3"):
            await keep(store, key, A, key, ttl=10)
            await self.advance(backend, 11)
        for key in ("k1", "k2", "k3"):
            claims = await claim_all(store)
            assert keys_of(claims) == [key]
            assert record_of(claims[0]).data == data(key)
            assert await claims[0].complete() is True
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_q2_the_claim_may_outlast_the_time_it_is_kept(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=10, expired_ttl=10)
        await self.advance(backend, 15)
        held = await claim_one(store, lease=60)
        await self.advance(backend, 15)
        assert await held.complete(NewWait(A, data("again"), 60)) is True
        assert await find(store, A) == "k"

    @pytest.mark.parametrize("limit", [0, -1, 1001, 1.0, True, "1", None])
    async def test_q2_a_limit_that_is_none_is_refused(
        self, store: AsyncSessionStore, limit: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="limit"):
            await store.claim_expired(limit=limit)

    @pytest.mark.parametrize("lease", [0, -1, math.nan, NEVER, None, "1"])
    async def test_q2_k2_a_lease_that_is_none_is_refused(
        self, store: AsyncSessionStore, lease: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="lease"):
            await store.claim_expired(lease=lease)

    async def test_q2_clearing_a_scope_that_waits_again_ends_both(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        await keep(store, "k2", A)
        assert await clear(store, A) is True
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []
