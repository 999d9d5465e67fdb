"""The backends claim, queue and complete alike, whatever the history; so do Redis's fast paths.

The scripts answer the common cases in a fast path. Here they also run with each of these left out.
"""

from __future__ import annotations

import time
from typing import Any, Final

import anyio
import redis
from histories import (
    KEYS,
    OWNERS,
    SCOPES,
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
from hypothesis import example, given, reject
from hypothesis import strategies as st

from async_session_store import KEEP
from async_session_store.abc import Delivery
from async_session_store.models import Owner
from redis_server import RedisServer

# A place lasts for one second: for one step, but not for two. Meanwhile real time passes too, and a
# history that took longer than this may have come close to a deadline.
STEP: Final = 0.6
MOST_SECONDS: Final = 0.35


# --- Histories --------------------------------------------------------------------------------

ttls = st.sampled_from([10_000, 30_000, None])
digests = st.sampled_from([b"x" * 15, b"y" * 15])
scope_lists = st.lists(hashes, min_size=1, max_size=3, unique=True)


def waits(of: st.SearchStrategy[Owner | None]) -> st.SearchStrategy[Wait]:
    texts, kept = st.sampled_from(["x", "y"]), st.sampled_from([None, None, 15_000])
    return st.builds(Wait, of, hashes, keys, texts, ttls, kept)


@st.composite
def claims(draw: st.DrawFn) -> dict[str, Any]:
    scopes = draw(scope_lists)
    whose = draw(st.lists(owners, min_size=1, max_size=2, unique=True))
    digest = draw(st.sampled_from([None, None, b"x" * 15, b"y" * 15]))
    return {
        "token": draw(st.uuids(version=4)).hex,
        "owners": whose,
        "scope_hashes": scopes,
        "lease": draw(st.sampled_from([10_000, 20_000])),
        "deliveries": [] if digest is None else [Delivery(owner, digest, 1) for owner in whose],
        "begin_at": draw(st.none() | st.sampled_from(scopes)),
        "queue": draw(st.booleans()),
    }


claiming = st.tuples(st.just("claim"), claims())
completing = call(
    "complete",
    which=which,
    then=st.none() | st.just(KEEP) | waits(st.none()) | waits(st.none() | owners),
    digest=st.none() | digests,
)
steps = st.lists(
    st.one_of(
        call("put", wait=waits(owners), only_if_absent=st.booleans()),
        call("put", wait=waits(owners), only_if_absent=st.just(value=False)),
        call("replace", key=keys, of=owners),
        call("delete", key=keys),
        call("touch", key=keys, ttl=ttls),
        call("delete_wait", owner=owners, at=hashes, key=st.none() | keys),
        call("delete_waits", owner=owners),
        call("advance", seconds=st.sampled_from([STEP, STEP, 11])),
        claiming,
        claiming,
        claiming,
        completing,
        completing,
        call("look", which=which),
        call("look", which=which),
        call("leave", which=which),
        call("release", which=which),
        call("renew", which=which),
        call("purge"),
    ),
    max_size=30,
)
rust_steps = st.lists(
    st.one_of(
        call("rust_register", wait=waits(owners)),
        call("rust_register", wait=waits(owners)),
        call("rust_update", key=keys, of=owners),
        call("rust_remove", key=keys, of=owners),
        call("rust_clear", at=hashes, of=owners),
        call("put", wait=waits(owners), only_if_absent=st.booleans()),
        call("replace", key=keys, of=owners),
        call("delete", key=keys),
        call("touch", key=keys, ttl=ttls),
        call("delete_wait", owner=owners, at=hashes, key=st.none() | keys),
        call("delete_waits", owner=owners),
        call("advance", seconds=st.sampled_from([STEP, 11])),
        claiming,
        claiming,
        completing,
        completing,
        call("look", which=which),
        call("release", which=which),
        call("purge"),
    ),
    max_size=30,
)


def opening(queued: int, *, begins: bool) -> History:
    """Return the steps to a claim on a scope where others wait for their turn."""
    at, *_ = SCOPES
    request = {"owners": [OWNERS[0]], "scope_hashes": [at], "lease": 20_000, "deliveries": []}
    request |= {"begin_at": at, "queue": True}
    wait = Wait(OWNERS[0], at, KEYS[0], "first", None)
    return [
        *([] if begins else [("put", {"wait": wait, "only_if_absent": False})]),
        *(("claim", {**request, "token": f"{number:032}"}) for number in range(1 + queued)),
    ]


# Chance alone seldom leads to a queue.
openings = st.just([]) | st.builds(opening, st.integers(0, 3), begins=st.booleans())


histories = st.builds(list.__add__, openings, steps)
rust_histories = st.builds(list.__add__, openings, rust_steps)


async def act_alike(history: History, callers: list[Caller], advance: Advance) -> None:
    """Make the same calls on all, and check that results and remaining data are the same."""
    began = time.monotonic()
    for number, (name, arguments) in enumerate(history, 1):
        if name == "advance":
            advance(arguments["seconds"])
            for caller in callers:
                caller.pass_time(arguments["seconds"])
            continue
        is_checked = number % 4 == 0 or number == len(history)
        found = [
            (await caller.act(name, arguments), is_checked and await state_of(caller.backend))
            for caller in callers
        ]
        if found != [found[0]] * len(found):
            if time.monotonic() - began > MOST_SECONDS:
                reject()
            raise AssertionError(name, found)
    stored = [caller.stored() for caller in callers if caller.rust is not None]
    assert stored[0] == stored[1] or time.monotonic() - began > MOST_SECONDS


# The second of three keeps its place too late, and gets the last one.
@example(
    history=[
        *opening(3, begins=False),
        ("advance", {"seconds": STEP}),
        ("look", {"which": 0}),  # the first; its place is the last of the list now
        ("look", {"which": 1}),  # the third
        ("advance", {"seconds": STEP}),
        ("look", {"which": 0}),
        ("release", {"which": 0}),
        ("look", {"which": 0}),
        ("release", {"which": 0}),
        ("look", {"which": 1}),
    ]
)
# A place that is lost cannot be given up.
@example(
    history=[
        *opening(1, begins=True),
        *[("advance", {"seconds": STEP})] * 2,
        ("leave", {"which": 0}),
    ]
)
@given(history=histories)
@settings_for(examples=30)
def test_n1_n2_n3_n4_all_backends_take_turns_alike(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: History,
) -> None:
    anyio.run(replay, act_alike, history, redis_server.unix_url, redis_client, namespace)


@given(history=rust_histories)
@settings_for(examples=30)
def test_n1_n2_the_fast_paths_act_like_the_slow_paths_even_beside_rust(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: History,
) -> None:
    anyio.run(replay_on_redis, act_alike, history, redis_server.unix_url, redis_client, namespace)
