"""The backends answer alike, whatever the history."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from async_session_store import NEVER, AsyncSessionStore, SessionStoreError, TenantCtx
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import A, B, C, ctx, data
from clock import Clock, shorten_deadlines
from redis_server import RedisServer
from stored_keys import stored_keys

CONTEXTS = [ctx("u1"), ctx("u2"), ctx(None), ctx("u1", tenant="other")]

callers = st.sampled_from(CONTEXTS)
users = st.sampled_from(["u1", "u2"])
keys = st.sampled_from(["k1", "k2", "k3"])
scopes = st.sampled_from([A, B, C])
ttls = st.sampled_from([10, 30, NEVER, None])
datas = st.builds(data, st.sampled_from(["x", "y"]), of=callers)
maybe_callers = st.none() | callers


def call(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


def registration(of: TenantCtx) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "ctx": st.just(of),
            "user_id": st.just(of.user_id),
            "scope": scopes,
            "session_key": keys,
            "data": st.builds(data, st.sampled_from(["x", "y"]), of=st.just(of)),
            "ttl": ttls,
        }
    )


waits = {"ctx": callers, "user_id": users, "scope": scopes}
registrations = st.sampled_from(
    [ctx("u1"), ctx("u1"), ctx("u2"), ctx("u1", tenant="other")]
).flatmap(registration)
histories = st.lists(
    st.one_of(
        st.tuples(st.just("register_wait"), registrations),
        st.tuples(st.just("register_wait"), registrations),
        st.tuples(st.just("register_wait_if_absent"), registrations),
        call("advance", seconds=st.just(11)),
        call("update_session", key=keys, data=datas, ctx=maybe_callers),
        call("touch_session", key=keys, ttl=st.sampled_from([10, 30, NEVER]), ctx=maybe_callers),
        call("remove_session", key=keys, ctx=maybe_callers),
        call("clear_wait", **waits, session_key=st.none() | keys),
        call("clear_waits_for_user", ctx=callers, user_id=users),
        call("purge_expired"),
    ),
    max_size=25,
)


async def outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except SessionStoreError as error:
        return type(error), str(error)


async def state_of(store: AsyncSessionStore) -> list[object]:
    """Tell all that reads tell, less what need not be alike: etags, and deadlines to the ms."""
    state: list[object] = []
    for key in ("k1", "k2", "k3"):
        record = await store.get_record(key)
        state.append(None if record is None else (record.data, record.expires_at is None))
        state += [await store.get_session(key, ctx=caller) for caller in CONTEXTS]
    for caller in CONTEXTS:
        for user in ("u1", "u2"):
            state.append(await store.list_waits_for_user(caller, user))
            state += [await store.find_wait_by_scope(caller, user, scope) for scope in (A, B, C)]
            state.append(await store.find_wait_by_scope(caller, user, [C, A, B]))
            records = await store.list_wait_records(caller, user)
            state.append([(record.key, record.data) for record in records])
    return state


async def replay(
    history: list[tuple[str, dict[str, Any]]], url: str, redis_client: redis.Redis, namespace: str
) -> None:
    monotonic, wall = Clock(), Clock(time.time)
    with TemporaryDirectory() as folder:
        backends = [
            MemoryBackend(clock=monotonic),
            SqliteBackend(Path(folder, "sessions.db"), clock=wall, synchronous="NORMAL"),
            RedisBackend.from_url(url, namespace=namespace),
        ]
        async with AsyncExitStack() as stack:
            stores = [
                await stack.enter_async_context(AsyncSessionStore(backend, default_wait_ttl=30))
                for backend in backends
            ]
            for name, arguments in history:
                if name == "advance":
                    monotonic.advance(arguments["seconds"])
                    wall.advance(arguments["seconds"])
                    shorten_deadlines(redis_client, namespace, arguments["seconds"])
                    continue
                replies = [await outcome(getattr(store, name)(**arguments)) for store in stores]
                if name != "purge_expired":
                    assert replies[0] == replies[1] == replies[2], name
                states = [await state_of(store) for store in stores]
                assert states[0] == states[1] == states[2], name
            for store in stores:
                await store.purge_expired()
                for key in ("k1", "k2", "k3"):
                    await outcome(store.remove_session(key))
            assert stored_keys(redis_client, namespace) == {}


@given(history=histories)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_all_backends_answer_alike(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: list[tuple[str, dict[str, Any]]],
) -> None:
    anyio.run(replay, history, redis_server.unix_url, redis_client, namespace)
