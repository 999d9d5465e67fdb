from __future__ import annotations

import copy
import hashlib
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from async_session_store import (
    NEVER,
    EnvId,
    FlowId,
    Impersonation,
    InvocationDeadline,
    PackId,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    SessionRecord,
    TeamId,
    TenantCtx,
    TenantId,
    UserId,
)

IDS = [EnvId, TenantId, TeamId, UserId, FlowId, PackId]
GOOD_IDS = ["a", "A-b_c.9", "-", ".", "0", "x" * 5000, "sha256-" + "0" * 64]
BAD_IDS = ["", " ", "a b", "a:b", "a/b", "a\n", "\na", "ü", "\u0661", "\uff41", "a\x00", "\ud800"]

CTX = TenantCtx(env="prod", tenant_id="acme", user_id="u1")
DATA = SessionData(
    tenant_ctx=CTX, flow_id="order", cursor=SessionCursor(node_pointer="ask"), context_json="{}"
)
SCOPE = ReplyScope(conversation="chat-1", thread="topic-9", reply_to="msg-3", correlation="cid-7")
MODELS = [
    CTX,
    DATA,
    SCOPE,
    DATA.cursor,
    InvocationDeadline(unix_millis=1),
    Impersonation(actor_id="root"),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scope_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=9)
ids = st.from_regex(r"\A[A-Za-z0-9._-]{1,20}\Z")
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=10,
)
unknown_fields = st.dictionaries(texts.map("newer ".__add__), json_values, max_size=3)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


contexts = st.builds(
    TenantCtx,
    env=ids,
    tenant_id=ids,
    team_id=optional(ids),
    user_id=optional(ids),
    **{
        name: optional(texts)
        for name in (
            *("session_id", "flow_id", "node_id", "provider_id", "trace_id", "i18n_id"),
            *("correlation_id", "idempotency_key"),
        )
    },
    attributes=st.dictionaries(texts, texts, max_size=3),
    deadline=optional(
        st.builds(InvocationDeadline, unix_millis=st.integers(-(2**127), 2**127 - 1))
    ),
    attempt=st.integers(0, 2**32 - 1),
    impersonation=optional(st.builds(Impersonation, actor_id=ids, reason=optional(texts))),
)
cursors = st.builds(
    SessionCursor, node_pointer=texts, wait_reason=optional(texts), outbox_marker=optional(texts)
)
sessions = st.builds(
    SessionData,
    tenant_ctx=contexts,
    flow_id=ids,
    pack_id=optional(ids),
    cursor=cursors,
    context_json=texts,
)
scopes = st.builds(
    ReplyScope,
    conversation=scope_texts,
    thread=optional(scope_texts),
    reply_to=optional(scope_texts),
    correlation=optional(scope_texts),
)


def read(document: dict[str, Any]) -> SessionData:
    return SessionData.model_validate_json(json.dumps(document))


def as_written(data: BaseModel) -> Any:
    return json.loads(data.model_dump_json())


def has_no_null(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(has_no_null, value.values()))
    return value is not None


def with_unknown_fields(unknown: dict[str, Any], data: SessionData = DATA) -> dict[str, Any]:
    document = as_written(data)
    document["tenant_ctx"]["deadline"] = {"unix_millis": 1}
    document["tenant_ctx"]["impersonation"] = {"actor_id": "root"}
    ctx = document["tenant_ctx"]
    for part in (document, ctx, ctx["deadline"], ctx["impersonation"], document["cursor"]):
        part.update(unknown)
    return document


