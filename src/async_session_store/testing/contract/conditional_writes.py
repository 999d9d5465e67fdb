"""Section 7: writes that only replace what the caller has read."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ConflictError,
    ErrorCode,
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
)
from async_session_store.testing.contract.claims import record_of
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.records import etag_of


def with_context(old: SessionData, context: str) -> SessionData:
    return old.model_copy(update={"context_json": context})


async def race_to_update(stores: list[AsyncSessionStore], key: str) -> list[str]:
    """Let 20 tasks update a session with one etag; give what those wrote who did."""
    etag = await etag_of(stores[0], key)
    written: list[str] = []

    async def task(number: int) -> None:
        try:
            store = stores[number % len(stores)]
            await store.update_session(key, data(f"{number}"), if_match=etag)
        except ConflictError:
            return
        written.append(f"{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)
    return written


async def race_to_append(stores: list[AsyncSessionStore], key: str) -> None:
    """Let 20 tasks append a line each to a session."""

    async def task(number: int) -> None:
        await stores[number % len(stores)].edit_session(
            key, lambda old: with_context(old, f"{old.context_json}{number}\n")
        )

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(task, number)


OF_NO_DOCUMENT = [
    *(" ", "  ", "\t", "\n", "\r ", " " * 32, "}", '"}', "{}", '"', "*", "none", "null", "None"),
    *("0", "00", "-1", "1.0", "+1", "0x1", "\u0661", "''", "' OR 1 --", "%", "_", ".*", "\x00"),
    *("0" * 16, "f" * 16, "0" * 32, "0" * 40, "f" * 40, "g" * 40, "x" * 1024, "é" * 512),
]
"""Texts that are no document's etag, though a document may end in one, or one may be a pattern."""

ALL_LINES = sorted(f"{number}" for number in range(20))


