"""N3: a flow begins where nothing waits."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from async_session_store import (
    KEEP,
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    InvalidInputError,
    NewWait,
    ReplyScope,
    TenantMismatchError,
    WaitClaim,
    WaitClaimedError,
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
    register_if_absent,
)
from async_session_store.testing.contract.claim_builders import begin, claim, try_claim
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.next_waits import THENS, ask


class Beginning(Hooks):
    """N3: ``begin_at``."""

    async def test_n3_an_empty_scope_is_claimed_and_nothing_is_found_there(
        self, store: AsyncSessionStore
    ) -> None:
        held = await begin(store)
        assert await find(store, A) is None
        assert await store.get_wait(CTX, "u1", A) is None
        assert await listed(store) == []
        assert await store.list_wait_records(CTX, "u1") == []
        assert not await clear(store, A)
        assert await try_claim(store, A) is None
        assert held.seconds_left > 0
        await held.renew(60)
        assert await held.complete(ask()) is True

    async def test_n3_it_registers_the_first_wait(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        held = await begin(store, delivery_id="event")
        assert await held.complete(ask(ttl=600)) is True
        record = await store.get_wait(CTX, "u1", A)
        assert record is not None
        assert (record.data, record.scope) == (data("next"), A)
        assert await listed(store) == [record.key]
        with pytest.raises(DuplicateDeliveryError):
            await begin(store, delivery_id="event")
        await clear(store, A)
        await self.advance(backend, 100_000)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_n3_each_flow_gets_a_key_of_its_own(self, store: AsyncSessionStore) -> None:
        assert await (await begin(store)).complete(ask())
        assert await (await begin(store, B)).complete(ask(B))
        assert await (await begin(store, C)).complete(ask(C, key="k"))
        keys = await listed(store)
        assert len(set(keys)) == 3
        assert "k" in keys

    @pytest.mark.parametrize("then", [None, KEEP], ids=["nothing", "keep"])
    async def test_n3_without_a_first_wait_only_the_delivery_is_remembered(
        self, backend: Backend, store: AsyncSessionStore, then: Any
    ) -> None:
        held = await begin(store, delivery_id="event", dedupe_ttl=60)
        assert await held.complete(then) is True
        assert await find(store, A) is None
        with pytest.raises(DuplicateDeliveryError):
            await begin(store, delivery_id="event")
        await self.advance(backend, 61)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_n3_a_released_claim_leaves_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        held = await begin(store, delivery_id="event")
        await held.release()
        assert await self.leftovers(backend) == []
        await (await begin(store, delivery_id="event")).release()

    async def test_n3_a_lost_lease_leaves_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        held = await begin(store, lease=10, delivery_id="event")
        await self.advance(backend, 11)
        with pytest.raises(ClaimLostError):
            await held.complete(ask())
        assert await find(store, A) is None
        assert await (await begin(store, delivery_id="event")).complete(ask(context="second"))
        assert await listed(store) != []

    async def test_n3_a_live_wait_is_resumed_instead(self, store: AsyncSessionStore) -> None:
        await register(store, "k", B, "state")
        held = await store.claim_wait(CTX, "u1", [A, B], begin_at=A)
        assert held is not None
        assert not held.is_new
        assert held.record is not None
        assert held.record.key == "k"
        assert await held.complete()

    async def test_n3_an_expired_wait_does_not_count(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=60)
        await self.advance(backend, 61)
        assert await (await begin(store)).complete(ask(key="k"))
        assert await context_of(store, "k") == "next"

    @pytest.mark.parametrize(
        "scopes", [[A], [B, A], [A, B, C], [C, B, A]], ids=["A", "BA", "ABC", "CBA"]
    )
    async def test_n3_while_one_begins_others_wait_their_turn(
        self, store: AsyncSessionStore, scopes: list[ReplyScope]
    ) -> None:
        held = await begin(store)
        with pytest.raises(WaitClaimedError):
            await store.claim_wait(CTX, "u1", scopes, begin_at=scopes[0])
        resumed: list[WaitClaim | None] = []

        async def second() -> None:
            resumed.append(await store.claim_wait(CTX, "u1", scopes, begin_at=scopes[0], wait=30))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            await anyio.sleep(0.05)
            assert resumed == []
            assert await held.complete(ask(key="k"))
        assert resumed[0] is not None
        assert resumed[0].record is not None
        assert resumed[0].record.key == "k"
        await resumed[0].release()

    async def test_n3_of_many_first_messages_one_begins_the_flow(
        self, store: AsyncSessionStore
    ) -> None:
        begun: list[bool] = []

        async def message(number: int) -> None:
            held = await store.claim_wait(CTX, "u1", A, begin_at=A, wait=30)
            assert held is not None
            begun.append(held.is_new)
            assert await held.complete(ask(context=str(number)))

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(message, number)
        assert sorted(begun) == [False] * 9 + [True]
        assert len(await listed(store)) == 1

    async def test_n3_a_first_message_delivered_twice_at_once_begins_one_flow(
        self, store: AsyncSessionStore
    ) -> None:
        outcomes: list[str] = []

        async def deliver() -> None:
            try:
                async with store.resume_wait(
                    CTX, "u1", [B, A], begin_at=A, wait=30, delivery_id="event"
                ) as wait:
                    outcomes.append("new" if wait.is_new else "resumed")
                    wait.next(ask())
            except DuplicateDeliveryError:
                outcomes.append("duplicate")

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(deliver)
        assert sorted(outcomes) == ["duplicate", "duplicate", "new"]

    @pytest.mark.parametrize("then", THENS.values(), ids=THENS.keys())
    @pytest.mark.parametrize("gone", [False, True], ids=["there", "cleared"])
    async def test_n2_n3_a_wait_registered_in_between_stays(
        self, store: AsyncSessionStore, then: Callable[[], Any], *, gone: bool
    ) -> None:
        held = await begin(store)
        assert await register_if_absent(store, "k", A, "theirs")
        if gone:
            assert await clear(store, A)
        assert await held.complete(then()) is False
        assert await find(store, A) == (None if gone else "k")
        assert await listed(store) == ([] if gone else ["k"])

    async def test_n3_begin_at_counts_even_if_it_is_not_one_of_the_scopes(
        self, store: AsyncSessionStore
    ) -> None:
        held = await store.claim_wait(CTX, "u1", [B, C], begin_at=A, delivery_id="event")
        assert held is not None
        assert held.is_new
        assert await held.complete(ask(key="k"))
        with pytest.raises(DuplicateDeliveryError):
            await store.claim_wait(CTX, "u1", [B, C], begin_at=A, delivery_id="event")
        held = await store.claim_wait(CTX, "u1", [B, C], begin_at=A)
        assert held is not None
        assert held.record is not None
        assert held.record.key == "k"

    async def test_n3_f7_owners_begin_independently(self, store: AsyncSessionStore) -> None:
        held = [await begin(store)]
        for other in (ctx("u2"), ctx(tenant="other"), ctx(team="t"), ctx(env="dev")):
            claimed = await store.claim_wait(other, other.owner.user or "", A, begin_at=A)
            assert claimed is not None
            assert await claimed.complete(NewWait(A, data("theirs", of=other)))
        assert await held[0].complete(ask())
        assert await context_of(store, (await listed(store))[0]) == "next"

    async def test_n3_f4_a_ctx_with_another_user_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with self.refused(backend, TenantMismatchError, "F4"):
            await store.claim_wait(ctx("u2"), "u1", A, begin_at=A)
        held = await store.claim_wait(SERVICE, "u1", A, begin_at=A)
        assert held is not None
        assert await held.complete(ask())

    async def test_n3_begin_at_must_be_a_scope(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with self.refused(backend, InvalidInputError, "begin_at"):
            await store.claim_wait(CTX, "u1", A, begin_at="a")  # type: ignore[arg-type]

    async def test_n3_a_block_begins_a_flow(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with store.resume_wait(CTX, "u1", A, begin_at=A, delivery_id="event") as wait:
            assert wait.is_new
            assert wait.record is None
            with pytest.raises(InvalidInputError, match="is_new"):
                _ = wait.data
            assert await find(store, A) is None
            wait.next(ask(key="k"))
        assert not wait.superseded
        assert await find(store, A) == "k"
        await clear(store, A)
        await self.advance(backend, 100_000)
        await store.purge_expired()
        assert await self.leftovers(backend) == []

    async def test_n3_a_block_that_registers_nothing_leaves_nothing(
        self, store: AsyncSessionStore
    ) -> None:
        async with store.resume_wait(CTX, "u1", A, begin_at=A, delivery_id="event") as wait:
            pass
        assert not wait.superseded
        assert await find(store, A) is None
        with pytest.raises(DuplicateDeliveryError):
            await begin(store, delivery_id="event")

    async def test_n3_a_block_that_raises_leaves_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        with pytest.raises(KeyError):
            async with store.resume_wait(CTX, "u1", A, begin_at=A, delivery_id="event") as wait:
                wait.next(ask())
                raise KeyError
        assert await self.leftovers(backend) == []
        await (await begin(store, delivery_id="event")).release()

    async def test_n3_the_claim_of_a_block_that_begins_a_flow_is_renewed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        async with store.resume_wait(CTX, "u1", A, begin_at=A, lease=1.2) as wait:
            await anyio.sleep(1.5)
            with pytest.raises(WaitClaimedError):
                await begin(store)
            wait.next(ask(key="k"))
        assert await find(store, A) == "k"
        assert await (await claim(store, A)).complete()
        assert await self.leftovers(backend) == []
