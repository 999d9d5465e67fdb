"""The backends claim, queue and complete alike, whatever the history; so do Redis's short ways.

The scripts answer the common cases in a short way. Here they also run with each of these left out.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache, partial
from hashlib import sha1
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import anyio
import redis
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st
from typing_extensions import override

from async_session_store import KEEP, SessionKey
from async_session_store.abc import (
    PLACE_TTL,
    Backend,
    Claimed,
    ClaimKey,
    Delivery,
    Keep,
    Queued,
    StoredWait,
)
from async_session_store.backends import redis as redis_backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend, _scripts
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.models import Owner, SessionRecord
from async_session_store.testing.contract.builders import A, B, C, ctx, data
from clock import Clock, shorten_deadlines
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import stored_keys

MAX_BYTES: Final = 1 << 20
SCOPES: Final = {scope.scope_hash(): scope for scope in (A, B, C)}
CONTEXTS: Final = {of.owner: of for of in (ctx("u1"), ctx("u2"), ctx("u1", tenant="other"))}
OWNERS: Final = tuple(CONTEXTS)
KEYS: Final = tuple(SessionKey(f"k{number}") for number in range(1, 4))
# A place lasts for one second: for one step, but not for two. Meanwhile real time passes too, and a
# history that took longer than this may have come close to a deadline.
STEP: Final = 0.6
MOST_SECONDS: Final = 0.35


History = list[tuple[str, dict[str, Any]]]
Advance = Callable[[float], None]


class Wait(NamedTuple):
    """A wait to register; of the owner that is told otherwise, if it is None."""

    owner: Owner | None
    scope_hash: str
    key: SessionKey
    context: str
    ttl: int | None
    expired_ttl: int | None = None

    def stored(self, default: Owner) -> StoredWait:
        owner = self.owner or default
        of = CONTEXTS[owner]
        scope, session = SCOPES[self.scope_hash], data(self.context, of=of)
        times = self.ttl, self.expired_ttl
        return StoredWait(owner, self.scope_hash, scope, self.key, session, *times)


class Caller:
    """A backend, and what its callers hold: claims and places in queues."""

    def __init__(self, backend: Backend, rust: RustPeer | None = None) -> None:
        self.backend = backend
        self.rust = rust
        self.claims: list[ClaimKey] = []
        self.places: list[tuple[str, dict[str, Any]]] = []
        self.asked: tuple[Owner | None, list[str]] | None = None
        self._kept_for: dict[str, float] = {}

    def pass_time(self, seconds: float) -> None:
        """Forget the places that are lost by now. What comes of those kept too late may differ."""
        self._kept_for = {token: age + seconds for token, age in self._kept_for.items()}
        self.places = [one for one in self.places if self._kept_for[one[0]] < PLACE_TTL / 1000]

    async def act(self, name: str, arguments: dict[str, Any]) -> object:
        return await getattr(self, name)(**arguments)

    async def put(self, wait: Wait, *, only_if_absent: bool) -> object:
        return await self.backend.put_wait(wait.stored(OWNERS[0]), only_if_absent=only_if_absent)

    async def replace(self, key: SessionKey, of: Owner) -> object:
        new = data("replaced", of=CONTEXTS[of])
        return await self.backend.replace(key, new, viewer=None, if_match=None)

    async def delete(self, key: SessionKey) -> object:
        return await self.backend.delete(key, viewer=None)

    async def touch(self, key: SessionKey, ttl: int | None) -> object:
        return await self.backend.touch(key, ttl, viewer=None)

    async def delete_wait(self, owner: Owner, at: str, key: SessionKey | None) -> object:
        return await self.backend.delete_wait(owner, at, session_key=key)

    async def delete_waits(self, owner: Owner) -> object:
        return await self.backend.delete_waits(owner)

    async def claim(self, token: str, **arguments: Any) -> object:
        found = await self.backend.claim_wait(token=token, **arguments)
        self.places = [place for place in self.places if place[0] != token]
        if isinstance(found, Queued):
            self.places.append((token, arguments))
            self._kept_for[token] = 0.0
            return found.place, found.free_in is None
        if isinstance(found, Claimed):
            self.claims.append(found.claim)
            return found.claim, told(found.record)
        return found

    async def claim_expired(self, fence: Owner | None, tokens: list[str]) -> object:
        self.asked = fence, tokens
        found = await self.backend.claim_expired(fence, tokens, 20_000)
        claimed = [one for one in found if isinstance(one, Claimed)]
        self.claims += [one.claim for one in claimed]
        return [(one.claim, told(one.record), one.is_overtaken) for one in claimed], len(found)

    async def claim_expired_again(self) -> object:
        """Ask again with the same tokens, as a cancelled caller does."""
        return None if self.asked is None else await self.claim_expired(*self.asked)

    async def look(self, which: int) -> object:
        """Keep a place, or get the claim."""
        if not self.places:
            return None
        token, arguments = self.places[which % len(self.places)]
        return await self.claim(token, **arguments)

    async def leave(self, which: int) -> object:
        if not self.places:
            return None
        token, arguments = self.places[which % len(self.places)]
        left = [
            await self.backend.release_claim(ClaimKey(arguments["owner"], scope_hash, token))
            for scope_hash in arguments["scope_hashes"]
        ]
        return sorted(left, key=lambda one: one.name)

    async def complete(self, which: int, then: Wait | Keep | None, digest: bytes | None) -> object:
        claim = self._claim(which)
        if claim is None:
            return None
        delivery = None if digest is None else Delivery(digest, 20_000)
        following = then.stored(claim.owner) if isinstance(then, Wait) else then
        return await self.backend.complete_claim(claim, delivery=delivery, then=following)

    async def release(self, which: int) -> object:
        claim = self._claim(which)
        return None if claim is None else await self.backend.release_claim(claim)

    async def renew(self, which: int) -> object:
        claim = self._claim(which)
        return claim and await self.backend.renew_claim(claim, 20_000) is None

    async def purge(self) -> None:
        await self.backend.purge(100)

    async def rust_register(self, wait: Wait) -> None:
        of = CONTEXTS[wait.owner or OWNERS[0]]
        ttl = wait.ttl and wait.ttl // 1000
        assert self.rust is not None
        self.rust.register(wait.key, SCOPES[wait.scope_hash], of=of, ttl=ttl)

    async def rust_update(self, key: SessionKey, of: Owner) -> None:
        assert self.rust is not None
        self.rust.update(key, of=CONTEXTS[of])

    async def rust_remove(self, key: SessionKey, of: Owner) -> None:
        assert self.rust is not None
        self.rust.remove(key, of=CONTEXTS[of])

    async def rust_clear(self, at: str, of: Owner) -> None:
        assert self.rust is not None
        self.rust.clear(SCOPES[at], of=CONTEXTS[of])

    def stored(self) -> dict[str, object]:
        """Tell all that is on the server, less what is random."""
        assert self.rust is not None
        found = stored_keys(self.rust.client, self.rust.namespace)
        return {key: without_random(key, *content) for key, content in found.items()}

    def _claim(self, which: int) -> ClaimKey | None:
        return self.claims[-1 - which % len(self.claims)] if self.claims else None


def told(record: object) -> object:
    """Tell what is alike everywhere: neither the etag nor the deadline to the millisecond."""
    if not isinstance(record, SessionRecord):
        return record
    return record.key, record.data, record.scope, record.expires_at is None


async def state_of(backend: Backend) -> list[object]:
    records = [told(await backend.read_record(key)) for key in KEYS]
    lists = [
        [told(record) for record in (await backend.list_wait_records(owner)).items]
        for owner in OWNERS
    ]
    places = [
        (at.key, at.expires_at is None, at.claimed_until is None)
        for at in await backend.inspect_waits(OWNERS, [*SCOPES])
    ]
    return [records, lists, places]


Act = Callable[[History, list[Caller], Advance], Awaitable[None]]


# --- The long ways ----------------------------------------------------------------------------

SHORT_WAYS: Final = {
    "claim_wait": ["if is_free then"],
    "complete_claim": [
        "if key == ARGV[7] and not ARGV[14] then",
        "if follows == 'NEXT' and wait == '' and is_here\n",
    ],
    "put_wait": ["if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[5]) == 0 then"],
    "delete_wait": ["if as_we_wrote and known_owner == owner and known_scope == scope\n"],
    "delete_waits": ["if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then"],
    "find_wait": ["if #KEYS == 1 then"],
    "replace": ["if as_we_wrote and viewer == ''"],
    "release_claim": ["if redis.call('EXISTS', KEYS[2]) == 0 then"],
}


@cache
def long_script(name: str) -> _scripts.Script:
    """Return a script without its short ways."""
    source = _scripts.script(name).source.decode()
    for condition in SHORT_WAYS.get(name, ()):
        assert source.count(condition) == 1, name
        source = source.replace(condition, condition.replace("if ", "if false and ", 1))
    return _scripts.Script(source.encode(), sha1(source.encode()).hexdigest())


class LongWayBackend(RedisBackend):
    """Redis without the short ways of the scripts."""

    @override
    def _run(self, name: str, keys: Any, *arguments: Any, size: int = 0) -> Any:
        common = (self._namespace, self._max_document_bytes)
        command = (len(keys), *keys, *common, *arguments)
        return self._submit(redis_backend.Command(command, long_script(name)), size)


# --- Histories --------------------------------------------------------------------------------

owners = st.sampled_from([*OWNERS[:1] * 4, *OWNERS])
hashes = st.sampled_from([*SCOPES])
keys = st.sampled_from(KEYS)
ttls = st.sampled_from([10_000, 30_000, None])
which = st.sampled_from([0, 0, 0, 1, 2])
digests = st.sampled_from([b"x" * 15, b"y" * 15])
scope_lists = st.lists(hashes, min_size=1, max_size=3, unique=True)


def waits(of: st.SearchStrategy[Owner | None]) -> st.SearchStrategy[Wait]:
    texts, kept = st.sampled_from(["x", "y"]), st.sampled_from([None, None, 15_000])
    return st.builds(Wait, of, hashes, keys, texts, ttls, kept)


@st.composite
def claims(draw: st.DrawFn) -> dict[str, Any]:
    scopes = draw(scope_lists)
    deliveries = draw(st.sampled_from([[], [], *([Delivery(one * 15, 1)] for one in (b"x", b"y"))]))
    return {
        "token": draw(st.uuids(version=4)).hex,
        "owner": draw(owners),
        "scope_hashes": scopes,
        "lease": draw(st.sampled_from([10_000, 20_000])),
        "deliveries": deliveries * len(scopes),
        "begin_at": draw(st.none() | st.sampled_from(scopes)),
        "queue": draw(st.booleans()),
    }


def call(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


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


def opening(queued: int, *, begins: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return the steps to a claim on a scope where some wait for their turn."""
    at, *_ = SCOPES
    request = {"owner": OWNERS[0], "scope_hashes": [at], "lease": 20_000, "deliveries": []}
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


