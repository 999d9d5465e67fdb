"""O1, O2: all that is stored of a user can be erased."""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ErasedUser,
    InvalidInputError,
    NewWait,
    ReplyScope,
    TenantCtx,
    TenantMismatchError,
    WaitClaim,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    assert_waits_untouched,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import (
    begin,
    claim,
    record_of,
    try_claim,
)
from async_session_store.testing.contract.expiry_builders import claim_all, claim_one, keep
from async_session_store.testing.contract.hooks import Hooks, SharedHooks
from async_session_store.testing.contract.next_waits import ask
from async_session_store.testing.contract.unreadable_documents import OF_NO_ONE, OWNED

OTHERS = {
    "another env": ctx(env="test"),
    "another tenant": ctx(tenant="other"),
    "a user whose id goes on": ctx("u11"),
    "a user whose id has the same end": ctx("xu1"),
    "a user whose id is a pattern": ctx("u."),
    "no user": ctx(None),
}
NOTHING = ErasedUser()


def place(name: object) -> ReplyScope:
    return ReplyScope(conversation=str(name))


async def store_everything(
    store: AsyncSessionStore, of: TenantCtx = CTX, name: str = "k"
) -> ErasedUser:
    """Store something of each kind of a user. Return what it is. The claims last 30 seconds."""
    user = of.owner.user or ""
    await register(store, f"{name} detached", A, of=of)
    await register(store, f"{name} waits", A, of=of)
    await store.create_session(of, data(of=of))
    await register(store, f"{name} done", B, of=of)
    done = await store.claim_wait(of, user, B, delivery_id="event")
    assert done is not None
    assert await done.complete()
    assert await store.claim_wait(of, user, A) is not None
    assert await store.claim_wait(of, user, C, begin_at=C) is not None
    return ErasedUser(waits=1, sessions=2, claims=2, deliveries=1)


