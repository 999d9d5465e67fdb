"""N1, N2: a block of ``resume_wait`` decides what follows it."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    InvalidInputError,
    TenantMismatchError,
)
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
    register,
)
from async_session_store.testing.contract.claim_builders import claim, seen, try_claim
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.next_waits import ask, refused_waits


class FollowingBlocks(Hooks):
    """N1, N2: ``next`` and ``keep`` in a block, and ``superseded`` after it."""

    async def test_n1_a_block_decides_what_follows(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state", ttl=60)
        async with store.resume_wait(CTX, "u1", A, delivery_id="event") as wait:
            assert wait is not None
            assert not wait.is_new
            assert (wait.key, wait.data, wait.scope) == ("k", data("state"), A)
            wait.next(ask(B, ttl=600))
            assert await context_of(store, "k") == "state"
            assert await find(store, A) == "k"
        assert not wait.superseded
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        async with store.resume_wait(CTX, "u1", [A, B]) as wait:
            assert wait is not None
            wait.keep()
        assert await find(store, B) == "k"
        async with store.resume_wait(CTX, "u1", [A, B]) as wait:
            pass
        assert await find(store, B) is None
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")

    async def test_n1_the_calls_of_a_block_that_raises_have_no_effect(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        before = await seen(store)
        with pytest.raises(KeyError):
            async with store.resume_wait(CTX, "u1", A, delivery_id="event") as wait:
                assert wait is not None
                wait.next(ask(B))
                raise KeyError
        assert await seen(store) == before
        await (await claim(store, A, delivery_id="event")).release()

    async def test_n1_the_last_call_of_a_block_counts(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state")
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
            wait.next(ask(B))
            wait.keep()
            wait.next(ask(C))
        assert [await find(store, scope) for scope in (A, B, C)] == [None, None, "k"]

    async def test_n1_a_call_after_the_block_is_refused(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state")
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
        with pytest.raises(InvalidInputError, match="ended"):
            wait.next(ask(B))
        with pytest.raises(InvalidInputError, match="ended"):
            wait.keep()
        assert await find(store, B) is None

    @refused_waits
    async def test_n1_a_wait_that_may_not_be_registered_is_refused_in_the_block(
        self,
        store: AsyncSessionStore,
        then: Callable[[], Any],
        error: type[Exception],
        match: str,
    ) -> None:
        await register(store, "k", A, "state")
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
            wait.keep()
            with pytest.raises(error, match=match):
                wait.next(then())
        assert await context_of(store, "k") == "state"

    async def test_n1_f2_a_block_gives_the_wait_back_if_the_next_is_refused(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "theirs", A, "theirs", of=ctx("u2"))
        await register(store, "k", A, "state")
        with pytest.raises(TenantMismatchError, match="F2"):
            async with store.resume_wait(CTX, "u1", A, delivery_id="event") as wait:
                assert wait is not None
                wait.next(ask(key="theirs"))
        assert await find(store, A) == "k"
        await (await claim(store, A, delivery_id="event")).release()

    async def test_n2_a_block_learns_that_it_was_superseded(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state")
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
            await clear(store, A)
            wait.next(ask())
            assert not wait.superseded
        assert wait.superseded
        assert await find(store, A) is None
