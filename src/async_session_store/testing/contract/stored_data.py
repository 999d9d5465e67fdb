"""Section 1: what is stored comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from async_session_store import (
    AsyncSessionStore,
    Impersonation,
    InvalidInputError,
    InvocationDeadline,
    PackId,
    ReplyScope,
    SessionCursor,
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

EVERYTHING = SessionData(
    tenant_ctx=TenantCtx(
        env="prod",
        tenant_id="acme",
        team_id="blue",
        user_id="u1",
        session_id="s",
        flow_id="f",
        node_id="n",
        provider_id="p",
        trace_id="t",
        i18n_id="de-CH",
        correlation_id="c",
        attributes={"a": "1", "": "", "a.b": "\x00", "ключ": "😀"},
        deadline=InvocationDeadline(unix_millis=2**63),
        attempt=2**32 - 1,
        idempotency_key="i",
        impersonation=Impersonation(actor_id="root", reason="support"),
    ),
    flow_id="order",
    pack_id="pack",
    cursor=SessionCursor(node_pointer="ask", wait_reason="reply", outbox_marker="o"),
    context_json='{"step": 1}',
)

TEXTS = {
    "empty": "",
    "json": '{"a": [1, 2.50, null], "a": "twice"}',
    "no json": "{not json",
    "nul": "before\x00after",
    "controls": "".join(map(chr, range(0x20))) + "\x7f\x80\x9f",
    "quotes": "'\"\\ \\u0041 %s ? :1 $1 {} --",
    "edges of unicode": "\ud7ff\ue000\ufeff\uffff\U00010000\U0010ffff",
    "line ends": "\r\n\n\r\u2028\u2029",
    "two forms of one letter": "\u00e9 e\u0301",
    "long": '"\\\x00\u20ac' * 20_000,
}

UNKNOWN: dict[str, Any] = {
    "null": None,
    "big": 2**70,
    "float": 1.5,
    "nested": {"list": [1, [True, {"ü": "\x00"}]], "": {}},
    "empty list": [],
    "deep": json.loads("[" * 100 + "]" * 100),
}


def with_unknown_fields() -> SessionData:
    document = EVERYTHING.model_dump(mode="json")
    ctx = document["tenant_ctx"]
    for part in (document, ctx, ctx["deadline"], ctx["impersonation"], document["cursor"]):
        part["newer"] = UNKNOWN
    return SessionData.model_validate_json(json.dumps(document))


def with_context_fields(fields: dict[str, str], *, left_out: Sequence[str] = ()) -> SessionData:
    """Give data as a document tells it whose context has more fields, or fewer."""
    document = data(of=ctx(team="blue")).model_dump(mode="json")
    document["tenant_ctx"].update(fields)
    for name in left_out:
        del document["tenant_ctx"][name]
    return SessionData.model_validate_json(json.dumps(document))


def forged_fields(model: TenantCtx | SessionData, **parts: Any) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields} | parts


async def assert_returned_as_stored(store: AsyncSessionStore, stored: SessionData) -> None:
    of = stored.tenant_ctx
    user = of.owner.user or ""
    await store.register_wait(of, user, A, "k", stored)
    record = await store.get_record("k")
    waiting = await store.get_wait(of, user, A)
    created = await store.create_session(of, stored)
    assert record is not None
    assert waiting is not None
    assert record.data == waiting.data == stored
    assert record.data.model_dump_json() == stored.model_dump_json()
    assert await store.get_session("k") == stored
    assert await store.get_session(created) == stored
    assert [listed.data for listed in await store.list_wait_records(of, user)] == [stored]


class StoredData(Hooks):
    """M: what a store returns of what it was given."""

    async def test_m1_absent_fields_come_back_absent(self, store: AsyncSessionStore) -> None:
        await assert_returned_as_stored(store, data())
        returned = await store.get_session("k")
        assert returned is not None
        assert "null" not in returned.model_dump_json()

    async def test_m1_every_field_comes_back(self, store: AsyncSessionStore) -> None:
        await assert_returned_as_stored(store, EVERYTHING)

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    async def test_m1_text_comes_back_to_the_last_character(
        self, store: AsyncSessionStore, text: str
    ) -> None:
        of = TenantCtx(
            env="prod",
            tenant_id="acme",
            user_id="u1",
            trace_id=text,
            attributes={text: text},
            impersonation=Impersonation(actor_id="root", reason=text),
        )
        cursor = SessionCursor(node_pointer=text, wait_reason=text, outbox_marker=text)
        await assert_returned_as_stored(
            store, SessionData(tenant_ctx=of, flow_id="f", cursor=cursor, context_json=text)
        )

    @pytest.mark.parametrize("millis", [0, -1, 2**53 + 1, 2**63, 2**127 - 1, -(2**127)])
    async def test_m1_numbers_come_back_exactly(
        self, store: AsyncSessionStore, millis: int
    ) -> None:
        of = CTX.model_copy(update={"deadline": InvocationDeadline(unix_millis=millis)})
        await assert_returned_as_stored(store, data(of=of))

    @pytest.mark.parametrize(
        "left_out",
        [
            ("tenant", "team", "user"),
            ("tenant_id", "team_id", "user_id"),
            ("tenant", "team_id", "user"),
        ],
        ids=", ".join,
    )
    async def test_m2_a_document_with_one_of_a_pair_keeps_it_and_its_owner(
        self, store: AsyncSessionStore, left_out: tuple[str, ...]
    ) -> None:
        whole = ctx(team="blue")
        stored = with_context_fields({}, left_out=left_out)
        await assert_returned_as_stored(store, stored)
        assert await find(store, A, of=whole) == "k"
        assert await listed(store, of=whole) == ["k"]
        await store.update_session("k", data("new", of=whole), ctx=whole)
        await register(store, "k", B, of=whole)
        assert await find(store, B, of=whole) == "k"

    async def test_m2_building_on_what_was_read_does_not_change_it(
        self, store: AsyncSessionStore
    ) -> None:
        stored = with_context_fields({}, left_out=("team", "user_id"))
        of = ctx(team="blue")
        await store.register_wait(of, "u1", A, "k", stored)
        before = stored.model_dump_json()

        read = await store.get_session("k")
        assert read is not None
        built = SessionData(
            tenant_ctx=read.tenant_ctx,
            flow_id="order",
            cursor=SessionCursor(node_pointer="next"),
            context_json="{}",
        )
        again = await store.get_session("k")
        assert again is not None
        assert again.model_dump_json() == before
        await store.update_session("k", built, ctx=of)
        assert await find(store, A, of=of) == "k"

    async def test_m3_unknown_fields_come_back(self, store: AsyncSessionStore) -> None:
        await assert_returned_as_stored(store, with_unknown_fields())

    async def test_m3_unknown_fields_survive_a_read_modify_write(
        self, store: AsyncSessionStore
    ) -> None:
        stored = with_unknown_fields()
        key = await store.create_session(stored.tenant_ctx, stored)

        read = await store.get_session(key)
        assert read is not None
        await store.update_session(key, read.model_copy(update={"context_json": "new"}))

        written = await store.get_session(key)
        assert written is not None
        expected = json.loads(stored.model_dump_json()) | {"context_json": "new"}
        assert json.loads(written.model_dump_json()) == expected

    async def test_m3_unknown_fields_survive_in_the_parts_of_new_data(
        self, store: AsyncSessionStore
    ) -> None:
        stored = with_unknown_fields()
        key = await store.create_session(stored.tenant_ctx, stored)

        read = await store.get_session(key)
        assert read is not None
        resumed = SessionData(
            tenant_ctx=read.tenant_ctx, flow_id="order", cursor=read.cursor, context_json="new"
        )
        await store.update_session(key, resumed)

        written = await store.get_session(key)
        assert written is not None
        assert written.tenant_ctx == stored.tenant_ctx
        assert written.cursor == stored.cursor

    async def test_m3_an_unknown_field_does_not_stand_in_for_a_known_one(
        self, store: AsyncSessionStore
    ) -> None:
        look_alikes = {"owner": "x", "_owner": "x", "Tenant": "x", "user_Id": "x", "user_id ": "x"}
        await assert_returned_as_stored(store, with_context_fields(look_alikes))
        assert await listed(store, of=ctx(team="blue")) == ["k"]

    async def test_m4_none_and_empty_text_are_one_scope(self, store: AsyncSessionStore) -> None:
        await register(store, "k", ReplyScope(conversation="a"))
        empty = ReplyScope(conversation="a", thread="", reply_to="", correlation="")
        assert await find(store, empty) == "k"

    async def test_m4_scopes_that_differ_anywhere_are_apart(self, store: AsyncSessionStore) -> None:
        scopes = [
            ReplyScope(conversation="a"),
            ReplyScope(conversation="A"),
            ReplyScope(conversation="a "),
            ReplyScope(conversation=""),
            ReplyScope(conversation="", thread="a"),
            ReplyScope(conversation="a", thread="a"),
            ReplyScope(conversation="a", reply_to="a"),
            ReplyScope(conversation="a", correlation="a"),
            ReplyScope(conversation="aa"),
            ReplyScope(conversation="\u00e9"),
            ReplyScope(conversation="e\u0301"),
            ReplyScope(conversation="a\x00"),
            ReplyScope(conversation="a\r"),
        ]
        for number, scope in enumerate(scopes):
            assert await register(store, f"k{number:02}", scope) is None
        for number, scope in enumerate(scopes):
            assert await find(store, scope) == f"k{number:02}"
        assert len(await listed(store)) == len(scopes)

    async def test_m7_what_is_stored_cannot_be_changed_through_a_reference(
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
    async def test_m7_ids_bypassed_validation_are_refused(
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

    async def test_m7_data_bypassed_validation_is_refused(
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

    async def test_m7_what_validation_sets_cannot_be_given(
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