class Erasing(Hooks):
    """O1, O2: what is erased, and what is left alone."""

    async def test_o2_all_that_is_stored_of_a_user_is_erased(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "other", A, of=ctx("u2"))
        before = sorted(await self.leftovers(backend))
        stored = await store_everything(store)
        assert await store.erase_user(SERVICE, "u1") == stored
        assert sorted(await self.leftovers(backend)) == before
        assert await listed(store) == []
        assert await find(store, A, B, C) is None
        assert await listed(store, of=ctx("u2")) == ["other"]

    async def test_o2_in_all_teams_of_the_tenant(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        stored = ErasedUser()
        for team in (None, "blue", "red", "a.b-c_d"):
            stored += await store_everything(store, ctx(team=team), f"k {team}")
        assert await store.erase_user(SERVICE, "u1") == stored
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
    async def test_o2_f7_nothing_of_anyone_else_is_erased(
        self, backend: Backend, store: AsyncSessionStore, other: TenantCtx
    ) -> None:
        if other.owner.user is None:
            await store.create_session(other, data(of=other))
        else:
            await store_everything(store, other)
        before = sorted(await self.leftovers(backend))
        assert await store.erase_user(SERVICE, "u1") == NOTHING
        assert sorted(await self.leftovers(backend)) == before

    async def test_o2_a_user_of_whom_nothing_is_stored(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        assert not await store.erase_user(SERVICE, "u2")
        await assert_waits_untouched(store)
        assert await store.erase_user(SERVICE, "u1") == ErasedUser(waits=1)
        assert await store.erase_user(SERVICE, "u1") == NOTHING
        assert await self.leftovers(backend) == []

    async def test_o2_expired_waits_are_erased(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=10)
        await keep(store, "claimed", B, ttl=10)
        await keep(store, "overtaken", C, ttl=10)
        await keep(store, "live", place("live"), ttl=1000)
        await keep(store, "other", A, ttl=10, of=ctx("u2"))
        await self.advance(backend, 11)
        await register(store, "k2", C)
        claims = {str(record_of(one).key): one for one in await claim_all(store, ctx())}
        await claims["k"].release()
        erased = await store.erase_user(SERVICE, "u1")
        assert erased == ErasedUser(waits=2, expired_waits=3, claims=2)
        for name in ("claimed", "overtaken"):
            with pytest.raises(ClaimLostError):
                await claims[name].complete(ask())
        assert record_of(await claim_one(store)).key == "other"
        assert await claim_all(store) == []
        await store.erase_user(SERVICE, "u2")
        assert await self.leftovers(backend) == []

    async def test_o2_what_had_expired_is_erased_and_does_not_count(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=10)
        await store.create_session(CTX, data(), ttl=10)
        await keep(store, "kept", B, ttl=10, expired_ttl=10)
        done = await claim(store, B, delivery_id="event", dedupe_ttl=10)
        await done.complete(ask(ttl=10))
        await claim(store, A, lease=10)
        await self.advance(backend, 21)
        assert await store.erase_user(SERVICE, "u1") == NOTHING
        assert await self.leftovers(backend) == []

    async def test_o2_n5_a_turn_that_is_under_way_writes_nothing_more(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A, delivery_id="event")
        begun = await begin(store, B, delivery_id="event")
        assert await store.erase_user(SERVICE, "u1") == ErasedUser(waits=1, claims=2)
        for one in (held, begun):
            with pytest.raises(ClaimLostError):
                await one.complete(ask())
            with pytest.raises(ClaimLostError):
                await one.renew()
        assert await self.leftovers(backend) == []

    async def test_o2_a_caller_that_waits_for_its_turn_writes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await claim(store, A)
        found: list[WaitClaim | None] = []
        erased = ErasedUser()

        async def waits() -> None:
            found.append(await try_claim(store, A, wait=30))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(waits)
                await anyio.sleep(0.2)
                erased = await store.erase_user(SERVICE, "u1")
        assert erased.waits == 1
        for one in found:
            if one is not None:  # it asked before the wait was erased
                with pytest.raises(ClaimLostError):
                    await one.complete(ask())
        assert await self.leftovers(backend) == []

    async def test_o2_however_much_is_stored(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(300):
            await store.create_session(CTX, data())
            if number % 4 == 0:
                await register(store, f"k{number}", place(number))
                await register(store, f"other{number}", place(number), of=ctx("u2"))
        for number in range(40):
            held = await begin(store, A, delivery_id=f"event {number}")
            await held.complete()
        erased = await store.erase_user(SERVICE, "u1")
        assert erased == ErasedUser(waits=75, sessions=300, deliveries=40)
        assert len(await listed(store, of=ctx("u2"))) == 75
        assert await store.erase_user(SERVICE, "u2") == ErasedUser(waits=75)
        assert await self.leftovers(backend) == []

    async def test_o2_while_others_go_on(self, backend: Backend, store: AsyncSessionStore) -> None:
        """Other users' turns go on during an erasure, and lose nothing."""
        for number in range(100):
            await register(store, f"k{number}", place(number))
        counts: dict[str, int] = {}
        erased = ErasedUser()

        async def go_on(user: str, is_over: anyio.Event) -> None:
            of, scope = ctx(user), place(user)
            for count in range(10_000):
                key = f"{user} {count % 7}"
                await register(store, key, scope, str(count), of=of)
                held = await store.claim_wait(of, user, scope, delivery_id=str(count))
                assert held is not None
                assert record_of(held).data.context_json == str(count)
                assert await held.complete(NewWait(scope, data(str(count), of=of)))
                counts[user] = count
                if is_over.is_set():
                    return
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            is_over = anyio.Event()
            for user in ("u2", "u3", "u4", "u5"):
                tasks.start_soon(go_on, user, is_over)
            await anyio.sleep(0.05)
            erased = await store.erase_user(SERVICE, "u1")
            await anyio.sleep(0.05)
            is_over.set()
        assert erased == ErasedUser(waits=100)
        for user, count in counts.items():
            wait = await store.get_wait(ctx(user), user, place(user))
            assert wait is not None
            assert wait.data.context_json == str(count)
        for user, count in counts.items():
            assert (await store.erase_user(SERVICE, user)).deliveries == count + 1
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("caller", [CTX, ctx("u2"), ctx(None, team="blue")])
    async def test_o1_only_a_service_of_the_whole_tenant_may_erase(
        self, backend: Backend, store: AsyncSessionStore, caller: TenantCtx
    ) -> None:
        await register(store, "k", A, "mine")
        async with self.refused(backend, TenantMismatchError, "O1"):
            await store.erase_user(caller, "u1")
        async with self.refused(backend, InvalidInputError, "user_id"):
            await store.erase_user(SERVICE, "*")
        await assert_waits_untouched(store)


class ErasingUnreadable(SharedHooks):
    """O2, R2: documents that cannot be read."""

    @pytest.mark.parametrize(
        "document", [*OF_NO_ONE.values(), *OWNED.values()], ids=[*OF_NO_ONE, *OWNED]
    )
    async def test_o2_r2_unreadable_documents_are_erased(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await register(store, "spoilt", A, "secret")
        await register(store, "other", B, of=ctx("u2"))
        await self.overwrite(backend, "spoilt", document)
        assert (await store.erase_user(SERVICE, "u1")).waits == 1
        assert not [name for name in await self.leftovers(backend) if "spoilt" in name]
        assert await listed(store, of=ctx("u2")) == ["other"]

    async def test_o2_another_store_sees_it(
        self, backend: Backend, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        stored = await store_everything(store)
        assert await other.erase_user(SERVICE, "u1") == stored
        assert await listed(store) == []
        assert await self.leftovers(backend) == []
        await register(store, "k", A)
        assert await listed(other) == ["k"]


class CancelledErasing(Hooks):
    """O2, R3: an erasure that is cancelled, which only async callers can do."""

    async def test_o2_r3_an_erasure_that_was_cancelled_can_be_repeated(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "other", A, "theirs", of=ctx("u2"))
        before = sorted(await self.leftovers(backend))
        for number in range(40):
            stored = await store_everything(store)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(store.erase_user, SERVICE, "u1"))
                for _ in range(number):
                    await checkpoint()
                await anyio.sleep(0.0002 * number)
                tasks.cancel_scope.cancel()
            erased = await store.erase_user(SERVICE, "u1")
            assert erased.waits <= stored.waits
            assert sorted(await self.leftovers(backend)) == before
