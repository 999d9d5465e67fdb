"""The backends hand out expired waits alike, whatever the history; so do Redis's fast paths."""

from __future__ import annotations

from typing import Any, Final

import anyio
import redis
from histories import (
    KEYS,
    OWNERS,
    Advance,
    Caller,
    History,
    Wait,
    call,
    hashes,
    keys,
    owners,
    replay,
    replay_on_redis,
    settings_for,
    state_of,
    which,
)
from hypothesis import given
from hypothesis import strategies as st

from async_session_store import KEEP
from redis_server import RedisServer

TICK: Final = 0.002
"""Seconds between two steps. Waits that fall due in one millisecond may come in any order."""

FENCES: Final = (None, None, OWNERS[0]._replace(user=None), *OWNERS)

waits = st.builds(
    Wait,
    owners,
    hashes,
    keys,
    st.sampled_from(["x", "y"]),
    st.sampled_from([10_000, 10_000, 30_000, None]),
    st.sampled_from([15_000, 15_000, 62_000, None]),
)
followers = st.builds(
    Wait,
    st.none() | st.none() | owners,
    hashes,
    keys,
    st.just("then"),
    st.sampled_from([10_000, 30_000]),
    st.sampled_from([15_000, None]),
)
tokens = st.lists(st.uuids(version=4).map(lambda one: one.hex), min_size=1, max_size=3)


@st.composite
def claims(draw: st.DrawFn) -> dict[str, Any]:
    scopes = draw(st.lists(hashes, min_size=1, max_size=2, unique=True))
    return {
        "token": draw(st.uuids(version=4)).hex,
        "owners": draw(st.lists(owners, min_size=1, max_size=2, unique=True)),
        "scope_hashes": scopes,
        "lease": 20_000,
        "deliveries": [],
        "begin_at": draw(st.none() | st.sampled_from(scopes)),
        "queue": False,
    }


putting = call("put", wait=waits, only_if_absent=st.booleans())
# Sevens, as no sum of them is a deadline: the clocks of the backends differ by milliseconds.
advancing = call("advance", seconds=st.sampled_from([7, 14, 14, 21]))
claiming_expired = call("claim_expired", fence=st.sampled_from(FENCES), tokens=tokens)
completing = call(
    "complete", which=which, then=st.none() | st.just(KEEP) | followers, digest=st.none()
)
steps = [
    *[putting] * 4,
    *[advancing] * 4,
    *[claiming_expired] * 4,
    *[completing] * 3,
    st.tuples(st.just("claim"), claims()),
    call("claim_expired_again"),
    call("release", which=which),
    call("renew", which=which),
    call("replace", key=keys, of=owners),
    call("delete", key=keys),
    call("touch", key=keys, ttl=st.sampled_from([10_000, 30_000, None])),
    call("delete_wait", owner=owners, at=hashes, key=st.none() | keys),
    call("delete_waits", owner=owners),
    call("purge"),
]
rust_steps = [
    *[call("rust_register", wait=waits)] * 3,
    *[call("rust_update", key=keys, of=owners)] * 2,
    *[call("rust_remove", key=keys, of=owners)] * 2,
    *[call("rust_clear", at=hashes, of=owners)] * 2,
]
histories = st.lists(st.one_of(steps), min_size=8, max_size=40)
rust_histories = st.lists(st.one_of(steps + rust_steps), min_size=8, max_size=40)


async def act_alike(history: History, callers: list[Caller], advance: Advance) -> None:
    """Make the same calls on all, and compare the results. Check that the rest can be removed."""
    for name, arguments in history:
        await anyio.sleep(TICK)
        if name == "advance":
            advance(arguments["seconds"])
            continue
        found = [await caller.act(name, arguments) for caller in callers]
        assert found == [found[0]] * len(found), name
    states = [await state_of(caller.backend) for caller in callers]
    assert states == [states[0]] * len(states)
    await check_nothing_is_left(callers, advance)


@given(history=histories)
@settings_for(examples=60)
def test_q1_q2_q3_q4_all_backends_hand_out_expired_waits_alike(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: History,
) -> None:
    anyio.run(replay, act_alike, history, redis_server.unix_url, redis_client, namespace)


@given(history=rust_histories)
@settings_for(examples=60)
def test_q6_the_fast_paths_hand_out_like_the_slow_paths_even_beside_rust(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: History,
) -> None:
    anyio.run(replay_on_redis, act_alike, history, redis_server.unix_url, redis_client, namespace)


async def check_nothing_is_left(callers: list[Caller], advance: Advance) -> None:
    """Remove everything, and check that nothing is left."""
    for caller in callers:
        for key in KEYS:
            await caller.delete(key)
    advance(1000)
    for caller in callers:
        await caller.purge()
        assert await caller.claim_expired(None, ["x" * 32]) == ([], 0)
    stored = [caller.stored() for caller in callers if caller.rust is not None]
    assert stored == [{}] * len(stored)
