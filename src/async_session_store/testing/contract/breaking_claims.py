"""O1, O3: an operator can break a claim."""

from __future__ import annotations

import anyio
import pytest

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    ClaimLostError,
    InvalidInputError,
    TenantCtx,
    TenantMismatchError,
    WaitClaim,
    WaitStatus,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    ctx,
    find,
    register,
)
from async_session_store.testing.contract.claim_builders import (
    Use,
    begin,
    claim,
    is_claimed,
    try_claim,
    uses,
)
from async_session_store.testing.contract.expiry_builders import claim_all, claim_one, keep, keys_of
from async_session_store.testing.contract.hooks import Hooks, SharedHooks
from async_session_store.testing.contract.next_waits import ask


class BreakingClaims(Hooks):
    """O1, O3: the claim ends, and the wait stays."""

    @uses
    async def test_o3_k2_the_former_holder_has_lost_the_claim(
        self, backend: Backend, store: AsyncSessionStore, use: Use
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A)
        assert await store.break_claim(SERVICE, "u1", A) is True
        async with self.refused(backend, ClaimLostError, "no longer held"):
            await use(held)
        again = await claim(store, A)
        assert again.record == held.record
        with pytest.raises(ClaimLostError):
            await use(held)
        assert await is_claimed(store, A)
        assert await again.complete()

    async def test_o3_a_broken_claim_writes_nothing_more(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        held = await claim(store, A, delivery_id="event")
        assert await store.break_claim(SERVICE, "u1", A)
        with pytest.raises(ClaimLostError):
            await held.complete(ask(B))
        assert await find(store, A) == "k"
        assert await (await claim(store, A, delivery_id="event")).complete()

    async def test_o3_where_no_claim_is_held(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A, lease=10)
        before = sorted(await self.leftovers(backend))
        assert await store.break_claim(SERVICE, "u1", B) is False
        assert await store.break_claim(SERVICE, "u2", A) is False
        assert await store.break_claim(ctx(None, team="blue"), "u1", A) is False
        assert sorted(await self.leftovers(backend)) == before
        await self.advance(backend, 11)
        assert await store.break_claim(SERVICE, "u1", A) is False

    async def test_o3_in_a_team(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, of=ctx(team="blue"))
        held = await store.claim_wait(ctx(team="blue"), "u1", A)
        assert held is not None
        assert await store.break_claim(ctx(None, team="blue"), "u1", A) is True
        with pytest.raises(ClaimLostError):
            await held.renew()

    async def test_o3_n3_a_claim_on_an_empty_scope(self, store: AsyncSessionStore) -> None:
        begun = await begin(store, A)
        assert await store.break_claim(SERVICE, "u1", A)
        with pytest.raises(ClaimLostError):
            await begun.complete(ask())
        await (await begin(store, A)).release()

    async def test_o3_n4_the_next_in_line_gets_its_turn(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        await claim(store, A, lease=600)
        granted: list[WaitClaim] = []

        async def waits(name: str) -> None:
            one = await claim(store, A, wait=30)
            granted.append(one)
            if name == "first":
                await anyio.sleep(0.1)
            await one.release()

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for name in ("first", "second"):
                    tasks.start_soon(waits, name)
                    await anyio.sleep(0.1)
                assert await store.break_claim(SERVICE, "u1", A)
        assert len(granted) == 2

    async def test_o3_q2_an_expired_wait_is_handed_out_again(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=10)
        await self.advance(backend, 11)
        held = await claim_one(store)
        assert await claim_all(store) == []
        assert await store.break_claim(SERVICE, "u1", A)
        with pytest.raises(ClaimLostError):
            await held.complete()
        again = await claim_all(store)
        assert keys_of(again) == ["k"]
        assert await again[0].complete(KEEP)
        assert keys_of(await claim_all(store)) == ["k"]

    async def test_o3_x4_explain_shows_whether_one_is_held(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        await claim(store, A)
        for status in (WaitStatus.CLAIMED, WaitStatus.LIVE):
            (report,) = (await store.explain(SERVICE, "u1", A)).reports
            assert report.status is status
            await store.break_claim(SERVICE, "u1", A)

    @pytest.mark.parametrize("caller", [CTX, ctx("u2")])
    async def test_o1_only_a_service_may_break_a_claim(
        self, backend: Backend, store: AsyncSessionStore, caller: TenantCtx
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        async with self.refused(backend, TenantMismatchError, "O1"):
            await store.break_claim(caller, "u1", A)
        async with self.refused(backend, InvalidInputError, "scope"):
            await store.break_claim(SERVICE, "u1", [A])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert await held.complete()


class BreakingSharedClaims(SharedHooks):
    """O3, N4: another store breaks the claim."""

    async def test_o3_another_store_breaks_the_claim(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A, lease=600)
        granted: list[WaitClaim | None] = []

        async def waits() -> None:
            granted.append(await try_claim(store, A, wait=30))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(waits)
                await anyio.sleep(0.1)
                assert await other.break_claim(SERVICE, "u1", A)
        assert granted[0] is not None
        with pytest.raises(ClaimLostError):
            await held.complete()
        assert await granted[0].complete()
