"""A copy answers like its source, whatever the history, and however often it is repeated."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from functools import partial

import anyio
import redis
from histories import (
    KEYS,
    MAX_BYTES,
    OWNERS,
    SCOPES,
    Advance,
    Caller,
    History,
    comparable,
    replay,
    settings_for,
)
from hypothesis import given
from test_expired_agreement import TICK, histories

from async_session_store._copying import StoreSide, copy
from async_session_store.abc import Backend, SessionCopy, SessionName
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.models import SessionKey
from async_session_store.testing.contract.builders import data
from redis_server import RedisServer

COPY_EVERY = 5  # steps


def side(backend: Backend) -> StoreSide:
    return StoreSide(lambda: backend, MAX_BYTES)


async def state_of(backend: Backend) -> list[object]:
    """Return all that a copy has: what look-ups and lists find, and what is kept for workers."""
    places = [
        (at.key, at.expires_at is None) for at in await backend.inspect_waits(OWNERS, [*SCOPES])
    ]
    lists = [
        [comparable(record) for record in (await backend.list_wait_records(owner)).items]
        for owner in OWNERS
    ]
    copies = await backend.read_copies([SessionName(key) for key in KEYS])
    kept = [
        one._replace(deadline=one.deadline and 0) if isinstance(one, SessionCopy) else one
        for one in copies
    ]
    return [places, lists, kept]


async def act_and_copy(
    targets: list[Backend], history: History, callers: list[Caller], advance: Advance
) -> None:
    async with AsyncExitStack() as stack:
        for target in targets:
            await target.open(max_document_bytes=MAX_BYTES)
            stack.push_async_callback(target.aclose)
        for caller in callers:  # an empty source is refused
            await caller.backend.insert(SessionKey("stays"), data(), None)
        for number, (name, arguments) in enumerate(history):
            await anyio.sleep(TICK)
            if name == "advance":
                advance(arguments["seconds"])
                continue
            for caller, target in zip(callers, targets, strict=False):
                await caller.act(name, arguments)
                if number % COPY_EVERY == 0:
                    await copy(side(caller.backend), side(target), again=True)
        for caller, target in zip(callers, targets, strict=False):
            await copy(side(caller.backend), side(target), again=True)
            assert await state_of(target) == await state_of(caller.backend)
            for key in KEYS:
                await caller.delete(key)
            await copy(side(caller.backend), side(target), again=True)
            assert await state_of(target) == await state_of(caller.backend)


@given(history=histories)
@settings_for(examples=20)
def test_o5_a_copy_answers_like_its_source(
    redis_server: RedisServer, redis_client: redis.Redis, namespace: str, history: History
) -> None:
    url = redis_server.unix_url
    to_redis = RedisBackend.from_url(url, namespace=f"{namespace}:copy:{uuid.uuid4().hex}")
    targets = [SqliteBackend(":memory:"), to_redis, MemoryBackend()]
    anyio.run(replay, partial(act_and_copy, targets), history, url, redis_client, namespace)
