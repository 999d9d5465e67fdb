"""M7: nothing gets around validation, and nothing changes stored data through a reference."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from async_session_store import (
    AsyncSessionStore,
    InvalidInputError,
    PackId,
    ReplyScope,
    SessionData,
    SessionKey,
    TenantCtx,
    UserId,
)
from async_session_store.abc import Backend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.hooks import Hooks


def forged_fields(model: TenantCtx | SessionData, **parts: Any) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields} | parts


class ForgedData(Hooks):
    """M7: data that bypassed validation, and data that the caller still holds."""

    async def test_m7_stored_data_cannot_be_changed_through_a_reference(
        self, store: AsyncSessionStore
    ) -> None:
        attributes = {"a": "1"}
        of = TenantCtx(env="prod", tenant_id="acme", user_id="u1", attributes=attributes)
        stored = data(of=of)
        await store.register_wait(of, "u1", A, "k", stored)
        attributes["a"] = "2"
        returned = await store.get_session("k")
        assert returned is not None
        for one in (stored, returned):
            with pytest.raises(TypeError):
                one.tenant_ctx.attributes["a"] = "2"  # type: ignore[index]
            with pytest.raises(ValidationError):
                one.context_json = "changed"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # it is read-only
        again = await store.get_session("k")
        assert again is not None
        assert again.tenant_ctx.attributes == {"a": "1"}
        assert again.context_json == "{}"

    @pytest.mark.parametrize("user", ["a:b", "a\n", "", "ü"])
    async def test_m7_ids_that_bypassed_validation_are_refused(
        self, backend: Backend, store: AsyncSessionStore, user: str
    ) -> None:
        forged = TenantCtx.model_construct(**forged_fields(CTX, user=user, user_id=user))
        forged_data = SessionData.model_construct(**forged_fields(data(), tenant_ctx=forged))
        await register(store, "k", A)

        async with self.refused(backend, InvalidInputError, "data"):
            await store.update_session("k", forged_data)
        async with self.refused(backend, InvalidInputError, "ctx"):
            await store.create_session(forged, forged_data)
        async with self.refused(backend, InvalidInputError, "ctx|user_id"):
            await store.register_wait(forged, user, B, "k", forged_data)
        async with self.refused(backend, InvalidInputError, "ctx"):
            await store.clear_waits_for_user(forged, "u1")
        assert await find(store, A) == "k"

    async def test_m7_data_that_bypassed_validation_is_refused(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        forged: list[dict[str, Any]] = [
            {"tenant_ctx": dict(CTX)},
            {"tenant_ctx": None},
            {"cursor": {"node_pointer": "ask"}},
            {"context_json": 7},
            {"context_json": b"{}"},
            {"flow_id": 7},
            {"tenant_ctx": ctx(tenant="rival"), "owner": CTX.owner},
        ]
        for parts in forged:
            built = SessionData.model_construct(**forged_fields(data(), **parts))
            async with self.refused(backend, InvalidInputError, "data"):
                await store.create_session(CTX, built)
            async with self.refused(backend, InvalidInputError, "data"):
                await store.update_session("k", built)
            async with self.refused(backend, InvalidInputError, "data"):
                await store.register_wait(CTX, "u1", B, "k", built)
        assert await find(store, A) == "k"

    async def test_m7_fields_that_validation_sets_cannot_be_forged(
        self, backend: Backend, store: AsyncSessionStore
    ) -> None:
        await register(store, "k", A)
        place = ReplyScope.model_construct(conversation="a\nb", digest=A.digest)
        rival = TenantCtx.model_construct(env="prod", tenant_id="rival", owner=CTX.owner)
        async with self.refused(backend, InvalidInputError, "scope"):
            await store.clear_wait(CTX, "u1", place)
        async with self.refused(backend, InvalidInputError, "scope"):
            await store.find_wait_by_scope(CTX, "u1", place)
        async with self.refused(backend, InvalidInputError, "ctx"):
            await store.clear_waits_for_user(rival, "u1")
        with pytest.raises(ValidationError, match="built bypassing validation"):
            data(of=rival)

    async def test_m7_ids_and_keys_are_taken_as_text_and_returned_as_their_own_type(
        self, store: AsyncSessionStore
    ) -> None:
        await store.register_wait(CTX, "u1", A, "k1", data())
        detached = await store.register_wait(CTX, UserId("u1"), A, SessionKey("k2"), data())
        created = await store.create_session(CTX, data().model_copy(update={"pack_id": "p"}))
        record = await store.get_wait(CTX, UserId("u1"), A)
        read = await store.get_session(str(created))

        assert record is not None
        assert read is not None
        assert detached == "k1"
        assert type(read.pack_id) is PackId
        assert type(read.tenant_ctx.user_id) is UserId
        keys = [created, detached, record.key, await find(store, A), *await listed(store)]
        assert {type(key) for key in keys} == {SessionKey}
