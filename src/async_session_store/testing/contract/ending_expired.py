"""Q4: who may claim an expired wait, and which calls end it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    InvalidInputError,
    NewWait,
    SessionNotFoundError,
    TenantCtx,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    clear,
    ctx,
    data,
    find,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.claim_builders import claim, record_of
from async_session_store.testing.contract.expiry_builders import (
    claim_all,
    claim_one,
    expired,
    keep,
    keys_of,
)
from async_session_store.testing.contract.hooks import Hooks

Change = Callable[[AsyncSessionStore], Awaitable[object]]

Then = NewWait | None


async def remove(store: AsyncSessionStore) -> None:
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k")


async def remove_with_ctx(store: AsyncSessionStore) -> None:
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k", ctx=SERVICE)


async def clear_scope(store: AsyncSessionStore) -> None:
    assert await clear(store, A) is False


async def clear_key(store: AsyncSessionStore) -> None:
    assert await clear(store, A, "k") is False


async def clear_all(store: AsyncSessionStore) -> None:
    assert await store.clear_waits_for_user(CTX, "u1") == 0


async def register_key(store: AsyncSessionStore) -> None:
    assert await register(store, "k", C) is None
    assert await store.clear_wait(CTX, "u1", C) is True


async def register_key_if_absent(store: AsyncSessionStore) -> None:
    assert await register_if_absent(store, "k", A) is True
    assert await clear(store, A) is True


async def register_key_of_another(store: AsyncSessionStore) -> None:
    other = ctx("u2", tenant="other")
    assert await register(store, "k", C, of=other) is None
    assert await clear(store, C, of=other) is True


ENDS: list[Change] = [
    remove,
    remove_with_ctx,
    clear_scope,
    clear_key,
    clear_all,
    register_key,
    register_key_if_absent,
    register_key_of_another,
]


async def remove_as_another(store: AsyncSessionStore) -> None:
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k", ctx=ctx("u2"))


async def clear_elsewhere(store: AsyncSessionStore) -> None:
    assert await clear(store, B) is False


async def clear_another_key(store: AsyncSessionStore) -> None:
    assert await clear(store, A, "k2") is False


async def clear_another_users(store: AsyncSessionStore) -> None:
    assert await clear(store, A, of=ctx("u2")) is False
    assert await store.clear_waits_for_user(ctx("u2"), "u2") == 0
    assert await store.clear_waits_for_user(ctx(team="t"), "u1") == 0


async def register_another(store: AsyncSessionStore) -> None:
    assert await register(store, "k2", A) is None


async def register_another_if_absent(store: AsyncSessionStore) -> None:
    assert await register_if_absent(store, "k2", A) is True


async def touch(store: AsyncSessionStore) -> None:
    with pytest.raises(SessionNotFoundError):
        await store.touch_session("k", 60)


async def update(store: AsyncSessionStore) -> None:
    with pytest.raises(SessionNotFoundError):
        await store.update_session("k", data("late"))


async def read(store: AsyncSessionStore) -> None:
    assert await store.get_record("k") is None
    assert await find(store, A) is None


LEAVES: list[Change] = [
    remove_as_another,
    clear_elsewhere,
    clear_another_key,
    clear_another_users,
    register_another,
    register_another_if_absent,
    touch,
    update,
    read,
]

OWNERS = {
    "plain": ctx("u1"),
    "other user": ctx("u2"),
    "team": ctx("u1", team="t"),
    "other team": ctx("u1", team="t2"),
    "tenant": ctx("u1", tenant="other"),
    "env": ctx("u1", env="dev"),
}

FENCES: dict[str, tuple[TenantCtx | None, set[str]]] = {
    "none": (None, set(OWNERS)),
    "a tenant": (ctx(None), {"plain", "other user"}),
    "a user": (ctx("u1"), {"plain"}),
    "a team": (ctx(None, team="t"), {"team"}),
    "a user in a team": (ctx("u1", team="t2"), {"other team"}),
    "another tenant": (ctx(None, tenant="other"), {"tenant"}),
    "another environment": (ctx(None, env="dev"), {"env"}),
    "nobody": (ctx("u3"), set()),
    "an unknown tenant": (ctx(None, tenant="nobody"), set()),
}


class EndingExpired(Hooks):
    """Q4: whose waits a ``ctx`` claims, and what ends an expired wait."""

    @pytest.mark.parametrize("fence", FENCES)
    async def test_q4_a_ctx_limits_the_claims_to_its_owner(
        self, backend: Backend, store: AsyncSessionStore, fence: str
    ) -> None:
        for key, owner in OWNERS.items():
            await keep(store, key, A, of=owner)
        await self.advance(backend, 61)
        by, seen = FENCES[fence]
        claims = await claim_all(store, by)
        assert set(keys_of(claims)) == seen
        for one in claims:
            assert record_of(one).data.tenant_ctx == OWNERS[str(record_of(one).key)]
            assert await one.complete() is True
        assert set(await expired(store)) == set(OWNERS) - seen

    @pytest.mark.parametrize("by", [CTX, SERVICE, None], ids=["a user", "a tenant", "none"])
    async def test_q4_q2_the_longest_overdue_come_first_whatever_the_ctx(
        self, backend: Backend, store: AsyncSessionStore, by: TenantCtx | None
    ) -> None:
        for key, at, ttl in (("k1", A, 20), ("k2", B, 10), ("k3", C, 30)):
            await keep(store, key, at, ttl=ttl)
        await self.advance(backend, 61)
        (first,) = await store.claim_expired(by)
        await first.release()
        assert keys_of(await claim_all(store, by)) == ["k1", "k3", "k2"]

    @pytest.mark.parametrize("by", [42, "acme", data()], ids=["number", "text", "data"])
    async def test_q4_a_value_that_is_not_a_ctx_is_refused(
        self, store: AsyncSessionStore, by: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="ctx"):
            await store.claim_expired(by)
        with pytest.raises(InvalidInputError, match="ctx"):
            store.expired_waits(by)

    async def test_q4_t3_touching_it_moves_its_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, expired_ttl=100)
        await store.touch_session("k", 200)
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await store.touch_session("k", 30)
        await self.advance(backend, 31)
        assert await expired(store) == ["k"]
        await self.advance(backend, 100)
        assert await claim_all(store) == []

    async def test_q4_t3_touching_it_with_never_keeps_it_from_expiring(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, "state")
        await store.touch_session("k", NEVER)
        await self.advance(backend, 10_000)
        assert await claim_all(store) == []
        assert await find(store, A) == "k"
        await store.touch_session("k", 10)
        await self.advance(backend, 11)
        assert record_of(await claim_one(store)).data == data("state")

    @pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
    async def test_q4_calls_that_end_an_expired_wait(
        self, backend: Backend, store: AsyncSessionStore, end: Change
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        await end(store)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("then", [None, NewWait(A, data("again"))], ids=["end", "ask again"])
    @pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
    async def test_q4_n2_calls_that_end_it_while_a_worker_holds_it(
        self, backend: Backend, store: AsyncSessionStore, end: Change, then: Then
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        held = await claim_one(store)
        await end(store)
        assert await held.complete(then) is False
        assert await listed(store) == []
        assert await claim_all(store) == []

    @pytest.mark.parametrize("leave", LEAVES, ids=lambda leave: leave.__name__)
    async def test_q4_calls_that_leave_an_expired_wait(
        self, backend: Backend, store: AsyncSessionStore, leave: Change
    ) -> None:
        await keep(store, "k", A, "state")
        await self.advance(backend, 61)
        await leave(store)
        held = await claim_one(store)
        assert record_of(held).data == data("state")
        assert await held.complete() is True

    async def test_q4_ending_one_leaves_the_others(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for key in ("k", "k2"):
            await keep(store, key, A, ttl=10)
            await self.advance(backend, 11)
        await keep(store, "k3", B, ttl=10)
        await keep(store, "k4", A, of=ctx("u2"), ttl=10)
        await self.advance(backend, 11)
        await clear(store, A, "k")
        assert set(await expired(store)) == {"k2", "k3", "k4"}
        await clear(store, A)
        assert set(await expired(store)) == {"k3", "k4"}
        assert await store.clear_waits_for_user(CTX, "u1") == 0
        assert await expired(store) == ["k4"]

    async def test_q4_k3_ending_it_leaves_the_claim_on_another_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        await register(store, "k2", A)
        held = await claim(store, A)
        with pytest.raises(SessionNotFoundError):
            await store.remove_session("k")
        assert await held.complete(NewWait(A, data("next"))) is True
        assert await find(store, A) == "k2"

    async def test_q4_clearing_counts_live_waits_only(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        await keep(store, "k2", B, ttl=600)
        await self.advance(backend, 61)
        assert await store.clear_waits_for_user(CTX, "u1") == 1
        assert await claim_all(store) == []
