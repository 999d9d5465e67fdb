"""R3: a cancelled call happens wholly or not at all."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    NewWait,
    ReplyScope,
    SessionStoreError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    Call,
    clear,
    context_of,
    data,
    find,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.claim_builders import claim, is_claimed, try_claim
from async_session_store.testing.contract.expiry_builders import claim_all, claim_one, expired, keep
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.races import TURNS, cancel_after, state_of, two_waits
from async_session_store.testing.contract.turn_builders import Message, Order, toppings


async def resume(store: AsyncSessionStore) -> None:
    async with store.resume_wait(CTX, "u1", A):
        await checkpoint()


async def go_on(store: AsyncSessionStore) -> None:
    async with store.resume_wait(CTX, "u1", A) as wait:
        await checkpoint()
        assert wait is not None
        wait.next(NewWait(B, data("new")))


async def begin(store: AsyncSessionStore) -> None:
    async with store.resume_wait(CTX, "u1", C, begin_at=C) as wait:
        await checkpoint()
        wait.next(NewWait(C, data("new"), session_key="k3"))


async def take_turn(store: AsyncSessionStore, message: Message) -> None:
    async with store.turn(CTX, message, flow="order", memory=Order) as turn:
        await checkpoint()
        turn.memory.toppings.append(message.text or "")
        turn.ask("more")


WRITES: dict[str, Call] = {
    "create": lambda store: store.create_session(CTX, data("new")),
    "register": lambda store: register(store, "k3", A, "new"),
    "move": lambda store: register(store, "k1", B, "new"),
    "register_if_absent": lambda store: register_if_absent(
        store, "k1", A.model_copy(update={"thread": "free"}), "new"
    ),
    "update": lambda store: store.update_session("k1", data("new")),
    "touch": lambda store: store.touch_session("k1", 600),
    "remove": lambda store: store.remove_session("k1"),
    "clear": lambda store: clear(store, A),
    "edit": lambda store: store.edit_session("k1", lambda _: data("new")),
    "resume": resume,
    "go on": go_on,
    "begin": begin,
    "clear all": lambda store: store.clear_waits_for_user(CTX, "u1"),
    "purge": lambda store: store.purge_expired(),
}


async def give_back(store: AsyncSessionStore, scopes: list[ReplyScope]) -> None:
    """Claim a wait. If the call was not cancelled, release the claim at once."""
    claimed = await try_claim(store, *scopes)
    if claimed is not None:
        with anyio.CancelScope(shield=True):
            await claimed.release()


async def give_back_expired(store: AsyncSessionStore) -> None:
    """Claim expired waits. If the call was not cancelled, release the claims at once."""
    for claimed in await claim_all(store):
        with anyio.CancelScope(shield=True):
            await claimed.release()


async def ask_again(store: AsyncSessionStore) -> None:
    """Take the turn on an expired wait, and ask again."""
    async for claimed in store.expired_waits(poll=0.01):
        async with store.expired_turn(claimed, memory=Order) as turn:
            await checkpoint()
            turn.ask("again", ttl=600)
        break


class Cancellation(Hooks):
    """R3: the state that a cancelled call leaves, and its effect on other calls."""

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
    async def test_r3_a_cancelled_write_happens_wholly_or_not_at_all(
        self, store: AsyncSessionStore, write: Call
    ) -> None:
        async def start_over() -> None:
            await store.clear_waits_for_user(CTX, "u1")
            for key in ("k1", "k2", "k3"):
                if await store.get_session(key) is not None:
                    await store.remove_session(key)
            await two_waits(store)

        await start_over()
        before = await state_of(store)
        await write(store)
        after = await state_of(store)

        for turns in TURNS:
            await start_over()
            await cancel_after(turns, lambda: write(store))
            state = await state_of(store)
            assert state in (before, after)
            for _ in range(20):
                await checkpoint()
            assert await state_of(store) == state
        await store.ping()

    async def test_r3_a_call_may_be_cancelled_before_it_starts(
        self, store: AsyncSessionStore
    ) -> None:
        await two_waits(store)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await register(store, "k1", B, "new")
        assert await listed(store) in (["k1"], ["k1", "k2"])
        assert await find(store, B) == ("k2" if await find(store, A) == "k1" else "k1")
        await register(store, "k3", A)
        assert await find(store, A) == "k3"

    async def test_r3_no_caller_gets_another_calls_reply(self, store: AsyncSessionStore) -> None:
        keys = [f"k{number}" for number in range(30)]
        for key in keys:
            await register(store, key, A.model_copy(update={"thread": key}), key)

        async def read(key: str) -> None:
            for _ in range(3):
                assert await context_of(store, key) == key
                assert await find(store, A.model_copy(update={"thread": key})) == key

        for turns in TURNS:
            async with anyio.create_task_group() as tasks:
                for number, key in enumerate(keys):
                    if number % 3:
                        tasks.start_soon(read, key)
                    else:
                        tasks.start_soon(cancel_after, turns, lambda key=key: read(key))

    async def test_r3_calls_after_a_cancelled_one_work(self, store: AsyncSessionStore) -> None:
        for turns in TURNS:
            await cancel_after(turns, lambda: two_waits(store))
            await two_waits(store)
            assert await listed(store) == ["k1", "k2"]
            assert await clear(store, A)
            assert await store.clear_waits_for_user(CTX, "u1") == 1

    async def test_r3_some_of_many_concurrent_calls_may_be_cancelled(
        self, store: AsyncSessionStore
    ) -> None:
        outcomes: list[str | None] = []

        async def task(number: int) -> None:
            key = f"k{number}"
            with anyio.move_on_after(number * 0.0001):
                await register(store, key, A.model_copy(update={"thread": key}), key)
            waiting = await find(store, A.model_copy(update={"thread": key}))
            assert waiting == (None if await store.get_session(key) is None else key)
            outcomes.append(waiting)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(task, number)
        assert await listed(store) == sorted(filter(None, outcomes))

    @pytest.mark.parametrize("scopes", [[A], [B, A], [A, B, A]], ids=["one", "two", "three"])
    async def test_r3_k1_a_cancelled_claim_is_not_held(
        self, backend: Backend, store: AsyncSessionStore, scopes: list[ReplyScope]
    ) -> None:
        await register(store, "k", A)
        for turns in range(40):
            await cancel_after(turns, lambda: give_back(store, scopes))
            assert not await is_claimed(store, A)
        await clear(store, A)
        assert await self.leftovers(backend) == []

    async def test_r3_k1_a_caller_cancelled_in_the_queue_holds_no_claim(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        for turns in TURNS:
            held = await claim(store, A)
            await cancel_after(turns, lambda: try_claim(store, A, wait=60))
            assert await is_claimed(store, A)
            await held.release()
            assert not await is_claimed(store, A)

    @pytest.mark.parametrize("end", ["complete", "release", "renew"])
    async def test_r3_k2_ending_a_claim_happens_wholly_or_not_at_all(
        self, backend: Backend, store: AsyncSessionStore, end: str
    ) -> None:
        for turns in range(30):
            await register(store, "k", A)
            held = await claim(store, A, delivery_id=f"{turns}", dedupe_ttl=5)
            await cancel_after(turns, getattr(held, end))
            waiting = await find(store, A)
            if waiting is None:
                assert end == "complete"
                with pytest.raises(DuplicateDeliveryError):
                    await try_claim(store, A, delivery_id=f"{turns}")
            elif await is_claimed(store, A):
                await held.release()
            else:
                assert end == "release"
            if waiting is not None:
                await (await claim(store, A, delivery_id=f"{turns}")).release()
                await clear(store, A)
        await self.advance(backend, 6)

    async def test_r3_q2_cancelled_claims_on_expired_waits_are_not_held(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A)
        await keep(store, "k2", B)
        await self.advance(backend, 61)
        for turns in range(40):
            await cancel_after(turns, lambda: give_back_expired(store))
            assert sorted(await expired(store)) == ["k1", "k2"]

    async def test_r3_q5_the_turn_of_an_expired_wait_happens_wholly_or_not_at_all(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for turns in range(40):
            await keep(store, "k", A, ttl=10)
            await self.advance(backend, 11)
            await cancel_after(turns, lambda: ask_again(store))
            if await find(store, A) is None:
                assert await (await claim_one(store)).complete() is True
            else:
                assert await claim_all(store) == []
                assert await (await claim(store, A)).complete() is True

    async def test_r3_n1_n3_a_turn_that_is_cancelled_and_repeated_is_taken_once(
        self, store: AsyncSessionStore
    ) -> None:
        for turns in range(40):
            message = Message(str(turns), str(turns))
            await cancel_after(turns, partial(take_turn, store, message))
            with anyio.fail_after(5), suppress(DuplicateDeliveryError):
                await take_turn(store, message)
            assert await toppings(store) == [str(number) for number in range(turns + 1)]

    async def test_r3_n3_a_first_turn_that_is_cancelled_and_repeated_begins_one_flow(
        self, store: AsyncSessionStore
    ) -> None:
        for turns in range(40):
            message = Message("hi", str(turns))
            await cancel_after(turns, partial(take_turn, store, message))
            with anyio.fail_after(5), suppress(DuplicateDeliveryError):
                await take_turn(store, message)
            assert await toppings(store) == ["hi"]
            assert await store.clear_waits_for_user(CTX, "u1") == 1

    async def test_r3_n4_a_turn_cancelled_in_the_queue_holds_nobody_up(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "{}")
        for turns in TURNS:
            held = await claim(store, A)
            message = Message("hi", str(turns))
            await cancel_after(turns, partial(take_turn, store, message))
            await held.release()
            with anyio.fail_after(0.9):
                await (await claim(store, A, wait=60)).release()

    async def test_r3_opening_may_be_cancelled(self, backend: Backend) -> None:
        store = self.store_class(backend)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.open()
        try:
            await store.ping()
        except SessionStoreError:
            await store.open()
        await two_waits(store)
        assert await listed(store) == ["k1", "k2"]
        await store.aclose()

    async def test_r3_closing_is_not_interrupted(self, backend: Backend) -> None:
        store = await self.store_class(backend).open()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.aclose()
        with pytest.raises(SessionStoreError, match="closed"):
            await store.ping()
