"""Documents of the Redis backend: cut in two, they mean what they mean as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from async_session_store import SessionData, _codec
from async_session_store.backends.redis import _documents, _stamps
from async_session_store.testing.contract.builders import data
from test_models import read, sessions, unknown_fields, with_unknown_fields

MAXIMUM = 8 * 1024 * 1024

HEAD = b'{"tenant_ctx":{"env":"prod","tenant":"acme"},"flow_id":"f","cursor":{"node_pointer":"n"}'
FIELD = b',"context_json":'
DOCUMENT = HEAD + FIELD + rb'"{\"answers\":[\"\u00fc\"]}"}'


@given(sessions, unknown_fields)
def test_a_document_is_json_and_decodes_to_what_was_encoded(
    data: SessionData, unknown: dict[str, Any]
) -> None:
    for stored in (data, read(with_unknown_fields(unknown, data))):
        document = _documents.encode(stored, _stamps.fresh())
        assert json.loads(document) == json.loads(_codec.encode(stored))
        assert _documents.decode(document, MAXIMUM) == stored
        assert _documents.decode(_codec.encode(stored), MAXIMUM) == stored


@pytest.mark.parametrize(
    "document",
    [
        DOCUMENT,
        DOCUMENT + b" \n",
        DOCUMENT + b" " * 32,
        DOCUMENT.replace(b",", b" , "),
        HEAD + rb',"context_json":",\"context_json\":\"x\""}',
        HEAD + b',"context_json":"1","context_json":"2"}',
        HEAD + b',"context_json":"1","own":{"a":1,"context_json":"2"}}',
        HEAD + b',"own":{"a":1,"context_json":"2"},"context_json":"1"}',
        HEAD + b',"own":{"a":1,"context_json":"2"}}',
        HEAD + b',"own":{"a":1,"context_json":"2"}',
        HEAD + b',"own":[1,"context_json":"2"}',
        HEAD + b',"own":"1,"context_json":"2"}',
        HEAD + b',"context_json":"2"',
        HEAD + b',"context_json":"2"}}',
        HEAD + b',"context_json":"2","a":1}',
        HEAD + b',"context_json":2}',
        HEAD + b',"context_json":"2',
        HEAD + b',"context_json":""}',
        HEAD + b',"context_json":"\n"}',
        HEAD + b',"context_json":"\xff"}',
        HEAD + rb',"context_json":"\ud800"}',
        HEAD + rb',"context_json":"\ud83d\ude00 \/ \u0000"}',
        b'{,"context_json":"1"}',
        b',"context_json":"1"}',
        b"{}",
        b"",
    ],
    ids=range(26),
)
def test_r2_a_document_that_is_cut_means_what_it_means_as_a_whole(document: bytes) -> None:
    assert _decoded(_documents.decode, document) == _decoded(_codec.decode, document)


@given(unknown_fields)
def test_m3_a_large_document_of_this_library_is_read_whatever_its_unknown_fields_hold(
    unknown: dict[str, Any],
) -> None:
    nested = {"own": {"a": 1, "context_json": "2"}, "more": [{"a": 1, "context_json": "3"}]}
    stored = read(with_unknown_fields({**unknown, **nested}, data("x" * 20_000)))
    document = _documents.encode(stored, _stamps.fresh())
    assert _documents.decode(document, MAXIMUM) == stored
    assert json.loads(document) == json.loads(_codec.encode(stored))


def test_s6_a_document_may_be_as_large_as_the_store_allows_without_its_stamp() -> None:
    document = DOCUMENT + _stamps.fresh()
    assert _documents.decode(document, len(DOCUMENT)) == _codec.decode(DOCUMENT, MAXIMUM)
    with pytest.raises(_codec.UnreadableDocumentError, match="max_document_bytes"):
        _documents.decode(document, len(DOCUMENT) - 1)


def _decoded(decode: Callable[[bytes, int], SessionData], document: bytes) -> SessionData | None:
    try:
        return decode(document, MAXIMUM)
    except _codec.UnreadableDocumentError:
        return None