class TestIds:
    @pytest.mark.parametrize("kind", IDS)
    @pytest.mark.parametrize("text", GOOD_IDS, ids=range(len(GOOD_IDS)))
    def test_valid_text_becomes_an_id(self, kind: type[str], text: str) -> None:
        made = kind(text)
        assert made == text
        assert type(made) is kind
        assert kind(made) is made
        assert hash(made) == hash(text)
        assert json.dumps(made) == json.dumps(text)

    @pytest.mark.parametrize("kind", IDS)
    @pytest.mark.parametrize("text", BAD_IDS, ids=ascii)
    def test_other_text_is_refused(self, kind: type[str], text: str) -> None:
        with pytest.raises(ValidationError, match="ASCII letters"):
            kind(text)

    @pytest.mark.parametrize("kind", [*IDS, SessionKey])
    @pytest.mark.parametrize("value", [None, 7, b"a", ["a"]], ids=repr)
    def test_a_value_that_is_not_text_is_refused(self, kind: Any, value: object) -> None:
        with pytest.raises(ValidationError):
            kind(value)

    @pytest.mark.parametrize("kind", [*IDS, SessionKey])
    def test_pickling_and_copying_keep_value_and_type(self, kind: type[str]) -> None:
        made = kind("a")
        for again in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
            assert again == made
            assert type(again) is kind

    @pytest.mark.parametrize("text", ["a", "a:b\n\x00", "é" * 512, "k" * 1024, "😀" * 256, " "])
    def test_any_text_within_its_size_is_a_key(self, text: str) -> None:
        assert type(SessionKey(text)) is SessionKey

    @pytest.mark.parametrize("text", ["", "k" * 1025, "é" * 513, "😀" * 257, "\ud800"], ids=ascii)
    def test_a_key_of_the_wrong_size_is_refused(self, text: str) -> None:
        with pytest.raises(ValidationError, match="1024 bytes"):
            SessionKey(text)

    def test_an_id_behaves_like_a_str(self) -> None:
        assert UserId("u1").encode() == b"u1"
        assert f"{UserId('u1')}:{SessionKey('k')}" == "u1:k"
        assert {UserId("u1"): 1}["u1"] == 1
        assert repr(UserId("u1")) == "'u1'"


class TestEncodedUserIds:
    @pytest.mark.parametrize("raw", ["u1", "A-b_c.9", "sha256-", "sha256-" + "0" * 63])
    def test_m6_a_valid_id_stays(self, raw: str) -> None:
        assert UserId.encode(raw) == raw

    @pytest.mark.parametrize(
        "raw", ["29:1abc", "@u:hs", "", "ü", "a\n", "😀", "sha256-" + "0" * 64]
    )
    def test_m6_any_other_becomes_its_digest(self, raw: str) -> None:
        encoded = UserId.encode(raw)
        assert encoded == "sha256-" + hashlib.sha256(raw.encode()).hexdigest()
        assert type(encoded) is UserId

    def test_m6_half_a_surrogate_can_be_encoded(self) -> None:
        assert UserId.encode("\ud800") != UserId.encode("\udfff")

    def test_m6_encoding_twice_gives_another_id(self) -> None:
        once = UserId.encode("29:1abc")
        assert UserId.encode(str(once)) != once

    @given(st.lists(texts, unique=True))
    def test_m6_two_raw_ids_never_give_one_id(self, raw_ids: list[str]) -> None:
        encoded = [UserId.encode(raw) for raw in raw_ids]
        encoded += [UserId.encode(str(user)) for user in encoded if user not in raw_ids]
        assert len(set(encoded)) == len(encoded)


