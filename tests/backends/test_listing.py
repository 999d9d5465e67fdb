"""Iterating over all sessions, seen behind the API of each storage."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import anyio
import pytest
import redis
from anyio.lowlevel import checkpoint

from async_session_store import AsyncSessionStore, ReplyScope
from async_session_store.abc import Fence
from async_session_store.backends.redis._paging import ScanCursor
from async_session_store.models import EnvId, TeamId, TenantId
from async_session_store.testing.contract.builders import SERVICE, A, ctx, data, register
from async_session_store.testing.contract.listing_sessions import keys, records
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import image

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_o4_waits_and_sessions_of_rust_processes(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, namespace: str
) -> None:
    rust.register("k", A, ttl=60)
    rust.register("other", A, of=ctx(tenant="other"))
    redis_client.set(f"{namespace}:session:created", data().model_dump_json())
    large = data("x" * 200_000, of=ctx(team="blue")).model_dump_json()
    redis_client.set(f"{namespace}:session:large", large)
    before = image(redis_client, namespace)
    assert await keys(store.iter_waits(SERVICE)) == ["k"]
    assert await keys(store.iter_waits(None)) == ["k", "other"]
    assert await keys(store.iter_sessions(SERVICE)) == ["created", "k", "large"]
    assert await keys(store.iter_sessions(ctx(None, team="blue"))) == ["large"]
    (wait,) = await records(store.iter_waits(SERVICE))
    assert wait == await store.get_record("k")
    assert image(redis_client, namespace) == before


async def test_o4_many_documents_of_rust_processes_are_examined_in_small_steps(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    for number in range(60):
        document = data("x" * 10_000).model_dump_json()
        redis_client.set(f"{namespace}:session:{number}", document)
    found = store.iter_sessions(SERVICE, page=1000)
    pages = 0
    count = 0
    while (page := await found.next_page()) is not None:
        pages, count = pages + 1, count + len(page)
        assert len(page) < 10
    assert count == 60
    assert pages >= 8


async def test_o4_whatever_keys_look_like(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    names = ["a:session:b", "meta:x", "\n", "*", "a\nb", "ü" * 100]
    for number, name in enumerate(names):
        await register(store, name, ReplyScope(conversation=str(number)))
    redis_client.rpush(f"{namespace}:session:list", "of the wrong type")
    redis_client.set(f"{namespace}:session:".encode() + b"\xff", data().model_dump_json())
    assert await keys(store.iter_waits(SERVICE)) == sorted(names)


async def test_o4_a_nested_namespace_is_left_alone(
    store: AsyncSessionStore, redis_server: RedisServer, namespace: str
) -> None:
    nested = AsyncSessionStore.from_url(redis_server.unix_url, namespace=f"{namespace}:x")
    async with nested:
        await register(nested, "k", A)
        assert await keys(store.iter_waits(None)) == []
        assert await keys(nested.iter_waits(None)) == ["k"]


async def test_o4_on_sqlite_in_the_order_of_the_keys_and_without_damaged_ones(path: Path) -> None:
    names = ["é", "b", "a", "aa", "zz", "B", "😀"]
    async with AsyncSessionStore.from_url(f"sqlite:///{path}") as store:
        for name in [*names, "blob", "not utf-8", "number"]:
            await register(store, name, ReplyScope(conversation=name))
        with closing(sqlite3.connect(path, isolation_level=None)) as behind:
            behind.execute("UPDATE sessions SET key = x'61' WHERE key = 'blob'")
            behind.execute("UPDATE sessions SET key = CAST(x'ff' AS TEXT) WHERE key = 'not utf-8'")
            behind.execute("UPDATE sessions SET deadline = 'soon' WHERE key = 'number'")
        for page in (1, 2, 100):
            found = await records(store.iter_waits(SERVICE, page=page))
            assert [record.key for record in found] == sorted(names)


async def test_o4_in_memory_in_the_order_in_which_they_were_stored() -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        for name in ("b", "a", "c"):
            await register(store, name, ReplyScope(conversation=name))
        await store.update_session("b", data("new"))
        await register(store, "a", ReplyScope(conversation="elsewhere"))
        found = await records(store.iter_waits(SERVICE, page=2))
        assert [record.key for record in found] == ["b", "c", "a"]


async def test_o4_a_page_in_memory_costs_the_same_however_many_follow() -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        for number in range(5000):
            await store.create_session(ctx(), data(str(number)))
        found = store.iter_sessions(SERVICE, page=1)
        await found.next_page()
        tracemalloc.start()
        try:
            for _ in range(3):
                await found.next_page()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 20_000  # bytes: a copy of the remaining keys has 40,000


@pytest.mark.parametrize("storage", ["memory", "sqlite"])
async def test_o4_tasks_that_share_an_iteration_share_its_records(path: Path, storage: str) -> None:
    url = "memory://" if storage == "memory" else f"sqlite:///{path}"
    async with AsyncSessionStore.from_url(url) as store:
        expected = sorted(f"k{number}" for number in range(20))
        for key in expected:
            await register(store, key, ReplyScope(conversation=key))
        shared = store.iter_waits(SERVICE, page=5)
        found: list[str] = []

        async def take() -> None:
            async for record in shared:
                found.append(str(record.key))
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(take)
        assert sorted(found) == expected


def test_a_fence_is_around_a_tenant_or_a_team() -> None:
    tenant = Fence(EnvId("prod"), TenantId("acme"), None)
    team = tenant._replace(team=TeamId("blue"))
    assert tenant.includes(ctx().owner)
    assert tenant.includes(ctx(team="blue").owner)
    assert team.includes(ctx(team="blue").owner)
    assert not team.includes(ctx().owner)
    assert not team.includes(ctx(team="red").owner)
    assert not tenant.includes(ctx(tenant="acm").owner)
    assert not tenant.includes(ctx(env="test").owner)


def test_the_end_of_a_scan() -> None:
    assert not ScanCursor().is_at_end
    assert not ScanCursor(b"7").is_at_end
    assert not ScanCursor(b"0", (b"name",)).is_at_end
    assert ScanCursor(b"0", (b"name",)).after(1).is_at_end
