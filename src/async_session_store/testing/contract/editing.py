"""E3: edits that read, change and write a session, and overwrite nobody's change."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    AsyncSessionStore,
    ConflictError,
    InvalidInputError,
    SessionData,
    SessionNotFoundError,
    TenantMismatchError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    context_of,
    ctx,
    data,
    find,
    register,
    with_context,
)
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.races import ALL_LINES, race_to_append


class Editing(Hooks):
    """E3: ``edit_session``."""

    async def test_e3_it_writes_and_returns_the_result_of_fn(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "old", ttl=60)
        edited = await store.edit_session("k", lambda old: with_context(old, old.context_json * 2))
        assert edited == data("oldold")
        assert await store.get_session("k") == edited
        assert await find(store, A) == "k"
        await self.advance(backend, 61)
        assert await store.get_session("k") is None

    async def test_e3_no_concurrent_edit_is_lost(self, store: AsyncSessionStore) -> None:
        key = await store.create_session(CTX, data(""))
        await race_to_append([store], key)
        assert sorted((await context_of(store, key) or "").split()) == ALL_LINES

    async def test_e3_edits_and_plain_updates_may_alternate(self, store: AsyncSessionStore) -> None:
        key = await store.create_session(CTX, data("0"))

        async def update() -> None:
            for number in range(10):
                await store.update_session(key, data(f"{number} "))
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(update)
            for _ in range(5):
                edited = await store.edit_session(
                    key, lambda old: with_context(old, f"{old.context_json}edited")
                )
                assert edited.context_json.endswith("edited")

    async def test_e3_an_error_raised_by_fn_comes_out_and_nothing_is_written(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "old")
        for error in (ValueError("text"), KeyError("k"), KeyboardInterrupt()):
            before = sorted(await self.leftovers(backend)), await store.get_record("k")

            def fail(_: SessionData, error: BaseException = error) -> SessionData:
                raise error

            with pytest.raises(type(error)) as caught:
                await store.edit_session("k", fail)
            assert caught.value is error
            assert (sorted(await self.leftovers(backend)), await store.get_record("k")) == before

    async def test_e3_a_conflict_that_fn_raises_is_not_tried_again(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        calls: list[SessionData] = []

        def fail(old: SessionData) -> SessionData:
            calls.append(old)
            raise ConflictError("fn's own")

        with pytest.raises(ConflictError, match="fn's own"):
            await store.edit_session("k", fail)
        assert len(calls) == 1

    async def test_e3_the_result_of_fn_is_checked(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        async with self.refused(backend, InvalidInputError, "^data: "):
            await store.edit_session("k", lambda _: None)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
        async with self.refused(backend, TenantMismatchError, "F2"):
            await store.edit_session("k", lambda _: data(of=ctx("u2")))

    async def test_e3_a_missing_session_is_an_error(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, ttl=10)
        await self.advance(backend, 11)
        for key in ("k", "missing"):
            with pytest.raises(SessionNotFoundError) as caught:
                await store.edit_session(key, lambda _: pytest.fail("it was called"))
            assert caught.value.key == key
        with pytest.raises(InvalidInputError, match=r"^session_key: "):
            await store.edit_session("", lambda old: old)

    async def test_e3_f5_a_session_that_the_context_does_not_see(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        for of in (ctx("u2"), ctx(tenant="rival"), ctx(team="blue"), ctx(env="test")):
            with pytest.raises(SessionNotFoundError):
                await store.edit_session("k", lambda _: pytest.fail("it was called"), ctx=of)
        for of in (CTX, ctx(None)):
            await store.edit_session("k", lambda _: data("new"), ctx=of)
        assert await context_of(store, "k") == "new"

    async def test_e3_it_gives_up_after_a_bounded_number_of_conflicts(
        self, backend: Backend
    ) -> None:
        calls = 0

        class ChangedBehind(AsyncSessionStore):
            """A store where another writer comes between each read and its write."""

            async def update_session(self, *args: object, **kwargs: object) -> None:
                await super().update_session("k", data(f"other {calls}"))
                await super().update_session(*args, **kwargs)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        def fn(old: SessionData) -> SessionData:
            nonlocal calls
            calls += 1
            return with_context(old, "mine")

        async with ChangedBehind(backend) as store:
            await register(store, "k", A)
            with anyio.fail_after(30), pytest.raises(ConflictError):
                await store.edit_session("k", fn)
            assert 5 <= calls <= 100
            assert await context_of(store, "k") == f"other {calls}"

    async def test_e3_fn_is_called_again_with_what_another_writer_wrote(
        self, backend: Backend
    ) -> None:
        seen: list[str] = []

        class ChangedBehind(AsyncSessionStore):
            """A store where another writer comes between the first two reads and their writes."""

            async def update_session(self, *args: object, **kwargs: object) -> None:
                if len(seen) <= 2:
                    await super().update_session("k", data(f"other {len(seen)}"))
                await super().update_session(*args, **kwargs)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        def fn(old: SessionData) -> SessionData:
            seen.append(old.context_json)
            return with_context(old, f"{old.context_json}, mine")

        async with ChangedBehind(backend) as store:
            await register(store, "k", A, "first")
            edited = await store.edit_session("k", fn)
        assert seen == ["first", "other 1", "other 2"]
        assert edited.context_json == "other 2, mine"

    async def test_e3_a_session_that_is_removed_meanwhile_stays_removed(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for turns in range(8):
            await register(store, "k", A)

            async def edit() -> None:
                with suppress(SessionNotFoundError):
                    await store.edit_session("k", lambda old: with_context(old, "new"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(edit)
                for _ in range(turns):
                    await checkpoint()
                await store.remove_session("k")
            assert await self.leftovers(backend) == []
