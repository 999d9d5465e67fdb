"""Q3: exactly one of reply and expiry wins."""

from __future__ import annotations

import pytest

from async_session_store import KEEP, NEVER, AsyncSessionStore, ClaimLostError, NewWait
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import CTX, A, B, data, find, listed, register
from async_session_store.testing.contract.claim_builders import claim, record_of
from async_session_store.testing.contract.expiry_builders import (
    claim_all,
    claim_one,
    expired,
    keep,
    keys_of,
)
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.turn_builders import Message, Order

Then = NewWait | None


class ReplyOrExpiry(Hooks):
    """Q3: replies before, at and after the deadline."""

    async def test_q3_a_wait_answered_in_time_never_expires(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await (await claim(store, A)).complete() is True
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("then", [None, NewWait(A, data("next")), NewWait(B, data("next"))])
    async def test_q3_a_reply_that_is_handled_at_the_deadline_wins(
        self, backend: Backend, store: AsyncSessionStore, then: Then
    ) -> None:
        await keep(store, "k", A)
        held = await claim(store, A, lease=3600)
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        assert await held.complete(then) is True
        assert await claim_all(store) == []
        assert await listed(store) == ([] if then is None else ["k"])

    async def test_q3_a_reply_wins_even_if_another_session_waits_there(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        held = await claim(store, A, lease=3600)
        await self.advance(backend, 61)
        await register(store, "k2", A)
        assert await held.complete(NewWait(A, data("next"))) is False
        assert await claim_all(store) == []
        assert await listed(store) == ["k2"]

    @pytest.mark.parametrize("how", ["kept", "released", "lost"])
    async def test_q3_a_reply_that_gives_it_back_after_the_deadline_loses(
        self, backend: Backend, store: AsyncSessionStore, how: str
    ) -> None:
        await keep(store, "k", A)
        held = await claim(store, A, lease=80)
        await self.advance(backend, 61)
        if how == "kept":
            assert await held.complete(KEEP) is True
        elif how == "released":
            await held.release()
        else:
            await self.advance(backend, 20)
        assert await find(store, A) is None
        worker = await claim_one(store)
        with pytest.raises(ClaimLostError):
            await held.complete()
        assert await worker.complete() is True

    async def test_q3_q2_one_given_back_by_a_reply_is_due_since_its_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A, ttl=10)
        await keep(store, "k2", B, ttl=20)
        held = await claim(store, A, lease=3600)
        await self.advance(backend, 25)
        await held.release()
        assert keys_of(await claim_all(store)) == ["k1", "k2"]

    async def test_q3_k3_a_wait_registered_anew_is_another_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, "old")
        held = await claim(store, A, lease=3600)
        await keep(store, "k", A, "new", ttl=10)
        await self.advance(backend, 15)
        assert await held.complete() is False
        assert record_of(await claim_one(store)).data == data("new")

    async def test_q3_n1_a_wait_kept_before_the_deadline_still_expires(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, "state")
        assert await (await claim(store, A)).complete(KEEP) is True
        await (await claim(store, A)).release()
        await self.advance(backend, 61)
        assert record_of(await claim_one(store)).data == data("state")

    async def test_q3_n6_a_turn_that_makes_no_call_leaves_the_question(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with store.turn(CTX, Message(), flow="order", memory=Order) as turn:
            turn.ask("next", ttl=60, expired_ttl=600)
        async with store.turn(CTX, Message(), flow="order", memory=Order) as turn:
            assert turn.node == "next"
        await self.advance(backend, 61)
        assert len(await expired(store)) == 1

    async def test_q3_the_next_question_replaces_the_kept_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, "first")
        held = await claim(store, A)
        assert await held.complete(NewWait(A, data("second"), 30, expired_ttl=600)) is True
        await self.advance(backend, 31)
        assert record_of(await claim_one(store)).data == data("second")
        await self.advance(backend, 31)  # past the deadline of the first question
        assert [record_of(one).data for one in await claim_all(store)] == [data("second")]

    async def test_q3_the_next_question_may_wait_longer_or_for_ever(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A)
        assert await (await claim(store, A)).complete(NewWait(A, data(), 200, expired_ttl=60))
        await self.advance(backend, 61)
        assert await claim_all(store) == []
        assert await (await claim(store, A)).complete(NewWait(A, data(), NEVER, expired_ttl=60))
        await self.advance(backend, 10_000)
        assert await claim_all(store) == []
        assert await find(store, A) == "k"
