"""Section 6: claims, by which one worker at a time resumes a wait."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ClaimLostError,
    ConflictError,
    ErrorCode,
    ReplyScope,
    SessionRecord,
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
from async_session_store.testing.contract.hooks import Hooks

Call = Callable[[AsyncSessionStore], Coroutine[Any, Any, object]]
Use = Callable[[WaitClaim], Coroutine[Any, Any, object]]

A_DAY = 24 * 60 * 60.0


async def try_claim(
    store: AsyncSessionStore,
    *scopes: ReplyScope,
    lease: float = 30,
    wait: float = 0,
    delivery_id: str | None = None,
    dedupe_ttl: float = A_DAY,
) -> WaitClaim | None:
    return await store.claim_wait(
        CTX,
        "u1",
        scopes,
        lease=lease,
        wait=wait,
        delivery_id=delivery_id,
        dedupe_ttl=dedupe_ttl,
    )


async def claim(
    store: AsyncSessionStore,
    *scopes: ReplyScope,
    lease: float = 30,
    wait: float = 0,
    delivery_id: str | None = None,
    dedupe_ttl: float = A_DAY,
) -> WaitClaim:
    """Claim a wait that is there and that nobody else has claimed."""
    claimed = await try_claim(
        store, *scopes, lease=lease, wait=wait, delivery_id=delivery_id, dedupe_ttl=dedupe_ttl
    )
    assert claimed is not None
    return claimed


def record_of(claimed: WaitClaim) -> SessionRecord:
    """Give the record of a claim on a wait."""
    assert claimed.record is not None
    return claimed.record


async def is_claimed(store: AsyncSessionStore, scope: ReplyScope) -> bool:
    """Whether a claim is held on the scope, where a wait must be live."""
    try:
        claimed = await claim(store, scope)
    except WaitClaimedError:
        return True
    await claimed.release()
    return False


async def seen(store: AsyncSessionStore) -> tuple[object, ...]:
    """Give all that a user can see."""
    return (
        [await find(store, scope) for scope in (A, B, C)],
        await store.list_wait_records(CTX, "u1"),
        [await context_of(store, key) for key in ("k", "k2")],
    )


async def race_to_claim(
    stores: list[AsyncSessionStore], scope: ReplyScope, delivery_id: str | None = None
) -> list[WaitClaim]:
    """Let 20 tasks claim the wait at a scope; give the claims of those who did."""
    claims: list[WaitClaim] = []

    async def task(number: int) -> None:
        try:
            store = stores[number % len(stores)]
            claims.append(await claim(store, scope, delivery_id=delivery_id))
        except WaitClaimedError:
            pass

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)
    return claims


async def take_turns(stores: list[AsyncSessionStore], scope: ReplyScope) -> list[int]:
    """Let 8 tasks wait for a claim on a scope; give how many held it, each time one got it."""
    holders = 0
    counted: list[int] = []

    async def task(number: int) -> None:
        nonlocal holders
        claimed = await claim(stores[number % len(stores)], scope, wait=30)
        holders += 1
        counted.append(holders)
        await anyio.sleep(0.001)
        holders -= 1
        await claimed.release()

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(task, number)
    return counted


async def give_back(held: WaitClaim, _: AsyncSessionStore) -> None:
    await held.release()


async def finish(held: WaitClaim, _: AsyncSessionStore) -> None:
    assert await held.complete()


async def ask_again(held: WaitClaim, store: AsyncSessionStore) -> None:
    await register(store, "k", A, "new")
    assert not await held.complete()


async def move_away_and_back(store: AsyncSessionStore) -> None:
    await register(store, "k", B)
    await register(store, "k", A)


async def clear_and_register(store: AsyncSessionStore) -> None:
    await clear(store, A)
    await register(store, "k", A)


async def remove_and_register(store: AsyncSessionStore) -> None:
    await store.remove_session("k")
    assert await register_if_absent(store, "k", A, "new")


CHANGES: dict[str, tuple[Call, str | None]] = {
    "registered anew": (lambda store: register(store, "k", A), "k"),
    "registered anew with other data": (lambda store: register(store, "k", A, "new"), "k"),
    "registered anew with a ttl": (lambda store: register(store, "k", A, ttl=900), "k"),
    "detached": (lambda store: register(store, "k2", A), "k2"),
    "moved": (lambda store: register(store, "k", B), None),
    "moved away and back": (move_away_and_back, "k"),
    "cleared": (lambda store: clear(store, A), None),
    "all cleared": (lambda store: store.clear_waits_for_user(CTX, "u1"), None),
    "cleared and registered": (clear_and_register, "k"),
    "removed": (lambda store: store.remove_session("k"), None),
    "removed and registered": (remove_and_register, "k"),
}
"""What can become of a wait while it is claimed, and which session waits at the scope then."""

changes: pytest.MarkDecorator = pytest.mark.parametrize(
    ("change", "waiting"), CHANGES.values(), ids=CHANGES.keys()
)

USES: dict[str, Use] = {
    "complete": lambda claimed: claimed.complete(),
    "release": lambda claimed: claimed.release(),
    "renew": lambda claimed: claimed.renew(),
    "renew for longer": lambda claimed: claimed.renew(600),
}
uses: pytest.MarkDecorator = pytest.mark.parametrize("use", USES.values(), ids=USES.keys())


class Claims(Hooks):
    """K1, K2, K3, K5: claiming, and what ends a claim."""

    # --- K1: at most one is held --------------------------------------------------------------

    async def test_k1_a_claim_holds_the_record_a_token_and_its_lease_end(
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

    async def test_k1_none_where_no_wait_is_live(
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

    async def test_k1_it_gives_up_when_the_time_to_wait_is_over(
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

    async def test_k1_its_turn_comes_when_the_lease_runs_out(
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

    async def test_k1_0_of_several_scopes_the_first_with_a_live_wait_is_claimed(
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

    async def test_k1_0_a_claimed_scope_is_not_fallen_through(
        self, store: AsyncSessionStore
    ) -> None:
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

    # --- K2: what ends a claim ----------------------------------------------------------------

    async def test_k2_completing_ends_it(self, backend: Backend, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        assert await claimed.complete() is True
        assert await self.leftovers(backend) == []
        await register(store, "k", A)
        assert not await is_claimed(store, A)

    async def test_k2_releasing_ends_it(self, backend: Backend, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        await claimed.release()
        assert not await is_claimed(store, A)
        await store.remove_session("k")
        assert await self.leftovers(backend) == []

    async def test_k2_the_end_of_its_lease_ends_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A, lease=30)
        await self.advance(backend, 28)
        assert await is_claimed(store, A)
        await self.advance(backend, 3)
        assert not await is_claimed(store, A)

    async def test_k2_renewing_moves_the_end_of_its_lease(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A, lease=30)
        first_end = claimed.lease_ends_at
        for _ in range(3):
            await self.advance(backend, 20)
            await claimed.renew()
        assert claimed.lease_ends_at >= first_end
        await self.advance(backend, 28)
        assert await is_claimed(store, A)
        await self.advance(backend, 3)
        assert not await is_claimed(store, A)

    async def test_k2_renewing_takes_another_lease(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A, lease=30)
        before = claimed.lease_ends_at
        await claimed.renew(timedelta(seconds=90))
        assert 55 < (claimed.lease_ends_at - before).total_seconds() < 65
        await self.advance(backend, 80)
        assert await is_claimed(store, A)
        await claimed.renew(5)
        await self.advance(backend, 6)
        assert not await is_claimed(store, A)

    @uses
    async def test_k2_a_claim_whose_lease_ran_out_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore, use: Use
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A, lease=30, delivery_id="event")
        await self.advance(backend, 31)
        before = await seen(store)
        with pytest.raises(ClaimLostError) as caught:
            await use(claimed)
        assert isinstance(caught.value, ConflictError)
        assert await seen(store) == before
        again = await claim(store, A, delivery_id="event")
        assert await again.complete()

    @uses
    async def test_k2_a_stale_claim_does_not_touch_the_next_holders(
        self, backend: Backend, store: AsyncSessionStore, use: Use
    ) -> None:
        await register(store, "k", A)
        stale = await claim(store, A, lease=30, delivery_id="event")
        await self.advance(backend, 31)
        current = await claim(store, A, lease=30)
        async with self.refused(backend, ClaimLostError, "lease"):
            await use(stale)
        assert await is_claimed(store, A)
        await self.advance(backend, 20)
        with pytest.raises(ClaimLostError):
            await use(stale)
        await self.advance(backend, 11)
        with pytest.raises(ClaimLostError):
            await current.complete()
        assert await find(store, A) == "k"

    @uses
    @pytest.mark.parametrize("end", ["complete", "release"])
    async def test_k2_a_claim_that_was_ended_cannot_be_used(
        self, backend: Backend, store: AsyncSessionStore, end: str, use: Use
    ) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        await USES[end](claimed)
        await register(store, "k", A, "next")
        async with self.refused(backend, ClaimLostError, "completed or released"):
            await use(claimed)
        assert await context_of(store, "k") == "next"

    async def test_k2_two_calls_that_end_it_at_once(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await claim(store, A)
        ended: list[object] = []

        async def end() -> None:
            try:
                ended.append(await claimed.complete())
            except ClaimLostError:
                ended.append("lost")

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(end)
        assert sorted(map(str, ended)) == ["True", *["lost"] * 4]

    async def test_k2_a_claim_does_not_extend_the_waits_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=40)
        claimed = await claim(store, A, lease=30)
        await self.advance(backend, 20)
        await claimed.renew()
        record = await store.get_record("k")
        assert record is not None
        assert record.expires_at is not None
        await self.advance(backend, 21)
        assert await find(store, A) is None
        assert await store.get_session("k") is None
        await claimed.renew()
        assert not await claimed.complete()

    async def test_k2_a_claim_does_not_shorten_the_waits_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=600)
        await register(store, "for ever", B)
        for scope in (A, B):
            await (await claim(store, scope, lease=5)).release()
            await claim(store, scope, lease=5)
        await self.advance(backend, 500)
        assert await listed(store) == ["for ever", "k"]
        await self.advance(backend, 101)
        assert await listed(store) == ["for ever"]

    # --- K3: the very wait that was claimed ---------------------------------------------------

    async def test_k3_complete_removes_the_wait_and_its_session(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=600)
        await register(store, "other", B)
        claimed = await claim(store, A)
        assert await claimed.complete() is True
        assert await store.get_session("k") is None
        assert await find(store, A) is None
        assert await listed(store) == ["other"]
        await clear(store, B)
        assert await self.leftovers(backend) == []

    async def test_k3_a_program_that_seeds_pythons_randomness_repeats_no_identity(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "another", B)
        state = random.getstate()
        try:
            random.seed(42)
            await register(store, "k", A)
            claimed = await claim(store, A)
            await clear(store, A)
            random.seed(42)
            await register(store, "k2", A)
        finally:
            random.setstate(state)
        assert await claimed.complete() is False
        assert await find(store, A) == "k2"

    @changes
    async def test_k3_what_became_of_it_meanwhile_stays(
        self, backend: Backend, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        await register(store, "k", A, ttl=600)
        claimed = await claim(store, A)
        await change(store)
        assert await find(store, A) == waiting
        before = await seen(store)
        assert await claimed.complete() is False
        assert await seen(store) == before
        with pytest.raises(ClaimLostError):
            await claimed.complete()
        await store.clear_waits_for_user(CTX, "u1")
        if await store.get_session("k") is not None:
            await store.remove_session("k")
        assert await self.leftovers(backend) == []

    @changes
    async def test_k3_a_wait_registered_meanwhile_can_be_claimed_after_the_end_of_the_claim(
        self, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        for end in ("complete", "release"):
            await store.clear_waits_for_user(CTX, "u1")
            await register(store, "k", A)
            claimed = await claim(store, A)
            await change(store)
            if waiting is None:
                assert await try_claim(store, A) is None
                await register(store, "k2", A)
            with pytest.raises(WaitClaimedError):
                await try_claim(store, A)
            await claimed.renew()
            await USES[end](claimed)
            after = await claim(store, A)
            assert record_of(after).key == (waiting or "k2")
            assert await after.complete() is True

    @changes
    async def test_k3_the_claim_of_a_wait_that_is_gone_ends_with_its_lease(
        self, backend: Backend, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        await register(store, "k", A)
        stale = await claim(store, A, lease=30)
        await change(store)
        if waiting is None:
            await register(store, "k2", A)
        assert await is_claimed(store, A)
        await self.advance(backend, 31)
        after = await claim(store, A)
        with pytest.raises(ClaimLostError):
            await stale.complete()
        assert await after.complete() is True

    async def test_k3_a_wait_that_expired_meanwhile(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=10)
        claimed = await claim(store, A)
        await self.advance(backend, 11)
        assert await try_claim(store, A) is None
        await register(store, "next", A)
        with pytest.raises(WaitClaimedError):
            await try_claim(store, A)
        assert await claimed.complete() is False
        assert await find(store, A) == "next"
        assert record_of(await claim(store, A)).key == "next"

    async def test_k3_updating_and_touching_it_keep_its_identity(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=600)
        claimed = await claim(store, A)
        await store.update_session("k", data("new"))
        await store.touch_session("k", 60)
        await store.edit_session("k", lambda old: old.model_copy(update={"pack_id": "p"}))
        await store.touch_session("k", NEVER)
        record = await store.get_record("k")
        assert record is not None
        await store.update_session("k", data("newer"), if_match=record.etag)
        assert await claimed.complete() is True
        assert await self.leftovers(backend) == []

    async def test_k3_what_was_done_before_it_was_claimed_does_not_matter(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(store, "k", B, ttl=600)
        await register(store, "detached", A)
        await register(store, "k", A, ttl=60)
        await store.update_session("k", data("new"))
        await store.touch_session("k", 600)
        assert await (await claim(store, A)).complete() is True
        assert await listed(store) == []
        assert await context_of(store, "detached") == "{}"

    async def test_k3_release_gives_the_wait_back_untouched(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state", ttl=600)
        before = await seen(store)
        claimed = await claim(store, A)
        assert await seen(store) == before
        assert await claimed.release() is None  # type: ignore[func-returns-value]
        assert await seen(store) == before
        again = await claim(store, A)
        assert again.record == claimed.record
        assert await again.complete() is True

    # --- K5: plain calls ----------------------------------------------------------------------

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
