from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given

from async_session_store import InvalidInputError, SessionCursor, SessionData, TenantCtx, _codec
from test_models import json_values, read, sessions, unknown_fields, with_unknown_fields

MAXIMUM = 8 * 1024 * 1024

CTX = TenantCtx(env="prod", tenant_id="acme", team_id="blue", user_id="u1")
DATA = SessionData(
    tenant_ctx=CTX,
    flow_id="order",
    cursor=SessionCursor(node_pointer="ask"),
    context_json='{"ü":"\x00"}',
)
PINNED = (
    '{"tenant_ctx":{"env":"prod","tenant":"acme","tenant_id":"acme","team":"blue","team_id":"blue",'
    '"user":"u1","user_id":"u1","attempt":0},"flow_id":"order","cursor":{"node_pointer":"ask"},'
    '"context_json":"{\\"ü\\":\\"\\u0000\\"}"}'
).encode()


def test_the_stored_bytes_are_those_of_serde() -> None:
    assert _codec.encode(DATA) == PINNED
    assert _codec.encode_head(DATA) == PINNED[: PINNED.index(b',"context_json"')] + b"}"


@given(sessions, unknown_fields)
def test_a_document_decodes_to_what_was_encoded(data: SessionData, unknown: dict[str, Any]) -> None:
    for stored in (data, read(with_unknown_fields(unknown, data))):
        assert _codec.decode(_codec.encode(stored), MAXIMUM) == stored
        head = _codec.encode_head(stored)
        assert _codec.decode_split(head, stored.context_json, MAXIMUM) == stored
        assert head.decode() == stored.model_dump_json(exclude={"context_json"})


@pytest.mark.parametrize(
    ("field", "value"), [("context_json", 7), ("flow_id", 7), ("cursor", {}), ("tenant_ctx", {})]
)
def test_m7_a_value_of_a_wrong_type_is_not_stored(field: str, value: object) -> None:
    changed = DATA.model_copy()
    vars(changed)[field] = value
    for encode in (_codec.encode, _codec.encode_head):
        with pytest.raises(InvalidInputError):
            encode(changed)


def test_s6_fields_that_a_subclass_adds_are_not_stored() -> None:
    class Extended(TenantCtx, frozen=True):
        secret: str

    extended = Extended.model_validate({**dict(CTX), "secret": "s"})
    stored = DATA.model_copy(update={"tenant_ctx": extended})
    assert _codec.encode(stored) == PINNED
    assert _codec.encode_head(stored) == _codec.encode_head(DATA)


def test_a_cached_head_gives_separate_documents() -> None:
    head = _codec.encode_head(DATA)
    one, two = (_codec.decode_split(head, text, MAXIMUM) for text in ("1", "2" * 9000))
    assert one == DATA.model_copy(update={"context_json": "1"})
    assert one.size_ceiling < len(two.context_json) < two.size_ceiling
    with pytest.raises(_codec.UnreadableDocumentError, match="max_document_bytes"):
        _codec.decode_split(head, "1", len(head))


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_head_that_was_changed_is_decoded_anew(size: int) -> None:
    data = DATA.model_copy(update={"cursor": SessionCursor(node_pointer="x" * size)})
    head = _codec.encode_head(data)
    assert _codec.decode_split(head, data.context_json, MAXIMUM) == data
    for _ in range(2):
        with pytest.raises(_codec.UnreadableDocumentError, match="flow_id"):
            _codec.decode_split(head.replace(b'"order"', b"7"), "", MAXIMUM)


@given(sessions, unknown_fields)
def test_s6_the_size_is_exact_to_the_byte(data: SessionData, unknown: dict[str, Any]) -> None:
    for stored in (data, read(with_unknown_fields(unknown, data))):
        size = len(_codec.encode(stored))
        assert not _codec.exceeds(stored, size)
        assert _codec.exceeds(stored, size - 1)


