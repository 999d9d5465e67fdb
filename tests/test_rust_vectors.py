"""What the Rust crate wrote for fixed inputs, recorded: checked where there is no cargo too.

``nox -s rust_vectors`` records it anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from pydantic import TypeAdapter, ValidationError

import async_session_store
from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionData,
    canonical_session_key,
    telegram_update_to_session_key,
    webhook_to_session_key,
)
from redis_server import RedisServer
from stored_keys import stored_keys

HERE: Final = Path(__file__).parent
RECORDED: Final = json.loads((HERE / "rust_vectors.json").read_text())
LOCK: Final = (HERE / "interop" / "rust_peer" / "Cargo.lock").read_text()
FUNCTIONS: Final = {
    "telegram": telegram_update_to_session_key,
    "webhook": webhook_to_session_key,
    "canonical": canonical_session_key,
}


def test_the_vectors_are_of_the_versions_that_are_tested() -> None:
    locked = re.findall(r'name = "(greentic-[a-z]+)"\nversion = "(.+)"', LOCK)
    assert RECORDED["versions"] == dict(locked)


@pytest.mark.parametrize("vector", RECORDED["values"])
def test_m1_m2_each_value_is_read_and_written_alike(vector: dict[str, Any]) -> None:
    adapter = TypeAdapter(getattr(async_session_store, vector["type"]))
    if vector["written"] is None:
        with pytest.raises(ValidationError):
            adapter.validate_json(vector["given"])
        return
    value = adapter.validate_json(vector["written"])
    assert adapter.validate_json(vector["given"]) == value
    assert json.loads(adapter.dump_json(value)) == json.loads(vector["written"])


@pytest.mark.parametrize("vector", RECORDED["scopes"])
def test_m4_each_scope_has_its_hash(vector: dict[str, Any]) -> None:
    scope = ReplyScope.model_validate_json(json.dumps(vector["scope"]))
    assert scope.scope_hash() == vector["hash"]


@pytest.mark.parametrize("vector", RECORDED["keys"])
def test_m5_each_key_is_the_same(vector: dict[str, Any]) -> None:
    assert FUNCTIONS[vector["function"]](*vector["parts"]) == vector["key"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("vector", RECORDED["waits"])
async def test_w1_each_wait_is_stored_alike_on_redis(
    redis_server: RedisServer, redis_client: redis.Redis, namespace: str, vector: dict[str, Any]
) -> None:
    data = SessionData.model_validate_json(json.dumps(vector["session"]))
    scope = ReplyScope.model_validate_json(json.dumps(vector["scope"]))
    ctx = data.tenant_ctx
    async with AsyncSessionStore.from_url(redis_server.unix_url, namespace=namespace) as store:
        user = ctx.owner.user or ""
        await store.register_wait(ctx, user, scope, vector["key"], data, vector["ttl"])
        stored = stored_keys(redis_client, namespace)
        shared = {name: stored[name] for name in stored if not name.startswith("meta:")}
        assert set(shared) == set(vector["stored"])
        for name, (value, expires) in vector["stored"].items():
            assert as_json(shared[name][0]) == as_json(value)
            assert shared[name][1] == expires
        # A store that finds what Rust stored reads it.
        redis_client.set(f"{namespace}:session:{vector['key']}", session_text(vector))
        assert await store.get_session(vector["key"]) == data


def session_text(vector: dict[str, Any]) -> str:
    return vector["stored"][f"session:{vector['key']}"][0]


def as_json(value: bytes | str | set[bytes] | list[str]) -> object:
    """Return a stored value for comparison. The order of a document's fields does not matter."""
    if isinstance(value, (set, list)):
        return {item.decode() if isinstance(item, bytes) else item for item in value}
    text = value.decode() if isinstance(value, bytes) else value
    return json.loads(text) if text.startswith("{") else text
