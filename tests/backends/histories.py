"""Histories of calls, replayed on every backend, and on Redis also without its fast paths."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from hashlib import sha1
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from typing_extensions import override

from async_session_store import SessionKey
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
from rust_peers import RustPeer
from stored_keys import stored_keys

MAX_BYTES: Final = 1 << 20

SCOPES: Final = {scope.scope_hash(): scope for scope in (A, B, C)}

CONTEXTS: Final = {of.owner: of for of in (ctx("u1"), ctx("u2"), ctx("u1", tenant="other"))}

OWNERS: Final = tuple(CONTEXTS)

KEYS: Final = tuple(SessionKey(f"k{number}") for number in range(1, 4))

History = list[tuple[str, dict[str, Any]]]

Advance = Callable[[float], None]


class Wait(NamedTuple):
    """A wait to register. If it has no owner, ``stored`` is given one."""

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
    """A backend, and the claims and places in queues that its callers hold."""

    def __init__(self, backend: Backend, rust: RustPeer | None = None) -> None:
        self.backend = backend
        self.rust = rust
        self.claims: list[ClaimKey] = []
        self.places: list[tuple[str, dict[str, Any]]] = []
        self.asked: tuple[Owner | None, list[str]] | None = None
        self._kept_for: dict[str, float] = {}

    def pass_time(self, seconds: float) -> None:
        """Forget the places that are lost by now, because backends may treat them differently."""
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
            return found.claim, comparable(found.record)
        return found

    async def claim_expired(self, fence: Owner | None, tokens: list[str]) -> object:
        self.asked = fence, tokens
        found = await self.backend.claim_expired(fence, tokens, 20_000)
        claimed = [one for one in found if isinstance(one, Claimed)]
        self.claims += [one.claim for one in claimed]
        return [(one.claim, comparable(one.record), one.is_overtaken) for one in claimed], len(
            found
        )

    async def claim_expired_again(self) -> object:
        """Claim again with the same tokens, as a cancelled caller does."""
        return None if self.asked is None else await self.claim_expired(*self.asked)

    async def look(self, which: int) -> object:
        """Renew a place, or get the claim."""
        if not self.places:
            return None
        token, arguments = self.places[which % len(self.places)]
        return await self.claim(token, **arguments)

    async def leave(self, which: int) -> object:
        if not self.places:
            return None
        token, arguments = self.places[which % len(self.places)]
        left = [
            await self.backend.release_claim(ClaimKey(owner, scope_hash, token))
            for owner in arguments["owners"]
            for scope_hash in arguments["scope_hashes"]
        ]
        return sorted(left, key=lambda one: one.name)

    async def complete(self, which: int, then: Wait | Keep | None, digest: bytes | None) -> object:
        claim = self._claim(which)
        if claim is None:
            return None
        deliveries = [] if digest is None else [Delivery(claim.owner, digest, 20_000)]
        following = then.stored(claim.owner) if isinstance(then, Wait) else then
        return await self.backend.complete_claim(claim, deliveries=deliveries, then=following)

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
        """Return all that is on the server, except for what is random."""
        assert self.rust is not None
        found = stored_keys(self.rust.client, self.rust.namespace)
        return {key: without_random(key, *content) for key, content in found.items()}

    def _claim(self, which: int) -> ClaimKey | None:
        return self.claims[-1 - which % len(self.claims)] if self.claims else None


def comparable(record: object) -> object:
    """Return what is alike on every backend: no etag, and no milliseconds of a deadline."""
    if not isinstance(record, SessionRecord):
        return record
    return record.key, record.data, record.scope, record.expires_at is None


async def state_of(backend: Backend) -> list[object]:
    records = [comparable(await backend.read_record(key)) for key in KEYS]
    lists = [
        [comparable(record) for record in (await backend.list_wait_records(owner)).items]
        for owner in OWNERS
    ]
    places = [
        (at.key, at.expires_at is None, at.claimed_until is None)
        for at in await backend.inspect_waits(OWNERS, [*SCOPES])
    ]
    return [records, lists, places]


Act = Callable[[History, list[Caller], Advance], Awaitable[None]]

FAST_PATHS: Final = {
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
def slow_script(name: str) -> _scripts.Script:
    """Return a script without its fast paths."""
    source = _scripts.script(name).source.decode()
    for condition in FAST_PATHS.get(name, ()):
        assert source.count(condition) == 1, name
        source = source.replace(condition, condition.replace("if ", "if false and ", 1))
    return _scripts.Script(source.encode(), sha1(source.encode()).hexdigest())


class SlowPathBackend(RedisBackend):
    """A Redis backend whose scripts take no fast paths."""

    @override
    def _run(self, name: str, keys: Any, *arguments: Any, size: int = 0) -> Any:
        common = (self._namespace, self._max_document_bytes)
        command = (len(keys), *keys, *common, *arguments)
        return self._submit(redis_backend.Command(command, slow_script(name)), size)


owners = st.sampled_from([*OWNERS[:1] * 4, *OWNERS])

hashes = st.sampled_from([*SCOPES])

keys = st.sampled_from(KEYS)

which = st.sampled_from([0, 0, 0, 1, 2])


def call(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


def settings_for(*, examples: int) -> settings:
    """Return the settings of a test that replays this number of histories."""
    # A history leaves nothing to the next one, so they may share the fixtures of the test.
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


async def replay(act: Act, history: History, url: str, client: redis.Redis, namespace: str) -> None:
    """Replay a history on every backend."""
    monotonic, wall = Clock(), Clock(time.time)
    namespace = f"{namespace}:{uuid.uuid4().hex}"
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

        async with opened(callers):
            await act(history, callers, advance)


async def replay_on_redis(
    act: Act, history: History, url: str, client: redis.Redis, namespace: str
) -> None:
    """Replay a history on Redis, with and without the fast paths of its scripts."""
    namespace = f"{namespace}:{uuid.uuid4().hex}"
    callers = redis_callers(url, client, namespace)
    async with opened(callers):
        await act(history, callers, partial(shorten_deadlines, client, namespace))


@asynccontextmanager
async def opened(callers: list[Caller]) -> AsyncIterator[None]:
    """Open the backends of all callers, and close them at the end."""
    async with AsyncExitStack() as stack:
        for caller in callers:
            await caller.backend.open(max_document_bytes=MAX_BYTES)
            stack.push_async_callback(caller.backend.aclose)
        yield


def redis_callers(url: str, client: redis.Redis, namespace: str) -> list[Caller]:
    fast, slow = f"{namespace}:fast", f"{namespace}:slow"
    return [
        Caller(RedisBackend.from_url(url, namespace=fast), RustPeer(client, fast)),
        Caller(SlowPathBackend.from_url(url, namespace=slow), RustPeer(client, slow)),
    ]


def without_random(key: str, value: Any, expires: bool) -> object:  # noqa: FBT001
    """Return what a key holds, without stamps and channels, which are random."""
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
        value = set(value)  # the scores differ by the time between two calls
    return value, expires


def without_stamp(name: bytes, field: bytes) -> object:
    if name in (b"wait", b"stamp"):
        return len(field)
    return field[32:] if name == b"kept" else field[:-32] if name == b"copy" else field
