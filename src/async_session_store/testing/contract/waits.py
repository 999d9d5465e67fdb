"""W1 to W9: waits, and the scopes that route to them."""

from __future__ import annotations

import pytest

from async_session_store import NEVER, AsyncSessionStore, InvalidInputError
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
    find_by_user,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.hooks import Hooks


class Waits(Hooks):
    """W1 to W9: registering, finding, listing and clearing."""

    async def test_w1_register_stores_and_routes(self, store: AsyncSessionStore) -> None:
        assert await register(store, "k", A, "state") is None
        assert await store.get_session("k") == data("state")
        assert await find(store, A) == "k"
        assert await listed(store) == ["k"]

    async def test_w1_registering_again_replaces_the_data(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "old")
        assert await register(store, "k", A, "new") is None
        assert await context_of(store, "k") == "new"
        assert await find(store, A) == "k"
        assert await listed(store) == ["k"]

    async def test_w2_registering_at_another_scope_moves_the_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "old")
        assert await register(store, "k", B, "new") is None
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        assert await listed(store) == ["k"]
        assert await context_of(store, "k") == "new"
        assert not await clear(store, A)
        assert await clear(store, B)
        assert await self.leftovers(backend) == []

    async def test_w2_a_wait_that_moved_away_and_back_waits_once(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for scope in (A, B, A, C, A):
            await register(store, "k", scope)
        assert await find(store, B, C) is None
        assert await listed(store) == ["k"]
        await store.remove_session("k")
        assert await self.leftovers(backend) == []

    async def test_w2_an_old_scope_is_free_for_others(self, store: AsyncSessionStore) -> None:
        await register(store, "k1", A)
        await register(store, "k1", B)
        assert await register(store, "k2", A) is None
        await store.remove_session("k1")
        assert await find(store, A) == "k2"
        assert await listed(store) == ["k2"]

    async def test_w3_a_scope_routes_to_the_last_registered(self, store: AsyncSessionStore) -> None:
        await register(store, "k1", A, "first")
        assert await register(store, "k2", A, "second") == "k1"
        assert await find(store, A) == "k2"
        assert await listed(store) == ["k2"]
        assert await context_of(store, "k1") == "first"

    async def test_w3_a_moving_wait_detaches_the_session_that_waits_there(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        await register(store, "k2", B)
        assert await register(store, "k2", A) == "k1"
        assert await find(store, B) is None
        assert await listed(store) == ["k2"]

    async def test_w3_a_detached_session_keeps_its_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A, ttl=60)
        await register(store, "k2", A, ttl=NEVER)
        await self.advance(backend, 30)
        assert await store.get_session("k1") is not None
        await self.advance(backend, 31)
        assert await store.get_session("k1") is None
        assert await find(store, A) == "k2"
        assert await listed(store) == ["k2"]

    async def test_w3_a_detached_session_without_a_deadline_stays(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A, ttl=NEVER)
        await register(store, "k2", A, ttl=60)
        await self.advance(backend, 61)
        assert await find(store, A) is None
        assert await listed(store) == []
        assert await store.get_session("k1") is not None

    async def test_w3_nothing_done_to_a_detached_session_affects_the_winner(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A, ttl=60)
        await register(store, "k2", A, "winner", ttl=90)

        await store.update_session("k1", data("changed"))
        await store.touch_session("k1", NEVER)
        await store.touch_session("k1", 10)
        await self.advance(backend, 11)
        await store.purge_expired()
        assert await find(store, A) == "k2"
        assert await register(store, "k1", B) is None
        assert await listed(store) == ["k1", "k2"]
        await store.remove_session("k1")

        assert await listed(store) == ["k2"]
        assert await context_of(store, "k2") == "winner"
        await self.advance(backend, 80)
        assert await find(store, A) is None

    async def test_w3_removing_a_detached_session_leaves_the_winner(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        await register(store, "k2", A)
        await store.remove_session("k1")
        assert await find(store, A) == "k2"
        assert await listed(store) == ["k2"]
        assert await clear(store, A)
        assert await self.leftovers(backend) == []

    async def test_w3_a_detached_session_can_take_its_scope_back(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        await register(store, "k2", A)
        assert await register(store, "k1", A) == "k2"
        assert await find(store, A) == "k1"
        assert await listed(store) == ["k1"]

    async def test_w3_a_detached_session_does_not_come_back_by_itself(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "detached", A)
        await register(store, "winner", A, ttl=60)
        await self.advance(backend, 61)
        await store.purge_expired()
        await store.update_session("detached", data("new"))
        await store.touch_session("detached", NEVER)
        assert await find(store, A) is None
        assert await listed(store) == []

    async def test_w3_the_scope_of_another_user_is_another_scope(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        assert await register(store, "k2", A, of=ctx("u2")) is None
        assert await find(store, A) == "k1"
        assert await find(store, A, of=ctx("u2")) == "k2"

    async def test_w4_an_empty_scope_finds_nothing(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        assert await find(store, B) is None
        assert await store.get_wait(CTX, "u1", B) is None

    async def test_w5_all_waits_of_the_owner_are_listed_sorted(
        self, store: AsyncSessionStore
    ) -> None:
        keys = ["b", "a", "B", "aa", "ä", "z", "10", "9", "\uffff", "\U00010000", " ", "a:b"]
        for key in keys:
            scope = A.model_copy(update={"thread": key})
            await register(store, key, scope)
        await register(store, "theirs", A, of=ctx("u2"))
        assert await listed(store) == sorted(keys)
        records = await store.list_wait_records(CTX, "u1")
        assert [record.key for record in records] == sorted(keys)

    async def test_w5_many_waits_are_listed(self, store: AsyncSessionStore) -> None:
        for number in range(200):
            await register(store, f"k{number:03}", A.model_copy(update={"thread": str(number)}))
        assert await listed(store) == [f"k{number:03}" for number in range(200)]
        assert len(await store.list_wait_records(CTX, "u1")) == 200
        assert await store.clear_waits_for_user(CTX, "u1") == 200
        assert await listed(store) == []

    async def test_w5_a_user_without_waits_has_an_empty_list(
        self, store: AsyncSessionStore
    ) -> None:
        assert await listed(store) == []
        assert await store.list_wait_records(CTX, "u1") == []

    async def test_w6_clear_removes_the_wait_and_its_session(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        assert await clear(store, A) is True
        assert await store.get_session("k") is None
        assert await find(store, A) is None
        assert await listed(store) == []
        assert await self.leftovers(backend) == []

    async def test_w6_clearing_an_empty_scope_is_no_error(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        before = await self.leftovers(backend)
        assert await clear(store, B) is False
        assert await clear(store, B, "k") is False
        assert sorted(await self.leftovers(backend)) == sorted(before)

    async def test_w6_a_session_key_must_be_the_one_that_waits(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A)
        await register(store, "k2", A, "next")
        assert not await clear(store, A, "k1")
        assert not await clear(store, A, "missing")
        assert await find(store, A) == "k2"
        assert await store.get_session("k1") is not None
        assert await clear(store, A, "k2")
        assert await find(store, A) is None
        assert await store.get_session("k2") is None

    async def test_w6_a_session_key_that_waits_elsewhere_is_left_alone(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(store, "k", B)
        assert not await clear(store, A, "k")
        assert await find(store, B) == "k"

    async def test_w7_registers_at_a_free_scope_only(self, store: AsyncSessionStore) -> None:
        assert await register_if_absent(store, "k1", A, "first") is True
        assert await register_if_absent(store, "k2", A, "second") is False
        assert await register_if_absent(store, "k1", A, "again") is False
        assert await find(store, A) == "k1"
        assert await listed(store) == ["k1"]
        assert await context_of(store, "k1") == "first"
        assert await store.get_session("k2") is None

    async def test_w7_a_refusal_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A, ttl=60)
        await register(store, "k2", B, "here", ttl=60)
        before = await self.leftovers(backend)
        assert not await register_if_absent(store, "k2", A, "there", ttl=NEVER)
        assert sorted(await self.leftovers(backend)) == sorted(before)
        assert await find(store, B) == "k2"
        assert await context_of(store, "k2") == "here"
        await self.advance(backend, 61)
        assert await listed(store) == []

    async def test_w7_a_session_that_waits_elsewhere_moves(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        assert await register_if_absent(store, "k", B, "moved")
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        assert await context_of(store, "k") == "moved"

    async def test_w7_a_scope_is_free_after_expiry_clearing_removal_and_a_move(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        assert await register_if_absent(store, "expires", A, ttl=10)
        await self.advance(backend, 11)
        assert await register_if_absent(store, "cleared", A)
        await clear(store, A)
        assert await register_if_absent(store, "removed", A)
        await store.remove_session("removed")
        assert await register_if_absent(store, "moves", A)
        await register(store, "moves", B)
        assert await register_if_absent(store, "last", A)

    async def test_w7_takes_the_default_ttl(self, backend: Backend) -> None:
        async with self.store_class(backend, default_wait_ttl=60) as store:
            await register_if_absent(store, "k", A)
            await self.advance(backend, 61)
            assert await find(store, A) is None

    async def test_w8a_clear_waits_for_user_clears_them_all(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for key, scope in (("k1", A), ("k2", B), ("k3", C)):
            await register(store, key, scope)
        await register(store, "theirs", A, of=ctx("u2"))
        assert await store.clear_waits_for_user(CTX, "u1") == 3
        assert await store.clear_waits_for_user(CTX, "u1") == 0
        assert await listed(store) == []
        assert await find(store, A, B, C) is None
        assert await store.get_session("k1") is None
        assert await find(store, A, of=ctx("u2")) == "theirs"
        await clear(store, A, of=ctx("u2"))
        assert await self.leftovers(backend) == []

    async def test_w8a_clear_waits_for_user_leaves_sessions_that_do_not_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        created = await store.create_session(CTX, data())
        await register(store, "detached", A)
        await register(store, "expired", B, ttl=10)
        await register(store, "k", A)
        await self.advance(backend, 11)
        assert await store.clear_waits_for_user(CTX, "u1") == 1
        assert await store.get_session(created) is not None
        assert await store.get_session("detached") is not None

    async def test_w9_find_by_user_returns_the_only_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "detached", A)
        await register(store, "k", A, "state")
        await register(store, "expired", B, ttl=10)
        await self.advance(backend, 11)
        assert await find_by_user(store) == ("k", data("state"))
        assert await find_by_user(store, "u1", by=SERVICE) == ("k", data("state"))
        assert await find_by_user(store, "u2", by=SERVICE) is None

    async def test_w9_find_by_user_refuses_to_choose(self, store: AsyncSessionStore) -> None:
        await register(store, "k1", A)
        await register(store, "k2", B)
        with pytest.raises(InvalidInputError, match="multiple waits"):
            await find_by_user(store)
