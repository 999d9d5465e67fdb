"""K1, K5: at most one claim is held on a scope, and it hinders no other call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    ConflictError,
    ErrorCode,
    TenantMismatchError,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
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
    register_if_absent,
)
from async_session_store.testing.contract.claim_builders import (
    claim,
    is_claimed,
    record_of,
    seen,
    try_claim,
)
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.races import race_to_claim, take_turns


async def give_back(held: WaitClaim, _: AsyncSessionStore) -> None:
    await held.release()


async def finish(held: WaitClaim, _: AsyncSessionStore) -> None:
    assert await held.complete()


async def ask_again(held: WaitClaim, store: AsyncSessionStore) -> None:
    await register(store, "k", A, "new")
    assert not await held.complete()


class Claims(Hooks):
    """K1, K5: claiming a wait, and calls by others while it is claimed."""

    async def test_k1_a_claim_has_a_record_a_token_and_the_end_of_its_lease(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        record = await store.get_record("k")
        claimed = await store.claim_wait(CTX, "u1", A)
        assert claimed is not None
        assert claimed.record == record
        assert claimed.token
        assert isinstance(claimed.token, str)
        assert claimed.lease == timedelta(seconds=30)
        assert claimed.lease_ends_at.utcoffset() == timedelta(0)
        left = (claimed.lease_ends_at - datetime.now(timezone.utc)).total_seconds()
        assert 25 < left <= 30.001

    async def test_k1_every_claim_has_a_token_of_its_own(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        tokens: set[str] = set()
        for _ in range(10):
            claimed = await claim(store, A)
            tokens.add(claimed.token)
            await claimed.release()
        assert len(tokens) == 10

    async def test_k1_a_lease_may_be_a_timedelta(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await store.claim_wait(
            CTX, "u1", A, lease=timedelta(minutes=2), wait=timedelta(seconds=1)
        )
        assert claimed is not None
        assert claimed.lease == timedelta(minutes=2)
        await self.advance(backend, 110)
        assert await is_claimed(store, A)
        await self.advance(backend, 11)
        assert not await is_claimed(store, A)

    async def test_k1_the_result_is_none_where_no_wait_is_live(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "expires", A, ttl=10)
        await register(store, "cleared", B)
        await clear(store, B)
        await store.create_session(CTX, data())
        await self.advance(backend, 11)
        before = await self.leftovers(backend)
        with anyio.fail_after(5):
            assert await try_claim(store, A, B, C, wait=60, delivery_id="event") is None
        assert len(await self.leftovers(backend)) <= len(before)

    async def test_k1_another_caller_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A)
        async with self.refused(backend, WaitClaimedError, "another worker"):
            await try_claim(store, A)
        with pytest.raises(ConflictError) as caught:
            await try_claim(store, A, delivery_id="event")
        assert caught.value.code is ErrorCode.CONFLICT

    async def test_k1_a_caller_gives_up_when_its_time_to_wait_is_over(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        begun = anyio.current_time()
        with pytest.raises(WaitClaimedError):
            await try_claim(store, A, wait=0.2)
        assert 0.19 <= anyio.current_time() - begun < 5
        assert await held.complete()

    @pytest.mark.parametrize(
        ("end", "context"),
        [
            (give_back, "old"),
            (finish, None),
            (ask_again, "new"),
        ],
        ids=["released", "completed", "completed after the next question"],
    )
    async def test_k1_another_caller_waits_for_its_turn(
        self,
        store: AsyncSessionStore,
        end: Callable[[WaitClaim, AsyncSessionStore], Coroutine[Any, Any, object]],
        context: str | None,
    ) -> None:
        await register(store, "k", A, "old")
        held = await claim(store, A)
        got: list[WaitClaim | None] = []

        async def wait_for_a_turn() -> None:
            got.append(await try_claim(store, A, wait=30))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_a_turn)
            await anyio.sleep(0.05)
            assert got == []
            await end(held, store)
        (claimed,) = got
        assert (None if claimed is None else record_of(claimed).data.context_json) == context

    async def test_k1_a_turn_comes_when_the_lease_runs_out(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A, lease=30)
        got: list[WaitClaim | None] = []

        async def wait_for_a_turn() -> None:
            got.append(await try_claim(store, A, wait=30))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_a_turn)
            await anyio.sleep(0.05)
            assert got == []
            await self.advance(backend, 31)
        (claimed,) = got
        assert claimed is not None
        assert await claimed.complete()

    async def test_k1_exactly_one_of_20_claims(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        for _ in range(5):
            (claimed,) = await race_to_claim([store], A)
            await claimed.release()

    async def test_k1_everyone_who_waits_gets_a_turn(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        assert await take_turns([store], A) == [1] * 8

    async def test_k1_other_scopes_and_owners_are_not_affected(
        self, store: AsyncSessionStore
    ) -> None:
        others = [ctx("u2"), ctx(env="test"), ctx(tenant="rival"), ctx(team="blue")]
        await register(store, "k", A)
        await register(store, "b", B)
        for number, of in enumerate(others):
            await register(store, f"other{number}", A, of=of)
        await claim(store, A)
        assert not await is_claimed(store, B)
        for number, of in enumerate(others):
            claimed = await store.claim_wait(of, of.owner.user or "", A)
            assert claimed is not None
            assert record_of(claimed).key == f"other{number}"
            assert await claimed.complete()
        assert await find(store, A) == "k"
        assert await is_claimed(store, A)

    async def test_k1_w4_the_first_scope_with_a_live_wait_is_claimed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "expires", A, ttl=10)
        await register(store, "k1", B)
        await register(store, "k2", C)
        await self.advance(backend, 11)
        claimed = await claim(store, A, B, C)
        assert record_of(claimed).key == "k1"
        assert not await is_claimed(store, C)
        assert await is_claimed(store, B)
        assert await claimed.complete()
        assert await listed(store) == ["k2"]

    async def test_k1_w4_a_claimed_scope_is_not_skipped(self, store: AsyncSessionStore) -> None:
        await register(store, "k1", A)
        await register(store, "k2", B)
        held = await claim(store, A)
        with pytest.raises(WaitClaimedError):
            await try_claim(store, C, A, B)
        assert not await is_claimed(store, B)
        await clear(store, A)
        claimed = await claim(store, C, A, B)
        assert record_of(claimed).key == "k2"
        assert not await held.complete()

    async def test_k1_f4_another_user_may_not_claim(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        async with self.refused(backend, TenantMismatchError, "F4"):
            await store.claim_wait(ctx("u2"), "u1", A)
        async with self.refused(backend, TenantMismatchError, "F4"):
            await store.resume_wait(ctx("u2"), "u1", A).__aenter__()
        assert not await is_claimed(store, A)

    async def test_k1_f3a_a_service_may_claim(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await store.claim_wait(SERVICE, "u1", A)
        assert claimed is not None
        assert await is_claimed(store, A)
        assert await claimed.complete()

    async def test_k5_plain_reads_work_while_it_is_claimed(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state", ttl=600)
        before = await seen(store)
        claimed = await claim(store, A)
        assert await seen(store) == before
        assert await store.get_wait(CTX, "u1", [B, A]) == claimed.record
        assert await store.get_record("k") == claimed.record

    async def test_k5_plain_writes_work_while_it_is_claimed(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state")
        await claim(store, A)
        await store.update_session("k", data("new"))
        assert await context_of(store, "k") == "new"
        assert not await register_if_absent(store, "k2", A)
        assert await register(store, "k2", A) == "k"
        await store.touch_session("k2", 600)
        await store.remove_session("k")
        assert not await clear(store, A, "k")
        assert await clear(store, A)
        assert await register_if_absent(store, "k3", A)
        assert await store.clear_waits_for_user(CTX, "u1") == 1
        await store.purge_expired()
        assert await listed(store) == []