class ConditionalWrites(Hooks):
    """E1, E2, E3: etags, ``if_match`` and ``edit_session``."""

    # --- E1, E2: if_match ---------------------------------------------------------------------

    async def test_e1_e2_every_differing_write_changes_the_etag(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "0")
        etags = [await etag_of(store, "k")]
        for number in range(1, 6):
            await store.update_session("k", data(f"{number}"), if_match=etags[-1])
            etags.append(await etag_of(store, "k"))
        assert len(set(etags)) == 6
        for stale in etags[:-1]:
            with pytest.raises(ConflictError):
                await store.update_session("k", data("late"), if_match=stale)

    async def test_e1_every_call_gives_the_same_etag(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        claimed = await store.claim_wait(CTX, "u1", A)
        assert claimed is not None
        (listed,) = await store.list_wait_records(CTX, "u1")
        waiting = await store.get_wait(CTX, "u1", A)
        assert waiting is not None
        etag = await etag_of(store, "k")
        assert {record_of(claimed).etag, listed.etag, waiting.etag} == {etag}
        await store.update_session("k", data("new"), if_match=record_of(claimed).etag)

    async def test_e2_a_current_etag_writes_and_keeps_wait_and_deadline(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "old", ttl=60)
        before = await store.get_record("k")
        assert before is not None
        await store.update_session("k", data("new"), if_match=before.etag)
        after = await store.get_wait(CTX, "u1", A)
        assert after is not None
        assert after.data == data("new")
        assert after.expires_at == before.expires_at
        await self.advance(backend, 61)
        with pytest.raises(SessionNotFoundError):
            await store.update_session("k", data(), if_match=after.etag)

    async def test_e2_only_an_etag_of_the_document_matches(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for attempt in range(4):  # a document's end may depend on chance
            key = f"k{attempt}"
            await register(store, key, A)
            etag = await etag_of(store, key)
            near = {f" {etag}", f"{etag} ", f"{etag}\n", f'"{etag}"', f"W/{etag}", f"0{etag}"}
            near |= {etag * 2, etag[:-1], etag[1:], etag.upper(), etag[::-1]}
            before = sorted(await self.leftovers(backend))
            for text in {*OF_NO_DOCUMENT, *near} - {etag, ""}:
                with pytest.raises(ConflictError, match="was changed"):
                    await store.update_session(key, data("new"), if_match=text)
            assert sorted(await self.leftovers(backend)) == before
            assert await context_of(store, key) == "{}"
            await store.update_session(key, data("new"), if_match=etag)

    async def test_e2_what_leaves_the_document_leaves_the_etag_current(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        etag = await etag_of(store, "k")
        await store.touch_session("k", 60)
        await store.touch_session("k", NEVER)
        await register(store, "winner", A)
        await store.update_session("k", data("new"), if_match=etag)

    async def test_e2_a_stale_etag_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "old")
        stale = await etag_of(store, "k")
        await store.update_session("k", data("new"))
        async with self.refused(backend, ConflictError, "changed"):
            await store.update_session("k", data("late"), if_match=stale)
        with pytest.raises(ConflictError) as caught:
            await store.update_session("k", data("late"), ctx=CTX, if_match=stale)
        assert type(caught.value) is ConflictError
        assert caught.value.code is ErrorCode.CONFLICT
        assert await context_of(store, "k") == "new"

    async def test_e2_registering_again_makes_an_etag_stale(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A, "old")
        stale = await etag_of(store, "k")
        await register(store, "k", A, "new")
        with pytest.raises(ConflictError):
            await store.update_session("k", data("late"), if_match=stale)

    async def test_e2_an_etag_of_another_session_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "mine")
        key = await store.create_session(CTX, data("other"))
        for foreign in (await etag_of(store, key), "foreign", "0", "*", "é", "x" * 1000):
            async with self.refused(backend, ConflictError, "changed"):
                await store.update_session("k", data("new"), if_match=foreign)
        assert await context_of(store, "k") == "mine"

    async def test_e2_other_refusals_come_first(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        with pytest.raises(SessionNotFoundError):
            await store.update_session("missing", data(), if_match="stale")
        with pytest.raises(SessionNotFoundError):
            await store.update_session("k", data(), ctx=ctx("u2"), if_match="stale")
        with pytest.raises(TenantMismatchError):
            await store.update_session("k", data(of=ctx("u2")), if_match="stale")

    async def test_e2_exactly_one_of_20_writers_succeeds(self, store: AsyncSessionStore) -> None:
        await register(store, "k", A)
        for _ in range(5):
            written = await race_to_update([store], "k")
            assert written == [await context_of(store, "k")]
            await store.update_session("k", data())

    # --- E3: edit_session ---------------------------------------------------------------------

    async def test_e3_it_writes_and_returns_what_fn_makes_of_the_data(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A, "old", ttl=60)
        edited = await store.edit_session("k", lambda old: with_context(old, old.context_json * 2))
        assert edited == data("oldold")
        assert await store.get_session("k") == edited
        assert await find(store, A) == "k"
        await self.advance(backend, 61)
        assert await store.get_session("k") is None

    async def test_e3_of_many_edits_at_once_none_is_lost(self, store: AsyncSessionStore) -> None:
        key = await store.create_session(CTX, data(""))
        await race_to_append([store], key)
        assert sorted((await context_of(store, key) or "").split()) == ALL_LINES

    async def test_e3_edits_and_plain_updates(self, store: AsyncSessionStore) -> None:
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

    async def test_e3_what_fn_raises_comes_out_and_nothing_is_written(
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

    async def test_e3_what_fn_gives_is_checked(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        async with self.refused(backend, InvalidInputError, "^data: "):
            await store.edit_session("k", lambda _: None)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
        async with self.refused(backend, TenantMismatchError, "F2"):
            await store.edit_session("k", lambda _: data(of=ctx("u2")))

    async def test_e3_a_missing_session(self, backend: Backend, store: AsyncSessionStore) -> None:
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
            """Someone else writes between each reading and writing."""

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

    async def test_e3_it_is_tried_again_with_what_someone_else_wrote(
        self, backend: Backend
    ) -> None:
        seen: list[str] = []

        class ChangedBehind(AsyncSessionStore):
            """Someone else writes between the first two readings and writings."""

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
