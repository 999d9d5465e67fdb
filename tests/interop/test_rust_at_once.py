"""Python and Rust processes that work on one namespace at the same time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import anyio
import pytest
import redis

from async_session_store import (
    AsyncSessionStore,
    ConflictError,
    SessionNotFoundError,
    TenantCtx,
    TenantMismatchError,
)
from async_session_store.testing.contract.builders import CTX, A, B, C, ctx, data
from redis_server import RedisServer
from rust_process import RustProcess, arguments, command
from stored_keys import stored_keys

OWNERS: Final = [CTX, CTX, ctx("u2"), ctx(tenant="rival")]
BYSTANDER: Final = ctx(tenant="bystander")
SCOPES: Final = [A, B]
KEYS: Final = ["k1", "k2", "k3"]
STEPS: Final = 1500


def rust_works(server: RedisServer, namespace: str, seed: int) -> Counter[str]:
    """Send random commands, and count how each kind ended."""
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    with RustProcess.start() as process:
        store = process.redis_store(server.url, namespace)
        for _ in range(STEPS):
            op, values = rust_call(chance)
            (reply,) = process.replies([command(op, arguments(**values), store.name)])
            ends[f"{op}: {reply['error']['code'] if 'error' in reply else 'ok'}"] += 1
    return ends


def rust_call(chance: random.Random) -> tuple[str, dict[str, Any]]:
    of, key, scope = chance.choice(OWNERS), chance.choice(KEYS), chance.choice(SCOPES)
    user = {"ctx": of, "user_id": of.user_id}
    written = data(f"rust {chance.random()}", of=of)
    ttl = chance.choice([None, timedelta(milliseconds=20), timedelta(minutes=10)])
    calls: list[tuple[str, dict[str, Any]]] = [
        (
            "register_wait",
            {**user, "scope": scope, "session_key": key, "data": written, "ttl": ttl},
        ),
        ("update_session", {"key": key, "data": written}),
        ("remove_session", {"key": key}),
        ("get_session", {"key": key}),
        ("find_wait_by_scope", {**user, "scope": scope}),
        ("list_waits_for_user", user),
        ("clear_wait", {**user, "scope": scope}),
    ]
    return chance.choice([calls[0], calls[0], *calls])


async def python_works(store: AsyncSessionStore, seed: int) -> None:
    """Make random calls. Other writers may cause refusals, but no other error may be raised."""
    chance = random.Random(seed)
    for _ in range(STEPS):
        with suppress(SessionNotFoundError, TenantMismatchError, ConflictError):
            await python_call(store, chance)


async def python_call(store: AsyncSessionStore, chance: random.Random) -> None:
    of, key, scope = chance.choice(OWNERS), chance.choice(KEYS), chance.choice(SCOPES)
    user, written = of.owner.user or "", data(f"python {chance.random()}", of=of)
    wait = of, user, scope, key, written, chance.choice([None, 0.02, 600])
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.register_wait(*wait),
        lambda: store.register_wait(*wait),
        lambda: store.register_wait_if_absent(*wait),
        lambda: store.update_session(key, written),
        lambda: store.remove_session(key, ctx=of),
        lambda: store.touch_session(key, 600, ctx=of),
        lambda: store.clear_wait(of, user, scope),
        lambda: resume(store, of, user),
        lambda: look(store, of, user),
        lambda: store.list_waits_for_user(of, user),
        lambda: store.purge_expired(5),
    ]
    await chance.choice(calls)()


async def resume(store: AsyncSessionStore, of: TenantCtx, user: str) -> None:
    async with store.resume_wait(of, user, SCOPES, lease=5) as record:
        assert record is None or record.data.tenant_ctx.owner == of.owner


async def look(store: AsyncSessionStore, of: TenantCtx, user: str) -> None:
    for record in await store.list_wait_records(of, user):
        assert record.data.tenant_ctx.owner == of.owner


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_f7_w1_no_call_raises_and_no_other_owner_is_touched(
    redis_server: RedisServer, redis_client: redis.Redis, namespace: str
) -> None:
    def of_bystander() -> dict[str, Any]:
        stored = stored_keys(redis_client, namespace)
        return {name: stored[name] for name in stored if "bystander" in name or name in mine}

    mine = {"session:theirs", "meta:theirs"}
    store = AsyncSessionStore.from_url(redis_server.unix_url, namespace=namespace)
    async with store:
        await store.register_wait(
            BYSTANDER, "u1", C, "theirs", data("theirs", of=BYSTANDER), ttl=3600
        )
        before = of_bystander()
        with ThreadPoolExecutor() as threads:
            working = [
                threads.submit(rust_works, redis_server, namespace, seed) for seed in range(2)
            ]
            async with anyio.create_task_group() as tasks:
                for seed in range(4):
                    tasks.start_soon(python_works, store, seed)
            while not all(rust.done() for rust in working):  # threads tell no event
                await python_works(store, 0)
        ends = sum((rust.result() for rust in working), Counter[str]())
        assert {end for end in ends if not end.endswith(": ok")} <= {
            *("update_session: invalid_input", "update_session: not_found"),
            "remove_session: not_found",
        }
        assert of_bystander() == before

        # Whatever was left, it can be cleared away.
        for of in OWNERS:
            await store.clear_waits_for_user(of, of.owner.user or "")
        for key in KEYS:
            if await store.get_session(key) is not None:
                await store.remove_session(key)
        await store.purge_expired()
        left = stored_keys(redis_client, namespace)
        assert {name for name in left if not name.startswith("claim:")} == set(before)
