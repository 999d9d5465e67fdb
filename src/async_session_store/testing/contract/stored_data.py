"""M1 to M4: stored data comes back unchanged."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from async_session_store import (
    AsyncSessionStore,
    Impersonation,
    InvocationDeadline,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
)
from async_session_store.testing.contract.builders import (
    CTX,
    EVERYTHING,
    A,
    B,
    ctx,
    data,
    find,
    listed,
    register,
    with_unknown_fields,
)
from async_session_store.testing.contract.hooks import Hooks

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


def with_context_fields(fields: dict[str, str], *, left_out: Sequence[str] = ()) -> SessionData:
    """Return data parsed from a document whose context has additional or missing fields."""
    document = data(of=ctx(team="blue")).model_dump(mode="json")
    document["tenant_ctx"].update(fields)
    for name in left_out:
        del document["tenant_ctx"][name]
    return SessionData.model_validate_json(json.dumps(document))


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
    """M1 to M4: a store returns exactly the data that it was given."""

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

    async def test_m4_scopes_that_differ_in_any_field_are_kept_apart(
        self, store: AsyncSessionStore
    ) -> None:
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
