"""O1, O6: waits move when their user or their conversation gets a new id."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ClaimLostError,
    ConflictError,
    DuplicateDeliveryError,
    InvalidInputError,
    MovedWaits,
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
    clear,
    context_of,
    ctx,
    data,
    expires_at,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import begin, claim, record_of, try_claim
from async_session_store.testing.contract.expiry_builders import (
    claim_all,
    claim_one,
    expired,
    keep,
)
from async_session_store.testing.contract.hooks import Hooks, SharedHooks
from async_session_store.testing.contract.next_waits import ask
from async_session_store.testing.contract.unreadable_documents import OWNED

NEW = ctx("u2")
USER = ("u1", "u2")
NOTHING = MovedWaits()
OTHERS = {
    "another env": ctx(env="test"),
    "another tenant": ctx(tenant="other"),
    "a user whose id goes on": ctx("u11"),
    "a user whose id has the same end": ctx("xu1"),
    "no user": ctx(None),
}
BAD: dict[str, dict[str, Any]] = {
    "user: give": {},
    "user: the old and the new": {"user": ("u1", "u1")},
    "user: must be": {"user": ("u1", "*")},
    "user: give a pair": {"user": "u1"},
    "user: give a pair of ids": {"user": ("u1", "u2", "u3")},
    "conversation: the old and the new": {"conversation": ("a", "a")},
    "conversation: must not contain": {"conversation": ("a", "b\n")},
    "conversation: give": {"conversation": ("a", 7)},
    "conversation: give the text": {"conversation": (A, B)},
}


def at(number: object) -> ReplyScope:
    return ReplyScope(conversation=str(number))


def in_thread(conversation: str) -> ReplyScope:
    return ReplyScope(conversation=conversation, thread="t", reply_to="r", correlation="c")


async def erase_all(store: AsyncSessionStore, *users: str) -> None:
    for user in users:
        await store.erase_user(SERVICE, user)


class Moving(Hooks):
    """O1, O6: what moves, and what stays where it is."""

    async def test_o6_all_sessions_of_a_user_become_the_new_users(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "detached", A, "1", ttl=900)
        await register(store, "waits", A, "2", ttl=600)
        await register(store, "thread", in_thread("a"), "3")
        created = await store.create_session(CTX, data("4"), ttl=300)
        keys = ("detached", "waits", "thread", created)
        before = [await store.get_record(key) for key in keys]
        moved = await store.move_waits(SERVICE, user=USER)
        assert moved == MovedWaits(waits=2, sessions=2)
        assert moved.is_complete
        for key, old in zip(keys, before, strict=True):
            record = await store.get_record(key)
            assert old is not None
            assert record is not None
            assert record.data == data(old.data.context_json, of=NEW)
            assert (record.scope, record.expires_at) == (old.scope, old.expires_at)
            assert record.etag != old.etag
            assert await store.get_session(key, ctx=CTX) is None
        assert await find(store, A, in_thread("a")) is None
        assert await listed(store) == []
        assert await find(store, A, of=NEW) == "waits"
        assert await find(store, in_thread("a"), of=NEW) == "thread"
        assert await listed(store, of=NEW) == ["thread", "waits"]
        await erase_all(store, "u2")
        assert await self.leftovers(backend) == []

    async def test_o6_in_a_team_or_in_all(self, store: AsyncSessionStore) -> None:
        for team in (None, "blue", "red"):
            await register(store, f"k {team}", A, of=ctx(team=team))
        assert (await store.move_waits(ctx(None, team="blue"), user=USER)).waits == 1
        assert await listed(store, of=ctx("u2", team="blue")) == ["k blue"]
        assert await listed(store, of=ctx(team="red")) == ["k red"]
        assert (await store.move_waits(SERVICE, user=USER)).waits == 2
        for team in (None, "blue", "red"):
            assert await listed(store, of=ctx("u2", team=team)) == [f"k {team}"]

    @pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
    async def test_o6_f7_nothing_of_anyone_else_moves(
        self, backend: Backend, store: AsyncSessionStore, other: TenantCtx
    ) -> None:
        if other.owner.user is None:
            await store.create_session(other, data(of=other))
        else:
            await register(store, "waits", B, of=other)
            await keep(store, "kept", C, ttl=10, of=other)
            await self.advance(backend, 11)
        before = sorted(await self.leftovers(backend))
        assert await store.move_waits(SERVICE, user=USER) == NOTHING
        assert await store.move_waits(SERVICE, conversation=("a", "z")) == NOTHING
        assert sorted(await self.leftovers(backend)) == before

    async def test_o6_all_waits_in_a_conversation_move(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k1", A, "1", ttl=600)
        await register(store, "k2", in_thread("a"), of=NEW)
        await register(store, "k3", A, of=ctx("u1", team="blue"))
        await register(store, "k4", B)
        await register(store, "k5", A, of=ctx(tenant="other"))
        await store.create_session(CTX, data())
        deadline = await expires_at(store, "k1")
        assert await store.move_waits(SERVICE, conversation=("a", "z")) == MovedWaits(waits=3)
        assert await find(store, A) is None
        record = await store.get_wait(CTX, "u1", at("z"))
        assert record is not None
        assert (record.data, record.scope, record.expires_at) == (data("1"), at("z"), deadline)
        assert await find(store, in_thread("z"), of=NEW) == "k2"
        assert await find(store, at("z"), of=ctx("u1", team="blue")) == "k3"
        assert await find(store, B) == "k4"
        assert await find(store, A, of=ctx(tenant="other")) == "k5"
        await erase_all(store, "u1", "u2")
        await store.erase_user(ctx(None, tenant="other"), "u1")
        assert await self.leftovers(backend) == []

    async def test_o6_a_user_and_a_conversation_together(self, store: AsyncSessionStore) -> None:
        await register(store, "both", A)
        await register(store, "user", B)
        await register(store, "conversation", A, of=ctx("u3"))
        moved = await store.move_waits(SERVICE, user=USER, conversation=("a", "z"))
        assert moved == MovedWaits(waits=3)
        assert await find(store, at("z"), of=NEW) == "both"
        assert await find(store, B, of=NEW) == "user"
        assert await find(store, at("z"), of=ctx("u3")) == "conversation"

    async def test_o6_it_can_be_repeated(self, backend: Backend, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        change: dict[str, Any] = {"user": USER, "conversation": ("a", "z")}
        assert await store.move_waits(SERVICE, **change) == MovedWaits(waits=1)
        before = sorted(await self.leftovers(backend))
        assert await store.move_waits(SERVICE, **change) == NOTHING
        assert sorted(await self.leftovers(backend)) == before

    async def test_o6_however_much_is_stored(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(250):
            await store.create_session(CTX, data())
            await register(store, f"k{number}", at(number))
            await register(store, f"other{number}", at(number), of=ctx("u3"))
        moved = await store.move_waits(SERVICE, user=USER)
        assert moved == MovedWaits(waits=250, sessions=250)
        assert len(await listed(store, of=NEW)) == len(await listed(store, of=ctx("u3"))) == 250
        await erase_all(store, "u2", "u3")
        assert await self.leftovers(backend) == []

    # --- What stays ---------------------------------------------------------------------------

    async def test_o6_no_wait_at_the_new_place_is_displaced(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "mine")
        await register(store, "theirs", A, of=NEW)
        moved = await store.move_waits(SERVICE, user=USER)
        assert moved == MovedWaits(taken=moved.taken)
        assert moved.taken == ("k",)
        assert not moved.is_complete
        await assert_waits_untouched(store)
        assert await find(store, A, of=NEW) == "theirs"
        assert await clear(store, A, of=NEW)
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)
        assert await find(store, A, of=NEW) == "k"

    async def test_o6_a_wait_past_its_deadline_takes_no_place(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "gone", A, of=NEW, ttl=10)
        await keep(store, "kept", B, of=NEW, ttl=10)
        await self.advance(backend, 11)
        await register(store, "k1", A)
        await register(store, "k2", B)
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=2)
        assert await find(store, A, of=NEW) == "k1"
        assert await find(store, B, of=NEW) == "k2"
        assert await expired(store) == ["kept"]
        await erase_all(store, "u2")
        assert await self.leftovers(backend) == []

    async def test_o6_a_claimed_wait_stays_for_its_holder(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        await register(store, "free", B)
        held = await claim(store, A, delivery_id="event")
        moved = await store.move_waits(SERVICE, user=USER)
        assert moved == MovedWaits(waits=1, in_use=moved.in_use)
        assert moved.in_use == ("k",)
        assert await held.complete(ask(C))
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)
        assert await listed(store, of=NEW) == ["free", "k"]
        assert await find(store, C, of=NEW) == "k"
        await erase_all(store, "u1", "u2")
        assert await self.leftovers(backend) == []

    async def test_o6_n3_a_flow_that_begins_at_the_new_place_goes_on(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, of=ctx("u3"))
        begun = await begin(store, A)
        moved = await store.move_waits(SERVICE, user=("u3", "u1"))
        assert moved.in_use == ("k",)
        assert await begun.complete(ask(key="new"))
        moved = await store.move_waits(SERVICE, user=("u3", "u1"))
        assert moved.taken == ("k",)
        assert await find(store, A) == "new"
        assert await find(store, A, of=ctx("u3")) == "k"

    async def test_o6_n4_callers_that_wait_for_a_turn_get_the_wait(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A)
        found: list[WaitClaim | None] = []
        moved = NOTHING

        async def waits() -> None:
            found.append(await try_claim(store, A, wait=30))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(waits)
                await anyio.sleep(0.2)
                await held.release()
                # Whether the caller has its turn by now or not, the wait is not taken from it.
                moved = await store.move_waits(SERVICE, user=USER)
        assert moved.in_use == ("k",)
        (next_held,) = found
        assert next_held is not None
        assert await next_held.complete()

    async def test_o6_n5_a_claim_whose_lease_has_ended_holds_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        lost = await claim(store, A, lease=10)
        await self.advance(backend, 11)
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)
        with pytest.raises(ClaimLostError):
            await lost.complete(ask())
        assert await listed(store) == []
        assert await listed(store, of=NEW) == ["k"]

    async def test_o6_s6_a_document_that_would_be_too_large(self, backend: Backend) -> None:
        async with self.store_class(backend, max_document_bytes=400) as store:
            await register(store, "k", A, "x" * 50)
            moved = await store.move_waits(SERVICE, user=("u1", "u" * 200))
            assert moved == MovedWaits(unreadable=moved.unreadable)
            assert moved.unreadable == ("k",)
            assert await find(store, A) == "k"

    # --- What comes along, and what does not --------------------------------------------------

    async def test_o6_a_turn_is_taken_at_the_new_place(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        await store.move_waits(SERVICE, user=USER, conversation=("a", "z"))
        held = await store.claim_wait(NEW, "u2", at("z"))
        assert held is not None
        assert record_of(held).key == "k"
        assert await held.complete(NewWait(at("z"), data("next", of=NEW)))
        assert await context_of(store, "k") == "next"

    async def test_o6_k6_a_message_that_was_handled_is_refused_where_it_was_sent(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        held = await claim(store, A, delivery_id="event")
        await held.complete(ask())
        await store.move_waits(SERVICE, user=USER, conversation=("a", "z"))
        with pytest.raises(DuplicateDeliveryError):
            await begin(store, A, delivery_id="event")

    async def test_o6_f2_e2_who_knew_the_old_ids_overwrites_nothing(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        record = await store.get_record("k")
        assert record is not None
        await store.move_waits(SERVICE, user=USER)
        with pytest.raises(TenantMismatchError, match="F2"):
            await register(store, "k", A)
        with pytest.raises(TenantMismatchError, match="F2"):
            await store.update_session("k", data("old"))
        with pytest.raises(ConflictError):
            await store.update_session("k", data("new", of=NEW), if_match=record.etag)

    async def test_o6_t4_q1_a_moved_wait_ends_when_it_would_have_ended(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "kept", A, ttl=20, expired_ttl=20)
        await register(store, "k", B, ttl=20)
        created = await store.create_session(CTX, data(), ttl=20)
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=2, sessions=1)
        await self.advance(backend, 15)
        assert await listed(store, of=NEW) == ["k", "kept"]
        await self.advance(backend, 6)
        assert await listed(store, of=NEW) == []
        assert await store.get_session(created) is None
        assert await expired(store, CTX) == []
        assert await expired(store, NEW) == ["kept"]
        await self.advance(backend, 20)
        assert await expired(store) == []
        assert await store.purge_expired() >= 0
        assert await self.leftovers(backend) == []

    async def test_o6_q1_q4_a_moved_wait_without_a_deadline_can_get_one(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=NEVER)
        await store.move_waits(SERVICE, user=USER, conversation=("a", "z"))
        await store.touch_session("k", 10)
        await self.advance(backend, 11)
        assert await find(store, at("z"), of=NEW) is None
        held = await claim_one(store)
        assert record_of(held).data.owner.user == "u2"
        assert record_of(held).scope == at("z")
        assert await held.complete()
        await erase_all(store, "u2")
        assert await self.leftovers(backend) == []

    async def test_o6_q2_expired_waits_move_in_their_order(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "third", A, ttl=10)
        await keep(store, "first", B, ttl=11)
        await keep(store, "theirs", at("u3"), ttl=12, of=ctx("u3"))
        await keep(store, "displaced", C, ttl=13)
        await self.advance(backend, 14)
        await register(store, "live", C)
        await (await claim_one(store)).release()  # from now on, it is due after the others
        moved = await store.move_waits(SERVICE, user=USER, conversation=("a", "z"))
        assert moved == MovedWaits(waits=1, expired_waits=3)
        assert await expired(store, CTX) == []
        claims = await claim_all(store, SERVICE)
        assert [record_of(one).key for one in claims] == ["first", "theirs", "displaced", "third"]
        assert [record_of(one).scope for one in claims] == [B, at("u3"), C, at("z")]
        assert [one.is_overtaken for one in claims] == [False, False, True, False]
        assert record_of(claims[0]).data.owner.user == "u2"
        assert await claims[0].complete(NewWait(B, data("again", of=NEW)))
        assert await find(store, B, of=NEW) == "first"
        for one in claims[1:]:
            await one.complete()
        assert await expired(store) == []
        await erase_all(store, "u2", "u3")
        assert await self.leftovers(backend) == []

    async def test_o6_expired_waits_meet_a_live_one_and_each_other(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "mine", A, ttl=10)
        await keep(store, "theirs", A, ttl=10, of=NEW)
        await self.advance(backend, 11)
        await register(store, "live", A, of=NEW)
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(expired_waits=1)
        assert await find(store, A, of=NEW) == "live"
        first = await claim_one(store)
        assert first.is_overtaken
        assert await first.complete()
        second = await claim_one(store)
        assert await second.complete()
        assert {record_of(first).key, record_of(second).key} == {"mine", "theirs"}
        assert await listed(store, of=NEW) == ["live"]

    async def test_o6_an_expired_wait_that_a_worker_holds_stays(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=10)
        await self.advance(backend, 11)
        held = await claim_one(store)
        assert (await store.move_waits(SERVICE, user=USER)).in_use == ("k",)
        assert await held.complete(ask())
        assert await store.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)

    async def test_o6_an_expired_wait_can_be_ended_at_its_new_place(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k", A, ttl=10)
        await self.advance(backend, 11)
        await store.move_waits(SERVICE, user=USER, conversation=("a", "z"))
        assert not await clear(store, A)
        assert await expired(store) == ["k"]
        assert not await clear(store, at("z"), of=NEW)  # Q4: it ends, but did not exist
        assert await expired(store) == []
        assert await self.leftovers(backend) == []

    # --- Who may call, and what goes on meanwhile ---------------------------------------------

    @pytest.mark.parametrize(("match", "change"), BAD.items(), ids=BAD.keys())
    async def test_o6_bad_ids_are_refused(
        self, backend: Backend, store: AsyncSessionStore, match: str, change: dict[str, Any]
    ) -> None:
        async with self.refused(backend, InvalidInputError, match):
            await store.move_waits(SERVICE, **change)

    @pytest.mark.parametrize("caller", [CTX, NEW])
    async def test_o1_only_a_service_may_move_waits(
        self, backend: Backend, store: AsyncSessionStore, caller: TenantCtx
    ) -> None:
        await register(store, "k", A, "mine")
        async with self.refused(backend, TenantMismatchError, "O1"):
            await store.move_waits(caller, user=USER)
        await assert_waits_untouched(store)

    async def test_o6_while_turns_go_on(self, backend: Backend, store: AsyncSessionStore) -> None:
        """A turn is taken at the old place or at the new one, and none is lost."""
        count, is_over = 0, False

        async def take_turns() -> None:
            nonlocal count
            while not is_over:
                await checkpoint()
                for of in (CTX, NEW):
                    held = await store.claim_wait(of, of.owner.user or "", A)
                    if held is not None:
                        assert record_of(held).data.context_json == str(count)
                        count += 1
                        await checkpoint()
                        assert await held.complete(NewWait(A, data(str(count), of=of)))

        await register(store, "k", A, "0")
        for number in range(50):
            await register(store, f"k{number}", at(number), of=ctx("u3"))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take_turns)
                for number in range(10):
                    old, new = ("u1", "u2") if number % 2 == 0 else ("u2", "u1")
                    await store.move_waits(SERVICE, user=(old, new))
                    await anyio.sleep(0.01)
                is_over = True
        records = [*await store.list_wait_records(CTX, "u1")]
        records += await store.list_wait_records(NEW, "u2")
        assert [(record.key, record.data.context_json) for record in records] == [("k", str(count))]
        await erase_all(store, "u1", "u2", "u3")
        assert await self.leftovers(backend) == []


class MovingUnreadable(SharedHooks):
    """O6, R2: documents that cannot be read."""

    @pytest.mark.parametrize("document", OWNED.values(), ids=OWNED.keys())
    async def test_o6_r2_unreadable_documents_are_named_and_stay(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await register(store, "spoilt", A)
        await register(store, "k", B)
        await self.overwrite(backend, "spoilt", document)
        spoilt = await find(store, A)
        assert spoilt is not None
        expected = MovedWaits(waits=1, unreadable=(spoilt,))
        assert await store.move_waits(SERVICE, user=USER) == expected
        assert await store.move_waits(SERVICE, conversation=("b", "z")) == expected
        assert await store.move_waits(SERVICE, user=("u3", "u4")) == NOTHING
        assert await find(store, A) == spoilt
        assert await find(store, at("z"), of=NEW) == "k"

    async def test_o6_another_store_sees_it(
        self, store: AsyncSessionStore, other: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        assert await other.move_waits(SERVICE, user=USER) == MovedWaits(waits=1)
        assert await find(store, A, of=NEW) == "k"
        assert await find(store, A) is None


class CancelledMoving(Hooks):
    """O6, R3: a move that is cancelled, which only async callers can do."""

    async def test_o6_r3_a_move_that_was_cancelled_can_be_repeated(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(30):
            await store.erase_user(SERVICE, "u2")
            await keep(store, "kept", C, ttl=10)
            await self.advance(backend, 11)
            for one in range(5):
                await register(store, f"k{one}", at(one), str(one))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(store.move_waits, SERVICE, user=USER))
                for _ in range(number):
                    await checkpoint()
                await anyio.sleep(0.0002 * number)
                tasks.cancel_scope.cancel()
            for one in range(5):
                found = [await find(store, at(one), of=of) for of in (CTX, NEW)]
                assert [key for key in found if key is not None] == [f"k{one}"]
            moved = await store.move_waits(SERVICE, user=USER)
            assert moved.is_complete
            assert moved.waits <= 5
            assert await listed(store) == []
            assert await listed(store, of=NEW) == [f"k{one}" for one in range(5)]
            assert await expired(store, NEW) == ["kept"]
        await erase_all(store, "u2")
        assert await self.leftovers(backend) == []
