"""Section 7, N1, N2, N5: what follows a claim, in the step that ends it."""

# ruff: noqa: PT012  # what a block does is part of what is expected of it

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from async_session_store import (
    KEEP,
    NEVER,
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    InvalidInputError,
    NewWait,
    ReplyScope,
    SessionKey,
    TenantMismatchError,
    TimeToLive,
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
)
from async_session_store.testing.contract.claims import (
    CHANGES,
    Call,
    claim,
    is_claimed,
    record_of,
    seen,
    try_claim,
)
from async_session_store.testing.contract.hooks import Hooks


def ask(
    at: ReplyScope = A,
    context: str = "next",
    *,
    ttl: TimeToLive | None = None,
    key: SessionKey | str | None = None,
) -> NewWait:
    return NewWait(at, data(context), ttl, key)


THENS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "keep": lambda: KEEP,
    "next": ask,
    "next elsewhere": lambda: ask(B),
    "next under another key": lambda: ask(key="k9"),
}
thens: pytest.MarkDecorator = pytest.mark.parametrize("then", THENS.values(), ids=THENS.keys())

REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "another user's": (lambda: NewWait(A, data(of=ctx("u2"))), TenantMismatchError, "N1"),
    "another tenant's": (
        lambda: NewWait(A, data(of=ctx(tenant="other"))),
        TenantMismatchError,
        "N1",
    ),
    "nobody's": (lambda: NewWait(A, data(of=SERVICE)), TenantMismatchError, "N1"),
    "a ttl of 0": (lambda: ask(ttl=0), InvalidInputError, "T1"),
    "an empty key": (lambda: ask(key=""), InvalidInputError, "session_key"),
    "no scope": (lambda: NewWait("a", data()), InvalidInputError, "scope"),  # type: ignore[arg-type]
    "no data": (lambda: NewWait(A, "{}"), InvalidInputError, "data"),  # type: ignore[arg-type]
    "no wait": (lambda: "keep", InvalidInputError, "NewWait"),
}
refused: pytest.MarkDecorator = pytest.mark.parametrize(
    ("then", "error", "match"), REFUSED.values(), ids=REFUSED.keys()
)