async def replay(act: Act, history: History, url: str, client: redis.Redis, namespace: str) -> None:
    """Let all backends act on a history."""
    monotonic, wall = Clock(), Clock(time.time)
    namespace = f"{namespace}:{uuid.uuid4().hex}"  # of this history
    with TemporaryDirectory() as folder:
        callers = [
            Caller(MemoryBackend(clock=monotonic)),
            Caller(SqliteBackend(Path(folder, "sessions.db"), clock=wall, synchronous="NORMAL")),
            *redis_callers(url, client, namespace),
        ]

        def advance(seconds: float) -> None:
            monotonic.advance(seconds)
            wall.advance(seconds)
            shorten_deadlines(client, namespace, seconds)

        await act(history, callers, advance)


async def replay_on_redis(
    act: Act, history: History, url: str, client: redis.Redis, namespace: str
) -> None:
    """Let the scripts act on a history, with their short ways and without."""
    namespace = f"{namespace}:{uuid.uuid4().hex}"
    callers = redis_callers(url, client, namespace)
    await act(history, callers, partial(shorten_deadlines, client, namespace))


def redis_callers(url: str, client: redis.Redis, namespace: str) -> list[Caller]:
    short, long = f"{namespace}:short", f"{namespace}:long"
    return [
        Caller(RedisBackend.from_url(url, namespace=short), RustPeer(client, short)),
        Caller(LongWayBackend.from_url(url, namespace=long), RustPeer(client, long)),
    ]