class TestWireFormat:
    def test_m1_absent_fields_are_left_out(self) -> None:
        assert as_written(DATA) == {
            "tenant_ctx": {
                "env": "prod",
                "tenant": "acme",
                "tenant_id": "acme",
                "user": "u1",
                "user_id": "u1",
                "attempt": 0,
            },
            "flow_id": "order",
            "cursor": {"node_pointer": "ask"},
            "context_json": "{}",
        }
        assert as_written(ReplyScope(conversation="a")) == {"conversation": "a"}

    def test_m1_every_field_has_its_wire_name(self) -> None:
        document = {
            "tenant_ctx": {
                "env": "prod",
                "tenant": "acme",
                "tenant_id": "acme",
                "team": "blue",
                "team_id": "blue",
                "user": "u1",
                "user_id": "u1",
                "session_id": "1",
                "flow_id": "2",
                "node_id": "3",
                "provider_id": "4",
                "trace_id": "5",
                "i18n_id": "6",
                "correlation_id": "7",
                "attributes": {"a": "b"},
                "deadline": {"unix_millis": 8},
                "attempt": 9,
                "idempotency_key": "10",
                "impersonation": {"actor_id": "root", "reason": "11"},
            },
            "flow_id": "order",
            "pack_id": "pack",
            "cursor": {"node_pointer": "ask", "wait_reason": "12", "outbox_marker": "13"},
            "context_json": "{}",
        }
        data = read(document)
        assert as_written(data) == document
        assert not data.model_extra
        assert not data.tenant_ctx.model_extra
        scope = {"conversation": "1", "thread": "2", "reply_to": "3", "correlation": "4"}
        assert as_written(ReplyScope.model_validate_json(json.dumps(scope))) == scope

    def test_m1_null_reads_as_absent(self) -> None:
        document = as_written(DATA)
        optional_fields = set(TenantCtx.model_fields) - set(document["tenant_ctx"]) - {"attributes"}
        document["tenant_ctx"] |= dict.fromkeys(optional_fields)
        document["cursor"] |= {"wait_reason": None, "outbox_marker": None}
        document["pack_id"] = None
        assert as_written(read(document)) == as_written(DATA)
        assert read(document) == DATA

    def test_m1_an_absent_attempt_reads_as_0(self) -> None:
        document = as_written(DATA)
        del document["tenant_ctx"]["attempt"]
        assert read(document).tenant_ctx.attempt == 0
        assert as_written(read(document)) == as_written(DATA)

    @given(sessions)
    def test_m1_a_session_survives_the_wire(self, data: SessionData) -> None:
        document = data.model_dump_json()
        again = SessionData.model_validate_json(document)
        assert again == data
        assert again.model_dump_json() == document
        assert has_no_null(as_written(data))

    @given(scopes)
    def test_m1_a_scope_survives_the_wire(self, scope: ReplyScope) -> None:
        again = ReplyScope.model_validate_json(scope.model_dump_json())
        assert again == scope
        assert again.scope_hash() == scope.scope_hash()

    @pytest.mark.parametrize(
        "fields",
        [
            {"attempt": -1},
            {"attempt": 2**32},
            {"attempt": 1.0},
            {"attempt": "1"},
            {"attempt": True},
            {"deadline": {"unix_millis": 2**127}},
            {"deadline": {"unix_millis": "1"}},
            {"deadline": 1},
            {"attributes": {"a": 1}},
            {"attributes": ["a"]},
            {"trace_id": 1},
            {"env": "a:b"},
            {"impersonation": {"reason": "no one"}},
        ],
        ids=json.dumps,
    )
    def test_a_field_of_a_wrong_type_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            read(as_written(DATA) | {"tenant_ctx": as_written(CTX) | fields})
        with pytest.raises(ValidationError):
            TenantCtx(**{"env": "prod", "tenant_id": "acme"} | fields)

    @pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400"])
    def test_m3_an_unknown_field_that_could_not_be_written_back_is_refused(self, text: str) -> None:
        document = DATA.model_dump_json().replace('"flow_id"', f'"newer":{text},"flow_id"', 1)
        with pytest.raises(ValidationError):
            SessionData.model_validate_json(document)


class TestTwins:
    @pytest.mark.parametrize("tenant", ["tenant", "tenant_id"])
    @pytest.mark.parametrize("team", ["team", "team_id"])
    @pytest.mark.parametrize("user", ["user", "user_id"])
    def test_m2_one_of_a_pair_fills_the_other(self, tenant: str, team: str, user: str) -> None:
        made = TenantCtx(**{"env": "prod", tenant: "acme", team: "blue", user: "u1"})
        assert (made.tenant, made.tenant_id) == ("acme", "acme")
        assert (made.team, made.team_id) == ("blue", "blue")
        assert (made.user, made.user_id) == ("u1", "u1")
        assert tuple(made.owner) == ("prod", "acme", "blue", "u1")

    def test_m2_twins_that_agree_are_fine(self) -> None:
        assert (
            TenantCtx(env="prod", tenant="acme", tenant_id="acme", user="u1", user_id="u1") == CTX
        )

    @pytest.mark.parametrize(
        "pair", [("tenant", "tenant_id"), ("team", "team_id"), ("user", "user_id")]
    )
    def test_m2_twins_that_differ_are_refused(self, pair: tuple[str, str]) -> None:
        fields = {"env": "prod", "tenant": "acme", pair[0]: "a", pair[1]: "b"}
        for build in (
            lambda: TenantCtx(**fields),
            lambda: TenantCtx.model_validate(fields),
            lambda: TenantCtx.model_validate_json(json.dumps(fields)),
        ):
            with pytest.raises(ValidationError, match=f"{pair[0]} and {pair[1]} must be the same"):
                build()

    def test_m2_a_tenant_is_needed(self) -> None:
        with pytest.raises(ValidationError, match="tenant"):
            TenantCtx(env="prod")
        with pytest.raises(ValidationError, match="tenant"):
            TenantCtx.model_validate_json('{"env": "prod"}')

    def test_m2_a_document_keeps_the_one_that_it_has(self) -> None:
        document = {"env": "prod", "tenant": "acme", "team_id": "blue", "user": "u1"}
        stored = TenantCtx.model_validate_json(json.dumps(document))
        assert tuple(stored.owner) == ("prod", "acme", "blue", "u1")
        assert as_written(stored) == document | {"tenant_id": "acme", "attempt": 0}
        assert stored.tenant_id == "acme"

    def test_m2_a_stored_context_is_not_changed_by_what_is_built_on_it(self) -> None:
        stored = TenantCtx.model_validate_json('{"env":"prod","tenant":"acme","user":"u1"}')
        before = stored.model_dump_json()
        DATA.model_copy(update={"tenant_ctx": stored})
        SessionData(
            tenant_ctx=stored, flow_id="f", cursor=SessionCursor(node_pointer="n"), context_json=""
        )
        assert stored.model_dump_json() == before

    def test_m2_a_copy_with_one_of_a_pair_changes_both(self) -> None:
        copied = CTX.model_copy(update={"user_id": "u2", "tenant": "other"})
        assert (copied.user, copied.tenant_id) == ("u2", "other")
        assert tuple(copied.owner) == ("prod", "other", None, "u2")
        without = CTX.model_copy(update={"user": None})
        assert (without.user, without.user_id) == (None, None)