class Following(Hooks):
    """N1, N2, N5: ``complete(then=...)``, and what follows a block."""

    # --- N1: what follows ---------------------------------------------------------------------

    async def test_n1_the_next_question_takes_the_place_of_the_claimed_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, delivery_id="event")
        assert await held.complete(ask(ttl=600)) is True
        record = await store.get_wait(CTX, "u1", A)
        assert record is not None
        assert (record.key, record.data, record.scope) == ("k", data("next"), A)
        assert record.expires_at is not None
        left = record.expires_at - datetime.now(timezone.utc)
        assert timedelta(seconds=590) < left <= timedelta(seconds=600.01)
        assert await listed(store) == ["k"]
        assert not await is_claimed(store, A)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")
        await clear(store, A)
        await self.advance(backend, 100_000)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_n1_w2_the_next_question_may_wait_elsewhere(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        assert await (await claim(store, A)).complete(ask(B))
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        assert await context_of(store, "k") == "next"
        assert not await is_claimed(store, B)
        await clear(store, B)
        assert await self.leftovers(backend) == []

    async def test_n1_the_next_question_may_have_another_key(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        assert await (await claim(store, A)).complete(ask(key="k2"))
        assert await find(store, A) == "k2"
        assert await store.get_session("k") is None
        assert await listed(store) == ["k2"]
        await clear(store, A)
        assert await self.leftovers(backend) == []

    async def test_n1_w2_another_session_of_the_user_may_move_there(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        await register(store, "k2", B, "other")
        assert await (await claim(store, A)).complete(ask(C, key="k2"))
        assert [await find(store, scope) for scope in (A, B, C)] == [None, None, "k2"]
        assert await store.get_session("k") is None
        assert await context_of(store, "k2") == "next"

    async def test_n1_w3_it_detaches_what_waits_where_it_goes(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        await register(store, "k2", B, "other", ttl=60)
        assert await (await claim(store, A)).complete(ask(B))
        assert await find(store, B) == "k"
        assert await listed(store) == ["k"]
        detached = await store.get_record("k2")
        assert detached is not None
        assert (detached.data, detached.scope) == (data("other"), None)
        assert detached.expires_at is not None

    @pytest.mark.parametrize(
        ("ttl", "expires"), [(None, False), (60, True), (NEVER, False), (timedelta(hours=1), True)]
    )
    async def test_n1_t2_its_deadline_is_its_own(
        self, store: AsyncSessionStore, ttl: TimeToLive | None, *, expires: bool
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        assert await (await claim(store, A)).complete(ask(ttl=ttl))
        record = await store.get_record("k")
        assert record is not None
        assert (record.expires_at is not None) == expires

    async def test_n1_t2_without_a_ttl_it_has_the_stores_default(self, backend: Backend) -> None:
        async with self.store_class(backend, default_wait_ttl=60) as store:
            await register(store, "k", A, "state", ttl=NEVER)
            assert await (await claim(store, A)).complete(ask())
            await self.advance(backend, 59)
            assert await find(store, A) == "k"
            await self.advance(backend, 2)
            assert await find(store, A) is None

    async def test_n1_keep_leaves_the_very_wait(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state", ttl=600)
        before = await store.get_record("k")
        held = await claim(store, A, delivery_id="event")
        assert await held.complete(KEEP) is True
        assert await store.get_wait(CTX, "u1", A) == before
        assert not await is_claimed(store, A)
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")
        assert await (await claim(store, A)).complete()
        assert await store.get_session("k") is None

    async def test_n1_an_update_meanwhile_is_kept_by_keep_and_overwritten_by_the_next(
        self, store: AsyncSessionStore
    ) -> None:
        for then, expected in ((KEEP, "meanwhile"), (ask(), "next")):
            await register(store, "k", A, "state")
            held = await claim(store, A)
            await store.update_session("k", data("meanwhile"))
            assert await held.complete(then)
            assert await context_of(store, "k") == expected

    async def test_n1_k3_the_next_question_has_an_identity_of_its_own(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        first = await claim(store, A)
        assert await first.complete(ask(context="{}"))
        second = await claim(store, A)
        with pytest.raises(ClaimLostError):
            await first.complete()
        assert await find(store, A) == "k"
        assert await second.complete()

    @refused
    async def test_n1_f1_f3_t1_a_wait_that_may_not_be_registered_changes_nothing(
        self,
        backend: Backend,
        store: AsyncSessionStore,
        then: Callable[[], Any],
        error: type[Exception],
        match: str,
    ) -> None:
        await register(store, "k", A, "state", ttl=600)
        held = await claim(store, A, delivery_id="event")
        before = sorted(await self.leftovers(backend)), await seen(store)
        with pytest.raises(error, match=match):
            await held.complete(then())
        with pytest.raises(error, match=match):
            held.check(then())
        assert (sorted(await self.leftovers(backend)), await seen(store)) == before
        assert await is_claimed(store, A)
        assert await held.complete()

    async def test_n1_s6_a_document_that_is_too_large_changes_nothing(
        self, backend: Backend
    ) -> None:
        async with self.store_class(backend, max_document_bytes=2000) as store:
            await register(store, "k", A, "state")
            held = await claim(store, A)
            with pytest.raises(InvalidInputError, match="S6"):
                await held.complete(ask(context="x" * 2000))
            assert await context_of(store, "k") == "state"
            assert await held.complete(ask())

    async def test_n1_f2_the_key_of_another_owners_session_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "theirs", A, "theirs", of=ctx("u2"))
        await register(store, "k", A, "state")
        held = await claim(store, A, delivery_id="event")
        before = sorted(await self.leftovers(backend))
        with pytest.raises(TenantMismatchError, match="F2"):
            await held.complete(ask(key="theirs"))
        assert sorted(await self.leftovers(backend)) == before
        assert await is_claimed(store, A)
        assert await context_of(store, "theirs") == "theirs"
        assert await held.complete(ask(key="mine"))
        await (await claim(store, A, delivery_id="other event")).release()

    async def test_n1_a_service_may_go_on_for_the_user_whose_wait_it_claimed(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        held = await store.claim_wait(SERVICE, "u1", A)
        assert held is not None
        assert await held.complete(ask())
        assert await context_of(store, "k") == "next"

    # --- N2: superseded -----------------------------------------------------------------------

    @thens
    @pytest.mark.parametrize(("change", "waiting"), CHANGES.values(), ids=CHANGES.keys())
    async def test_n2_what_others_did_meanwhile_stays(
        self,
        store: AsyncSessionStore,
        change: Call,
        waiting: str | None,
        then: Callable[[], Any],
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A, delivery_id="event")
        await change(store)
        before = await seen(store)
        assert await held.complete(then()) is False
        assert await seen(store) == before
        assert await find(store, A) == waiting
        assert await store.get_session("k9") is None
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")

    @pytest.mark.parametrize("at", [A, B], ids=["there", "elsewhere"])
    @pytest.mark.parametrize("key", [None, "k2"])
    async def test_n2_a_reply_in_time_counts_even_if_the_wait_expired_meanwhile(
        self, backend: Backend, store: AsyncSessionStore, at: ReplyScope, key: str | None
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600, delivery_id="event")
        await self.advance(backend, 61)
        assert await find(store, A) is None
        assert await held.complete(ask(at, key=key)) is True
        assert await find(store, at) == (key or "k")
        assert await context_of(store, key or "k") == "next"
        with pytest.raises(DuplicateDeliveryError):
            await try_claim(store, A, delivery_id="event")

    @pytest.mark.parametrize("then", [None, KEEP], ids=["nothing", "keep"])
    async def test_n2_an_expired_wait_can_neither_be_removed_nor_kept(
        self, backend: Backend, store: AsyncSessionStore, then: Any
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600)
        await self.advance(backend, 61)
        assert await held.complete(then) is False
        assert await find(store, A) is None

    @pytest.mark.parametrize("key", ["k", "k2"])
    async def test_n2_who_waits_where_it_expired_stays(
        self, backend: Backend, store: AsyncSessionStore, key: str
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600)
        await self.advance(backend, 61)
        await register(store, key, A, "theirs")
        assert await held.complete(ask()) is False
        assert await find(store, A) == key
        assert await context_of(store, key) == "theirs"

    async def test_n2_an_expired_session_that_waits_elsewhere_by_now_stays(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A, lease=600)
        await self.advance(backend, 61)
        await register(store, "k", B, "theirs")
        assert await held.complete(ask()) is False
        assert await find(store, A) is None
        assert await find(store, B) == "k"
        assert await context_of(store, "k") == "theirs"

    @pytest.mark.parametrize(("change", "waiting"), CHANGES.values(), ids=CHANGES.keys())
    async def test_n2_registered_anew_and_then_gone_is_superseded_too(
        self, store: AsyncSessionStore, change: Call, waiting: str | None
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A)
        await change(store)
        assert await clear(store, A) == (waiting is not None)
        assert await held.complete(ask()) is False
        assert await find(store, A) is None

    async def test_n2_a_next_question_supersedes_the_claims_where_it_goes(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        await register(store, "k2", B, "other")
        held, other = await claim(store, A), await claim(store, B)
        assert await held.complete(ask(B))
        assert await other.complete(ask(C, "late", key="k2")) is False
        assert await find(store, B) == "k"
        assert await find(store, C) is None

    async def test_n2_touching_and_updating_do_not_supersede(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state", ttl=60)
        held = await claim(store, A)
        await store.touch_session("k", 600)
        await store.update_session("k", data("meanwhile"))
        assert await held.complete(ask()) is True

    # --- N5: fencing --------------------------------------------------------------------------

    @thens
    async def test_n5_after_the_lease_nothing_follows(
        self, backend: Backend, store: AsyncSessionStore, then: Callable[[], Any]
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A, lease=10, delivery_id="event")
        await self.advance(backend, 11)
        before = await seen(store)
        with pytest.raises(ClaimLostError):
            await held.complete(then())
        assert await seen(store) == before
        await (await claim(store, A, delivery_id="event")).release()

    @thens
    async def test_n5_what_the_next_worker_did_stays(
        self, backend: Backend, store: AsyncSessionStore, then: Callable[[], Any]
    ) -> None:
        await register(store, "k", A, "state")
        stopped = await claim(store, A, lease=10, delivery_id="event")
        await self.advance(backend, 11)
        successor = await claim(store, A, delivery_id="event")
        with pytest.raises(ClaimLostError):
            await stopped.complete(then())
        assert await successor.complete(ask(context="successor"))
        with pytest.raises(ClaimLostError):
            await stopped.complete(then())
        assert await context_of(store, "k") == "successor"
        assert await find(store, A) == "k"

    @thens
    async def test_n5_an_ended_claim_ends_nothing_again(
        self, store: AsyncSessionStore, then: Callable[[], Any]
    ) -> None:
        await register(store, "k", A, "state")
        held = await claim(store, A)
        await held.complete(then())
        before = await seen(store)
        with pytest.raises(ClaimLostError):
            await held.complete(then())
        assert await seen(store) == before

    # --- In a block ---------------------------------------------------------------------------

    async def test_n1_a_block_says_what_follows(self, store: AsyncSessionStore) -> None:
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

    async def test_n1_a_block_that_raises_changes_nothing_it_said(
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

    async def test_n1_what_a_block_says_last_counts(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "state")
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
            wait.next(ask(B))
            wait.keep()
            wait.next(ask(C))
        assert [await find(store, scope) for scope in (A, B, C)] == [None, None, "k"]

    async def test_n1_what_is_said_after_the_block_is_refused(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
        with pytest.raises(InvalidInputError, match="ended"):
            wait.next(ask(B))
        with pytest.raises(InvalidInputError, match="ended"):
            wait.keep()
        assert await find(store, B) is None

    @refused
    async def test_n1_a_block_learns_at_once_that_a_wait_may_not_be_registered(
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

    async def test_n1_f2_a_block_gives_the_wait_back_if_what_follows_is_refused(
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

    async def test_n2_a_block_is_told_that_it_was_superseded(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "state")
        async with store.resume_wait(CTX, "u1", A) as wait:
            assert wait is not None
            await clear(store, A)
            wait.next(ask())
            assert not wait.superseded
        assert wait.superseded
        assert await find(store, A) is None

    # --- Where a session waits ----------------------------------------------------------------

    async def test_w8_records_say_where_they_wait(self, store: AsyncSessionStore) -> None:
        full = ReplyScope(conversation="c/1", thread="ü", reply_to="", correlation='"\\')
        await register(store, "k", full)
        detached, created = "k2", await store.create_session(CTX, data())
        await register(store, detached, A)
        await register(store, "k3", A)
        held = await claim(store, full)
        found = [
            await store.get_wait(CTX, "u1", full),
            await store.get_record("k"),
            held.record,
            (await store.list_wait_records(CTX, "u1"))[0],
        ]
        assert [record and record.scope for record in found] == [full] * 4
        await held.release()
        assert await self._scope_of(store, "k3") == A
        assert await self._scope_of(store, detached) is None
        assert await self._scope_of(store, created) is None

    async def test_w8_a_session_that_moves_says_its_new_scope(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await store.update_session("k", data("new"))
        await store.touch_session("k", 600)
        assert await self._scope_of(store, "k") == A
        await register(store, "k", B)
        assert await self._scope_of(store, "k") == B
        assert await (await claim(store, B)).complete(ask(C))
        assert record_of(await claim(store, C)).scope == C

    @staticmethod
    async def _scope_of(store: AsyncSessionStore, key: str) -> ReplyScope | None:
        record = await store.get_record(key)
        assert record is not None
        return record.scope
