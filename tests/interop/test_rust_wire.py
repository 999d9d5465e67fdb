"""What Rust writes Python reads, and the other way round: generated values of every wire type."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from wire_values import VALUES, scopes, sessions, texts

import async_session_store
from async_session_store import (
    ReplyScope,
    SessionKey,
    canonical_session_key,
    telegram_update_to_session_key,
    webhook_to_session_key,
)
from rust_process import RustProcess, arguments, command

IDENTIFIERS = ["EnvId", "TenantId", "TeamId", "UserId", "FlowId", "PackId"]
MODELS = [kind for kind in VALUES if kind not in {*IDENTIFIERS, "SessionKey", "ErrorCode"}]


def adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(getattr(async_session_store, kind))


def read_by_rust(rust: RustProcess, kind: str, text: str) -> bool:
    (reply,) = rust.replies([command("rewrite", arguments(type=kind, texts=[text]))])
    return "ok" in reply or reply["error"]["code"] != "unreadable"


def read_by_python(kind: str, text: str) -> bool:
    try:
        adapter(kind).validate_json(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", VALUES)
@given(choice=st.data())
def test_m1_m2_every_type_goes_from_rust_to_python_and_back(
    rust_process: RustProcess, kind: str, choice: st.DataObject
) -> None:
    given_text = json.dumps(choice.draw(VALUES[kind]), ensure_ascii=choice.draw(st.booleans()))
    (by_rust,) = rust_process.rewrite(kind, given_text)
    value = adapter(kind).validate_json(by_rust)
    by_python = adapter(kind).dump_json(value).decode()
    assert json.loads(by_python) == json.loads(by_rust)
    assert rust_process.equal(kind, given_text, by_rust, by_python)
    # Nothing is lost either where Python reads first.
    assert adapter(kind).validate_json(given_text) == value


@given(first=sessions, second=sessions)
def test_e1_documents_that_differ_for_rust_differ_here(
    rust_process: RustProcess, first: dict[str, Any], second: dict[str, Any]
) -> None:
    one, other = rust_process.rewrite("SessionData", json.dumps(first), json.dumps(second))
    session = adapter("SessionData")
    equal_here = session.validate_json(one) == session.validate_json(other)
    assert equal_here == rust_process.equal("SessionData", one, other)


@pytest.mark.parametrize("kind", IDENTIFIERS)
@given(text=texts | st.text("aZ9._-: /é\n\0", max_size=4))
def test_m7_an_id_is_refused_by_both_or_by_neither(
    rust_process: RustProcess, kind: str, text: str
) -> None:
    wire = json.dumps(text)
    assert read_by_python(kind, wire) == read_by_rust(rust_process, kind, wire)


MISSHAPEN = [
    "{}",
    "[]",
    "null",
    "7",
    '"text"',
    "",
    "{",
    '{"conversation":7}',
    '{"conversation":"\\ud800"}',
    '{"conversation":null}',
    '{"node_pointer":"n","wait_reason":7}',
    '{"actor_id":"a b"}',
    '{"actor_id":"a","reason":[]}',
    '{"unix_millis":1.5}',
    '{"unix_millis":"1"}',
    f'{{"unix_millis":{2**127}}}',
    f'{{"unix_millis":{-(2**127) - 1}}}',
    '{"unix_millis":NaN}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":-1}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":4294967296}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":null}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":true}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":0,"attributes":{"a":1}}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":0,"attributes":[]}',
    '{"env":"","tenant":"t","tenant_id":"t","attempt":0}',
    '{"env":"e","tenant":"t:u","tenant_id":"t:u","attempt":0}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":0,"user":"a@b"}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":1.0}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":0,"attributes":null}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":0,"deadline":{}}',
    '{"env":"e","tenant":"t","tenant_id":"t","attempt":0,"impersonation":{}}',
    '{"env":"e","attempt":0}',
]


@pytest.mark.parametrize("text", MISSHAPEN)
@pytest.mark.parametrize("kind", MODELS)
def test_m7_misshapen_json_is_refused_by_both(
    rust_process: RustProcess, kind: str, text: str
) -> None:
    assert read_by_python(kind, text) == read_by_rust(rust_process, kind, text)


@given(scope=scopes)
def test_m4_a_scope_has_one_hash(rust_process: RustProcess, scope: dict[str, Any]) -> None:
    there = rust_process.call("scope_hash", json.dumps(scope))
    assert ReplyScope.model_validate_json(json.dumps(scope)).scope_hash() == there


@given(parts=st.tuples(texts, texts, texts) | st.tuples(*[st.text("a:b", max_size=3)] * 3))
@settings(max_examples=200)
def test_m5_telegram_and_webhook_keys_are_the_same(
    rust_process: RustProcess, parts: tuple[str, str, str]
) -> None:
    functions = {
        "telegram": telegram_update_to_session_key,
        "webhook": webhook_to_session_key,
    }
    for name, function in functions.items():
        there = rust_process.call("key", arguments(function=name, parts=parts))
        assert function(*parts) == there


@given(
    tenant=texts,
    provider=texts,
    anchor=st.none() | texts,
    user=st.none() | texts,
)
def test_m5_canonical_keys_are_the_same(
    rust_process: RustProcess, tenant: str, provider: str, anchor: str | None, user: str | None
) -> None:
    parts = [tenant, provider, anchor, user]
    there = rust_process.call("key", arguments(function="canonical", parts=parts))
    if len(there.encode()) <= 1024:
        assert canonical_session_key(tenant, provider, anchor, user) == SessionKey(there)
    else:
        with pytest.raises(ValidationError):
            canonical_session_key(tenant, provider, anchor, user)


@given(ids=st.tuples(*[st.integers(-(2**63), 2**64)] * 3))
def test_m5_telegrams_numbers_need_no_conversion(
    rust_process: RustProcess, ids: tuple[int, int, int]
) -> None:
    parts = [str(number) for number in ids]
    there = rust_process.call("key", arguments(function="telegram", parts=parts))
    assert telegram_update_to_session_key(*ids) == there
