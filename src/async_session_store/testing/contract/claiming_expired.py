"""Q2: expired waits are claimed by one worker at a time, the longest overdue first."""

from __future__ import annotations

import math
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
    WaitClaimedError,
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
from async_session_store.testing.contract.claim_builders import record_of
from async_session_store.testing.contract.expiry_builders import (
    claim_all,
    claim_one,
    expired,
    keep,
    keys_of,
)
from async_session_store.testing.contract.hooks import Hooks


class ClaimingExpired(Hooks):
    """Q2: ``claim_expired``."""

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

    async def test_q2_a_completed_expired_wait_is_gone(
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
    async def test_q2_n2_no_new_wait_replaces_another_flow(
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
        assert await claim_all(store) == []  # else it would be handed out forever
        await self.advance(backend, 100_000)
        assert await find(store, A) == "k2"

    async def test_q2_it_can_be_completed_where_another_flow_waits(
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

    async def test_q2_a_kept_one_is_handed_out_again(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        assert await (await claim_one(store)).complete(KEEP) is True
        assert await find(store, A) is None
        assert await (await claim_one(store)).complete() is True

    @pytest.mark.parametrize("how", ["released", "kept"])
    async def test_q2_one_given_back_comes_after_those_due_before(
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

    async def test_q2_one_given_back_comes_after_those_that_fell_due_meanwhile(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A, ttl=10)
        await keep(store, "k2", B, ttl=20)
        await self.advance(backend, 15)
        first = await claim_one(store)
        await self.advance(backend, 10)
        await first.release()
        assert keys_of(await claim_all(store)) == ["k2", "k1"]

    async def test_q2_t3_a_touched_wait_falls_due_later(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for key, at, ttl in (("k1", A, 10), ("k2", B, 20), ("k3", C, 40)):
            await keep(store, key, at, ttl=ttl)
        await store.touch_session("k1", 30)
        await self.advance(backend, 61)
        assert keys_of(await claim_all(store)) == ["k2", "k1", "k3"]

    async def test_q2_k2_the_wait_of_a_dead_worker_is_handed_out_again(
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

    async def test_q2_k2_the_claim_can_be_renewed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
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

    async def test_q2_k1_it_is_left_out_where_a_claim_is_held(
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

    async def test_q2_n4_it_is_left_out_where_callers_wait_for_their_turn(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        hello = await store.claim_wait(CTX, "u1", A, begin_at=A)
        assert hello is not None
        looked = anyio.Event()

        async def reply() -> None:
            held = await store.claim_wait(CTX, "u1", A, wait=20, begin_at=A)
            assert held is not None
            await looked.wait()
            await held.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reply)
            await anyio.sleep(0.1)
            await hello.release()
            assert await claim_all(store) == []
            looked.set()
        assert await expired(store) == ["k"]

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

    async def test_q2_a_claim_may_outlast_the_expired_ttl(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=10, expired_ttl=10)
        await self.advance(backend, 15)
        held = await claim_one(store, lease=60)
        await self.advance(backend, 15)
        assert await held.complete(NewWait(A, data("again"), 60)) is True
        assert await find(store, A) == "k"

    @pytest.mark.parametrize("limit", [0, -1, 1001, 1.0, True, "1", None])
    async def test_q2_an_invalid_limit_is_refused(
        self, store: AsyncSessionStore, limit: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="limit"):
            await store.claim_expired(limit=limit)

    @pytest.mark.parametrize("lease", [0, -1, math.nan, NEVER, None, "1"])
    async def test_q2_k2_an_invalid_lease_is_refused(
        self, store: AsyncSessionStore, lease: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="lease"):
            await store.claim_expired(lease=lease)

    async def test_q2_clearing_a_scope_ends_its_live_and_its_expired_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        await keep(store, "k2", A)
        assert await clear(store, A) is True
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []
