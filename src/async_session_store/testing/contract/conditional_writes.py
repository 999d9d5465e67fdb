"""E1, E2: etags, and writes that replace only the document that the caller has read."""

from __future__ import annotations

import pytest

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ConflictError,
    ErrorCode,
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
    etag_of,
    register,
)
from async_session_store.testing.contract.claim_builders import record_of
from async_session_store.testing.contract.hooks import Hooks
from async_session_store.testing.contract.races import race_to_update

OF_NO_DOCUMENT = [
    *(" ", "  ", "\t", "\n", "\r ", " " * 32, "}", '"}', "{}", '"', "*", "none", "null", "None"),
    *("0", "00", "-1", "1.0", "+1", "0x1", "\u0661", "''", "' OR 1 --", "%", "_", ".*", "\x00"),
    *("0" * 16, "f" * 16, "0" * 32, "0" * 40, "f" * 40, "g" * 40, "x" * 1024, "é" * 512),
]
"""Texts that are not an etag, though a stored document may end in one or match one as a pattern."""


class ConditionalWrites(Hooks):
    """E1, E2: etags and ``if_match``."""

    async def test_e1_different_documents_have_different_etags(
        self, store: AsyncSessionStore
    ) -> None:
        etags: set[str] = set()
        await register(store, "k", A)
        etags.add(await etag_of(store, "k"))
        of = CTX.model_copy(update={"attempt": 1})
        changed = data().model_copy(update={"pack_id": "p"})
        for written in (data("new"), data(of=of), changed, data(""), data(" {}")):
            await store.update_session("k", written)
            etags.add(await etag_of(store, "k"))
        await register(store, "k", A, "registered")
        etags.add(await etag_of(store, "k"))
        assert len(etags) == 7

    async def test_e1_e2_each_write_of_a_different_document_changes_the_etag(
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

    async def test_e1_every_call_returns_the_same_etag(self, store: AsyncSessionStore) -> None:
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
        for attempt in range(4):  # the end of a stored document may be random
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

    async def test_e1_e2_a_write_that_leaves_the_document_leaves_the_etag(
        self, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        etag = await etag_of(store, "k")
        await store.touch_session("k", 60)
        await store.touch_session("k", NEVER)
        await register(store, "winner", A)
        assert await etag_of(store, "k") == etag
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