@pytest.mark.parametrize("context", ["\x00" * 2000, '"' * 2000, "e" * 2000, "😀" * 2000], ids=ascii)
def test_s6_escapes_count(context: str) -> None:
    data = DATA.model_copy(update={"context_json": context})
    size = len(_codec.encode(data))
    assert not _codec.exceeds(data, size)
    assert _codec.exceeds(data, size - 1)
    head = _codec.encode_head(data)
    assert _codec.decode_split(head, context, size) == data
    with pytest.raises(_codec.UnreadableDocumentError, match="max_document_bytes"):
        _codec.decode_split(head, context, size - 1)


def test_s6_a_larger_document_is_unreadable() -> None:
    assert _codec.decode(PINNED, len(PINNED)) == DATA
    with pytest.raises(_codec.UnreadableDocumentError, match="max_document_bytes"):
        _codec.decode(PINNED, len(PINNED) - 1)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"secret",
        b"{",
        b"null",
        b"[]",
        b"{}",
        PINNED[:-1],
        PINNED + b"secret",
        PINNED.replace(b'"ask"', b'"secret'),
        PINNED.replace(b'"ask"', b"7"),
        PINNED.replace(b'"attempt":0', b'"attempt":"secret"'),
        PINNED.replace(b'"user":"u1"', b'"user":"secret"'),
        PINNED.replace(b'"env":"prod"', b'"env":"secret:"'),
        PINNED.replace(b'"ask"', b'"\xffsecret"'),
        PINNED.replace(b'"ask"', rb'"\ud800secret"'),
        b"[" * 10_000,
        b'{"tenant_ctx":' * 10_000,
    ],
    ids=range(17),
)
def test_r2_a_text_that_is_not_a_document_is_refused_and_not_quoted(document: bytes) -> None:
    with pytest.raises(_codec.UnreadableDocumentError) as caught:
        _codec.decode(document, MAXIMUM)
    assert "secret" not in str(caught.value)
    assert "u1" not in str(caught.value)


@pytest.mark.parametrize(
    "head", [b"", b"{}", b"}", b"null", b"[1]", b'"', b'{"tenant_ctx":{}}', b"\xff"], ids=repr
)
def test_r2_a_text_that_is_not_a_head_is_unreadable(head: bytes) -> None:
    with pytest.raises(_codec.UnreadableDocumentError):
        _codec.decode_split(head, "{}", MAXIMUM)


class TestTheOwnerOfAnUnreadableDocument:
    @pytest.mark.parametrize(
        "damage",
        [
            (b'"node_pointer":"ask"', b'"node_pointer":7'),
            (b'"flow_id":"order",', b""),
            (b'"order"', b'"a:b"'),
            (b'"user_id":"u1",', b""),
        ],
    )
    def test_is_read_where_the_context_is_sound(self, damage: tuple[bytes, bytes]) -> None:
        assert _codec.stored_owner(PINNED.replace(*damage)) == CTX.owner

    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"[]",
            b"7",
            b'{"tenant_ctx":[]}',
            b'{"tenant_ctx":null}',
            b'{"tenant_ctx":{"env":"prod"}}',
            b"\xff",
            b"[" * 10_000,
            b'{"tenant_ctx":' * 10_000,
            PINNED[:-1],
            PINNED.replace(b'"team":"blue"', b'"team":"red"'),
            PINNED.replace(b'"env":"prod"', b'"env":"a:b"'),
        ],
        ids=range(12),
    )
    def test_cannot_be_told_elsewhere(self, document: bytes) -> None:
        assert _codec.stored_owner(document) is None


def test_e1_the_etag_is_the_sha_1_of_all_parts() -> None:
    assert _codec.etag(PINNED) == hashlib.sha1(PINNED, usedforsecurity=False).hexdigest()
    assert _codec.etag(b"a", b"b") == _codec.etag(b"ab")


@given(json_values)
def test_any_text_decodes_or_is_unreadable(value: Any) -> None:
    document = json.dumps(value).encode()
    with pytest.raises(_codec.UnreadableDocumentError):
        _codec.decode(document, MAXIMUM)
    assert _codec.stored_owner(document) is None
