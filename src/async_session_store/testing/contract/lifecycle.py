"""R5: opening and closing a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import AsyncSessionStore, ErrorCode, StoreUsageError
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    clear,
    data,
    find,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.hooks import Hooks

EVERY_CALL: dict[str, Callable[[AsyncSessionStore], Awaitable[object]]] = {
    "create_session": lambda store: store.create_session(CTX, data()),
    "get_session": lambda store: store.get_session("k"),
    "get_record": lambda store: store.get_record("k"),
    "update_session": lambda store: store.update_session("k", data()),
    "remove_session": lambda store: store.remove_session("k"),
    "touch_session": lambda store: store.touch_session("k", 60),
    "register_wait": lambda store: register(store, "k", A),
    "register_wait_if_absent": lambda store: register_if_absent(store, "k", A),
    "find_wait_by_scope": lambda store: find(store, A),
    "get_wait": lambda store: store.get_wait(CTX, "u1", A),
    "list_waits_for_user": listed,
    "list_wait_records": lambda store: store.list_wait_records(CTX, "u1"),
    "clear_wait": lambda store: clear(store, A),
    "explain": lambda store: store.explain(CTX, "u1", A),
    "claim_wait": lambda store: store.claim_wait(CTX, "u1", A),
    "claim_expired": lambda store: store.claim_expired(),
    "clear_waits_for_user": lambda store: store.clear_waits_for_user(CTX, "u1"),
    "purge_expired": lambda store: store.purge_expired(),
    "ping": lambda store: store.ping(),
}


class Lifecycle(Hooks):
    """R5: a store before it is opened, while it is open, and after it is closed."""

    async def test_r5_every_call_before_opening_raises(self, backend: Backend) -> None:
        store = self.store_class(backend)
        for call in EVERY_CALL.values():
            with pytest.raises(StoreUsageError, match="not open") as caught:
                await call(store)
            assert caught.value.code is ErrorCode.INTERNAL

    async def test_r5_every_call_after_closing_raises(self, backend: Backend) -> None:
        async with self.store_class(backend) as store:
            pass
        for call in EVERY_CALL.values():
            with pytest.raises(StoreUsageError, match="closed"):
                await call(store)

    async def test_r5_entering_returns_the_store(self, backend: Backend) -> None:
        store = self.store_class(backend)
        async with store as entered:
            assert entered is store
            await store.ping()

    async def test_r5_open_returns_the_store(self, backend: Backend) -> None:
        store = self.store_class(backend)
        assert await store.open() is store
        await store.aclose()

    async def test_r5_a_store_is_opened_once(self, backend: Backend) -> None:
        store = self.store_class(backend)
        async with store:
            with pytest.raises(StoreUsageError, match="already opened"):
                await store.open()
            with pytest.raises(StoreUsageError, match="already opened"):
                async with store:
                    raise AssertionError
            await register(store, "k", A)
            assert await find(store, A) == "k"
        with pytest.raises(StoreUsageError, match="make a new one"):
            await store.open()

    async def test_r5_only_one_of_two_concurrent_opens_succeeds(self, backend: Backend) -> None:
        store = self.store_class(backend)
        opened: list[bool] = []

        async def task() -> None:
            try:
                await store.open()
                opened.append(True)
            except StoreUsageError:
                opened.append(False)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)
            tasks.start_soon(task)
        assert sorted(opened) == [False, True]
        await register(store, "k", A)
        assert await find(store, A) == "k"
        await store.aclose()

    async def test_r5_a_store_that_is_closed_while_it_opens_ends_closed(
        self, backend: Backend
    ) -> None:
        store = self.store_class(backend)

        async def task() -> None:
            with suppress(StoreUsageError):
                await store.open()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)
            await checkpoint()
            await store.aclose()
        with pytest.raises(StoreUsageError, match="closed"):
            await store.ping()

    async def test_r5_closing_twice_or_without_opening_does_nothing(self, backend: Backend) -> None:
        async with self.store_class(backend) as store:
            await store.aclose()
            await store.aclose()
        await store.aclose()
        await self.store_class(backend).aclose()

    async def test_r5_open_and_close_may_run_in_different_tasks(self, backend: Backend) -> None:
        store = self.store_class(backend)
        for step in (store.open, lambda: register(store, "k", A), store.aclose):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(step)

    async def test_r5_an_error_in_the_block_comes_out_as_it_is(self, backend: Backend) -> None:
        error = LookupError("mine")
        store = self.store_class(backend)
        with pytest.raises(LookupError) as caught:
            async with store:
                raise error
        assert caught.value is error
        with pytest.raises(StoreUsageError, match="closed"):
            await store.ping()

    async def test_r5_closing_lets_calls_finish_or_refuses_them(self, backend: Backend) -> None:
        store = await self.store_class(backend).open()
        finished: list[bool] = []

        async def task(number: int) -> None:
            scope = A.model_copy(update={"thread": str(number)})
            try:
                await register(store, f"k{number}", scope)
                finished.append(True)
            except StoreUsageError:
                finished.append(False)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(task, number)
                tasks.start_soon(store.aclose)
        assert len(finished) == 20
