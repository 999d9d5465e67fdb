"""Record what the Rust crate writes for fixed inputs: ``nox -s rust_vectors``.

The tests check the library against the file that this writes, also without cargo. If the file
changes, the program exits with an error: review what the crate writes now.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import redis

TESTS: Final = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from vector_file import as_text, write_vectors  # noqa: E402

from async_session_store import ReplyScope, SessionData  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from rust_process import RustError, RustProcess, arguments  # noqa: E402
from stored_keys import stored_keys  # noqa: E402

FILE: Final = TESTS / "rust_vectors.json"

_CTX: Final = {"env": "prod", "tenant": "acme", "tenant_id": "acme", "attempt": 0}
_USER: Final = {"user": "u1", "user_id": "u1"}
_FULL_CTX: Final = {
    **_CTX,
    **_USER,
    "team": "red",
    "team_id": "red",
    "session_id": "s-1",
    "flow_id": "a flow, not an id",
    "node_id": "n",
    "provider_id": "telegram",
    "trace_id": "",
    "i18n_id": "de-AT",
    "correlation_id": "c\N{PILE OF POO}\0\u2028",
    "attributes": {"b": "2", "a": "1", "": "", "ü": "\n"},
    "deadline": {"unix_millis": 1_700_000_000_000},
    "attempt": 2**32 - 1,
    "idempotency_key": "i",
    "impersonation": {"actor_id": "root", "reason": "support"},
}
_SESSION: Final = {
    "tenant_ctx": {**_CTX, **_USER},
    "flow_id": "order",
    "cursor": {"node_pointer": "ask"},
    "context_json": '{"n": 1}',
}
_FULL_SESSION: Final = {
    "tenant_ctx": _FULL_CTX,
    "flow_id": "order.v2_x-1",
    "pack_id": "pack",
    "cursor": {"node_pointer": "ask\\size", "wait_reason": "", "outbox_marker": "m\t"},
    "context_json": 'é"\\\x01\x7f',
}
_DEADLINES: Final = [0, -1, 2**53 + 1, 2**63, 2**64 + 1, 2**127 - 1, -(2**127)]
VALUES: Final[dict[str, list[Any]]] = {
    "UserId": ["a", "A9._-", "..", "", " ", "a b", "é", "29:1abc", "@u:hs", "a\n"],
    "SessionKey": ["k", "tg:1:2", "é\N{PILE OF POO}", "\n"],
    "ErrorCode": ["unknown", "invalid_input", "not_found", "rate_limited", "internal", "Unknown"],
    "InvocationDeadline": [
        *({"unix_millis": millis} for millis in _DEADLINES),
        {"unix_millis": 2**127},
        {"unix_millis": 1.5},
        {"unix_millis": "1"},
        {},
    ],
    "Impersonation": [{"actor_id": "root"}, {"actor_id": "root", "reason": None}, {"reason": "x"}],
    "TenantCtx": [
        _CTX,
        _FULL_CTX,
        {**_CTX, "user": "u1"},
        {**_CTX, "user_id": "u1", "team": "-"},
        {**_CTX, "attributes": {}, "deadline": None, "user": None},
        {**_CTX, "attempt": 2**32},
        {**_CTX, "attempt": -1},
        {**_CTX, "attributes": {"a": None}},
        {**_CTX, "env": ""},
        {**_CTX, "user": "a@b"},
    ],
    "SessionCursor": [
        {"node_pointer": ""},
        {"node_pointer": "n", "wait_reason": None, "outbox_marker": ""},
        {},
    ],
    "SessionData": [
        _SESSION,
        _FULL_SESSION,
        {**_SESSION, "pack_id": None},
        {**_SESSION, "cursor": {}},
    ],
    "ReplyScope": [
        {"conversation": "chat-1"},
        {"conversation": "", "thread": "", "reply_to": None},
        {"conversation": "c", "thread": "t", "reply_to": "r", "correlation": "é\N{PILE OF POO}"},
        {"thread": "t"},
    ],
}
"""Values of each type. The crate refuses some of them."""

SCOPES: Final[list[dict[str, Any]]] = [
    {"conversation": "chat-1", "thread": "topic-9", "reply_to": "msg-3", "correlation": "cid-7"},
    *[value for value in VALUES["ReplyScope"] if "conversation" in value],
    {"conversation": "c", "correlation": "t"},
    {"conversation": "c", "thread": "t"},
]
KEYS: Final[list[tuple[str, list[str | None]]]] = [
    ("telegram", ["7", "-100", "9"]),
    ("telegram", ["", "a:b", "é"]),
    ("webhook", ["github", "repo", "42"]),
    ("webhook", ["a", "b:c", ""]),
    ("canonical", ["acme", "tg", None, None]),
    ("canonical", ["acme", "tg", "chat", "u1"]),
    ("canonical", ["", "", "", "é"]),
]
WAITS: Final[list[dict[str, Any]]] = [
    {"session": _SESSION, "scope": SCOPES[0], "key": "k", "ttl": None},
    {"session": _SESSION, "scope": SCOPES[0], "key": "tg:1\N{PILE OF POO}", "ttl": 60},
    {"session": _FULL_SESSION, "scope": SCOPES[1], "key": "k", "ttl": 60},
]


def record(rust: RustProcess, server: RedisServer) -> dict[str, Any]:
    return {
        "versions": rust.call("versions"),
        "values": [
            {"type": kind, "given": text, "written": written(rust, kind, text)}
            for kind, values in VALUES.items()
            for text in map(json.dumps, values)
        ],
        "scopes": [
            {"scope": scope, "hash": rust.call("scope_hash", json.dumps(scope))} for scope in SCOPES
        ],
        "keys": [
            {"function": name, "parts": parts, "key": key(rust, name, parts)}
            for name, parts in KEYS
        ],
        "waits": [{**wait, "stored": stored(rust, server, **wait)} for wait in WAITS],
    }


def written(rust: RustProcess, kind: str, text: str) -> str | None:
    """Return what the crate writes after reading a text, or None if it refuses the text."""
    try:
        return rust.rewrite(kind, text)[0]
    except RustError:
        return None


def key(rust: RustProcess, function: str, parts: list[str | None]) -> str:
    return rust.call("key", arguments(function=function, parts=parts))


def stored(
    rust: RustProcess,
    server: RedisServer,
    *,
    session: dict[str, Any],
    scope: dict[str, Any],
    key: str,
    ttl: int | None,
) -> dict[str, Any]:
    """Return the keys that a registration leaves in Redis: the value, and whether it expires."""
    data = SessionData.model_validate_json(json.dumps(session))
    values = {
        "ctx": data.tenant_ctx,
        "user_id": data.tenant_ctx.user_id,
        "scope": ReplyScope.model_validate_json(json.dumps(scope)),
        "session_key": key,
        "data": data,
        "ttl": None if ttl is None else {"secs": ttl, "nanos": 0},
    }
    store = rust.redis_store(server.url, "vectors")
    rust.call("register_wait", arguments(**values), store.name)
    with redis.Redis.from_url(server.url) as client:
        found = stored_keys(client, "vectors")
        client.delete(*(f"vectors:{name}" for name in found))
    return {name: [as_text(value), expires] for name, (value, expires) in sorted(found.items())}


def main() -> None:
    with RustProcess.start() as rust, RedisServer.start() as server:
        recorded = record(rust, server)
    write_vectors(FILE, recorded, "what the crate writes")


if __name__ == "__main__":
    main()
