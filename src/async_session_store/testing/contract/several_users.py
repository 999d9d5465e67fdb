"""W10, K7, N7: look-ups, claims and turns of a user who is known by several ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    InvalidInputError,
    NewWait,
    ReplyScope,
    TenantMismatchError,
    UserId,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import SERVICE, A, B, C, ctx, data, register
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.turn_builders import Message, Order, order

BOTH = ("lasting", "phone")
"""The ids of a person, in the order in which they are tried."""

LASTING, PHONE, STRANGER = ctx("lasting"), ctx("phone"), ctx("stranger")

ARRIVAL = 0.08
"""Seconds between callers, enough for the storage to give each caller its place."""

WAIT = 30.0


@dataclass(frozen=True)
class KnownMessage(Message):
    """A message that has all ids of its user."""

    user_ids: tuple[UserId | str, ...] = BOTH


async def find(store: AsyncSessionStore, *users: str, at: Any = A) -> str | None:
    """Return the key of the wait. Look it up in both ways, and check that they agree."""
    record = await store.get_wait(SERVICE, users, at)
    found = await store.find_wait_by_scope(SERVICE, list(users), at)
    assert found == (None if record is None else record.key)
    return found


async def claim(store: AsyncSessionStore, *users: str, at: Any = A, **options: Any) -> WaitClaim:
    """Claim a wait of the users. There must be one, unless a flow may begin."""
    claimed = await store.claim_wait(SERVICE, users, at, **options)
    assert claimed is not None
    return claimed


async def is_claimed(store: AsyncSessionStore, user: str, at: ReplyScope = A) -> bool:
    found = await store.explain(SERVICE, user, at)
    return found.reports[0].claimed_until is not None


class SeveralUsers(Hooks):
    """W10, K7, N7: the first user with a live wait wins."""

    # --- Looking up ---------------------------------------------------------------------------

    async def test_w10_the_first_user_with_a_wait_wins(self, store: AsyncSessionStore) -> None:
        await register(store, "at b", B, of=LASTING)
        await register(store, "at a", A, of=PHONE)
        assert await find(store, "lasting", "phone", at=[A, B]) == "at b"
        assert await find(store, "phone", "lasting", at=[A, B]) == "at a"
        assert await find(store, "lasting", "phone", at=A) == "at a"
        assert await find(store, "stranger", "phone", at=[B, A]) == "at a"
        assert await find(store, "phone", at=(A, B)) == "at a"
        assert await find(store, "stranger", "stranger", at=[A, B]) is None
        assert await find(store, "lasting", "phone", at=C) is None

    async def test_w10_an_expired_wait_of_the_first_user_is_skipped(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "expired", A, of=LASTING, ttl=10)
        await register(store, "k", A, of=PHONE)
        await self.advance(backend, 11)
        assert await find(store, *BOTH) == "k"

    async def test_w10_f4_only_the_user_of_the_ctx_counts(self, store: AsyncSessionStore) -> None:
        await register(store, "l", A, of=LASTING)
        await register(store, "p", A, of=PHONE)
        assert await store.find_wait_by_scope(PHONE, BOTH, A) == "p"
        record = await store.get_wait(PHONE, BOTH, A)
        assert record is not None
        assert record.key == "p"
        assert await store.find_wait_by_scope(STRANGER, BOTH, A) is None
        assert await store.get_wait(STRANGER, BOTH, A) is None
        held = await store.claim_wait(PHONE, BOTH, A)
        assert held is not None
        assert held.user_id == "phone"

    @pytest.mark.parametrize("users", [(), [], [7], ["a b"], 7], ids=repr)
    async def test_w10_k7_the_users_are_checked(
        self, backend: Backend, store: AsyncSessionStore, users: Any
    ) -> None:
        for call in (store.find_wait_by_scope, store.get_wait, store.explain, store.claim_wait):
            async with self.refused(backend, InvalidInputError, "^user_id: "):
                await call(SERVICE, users, A)

    async def test_w10_x4_each_user_is_explained(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, of=PHONE)
        found = await store.explain(SERVICE, BOTH, [A, B])
        places = [(report.user_id, report.scope, report.session_key) for report in found.reports]
        assert places == [
            *[("lasting", A, None), ("lasting", B, None)],
            *[("phone", A, "k"), ("phone", B, None)],
        ]
        assert str(found) == (
            "user 1, conversation, team -: nothing; user 1, conversation, team -: nothing; "
            "user 2, conversation, team -: live; user 2, conversation, team -: nothing"
        )
        assert "phone" not in repr(found)

    # --- Claiming -----------------------------------------------------------------------------

    async def test_k7_the_first_user_with_a_wait_is_claimed(self, store: AsyncSessionStore) -> None:
        await register(store, "p", A, of=PHONE)
        held = await claim(store, *BOTH, at=[B, A])
        assert held.user_id == "phone"
        assert held.record is not None
        assert held.record.key == "p"
        with pytest.raises(WaitClaimedError):
            await claim(store, "phone")
        await held.release()
        await register(store, "l", A, of=LASTING)
        async with store.resume_wait(SERVICE, BOTH, A) as wait:
            assert wait is not None
            assert (wait.user_id, wait.key) == ("lasting", "l")
        assert await store.claim_wait(SERVICE, BOTH, B) is None
        assert await find(store, *BOTH) == "p"

    async def test_k7_k6_many_users_and_scopes(self, store: AsyncSessionStore) -> None:
        users = [f"u{number}" for number in range(40)]
        scopes = [ReplyScope(conversation=f"c{number}") for number in range(60)]
        assert await store.claim_wait(SERVICE, users, scopes, delivery_id="1") is None
        await register(store, "k", scopes[-1], of=ctx("u39"))
        claimed = await claim(store, *users, at=scopes, delivery_id="1")
        assert claimed.user_id == "u39"
        assert await claimed.complete()
        with pytest.raises(DuplicateDeliveryError):
            await store.claim_wait(SERVICE, users, scopes, delivery_id="1")

    async def test_k7_a_claimed_wait_of_the_first_user_is_final(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "l", A, of=LASTING)
        await register(store, "p", A, of=PHONE)
        held = await claim(store, "lasting")
        with pytest.raises(WaitClaimedError):
            await claim(store, *BOTH)
        assert not await is_claimed(store, "phone")
        async with anyio.create_task_group() as tasks:

            async def waits() -> None:
                assert (await claim(store, *BOTH, wait=WAIT)).user_id == "lasting"

            tasks.start_soon(waits)
            await anyio.sleep(ARRIVAL)
            await held.release()

    async def test_k7_a_wait_that_comes_for_the_first_user_is_taken_while_queueing_for_another(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "p", A, of=PHONE)
        await claim(store, "phone")
        async with anyio.create_task_group() as tasks:

            async def waits() -> None:
                assert (await claim(store, *BOTH, wait=WAIT)).user_id == "lasting"

            tasks.start_soon(waits)
            await anyio.sleep(ARRIVAL)
            await register(store, "l", A, of=LASTING)

    async def test_k7_n3_a_flow_begins_for_the_first_user_and_stays_with_it(
        self, store: AsyncSessionStore
    ) -> None:
        held = await claim(store, *BOTH, begin_at=B)
        assert held.is_new
        assert held.user_id == "lasting"
        with pytest.raises(TenantMismatchError, match="N1"):
            await held.complete(NewWait(B, data(of=PHONE)))
        assert await held.complete(NewWait(B, data(of=LASTING), session_key="l"))
        assert await find(store, *BOTH, at=B) == "l"
        assert await find(store, "phone", at=B) is None

    async def test_k7_n3_nothing_begins_while_a_flow_begins_under_another_id(
        self, store: AsyncSessionStore
    ) -> None:
        held = await claim(store, "phone", at=[A, B], begin_at=A)
        with pytest.raises(WaitClaimedError):
            await claim(store, *BOTH, at=[B, A], begin_at=B)
        async with anyio.create_task_group() as tasks:

            async def second() -> None:
                claimed = await claim(store, *BOTH, at=[B, A], begin_at=B, wait=WAIT)
                assert not claimed.is_new
                assert claimed.user_id == "phone"

            tasks.start_soon(second)
            await anyio.sleep(ARRIVAL)
            assert await held.complete(NewWait(A, data(of=PHONE)))

    async def test_k7_n4_callers_known_by_different_ids_keep_their_order(
        self, store: AsyncSessionStore
    ) -> None:
        held = await claim(store, "phone", begin_at=A)
        callers = [BOTH, ("phone",), BOTH, ("phone",), ("phone", "lasting")]
        order_of_turns: list[int] = []

        async def caller(number: int) -> None:
            claimed = await claim(store, *callers[number], begin_at=A, wait=WAIT)
            assert claimed.user_id == "phone"
            order_of_turns.append(number)
            assert await claimed.complete(NewWait(A, data(str(number), of=PHONE)))

        async with anyio.create_task_group() as tasks:
            for number in range(len(callers)):
                tasks.start_soon(caller, number)
                await anyio.sleep(ARRIVAL)
            assert await held.complete(NewWait(A, data(of=PHONE)))
        assert order_of_turns == list(range(len(callers)))

    async def test_k7_n4_a_place_that_moves_to_another_users_queue_keeps_its_rank(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "p", A, of=PHONE)
        await claim(store, "phone")
        held = await claim(store, "lasting", begin_at=A)
        order_of_turns: list[str] = []

        async def caller(name: str, *users: str) -> None:
            claimed = await claim(store, *users, wait=WAIT)
            assert claimed.user_id == "lasting"
            order_of_turns.append(name)
            await claimed.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller, "first", *BOTH)
            await anyio.sleep(ARRIVAL)
            await register(store, "l", A, of=LASTING)
            tasks.start_soon(caller, "second", "lasting")
            await anyio.sleep(0.7)  # by then, the first has renewed its place, and so moved it
            await held.release()
        assert order_of_turns == ["first", "second"]

    async def test_k7_a_caller_that_gives_up_leaves_no_place(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "p", A, of=PHONE)
        held = await claim(store, "phone")
        before = sorted(await self.leftovers(backend))
        with pytest.raises(WaitClaimedError):
            await claim(store, *BOTH, at=[A, B], wait=0.1)
        assert sorted(await self.leftovers(backend)) == before
        await held.release()
        assert (await claim(store, *BOTH)).user_id == "phone"

    # --- Deliveries ---------------------------------------------------------------------------

    @pytest.mark.parametrize("first", [("phone",), BOTH], ids=len)
    @pytest.mark.parametrize("again", [("phone",), BOTH, BOTH[::-1]], ids=str)
    async def test_k6_k7_a_delivery_is_refused_whichever_ids_are_known(
        self, store: AsyncSessionStore, first: tuple[str, ...], again: tuple[str, ...]
    ) -> None:
        await register(store, "p", A, of=PHONE)
        held = await claim(store, *first, delivery_id="event")
        assert await held.complete()
        # Even if another question waits by then, or a flow may begin.
        await register(store, "l", A, of=LASTING)
        for options in ({}, {"begin_at": B}):
            with pytest.raises(DuplicateDeliveryError):
                await claim(store, *again, delivery_id="event", **options)
        assert not (await claim(store, *again, "lasting", delivery_id="other")).is_new

    async def test_k6_k7_a_delivery_is_remembered_at_each_scope_of_each_user(
        self, store: AsyncSessionStore
    ) -> None:
        held = await claim(store, *BOTH, at=[A, B], begin_at=A, delivery_id="event")
        await held.complete(NewWait(A, data(of=LASTING)))
        for user in BOTH:
            for scope in (A, B):
                with pytest.raises(DuplicateDeliveryError):
                    await claim(store, user, at=scope, delivery_id="event", begin_at=scope)
        assert (await claim(store, "phone", at=C, delivery_id="event", begin_at=C)).is_new
        assert (await claim(store, "stranger", delivery_id="event", begin_at=A)).is_new

    async def test_k6_k7_a_release_remembers_nothing(self, store: AsyncSessionStore) -> None:
        for _ in range(2):
            held = await claim(store, *BOTH, begin_at=A, delivery_id="event")
            await held.release()

    # --- Turns --------------------------------------------------------------------------------

    async def test_n7_a_turn_finds_the_flow_under_each_id(self, store: AsyncSessionStore) -> None:
        # The bot knew only the number when it asked; the conversation has its user's ids too.
        assert await order(store, Message(user_id="phone", scope=B)) == "Which pizza?"
        known = KnownMessage("napoli", scope=A, more=(B,))
        assert await order(store, known) == "What size?"
        assert await find(store, "lasting", at=[A, B]) is None
        # The next question can be answered by a message that has only the number.
        assert await order(store, Message("large", user_id="phone", scope=B)) == "One large napoli."

    async def test_n7_a_flow_begins_under_the_first_id(self, store: AsyncSessionStore) -> None:
        assert await order(store, KnownMessage()) == "Which pizza?"
        assert await find(store, "phone") is None
        async with store.turn(SERVICE, KnownMessage(), flow=None, memory=Order) as turn:
            assert turn is not None
            assert turn.user_id == "lasting"

    async def test_n7_the_next_question_stays_in_the_conversation_where_the_flow_waited(
        self, store: AsyncSessionStore
    ) -> None:
        asked = B.model_copy(update={"reply_to": "sent"})
        await register(store, "p", asked, of=PHONE)
        message = KnownMessage(
            scope=A.model_copy(update={"thread": "t"}), more=(asked,), user_id="lasting"
        )
        async with store.turn(SERVICE, message, flow=None, memory=Order) as turn:
            assert turn is not None
            assert turn.user_id == "phone"
            turn.ask("next")
        record = await store.get_record("p")
        assert record is not None
        assert record.scope == B.model_copy(update={"thread": "t"})

    async def test_n7_f4_the_user_of_the_ctx_takes_its_own_turn(
        self, store: AsyncSessionStore
    ) -> None:
        async with store.turn(PHONE, KnownMessage(), flow="order", memory=Order) as turn:
            assert turn.user_id == "phone"
            turn.ask("next")
        assert await find(store, "phone") is not None
        with pytest.raises(TenantMismatchError, match="F4"):
            async with store.turn(STRANGER, KnownMessage(), flow="order", memory=Order):
                pass