class TestUnknownFields:
    @given(sessions, unknown_fields)
    def test_m3_they_survive_the_wire(self, data: SessionData, unknown: dict[str, Any]) -> None:
        document = with_unknown_fields(unknown, data)
        stored = read(document)
        assert as_written(stored) == document
        assert SessionData.model_validate_json(stored.model_dump_json()) == stored

    @given(unknown_fields)
    def test_m3_they_survive_copies_and_what_is_built_on_them(
        self, unknown: dict[str, Any]
    ) -> None:
        document = with_unknown_fields(unknown)
        stored = read(document)
        changed = stored.model_copy(update={"context_json": "new"})
        moved = stored.cursor.model_copy(update={"node_pointer": "next"})
        built = SessionData(
            tenant_ctx=stored.tenant_ctx, flow_id="order", cursor=moved, context_json="{}"
        )
        assert as_written(changed) == document | {"context_json": "new"}
        assert as_written(built)["tenant_ctx"] == document["tenant_ctx"]
        assert as_written(built)["cursor"] == document["cursor"] | {"node_pointer": "next"}
        for again in (
            stored.model_copy(),
            stored.model_copy(deep=True),
            copy.copy(stored),
            copy.deepcopy(stored),
            pickle.loads(pickle.dumps(stored)),
        ):
            assert again == stored
            assert as_written(again) == document

    def test_m3_they_count_when_comparing(self) -> None:
        assert read(with_unknown_fields({"a": 1})) == read(with_unknown_fields({"a": 1}))
        assert read(with_unknown_fields({"a": 1})) != read(with_unknown_fields({"a": 2}))
        assert read(with_unknown_fields({"a": 1})) != read(with_unknown_fields({}))

    def test_m3_they_cannot_be_changed(self) -> None:
        stored = read(with_unknown_fields({"a": {"b": [1, {"c": 2}]}}))
        assert stored.model_extra is not None
        with pytest.raises(TypeError):
            stored.model_extra["a"] = 1
        with pytest.raises(TypeError):
            stored.model_extra["a"]["b"] = 1
        with pytest.raises(TypeError):
            stored.model_extra["a"]["b"][1]["c"] = 1
        with pytest.raises(ValidationError):
            stored.a = 1  # type: ignore[attr-defined]

    @pytest.mark.parametrize("kind", [type(model) for model in MODELS])
    def test_m3_a_misspelt_keyword_is_refused(self, kind: type[BaseModel]) -> None:
        model = next(model for model in MODELS if type(model) is kind)
        fields = model.model_dump(exclude_none=True)
        for build in (
            lambda: kind(**fields, tennant_id="acme"),
            lambda: kind.model_validate(fields | {"tennant_id": "acme"}),
            lambda: model.model_copy(update={"tennant_id": "acme"}),
        ):
            with pytest.raises(ValidationError, match="no field 'tennant_id'"):
                build()


