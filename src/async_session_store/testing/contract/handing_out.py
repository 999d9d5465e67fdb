"""Q5: expired waits are handed out one by one, as they fall due."""

# ruff: noqa: PT012  # the statements of a block are part of what a test expects

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from async_session_store import (
    AsyncSessionStore,
    InvalidInputError,
    ReplyScope,
    StoreUsageError,
    WaitClaim,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import SERVICE, A, B, ctx
from async_session_store.testing.contract.expiry_builders import claim_all, expired, keep, keys_of
from async_session_store.testing.contract.hooks import Hooks

POLL = 0.05
"""Seconds between two polls of the loop."""

BUSY = 10.0
"""Seconds that a busy machine may take."""


class HandingOut(Hooks):
    """Q5: ``expired_waits``."""

    async def test_q5_they_are_handed_out_one_by_one(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(3):
            await keep(store, f"k{number}", ReplyScope(conversation=str(number)), ttl=10 + number)
        await self.advance(backend, 61)
        waits, handed_out = store.expired_waits(poll=POLL), list[str]()
        with anyio.fail_after(BUSY):
            async for one in waits:
                handed_out += keys_of([one])
                await one.complete()
                if len(handed_out) == 3:
                    waits.stop()
        assert handed_out == ["k0", "k1", "k2"]
        assert await claim_all(store) == []

    async def test_q5_it_waits_until_one_falls_due(self, store: AsyncSessionStore) -> None:
        began = time.monotonic()
        await keep(store, "k", A, ttl=0.3)
        with anyio.fail_after(BUSY):
            async for one in store.expired_waits(poll=POLL):
                assert keys_of([one]) == ["k"]
                break
        assert time.monotonic() - began > 0.29

    async def test_q5_only_claims_that_were_handed_out_are_held(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A)
        await keep(store, "k2", B, ttl=61)
        await self.advance(backend, 62)
        async for one in store.expired_waits(poll=POLL):
            assert keys_of(await claim_all(store)) == ["k2"]
            await one.complete()
            break

    @pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 13, 21])
    async def test_q5_r3_a_cancelled_loop_holds_no_claim(
        self, backend: Backend, store: AsyncSessionStore, after: int
    ) -> None:
        await keep(store, "k", A)
        await self.advance(backend, 61)
        handed_out: list[WaitClaim] = []

        async def worker() -> None:
            async for one in store.expired_waits(poll=POLL):
                handed_out.append(one)  # granted before the cancellation
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker)
            for _ in range(after):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        for one in handed_out:
            await one.release()
        assert await expired(store) == ["k"]

    async def test_q5_workers_share_the_waits_that_fall_due(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for number in range(12):
            await keep(store, f"k{number}", ReplyScope(conversation=str(number)))
        await self.advance(backend, 61)
        waits, handed_out = store.expired_waits(poll=POLL), list[str]()

        async def worker() -> None:
            async for one in waits:
                handed_out.extend(keys_of([one]))
                await one.complete()
                if len(handed_out) == 12:
                    waits.stop()

        with anyio.fail_after(BUSY):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(worker)
        assert sorted(handed_out) == sorted(f"k{number}" for number in range(12))

    async def test_q5_a_stopped_loop_ends_at_once(self, store: AsyncSessionStore) -> None:
        waits = store.expired_waits(poll=60)
        handed_out: list[WaitClaim] = []

        async def worker() -> None:
            handed_out.extend([one async for one in waits])

        with anyio.fail_after(BUSY):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker)
                await anyio.sleep(0.1)
                waits.stop()
            await worker()  # a later loop over a stopped iterator ends as well
        assert handed_out == []

    async def test_q5_one_given_back_comes_again_once_in_a_poll_at_the_soonest(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "k1", A)
        await keep(store, "k2", B)
        await self.advance(backend, 61)
        waits, handed_out = store.expired_waits(poll=0.4), list[str]()
        began = time.monotonic()
        with anyio.fail_after(BUSY):
            async for one in waits:
                handed_out += keys_of([one])
                await one.release()
                if len(handed_out) == 6:
                    break
        assert sorted(handed_out[:2]) == ["k1", "k2"]
        assert handed_out.count("k1") == handed_out.count("k2") == 3
        assert time.monotonic() - began > 0.7
        assert sorted(await expired(store)) == ["k1", "k2"]

    async def test_q5_q4_a_ctx_limits_it_to_its_owner(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await keep(store, "theirs", A, of=ctx("u1", tenant="other"))
        await keep(store, "ours", A)
        await self.advance(backend, 61)
        async for one in store.expired_waits(SERVICE, poll=POLL):
            assert keys_of([one]) == ["ours"]
            await one.complete()
            break
        assert await expired(store) == ["theirs"]
        assert await expired(store, SERVICE) == []

    async def test_q5_r5_it_ends_with_the_store(self, backend: Backend) -> None:
        store = self.store_class(backend)
        with pytest.raises(StoreUsageError):
            async for _ in store.expired_waits(poll=POLL):
                pytest.fail("nothing is open")
        async with store:
            waits = store.expired_waits(poll=POLL)
            async with anyio.create_task_group() as tasks:

                async def worker() -> None:
                    with pytest.raises(StoreUsageError):
                        async for _ in waits:
                            pytest.fail("nothing is due")

                tasks.start_soon(worker)
                await anyio.sleep(3 * POLL)
                await store.aclose()

    @pytest.mark.parametrize("poll", [0, -1, None, "1", float("nan"), float("inf")])
    async def test_q5_an_invalid_poll_is_refused(self, store: AsyncSessionStore, poll: Any) -> None:
        with pytest.raises(InvalidInputError, match="poll"):
            store.expired_waits(poll=poll)
        with pytest.raises(InvalidInputError, match="lease"):
            store.expired_waits(lease=0)