async def act_alike(
    history: list[tuple[str, dict[str, Any]]],
    callers: list[Caller],
    advance: Callable[[float], None],
) -> None:
    """Let all do the same, and check that they get the same and leave the same."""
    async with AsyncExitStack() as stack:
        for caller in callers:
            await caller.backend.open(max_document_bytes=MAX_BYTES)
            stack.push_async_callback(caller.backend.aclose)
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


def without_random(key: str, value: Any, expires: bool) -> object:  # noqa: FBT001
    """Return what a key holds, without stamps and channels."""
    kind = key.partition(":")[0]
    if kind == "session":
        value = value.rstrip(b"\t\n\r ")
    elif kind == "meta":
        value = {name: without_stamp(name, field) for name, field in value.items()}
    elif kind == "claim":
        value = value[:32], len(value)
    elif kind == "queue" and b":turns:" in value:
        value = None
    elif kind == "expiring":
        value = set(value)  # when the waits are due differs by the time between two calls
    return value, expires


def without_stamp(name: bytes, field: bytes) -> object:
    if name in (b"wait", b"stamp"):
        return len(field)
    return field[32:] if name == b"kept" else field[:-32] if name == b"copy" else field


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
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_n1_n2_n3_n4_all_backends_take_turns_alike(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: list[tuple[str, dict[str, Any]]],
) -> None:
    anyio.run(replay, act_alike, history, redis_server.unix_url, redis_client, namespace)


@given(history=rust_histories)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_n1_n2_the_short_ways_are_the_long_ways_beside_rust_too(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    namespace: str,
    history: list[tuple[str, dict[str, Any]]],
) -> None:
    anyio.run(replay_on_redis, act_alike, history, redis_server.unix_url, redis_client, namespace)