class TestScopes:
    def test_m4_the_vector(self) -> None:
        assert (
            SCOPE.scope_hash() == "5251e2c9eb975466809eecbe51be7aa8dc7785ad05cb393a8f47a3a2f42cc544"
        )

    @given(scopes)
    def test_m4_the_hash_is_of_the_fields_joined_by_newlines(self, scope: ReplyScope) -> None:
        fields = (scope.conversation, scope.thread, scope.reply_to, scope.correlation)
        joined = "\n".join(field or "" for field in fields)
        assert scope.scope_hash() == hashlib.sha256(joined.encode()).hexdigest()

    @given(scopes, scopes)
    def test_m4_only_none_and_empty_text_hash_alike(self, one: ReplyScope, two: ReplyScope) -> None:
        def alike(one: str | None, two: str | None) -> bool:
            return (one or "") == (two or "")

        same = all(
            alike(getattr(one, name), getattr(two, name)) for name in ReplyScope.model_fields
        )
        assert (one.scope_hash() == two.scope_hash()) is same

    @pytest.mark.parametrize("field", ReplyScope.model_fields)
    @pytest.mark.parametrize("text", ["\n", "a\nb", "a\n"], ids=ascii)
    def test_m4_a_newline_is_refused(self, field: str, text: str) -> None:
        fields = {"conversation": "a", field: text}
        with pytest.raises(ValidationError, match="newline"):
            ReplyScope(**fields)
        with pytest.raises(ValidationError, match="newline"):
            ReplyScope.model_validate_json(json.dumps(fields))
        with pytest.raises(ValidationError, match="newline"):
            SCOPE.model_copy(update={field: text})

    def test_m4_none_and_empty_text_are_written_as_they_were_given(self) -> None:
        scope = ReplyScope(conversation="", thread="", reply_to=None)
        assert as_written(scope) == {"conversation": "", "thread": ""}


class TestImmutability:
    @each_model
    def test_m7_no_field_can_be_set_or_deleted(self, model: BaseModel) -> None:
        for name in type(model).model_fields:
            with pytest.raises(ValidationError):
                setattr(model, name, "x")
            with pytest.raises(ValidationError):
                delattr(model, name)
        with pytest.raises(ValidationError):
            model.newer = "x"  # type: ignore[attr-defined]

    def test_m7_attributes_cannot_be_changed(self) -> None:
        given_attributes = {"a": "1"}
        ctx = TenantCtx(env="prod", tenant_id="acme", attributes=given_attributes)
        given_attributes["a"] = "2"
        attributes: Any = ctx.attributes
        for change in (
            lambda: attributes.__setitem__("a", "2"),
            lambda: attributes.__delitem__("a"),
            lambda: attributes.__ior__({"a": "2"}),
            lambda: attributes.update(a="2"),
            lambda: attributes.setdefault("b", "2"),
            lambda: attributes.pop("a"),
            attributes.popitem,
            attributes.clear,
        ):
            with pytest.raises(TypeError, match="immutable"):
                change()
        assert ctx.attributes == {"a": "1"}
        assert attributes | {"b": "2"} == {"a": "1", "b": "2"}

    @each_model
    def test_m7_equal_models_have_one_hash(self, model: BaseModel) -> None:
        again = type(model).model_validate_json(model.model_dump_json())
        assert again == model
        assert hash(again) == hash(model)
        assert len({model, again}) == 1

    def test_m7_attributes_take_part_in_the_hash(self) -> None:
        one = CTX.model_copy(update={"attributes": {"a": "1", "b": "2"}})
        two = CTX.model_copy(update={"attributes": {"b": "2", "a": "1"}})
        assert one == two
        assert hash(one) == hash(two)

    @each_model
    def test_m7_computed_fields_do_not_count_when_comparing(self, model: BaseModel) -> None:
        again = pickle.loads(pickle.dumps(model))
        CTX.owner, SCOPE.scope_hash()
        assert again == model
        assert pickle.loads(pickle.dumps(model)) == again


