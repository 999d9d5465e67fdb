"""W4, F9: looking up a wait by a sequence of scopes, and reads in general."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from async_session_store import AsyncSessionStore, ReplyScope
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, B, C, ctx, find, register
from async_session_store.testing.contract.hooks import Hooks


async def key_of(store: AsyncSessionStore, scopes: ReplyScope | Sequence[ReplyScope]) -> str | None:
    """Return the key of the wait. Look it up in both ways, and check that they agree."""
    record = await store.get_wait(CTX, "u1", scopes)
    found = await store.find_wait_by_scope(CTX, "u1", scopes)
    assert found == (None if record is None else record.key)
    return found


class Lookup(Hooks):
    """W4, F9: the first scope with a live wait wins, and no read changes anything."""

    async def test_w4_one_scope_may_be_given_by_itself(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        assert (
            await key_of(store, A) == await key_of(store, [A]) == await key_of(store, (A,)) == "k"
        )

    async def test_w4_the_first_scope_with_a_wait_wins(self, store: AsyncSessionStore) -> None:
        await register(store, "at a", A)
        await register(store, "at b", B)
        assert await key_of(store, [A, B]) == "at a"
        assert await key_of(store, [B, A]) == "at b"
        assert await key_of(store, [C, B, A]) == "at b"
        assert await key_of(store, [C, C]) is None

    async def test_w4_a_specific_scope_falls_back_to_a_less_specific_one(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        specific = A.model_copy(update={"correlation": "sent out later"})
        assert await key_of(store, [specific, A]) == "k"

    async def test_w4_waits_that_expired_moved_or_were_removed_are_skipped(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        expired, moved, removed = (A.model_copy(update={"thread": text}) for text in "xyz")
        await register(store, "expired", expired, ttl=10)
        await register(store, "moved", moved)
        await register(store, "moved", C)
        await register(store, "removed", removed)
        await store.remove_session("removed")
        await register(store, "k", B)
        await self.advance(backend, 11)
        assert await key_of(store, [expired, moved, removed, B, C]) == "k"

    async def test_w4_the_waits_of_others_are_skipped(self, store: AsyncSessionStore) -> None:
        await register(store, "theirs", A, of=ctx("u2"))
        await register(store, "k", B)
        assert await key_of(store, [A, B]) == "k"

    async def test_w4_many_scopes_may_be_given(self, store: AsyncSessionStore) -> None:
        scopes = [ReplyScope(conversation=str(number)) for number in range(100)]
        await register(store, "k", scopes[-1])
        assert await find(store, *scopes) == "k"
        await register(store, "k2", scopes[50])
        assert await find(store, *scopes) == "k2"

    @pytest.mark.parametrize("scopes", [A, [A]], ids=["one", "sequence"])
    async def test_w4_nothing_is_found_at_an_empty_scope(
        self, store: AsyncSessionStore, scopes: ReplyScope | Sequence[ReplyScope]
    ) -> None:
        assert await key_of(store, scopes) is None

    async def test_f9_a_read_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        stranger = ctx(tenant="other")
        await register(store, "expired", A, ttl=60)
        await self.advance(backend, 61)
        await register(store, "detached", B)
        await register(store, "k", B, ttl=600)
        await register(store, "theirs", C, of=stranger)
        await store.claim_wait(CTX, "u1", B)
        before = sorted(await self.leftovers(backend))
        for of in (CTX, stranger):
            for key in ("expired", "detached", "k", "theirs", "missing"):
                await store.get_session(key, ctx=of)
                await store.get_record(key, ctx=of)
            await store.find_wait_by_scope(of, "u1", [A, B, C])
            await store.get_wait(of, "u1", [A, B, C])
            await store.explain(of, "u1", [A, B, C])
            await store.list_waits_for_user(of, "u1")
            await store.list_wait_records(of, "u1")
        assert sorted(await self.leftovers(backend)) == before
