"""Documents that cannot be read, and odd ones that a backend may accept."""

from __future__ import annotations

import json

import pytest

from async_session_store.testing.contract.builders import data


def without(name: str, *more: bytes) -> bytes:
    """Return a document without a field, with other fields in its place."""
    document = data("secret").model_dump(mode="json")
    document.pop(name, None)
    return b",".join([json.dumps(document).encode()[:-1], *more]) + b"}"


def with_context(fields: bytes) -> bytes:
    return data("secret").model_dump_json().encode().replace(b'"attempt":0', fields)


OF_NO_ONE = {
    "empty": b"",
    "no json": b"secret",
    "not utf-8": b"\xff\xfe secret",
    "cut off": data("secret").model_dump_json().encode()[:-9],
    "null": b"null",
    "a number": b"7",
    "an array": b'["secret"]',
    "an empty object": b"{}",
    "deep nesting": b"[" * 100_000,
    "deep nesting in an object": b'{"tenant_ctx":' * 10_000,
    "nan": without("pack_id", b'"newer":NaN'),
    "half a surrogate": without("pack_id", rb'"newer":"\ud800"'),
    "text that is not utf-8": without("pack_id", b'"newer":"\xff"'),
    "a comma too many": without("pack_id", b""),
    "no context": without("tenant_ctx"),
    "a context that is no object": without("tenant_ctx", b'"tenant_ctx":"secret"'),
    "a team that is no id": with_context(b'"team":"secret:","team_id":"secret:"'),
    "twins that differ": with_context(b'"user":"secret"'),
    "twins that differ twice": with_context(b'"team":"secret","team_id":"secret2"'),
    "a tenant of the wrong type": with_context(b'"tenant":7,"tenant_id":7'),
}
"""Documents that are not JSON, or that leave their owner in doubt."""

OWNED = {
    "no cursor": without("cursor"),
    "a null for the cursor": without("cursor", b'"cursor":null'),
    "a pointer of the wrong type": without("cursor", b'"cursor":{"node_pointer":7}'),
    "a flow of the wrong type": without("flow_id", b'"flow_id":7'),
    "a flow that is no id": without("flow_id", b'"flow_id":"secret:"'),
    "a pack of the wrong type": without("pack_id", b'"pack_id":[]'),
    "an attempt of the wrong type": with_context(b'"attempt":"secret"'),
    "an attempt out of range": with_context(b'"attempt":-1'),
    "attributes that are no text": with_context(b'"attributes":{"secret":7}'),
    "a deadline of the wrong type": with_context(b'"deadline":{"unix_millis":"secret"}'),
    "a trace of the wrong type": with_context(b'"trace_id":7'),
}
"""Unreadable documents whose owner can be read all the same."""

ODD = {
    "a number of 5000 digits": without("pack_id", b'"newer":' + b"9" * 5000),
    "a number that is infinite": without("pack_id", b'"newer":1e400'),
    "a number that is infinite, deeper": with_context(b'"attempt":0,"newer":[{"n":-1e999}]'),
    "a number that is nearly 0": without("pack_id", b'"newer":1e-400'),
    "nesting of 150": without("pack_id", b'"newer":' + b"[" * 150 + b"]" * 150),
    "nesting of 5000": without("pack_id", b'"newer":' + b"[" * 5000 + b"]" * 5000),
    "nesting of 5000 objects": without(
        "pack_id", b'"newer":' + b'{"n":' * 5000 + b"7" + b"}" * 5000
    ),
    "a field twice": without("pack_id", b'"flow_id":"other","flow_id":"order"'),
    "a context twice": without("pack_id", b'"tenant_ctx":{}'),
    "fields named like ours": without("pack_id", b'"owner":7,"encoded":7,"foreign_part":"cursor"'),
    "fields named like methods": without("pack_id", b'"model_dump":7,"__dict__":{},"__class__":7'),
    "a field without a name": without("pack_id", b'"":{"":{"":""}}'),
    "10,000 fields": without("pack_id", *(b'"n%d":%d' % (one, one) for one in range(10_000))),
    "a deadline out of range": with_context(b'"attempt":0,"deadline":{"unix_millis":%d}' % 2**200),
    "a deadline far away": with_context(b'"attempt":0,"deadline":{"unix_millis":%d}' % 2**126),
    "a deadline that is a fraction": with_context(b'"attempt":0,"deadline":{"unix_millis":1.5}'),
    "an attempt that is a fraction": with_context(b'"attempt":0.5'),
    "a very long id": with_context(b'"attempt":0,"trace_id":"%s"' % (b"x" * 300_000)),
    "blanks around": b" \n" * 100 + data("secret").model_dump_json().encode() + b"\r\t " * 100,
    "a mark at its beginning": b"\xef\xbb\xbf" + data("secret").model_dump_json().encode(),
    "a nul behind it": data("secret").model_dump_json().encode() + b"\x00",
    "utf-16": data("secret").model_dump_json().encode("utf-16"),
}
"""Documents that a backend may accept or refuse, but that must not break it."""

unreadable_documents: pytest.MarkDecorator = pytest.mark.parametrize(
    "document", [*OF_NO_ONE.values(), *OWNED.values()], ids=[*OF_NO_ONE, *OWNED]
)