class TestCopies:
    @pytest.mark.parametrize("deep", [False, True])
    @each_model
    def test_m7_a_copy_is_equal(self, model: BaseModel, deep: bool) -> None:  # noqa: FBT001
        assert model.model_copy(deep=deep) == model
        assert model.model_copy(update={}, deep=deep) == model

    @pytest.mark.parametrize("deep", [False, True])
    def test_m7_a_copy_is_validated(self, deep: bool) -> None:  # noqa: FBT001
        for update in (
            {"user_id": "a:b"},
            {"user": "u2", "user_id": "u3"},
            {"attempt": -1},
            {"env": None},
            {"attributes": {"a": 1}},
        ):
            with pytest.raises(ValidationError):
                CTX.model_copy(update=update, deep=deep)
        with pytest.raises(ValidationError):
            DATA.model_copy(update={"tenant_ctx": {"env": "a:b", "tenant": "acme"}}, deep=deep)

    def test_m7_a_copy_is_computed_anew(self) -> None:
        assert CTX.owner.user == "u1"
        assert CTX.model_copy(update={"user_id": "u2"}).owner.user == "u2"
        moved = SCOPE.model_copy(update={"thread": None})
        assert moved.scope_hash() != SCOPE.scope_hash()

    def test_m7_a_copy_has_ids_of_their_own_type(self) -> None:
        copied = CTX.model_copy(update={"user_id": "u2", "attributes": {"a": "1"}})
        assert type(copied.user) is UserId
        with pytest.raises(TypeError):
            copied.attributes["a"] = "2"  # type: ignore[index]

    @pytest.mark.filterwarnings("ignore:The `copy` method is deprecated")
    def test_m7_the_deprecated_copy_is_validated_too(self) -> None:
        with pytest.raises(ValidationError):
            CTX.copy(update={"user_id": "a:b"})

    @given(sessions)
    def test_m7_pickling_and_deep_copies_keep_everything(self, data: SessionData) -> None:
        for again in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data)):
            assert again == data
            assert hash(again) == hash(data)
            assert again.model_dump_json() == data.model_dump_json()
            assert again.tenant_ctx.owner == data.tenant_ctx.owner
            assert type(again.flow_id) is FlowId


class TestRecords:
    RECORD = SessionRecord(SessionKey("k"), DATA, "etag", None)

    def test_a_record_is_immutable_and_hashable(self) -> None:
        for name in ("key", "data", "etag", "expires_at"):
            with pytest.raises(AttributeError):
                setattr(self.RECORD, name, None)
        assert hash(self.RECORD) == hash(pickle.loads(pickle.dumps(self.RECORD)))
        assert copy.deepcopy(self.RECORD) == self.RECORD

    def test_never_is_one_object(self) -> None:
        assert pickle.loads(pickle.dumps(NEVER)) is copy.deepcopy(NEVER) is NEVER


class TestErrors:
    def test_f8_an_error_hides_the_input(self) -> None:
        for build in (
            lambda: UserId("secret:"),
            lambda: SessionKey("secret" * 1000),
            lambda: TenantCtx(env="prod", tenant_id="acme", user_id="secret:"),
            lambda: TenantCtx(env="prod", tenant_id="acme", user="secret-1", user_id="secret-2"),
            lambda: TenantCtx(env="prod", tenant_id="acme", attributes={"a": ["secret"]}),
            lambda: ReplyScope(conversation="secret\n"),
            lambda: DATA.model_copy(update={"context_json": b"secret\xff"}),
            lambda: DATA.model_copy(update={"cursor": {"node_pointer": ["secret"]}}),
            lambda: SessionData.model_validate_json(b'{"tenant_ctx": "secret"}'),
            lambda: SessionData.model_validate_json(b'{"context_json": "secret'),
            lambda: SessionData.model_validate_json(b'{"context_json": "secret\xff"}'),
            lambda: Impersonation(actor_id="secret "),
        ):
            with pytest.raises(ValidationError) as caught:
                build()
            error: BaseException | None = caught.value
            while error is not None:
                assert "secret" not in f"{error} {error!r}"
                error = error.__cause__ or error.__context__

    def test_half_a_surrogate_is_refused(self) -> None:
        for build in (
            lambda: DATA.model_copy(update={"context_json": "\ud800"}),
            lambda: ReplyScope(conversation="\udfff"),
            lambda: TenantCtx(env="prod", tenant_id="acme", attributes={"\ud800": ""}),
        ):
            with pytest.raises(ValidationError):
                build()
