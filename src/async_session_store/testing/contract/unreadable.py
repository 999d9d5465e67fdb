"""R2, S6, X4: one unreadable document spoils only itself."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest

from async_session_store import (
    AsyncSessionStore,
    CorruptSessionError,
    ErrorCode,
    SessionNotFoundError,
    SessionStoreError,
    TenantCtx,
    WaitClaimedError,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    clear,
    context_of,
    ctx,
    data,
    find,
    find_by_user,
    listed,
    register,
    register_if_absent,
)
from async_session_store.testing.contract.claim_builders import claim
from async_session_store.testing.contract.hooks import SharedHooks
from async_session_store.testing.contract.unreadable_documents import (
    ODD,
    OF_NO_ONE,
    OWNED,
    unreadable_documents,
)


class Unreadable(SharedHooks):
    """R2, S6, X4: documents that cannot be read."""

    async def _spoil(self, backend: Backend, store: AsyncSessionStore, document: bytes) -> None:
        await register(store, "spoilt", A, "secret")
        await register(store, "sound", B, "state")
        await self.overwrite(backend, "spoilt", document)

    @unreadable_documents
    async def test_r2_reading_or_replacing_it_fails(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.get_session("spoilt")
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.get_session("spoilt", ctx=CTX)
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.get_record("spoilt")
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.get_wait(CTX, "u1", [C, A])
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.update_session("spoilt", data())
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.update_session("spoilt", data(), if_match="etag")
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.edit_session("spoilt", lambda old: old)
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await register(store, "spoilt", A)
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await register(store, "spoilt", C)
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await register_if_absent(store, "spoilt", C)

    @unreadable_documents
    async def test_r2_k1_claiming_it_fails_and_leaves_no_claim(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.claim_wait(CTX, "u1", A, delivery_id="event", wait=60)
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.claim_wait(CTX, "u1", [C, A, B])
        async with self.refused(backend, CorruptSessionError, "'spoilt'"):
            await store.resume_wait(CTX, "u1", A).__aenter__()
        assert await register(store, "k", A) == "spoilt"
        assert await (await claim(store, A, delivery_id="event")).complete()
        assert await (await claim(store, B)).complete()

    @unreadable_documents
    async def test_r2_k3_a_claimed_wait_may_become_unreadable(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        for end in ("complete", "release"):
            await self._spoil(backend, store, data().model_dump_json().encode())
            claimed = await claim(store, A)
            await self.overwrite(backend, "spoilt", document)
            await claimed.renew()
            with pytest.raises((CorruptSessionError, WaitClaimedError)):
                await claim(store, A)
            if end == "complete":
                await claimed.complete()
            else:
                await claimed.release()
            await register(store, "k", A)
            assert await (await claim(store, A)).complete()
            for key in ("spoilt", "sound"):
                with suppress(SessionNotFoundError):
                    await store.remove_session(key)
            assert await self.leftovers(backend) == []

    async def test_r2_the_error_names_the_key_and_quotes_nothing(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for document in (*OF_NO_ONE.values(), *OWNED.values()):
            await self._spoil(backend, store, document)
            with pytest.raises(CorruptSessionError) as caught:
                await store.get_session("spoilt")
            assert caught.value.key == "spoilt"
            assert caught.value.code is ErrorCode.INTERNAL
            error: BaseException | None = caught.value
            while error is not None:
                assert "secret" not in f"{error} {error!r}"
                error = error.__cause__ or error.__context__
            await store.remove_session("spoilt")

    @unreadable_documents
    async def test_x4_r2_an_explanation_says_so(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        before = sorted(await self.leftovers(backend))
        found = await store.explain(CTX, "u1", [A, B, C])
        statuses = [report.status.value for report in found.reports]
        assert statuses == ["unreadable", "live", "nothing"]
        assert [report.session_key for report in found.reports] == ["spoilt", "sound", None]
        assert "secret" not in f"{found} {found!r}"
        assert sorted(await self.leftovers(backend)) == before

    @unreadable_documents
    async def test_r2_others_are_not_affected(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        assert await context_of(store, "sound") == "state"
        assert await find(store, B) == "sound"
        await store.update_session("sound", data("new"))
        await store.touch_session("sound", 600)
        assert await register(store, "sound", C) is None
        assert await clear(store, C)
        await store.purge_expired()

    @unreadable_documents
    async def test_r2_a_list_leaves_it_out_with_a_warning(
        self,
        backend: Backend,
        store: AsyncSessionStore,
        document: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await self._spoil(backend, store, document)
        with caplog.at_level(logging.WARNING, logger="async_session_store"):
            records = await store.list_wait_records(CTX, "u1")
        assert [record.key for record in records] == ["sound"]
        assert "'spoilt'" in caplog.text
        assert "secret" not in caplog.text

        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="async_session_store"):
            keys = await listed(store)
        # A backend may know the owner without reading the document.
        assert keys == (["sound"] if "'spoilt'" in caplog.text else ["sound", "spoilt"])

    @pytest.mark.parametrize("document", ODD.values(), ids=ODD.keys())
    async def test_r2_an_odd_document_takes_no_list_down(
        self,
        backend: Backend,
        store: AsyncSessionStore,
        document: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await self._spoil(backend, store, document)
        for _ in range(2):
            with caplog.at_level(logging.WARNING, logger="async_session_store"):
                keys = [record.key for record in await store.list_wait_records(CTX, "u1")]
            assert keys == (["sound"] if "'spoilt'" in caplog.text else ["sound", "spoilt"])
            assert set(await listed(store)) - {"spoilt"} == {"sound"}
            assert await find(store, A) == "spoilt"
            found = await store.explain(CTX, "u1", [A, B])
            assert [report.session_key for report in found.reports] == ["spoilt", "sound"]
            if keys == ["sound", "spoilt"]:  # a readable document can be written back
                await store.edit_session("spoilt", lambda old: old)
        assert await store.clear_waits_for_user(CTX, "u1") == 2
        assert await listed(store) == []

    @pytest.mark.parametrize("document", OWNED.values(), ids=OWNED.keys())
    async def test_r2_its_key_is_listed_if_its_owner_can_be_read(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        assert await listed(store) == ["sound", "spoilt"]

    async def test_r2_find_by_user_leaves_it_out(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await self._spoil(backend, store, b"")
        assert await find_by_user(store) == ("sound", data("state"))

    @unreadable_documents
    async def test_r2_clear_wait_unroutes_it(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        assert await find(store, A) == "spoilt"
        assert await clear(store, A)
        assert await find(store, A) is None
        assert await listed(store) == ["sound"]
        assert not await clear(store, A)

    @unreadable_documents
    async def test_r2_clear_wait_with_its_key_unroutes_it(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        assert not await clear(store, A, "sound")
        assert await clear(store, A, "spoilt")
        assert await find(store, A) is None

    async def test_r2_clear_waits_for_user_unroutes_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        for document in (b"", *OWNED.values()):
            await self._spoil(backend, store, document)
            assert await store.clear_waits_for_user(CTX, "u1") == 2
            assert await find(store, A, B) is None
            assert await listed(store) == []
            if "spoilt" in "".join(await self.leftovers(backend)):
                await store.remove_session("spoilt")
            assert await self.leftovers(backend) == []

    @unreadable_documents
    async def test_r2_remove_session_removes_it(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        await store.remove_session("spoilt")
        assert await store.get_session("spoilt") is None
        assert await find(store, A) is None
        await store.remove_session("sound")
        assert await self.leftovers(backend) == []

    @unreadable_documents
    async def test_r2_another_session_takes_its_scope(
        self, backend: Backend, store: AsyncSessionStore, document: bytes
    ) -> None:
        await self._spoil(backend, store, document)
        assert not await register_if_absent(store, "k", A)
        assert await register(store, "k", A) == "spoilt"
        assert await find(store, A) == "k"
        assert await listed(store) == ["k", "sound"]
        with pytest.raises(CorruptSessionError):
            await store.get_session("spoilt")

    async def test_r2_another_owner_learns_nothing_about_it(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await self._spoil(backend, store, OWNED["no cursor"])
        stranger = ctx(tenant="other")
        assert await store.get_session("spoilt", ctx=stranger) is None
        assert await store.get_record("spoilt", ctx=stranger) is None
        assert await find(store, A, of=stranger) is None
        assert not await clear(store, A, of=stranger)
        with pytest.raises(LookupError):
            await store.remove_session("spoilt", ctx=stranger)
        assert await find(store, A) == "spoilt"

    @pytest.mark.parametrize("stranger", [ctx("u2"), ctx(tenant="other")], ids=["user", "tenant"])
    @unreadable_documents
    async def test_r2_another_owner_changes_nothing(
        self, backend: Backend, store: AsyncSessionStore, document: bytes, stranger: TenantCtx
    ) -> None:
        await self._spoil(backend, store, document)
        async with self.refused(backend, SessionStoreError, "'spoilt'"):
            await store.remove_session("spoilt", ctx=stranger)
        async with self.refused(backend, SessionStoreError, "'spoilt'"):
            await store.touch_session("spoilt", 60, ctx=stranger)
        async with self.refused(backend, SessionStoreError, "'spoilt'"):
            await store.update_session("spoilt", data(of=stranger), ctx=stranger)
        async with self.refused(backend, SessionStoreError, "F2|'spoilt'"):
            await register(store, "spoilt", A, of=stranger)
        assert not await clear(store, A, of=stranger)
        assert await store.clear_waits_for_user(stranger, stranger.owner.user or "") == 0
        assert await find(store, A) == "spoilt"

    async def test_r2_it_expires_like_any_other(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "spoilt", A, ttl=60)
        await self.overwrite(backend, "spoilt", b"secret")
        await self.advance(backend, 61)
        assert await store.get_session("spoilt") is None
        assert await find(store, A) is None
        assert await register(store, "spoilt", B) is None
        assert await find(store, B) == "spoilt"

    async def test_s6_a_document_that_is_too_large_is_unreadable(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "spoilt", A, "x" * 1000)
        await register(store, "sound", B, "state")
        async with self.store_class(self.peer(backend), max_document_bytes=1000) as strict:
            with pytest.raises(CorruptSessionError, match="max_document_bytes"):
                await strict.get_session("spoilt")
            with pytest.raises(CorruptSessionError):
                await strict.get_wait(CTX, "u1", A)
            with pytest.raises(CorruptSessionError):
                await strict.update_session("spoilt", data())
            records = await strict.list_wait_records(CTX, "u1")
            assert [record.key for record in records] == ["sound"]
            assert await strict.get_session("sound") == data("state")
            await strict.remove_session("spoilt")
        assert await find(store, A) is None
