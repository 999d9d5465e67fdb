"""Record what a Greentic runner derives, calls and stores: ``nox -s runner_vectors``.

The tests check the library against the file that this writes, also without cargo. If the file
changes, the program exits with an error: review what the runner does now.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import chain
from pathlib import Path
from typing import Any, Final

import redis

TESTS: Final = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from vector_file import as_text, write_vectors  # noqa: E402

from async_session_store.greentic import IngressEnvelope  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from runner_process import PROJECT, VERSION, Runner  # noqa: E402
from rust_process import RustProcess, arguments  # noqa: E402
from stored_keys import stored_keys  # noqa: E402

FILE: Final = TESTS / "runner_vectors.json"
LOCK: Final = PROJECT / "Cargo.lock"

_URL: Final = {"GREENTIC_SESSION_REDIS_URL": "redis://cache/1"}
_BACKEND: Final = {
    "GREENTIC_RUNNER_SESSION_BACKEND": "redis",
    "GREENTIC_RUNNER_REDIS_URL": "redis://cache/1",
}
_PROD: Final = {"GREENTIC_ENV": "prod"}
_SECONDS: Final = "GREENTIC_RUNNER_SESSION_WAIT_TTL_SECS"
SETTINGS: Final[list[dict[str, str]]] = [
    {},
    _URL,
    {**_URL, **_PROD},
    {**_URL, "GREENTIC_ENV": " prod ", "GREENTIC_RUNNER_SESSION_NAMESPACE": "  "},
    {**_URL, "GREENTIC_RUNNER_SESSION_NAMESPACE": " shop:sessions "},
    {**_URL, **_PROD, "GREENTIC_RUNNER_SESSION_NAMESPACE": "shop:sessions"},
    {"GREENTIC_SESSION_REDIS_URL": " ", **_PROD},
    _BACKEND,
    {**_BACKEND, **_PROD},
    {**_BACKEND, **_PROD, **_URL},
    {**_BACKEND, **_PROD, "GREENTIC_SESSION_REDIS_URL": "redis://other"},
    {**_PROD, "GREENTIC_RUNNER_SESSION_BACKEND": "redis"},
    {**_PROD, "GREENTIC_RUNNER_REDIS_URL": "redis://cache"},
    {**_BACKEND, **_PROD, "GREENTIC_RUNNER_SESSION_BACKEND": "memory"},
    {**_BACKEND, **_PROD, "GREENTIC_RUNNER_SESSION_BACKEND": "Redis"},
    *(
        {**_URL, **_PROD, _SECONDS: seconds}
        for seconds in ["60", "0", "+60", " 60 ", "00", "-1", "1.5", "1_000", "", "soon", "٣"]
    ),
    {**_URL, **_PROD, _SECONDS: str(2**64)},
]

_LEAST: Final[dict[str, Any]] = {"tenant": "acme", "flow_id": "booking"}
_FULL: Final[dict[str, Any]] = {
    **_LEAST,
    "env": "prod",
    "pack_id": "tables",
    "provider": "telegram",
    "channel": "bot-7",
    "conversation": "-100:5",
    "user": "9001",
}
_SCOPE: Final[dict[str, Any]] = {"conversation": "elsewhere"}
ENVELOPES: Final[list[dict[str, Any]]] = [
    _LEAST,
    _FULL,
    *({**_FULL, name: None} for name in _FULL if name not in _LEAST),
    *({**_FULL, name: ""} for name in ("provider", "channel", "conversation", "user")),
    {**_LEAST, "channel": "bot-7"},
    {**_LEAST, "activity_id": "act-1"},
    {**_LEAST, "user": "9001", "activity_id": "act-1"},
    {**_FULL, "user": "é\N{PILE OF POO}\n"},
    *({**_FULL, "session_hint": hint} for hint in ("chat", "", "a::pack=tables", "é")),
    {**_LEAST, "session_hint": "chat", "pack_id": "tables"},
    *(
        {**_FULL, "messaging_endpoint_id": endpoint}
        for endpoint in ("teams-legal", "a_B.9", "a" * 128, "a" * 129, "", "a:b", "a b", "é")
    ),
    *(
        {**_FULL, "messaging_endpoint_id": "legal", "session_hint": hint}
        for hint in ("chat", "ep=legal::chat", "ep=other::chat", "ep=legal:chat")
    ),
    {**_FULL, "reply_scope": _SCOPE},
    {**_FULL, "reply_scope": {**_SCOPE, "thread": "topic-9", "reply_to": "msg-3"}},
    {**_FULL, "reply_scope": {**_SCOPE, "correlation": "cid-7"}},
    {**_FULL, "reply_scope": {**_SCOPE, "thread": "", "correlation": ""}},
    {**_LEAST, "payload": {"text": "4"}, "metadata": {"a": None}, "timestamp": "t"},
]

_SNAPSHOT: Final[dict[str, Any]] = {
    "pack_id": "tables",
    "flow_id": "booking",
    "next_node": "ask_people",
    "state": {},
}
WAITS: Final[list[dict[str, Any]]] = [
    {"reason": "how many", "snapshot": _SNAPSHOT},
    {
        "reason": None,
        "snapshot": {
            **_SNAPSHOT,
            "next_flow": "payment",
            "awaiting_submit": True,
            "state": {
                "entry": {"text": 'é\N{PILE OF POO}"\\\n'},
                "input": [1, -2.5, 1e100, 2**53 + 1, True, None],
                "nodes": {"ask_day": {"ok": True, "payload": {"text": "May 1"}, "meta": None}},
                "vars": {"day": "May 1"},
            },
        },
    },
]


def record(runner: Runner, server: RedisServer) -> dict[str, Any]:
    rust = runner.process
    return {
        "versions": versions(),
        "settings": [
            {"variables": variables, **rust.call("settings", json.dumps(variables))}
            for variables in SETTINGS
        ],
        "parked": [
            {"envelope": envelope, "wait": wait, **calls(rust, envelope, wait)}
            for envelope, wait in chain(
                ((envelope, WAITS[0]) for envelope in ENVELOPES), [(_FULL, WAITS[1])]
            )
        ],
        "stored": stored(runner, server),
    }


def versions() -> dict[str, str]:
    locked = re.findall(r'name = "(greentic-[a-z]+)"\nversion = "(.+)"', LOCK.read_text())
    return {"greentic-runner-host": VERSION, **dict(locked)}


def calls(rust: RustProcess, envelope: object, wait: object) -> dict[str, Any]:
    return rust.call("calls", arguments(envelope=envelope, wait=wait))


def stored(runner: Runner, server: RedisServer) -> dict[str, dict[str, Any]]:
    """Park a flow and mark a user as greeted on Redis. Return the keys that each leaves."""
    place = runner.place(server.url, "vectors")
    envelope = IngressEnvelope.model_validate_json(json.dumps(_FULL))
    place.save(envelope, WAITS[0])
    parked = keys(server)
    place.greet(envelope.model_copy(update={"messaging_endpoint_id": "legal"}))
    return {"parked": parked, "greeted": keys(server)}


def keys(server: RedisServer) -> dict[str, Any]:
    """Return all keys and delete them: the value of each, and its minutes to live, or -1."""
    with redis.Redis.from_url(server.url) as client:
        found = stored_keys(client, "vectors")
        seconds = {name: client.ttl(f"vectors:{name}") for name in found}
        client.flushdb()
    return {
        name: [as_text(value), -1 if seconds[name] < 0 else round(seconds[name] / 60)]
        for name, (value, _) in sorted(found.items())
    }


def main() -> None:
    with Runner.start() as runner, RedisServer.start() as server:
        recorded = record(runner, server)
    write_vectors(FILE, recorded, "what the runner does")


if __name__ == "__main__":
    main()
