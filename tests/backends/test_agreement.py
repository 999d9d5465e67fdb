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
from histories import History, call, settings_for
from hypothesis import given
from hypothesis import strategies as st

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    ScopeReport,
    SessionStoreError,
    TenantCtx,
    WaitClaim,
)
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
user_lists = st.lists(users, min_size=1, max_size=2)
keys = st.sampled_from(["k1", "k2", "k3"])
scopes = st.sampled_from([A, B, C])
ttls = st.sampled_from([10, 30, NEVER, None])
datas = st.builds(data, st.sampled_from(["x", "y"]), of=callers)
maybe_callers = st.none() | callers


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
claiming = call(
    "claim_wait",
    ctx=callers,
    user_id=users | user_lists,
    scope=scopes | st.lists(scopes, min_size=1, max_size=3),
    lease=st.sampled_from([10, 20]),
    delivery_id=st.sampled_from([None, "x", "y"]),
    dedupe_ttl=st.sampled_from([10, 20]),
)
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
        claiming,
        claiming,
        call("complete", which=st.integers(0, 2)),
        call("complete", which=st.just(0)),
        call("release", which=st.integers(0, 2)),
        call("renew", which=st.integers(0, 2)),
    ),
    max_size=30,
)


class Actor:
    """A store, and the claims that it granted."""

    def __init__(self, store: AsyncSessionStore) -> None:
        self.store = store
        self._claims: list[WaitClaim] = []

    async def act(self, name: str, arguments: dict[str, Any]) -> object:
        if name == "claim_wait":
            claimed = await self.store.claim_wait(**arguments)
            if claimed is None:
                return None
            self._claims.append(claimed)
            return claimed.user_id, claimed.record.key, claimed.record.data
        if name in ("complete", "release", "renew"):
            claims = self._claims[-1 - arguments["which"] :]
            return await getattr(claims[0], name)() if claims else None
        return await getattr(self.store, name)(**arguments)


async def outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except SessionStoreError as error:
        return type(error), str(error)


async def state_of(store: AsyncSessionStore) -> list[object]:
    """Return what all reads show, except for etags and the milliseconds of deadlines."""
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
            found = await store.explain(caller, user, [C, A, B])
            state.append((found.same_user, [comparable(report) for report in found.reports]))
        state.append(await store.find_wait_by_scope(caller, ["u2", "u1"], [C, A, B]))
    return state


def comparable(report: ScopeReport) -> tuple[object, ...]:
    """Return what a report shows on every backend alike."""
    claimed, endless = report.claimed_until is not None, report.expires_at is None
    return report.scope, report.team, report.status, report.session_key, claimed, endless


async def replay(history: History, url: str, redis_client: redis.Redis, namespace: str) -> None:
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
            actors = [Actor(store) for store in stores]
            for name, arguments in history:
                if name == "advance":
                    monotonic.advance(arguments["seconds"])
                    wall.advance(arguments["seconds"])
                    shorten_deadlines(redis_client, namespace, arguments["seconds"])
                    continue
                replies = [await outcome(actor.act(name, arguments)) for actor in actors]
                if name != "purge_expired":
                    assert replies[0] == replies[1] == replies[2], name
                states = [await state_of(store) for store in stores]
                assert states[0] == states[1] == states[2], name
            for store in stores:
                await store.purge_expired()
                for key in ("k1", "k2", "k3"):
                    await outcome(store.remove_session(key))
            left = stored_keys(redis_client, namespace)
            assert [key for key in left if not key.startswith(("claim:", "delivery:"))] == []
            assert all(expires for _, expires in left.values())
            shorten_deadlines(redis_client, namespace, 60)


@given(history=histories)
@settings_for(examples=30)
def test_all_backends_answer_alike(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: History,
) -> None:
    anyio.run(replay, history, redis_server.unix_url, redis_client, namespace)
