"""Expired waits on Redis: what is stored, also beside a Rust process or an older version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from async_session_store import (
    KEEP,
    NEVER,
    AsyncSessionStore,
    CorruptSessionError,
    NewWait,
    ReplyScope,
    StoreUnavailableError,
    TenantCtx,
    TenantMismatchError,
    WaitClaim,
)
from async_session_store.abc import Claimed, Outcome, Unreadable
from async_session_store.backends.redis import RedisBackend
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    clear,
    context_of,
    ctx,
    data,
    find,
    register,
)
from async_session_store.testing.contract.claim_builders import claim, record_of, try_claim
from async_session_store.testing.contract.expiry_builders import (
    claim_all,
    claim_one,
    expired,
    keep,
    keys_of,
)
from clock import shorten_deadlines
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import stored_keys

pytestmark = [pytest.mark.anyio, pytest.mark.one_python]

OTHER = ctx(tenant="rival")
OWNER, TENANCY = "prod:acme:-:u1", "prod:acme:-"
INDEX = {"expiring:all", f"expiring:{TENANCY}", f"expiring:{OWNER}"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def backend(redis_server: RedisServer, namespace: str) -> RedisBackend:
    return RedisBackend.from_url(redis_server.unix_url, namespace=namespace)


@pytest.fixture
async def store(backend: RedisBackend) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore(backend) as store:
        yield store


class Behind:
    """A look at the server behind the API, and a way to move its clock."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    def advance(self, seconds: float) -> None:
        shorten_deadlines(self.client, self.namespace, seconds)

    def stored(self) -> dict[str, Any]:
        found = stored_keys(self.client, self.namespace)
        return {key: value for key, (value, _) in found.items()}

    def meta(self, key: str) -> dict[bytes, bytes]:
        return self.client.hgetall(self.name("meta", key))

    def left(self, *parts: str) -> int:
        return self.client.pttl(self.name(*parts))

    def name(self, *parts: str) -> str:
        return ":".join([self.namespace, *parts])


@pytest.fixture
def behind(redis_client: redis.Redis, namespace: str) -> Behind:
    return Behind(redis_client, namespace)


def near(milliseconds: int, seconds: float) -> bool:
    return seconds * 1000 - 5000 < milliseconds <= seconds * 1000


# --- What is stored ---------------------------------------------------------------------------


async def test_q6_only_our_keys_outlive_the_deadline(
    store: AsyncSessionStore, behind: Behind
) -> None:
    await keep(store, "k", A, ttl=60, expired_ttl=600)
    scope = f"waits:scope:{OWNER}:{A.scope_hash()}"
    assert near(behind.left("session", "k"), 60)
    assert near(behind.left(scope), 60)
    assert behind.left("waits:user", OWNER) == -1
    assert near(behind.left("meta", "k"), 660)
    assert all(660_000 - 5000 < behind.left(name) <= 720_000 for name in INDEX)
    behind.advance(61)
    assert behind.stored().keys() == {"meta:k", f"waits:user:{OWNER}", *INDEX}


async def test_q6_a_wait_without_expired_ttl_needs_no_further_key(
    store: AsyncSessionStore, behind: Behind
) -> None:
    await register(store, "k", A, ttl=60)
    assert behind.meta("k").keys() == {b"owner", b"scope", b"wait", b"stamp", b"place"}
    assert not [name for name in behind.stored() if name.startswith("expiring:")]
    assert near(behind.left("meta", "k"), 60)


async def test_q1_a_wait_may_expire_while_it_is_registered(store: AsyncSessionStore) -> None:
    keys = [f"k{number}" for number in range(400)]
    for key in keys:
        await keep(store, key, ReplyScope(conversation=key), ttl=0.001)
    await anyio.sleep(0.01)
    assert sorted(keys_of(await store.claim_expired(limit=1000))) == sorted(keys)


async def test_q1_an_update_is_copied(store: AsyncSessionStore, behind: Behind) -> None:
    await keep(store, "k", A)
    await store.update_session("k", data("new"))
    assert behind.meta("k")[b"copy"] == behind.client.get(behind.name("session", "k"))
    record = await store.get_record("k")
    assert record is not None
    behind.advance(61)
    held = await claim_one(store)
    assert record_of(held).etag == record.etag


async def end_by_claim(store: AsyncSessionStore) -> None:
    assert await (await claim(store, A)).complete()


async def end_by_next(store: AsyncSessionStore) -> None:
    assert await (await claim(store, A)).complete(NewWait(A, data(), 60))


async def end_by_next_elsewhere(store: AsyncSessionStore) -> None:
    assert await (await claim(store, A)).complete(NewWait(B, data(), 60))


async def end_by_next_under_another_key(store: AsyncSessionStore) -> None:
    assert await (await claim(store, A)).complete(NewWait(A, data(), 60, "k9"))


ENDS: dict[str, Any] = {
    "completed": end_by_claim,
    "next": end_by_next,
    "next elsewhere": end_by_next_elsewhere,
    "next under another key": end_by_next_under_another_key,
    "removed": lambda store: store.remove_session("k"),
    "cleared": lambda store: clear(store, A),
    "all cleared": lambda store: store.clear_waits_for_user(CTX, "u1"),
    "moved": lambda store: register(store, "k", B),
    "detached": lambda store: register(store, "k2", A),
    "without a deadline": lambda store: store.touch_session("k", NEVER),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_q1_ending_a_kept_wait_drops_its_entries(
    store: AsyncSessionStore, behind: Behind, end: Any
) -> None:
    await keep(store, "k", A)
    await keep(store, "theirs", A, of=ctx("u2", tenant="other"))
    await end(store)
    theirs = {"expiring:prod:other:-", "expiring:prod:other:-:u2", "expiring:all"}
    assert {name for name in behind.stored() if name.startswith("expiring:")} == theirs
    assert list(behind.stored()["expiring:all"]) == [b"prod:other:-"]


async def test_q1_a_touch_moves_the_deadline_of_a_kept_wait(
    store: AsyncSessionStore, behind: Behind
) -> None:
    await keep(store, "k", A, ttl=60, expired_ttl=100)
    await store.touch_session("k", NEVER)
    assert behind.left("meta", "k") == -1
    behind.advance(1000)
    await store.touch_session("k", 300)
    assert near(behind.left("meta", "k"), 400)
    behind.advance(299)
    assert await claim_all(store) == []
    behind.advance(2)
    assert await expired(store) == ["k"]
    behind.advance(97)
    assert await expired(store) == ["k"]
    behind.advance(3)
    assert await claim_all(store) == []


async def test_t5_purge_leaves_kept_waits_and_drops_the_rest(
    store: AsyncSessionStore, behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    await keep(store, "k", A, ttl=60, expired_ttl=600)
    await keep(store, "soon gone", B, ttl=60, expired_ttl=10)
    behind.advance(80)
    while await store.purge_expired(limit=1):
        pass
    stored = behind.stored()
    assert stored.keys() == {"meta:k", *INDEX}
    assert list(stored[f"expiring:{TENANCY}"]) == [b"u1:k"]
    assert stored[f"expiring:{OWNER}"] == {b"k"}
    assert await expired(store) == ["k"]
    behind.advance(600)
    await store.purge_expired()
    assert behind.stored() == {}
    assert caplog.records == []


# --- Which are due ----------------------------------------------------------------------------


async def test_q4_the_directory_follows_its_tenancies(
    store: AsyncSessionStore, behind: Behind
) -> None:
    for number in range(6):
        of = ctx(f"u{number}", tenant=f"t{number % 3}")
        await keep(store, f"k{number}", A, of=of, ttl=10 * (number + 1))
    bounds = behind.stored()["expiring:all"]
    await store.remove_session("k0")
    assert behind.stored()["expiring:all"] == bounds  # a bound may be too low
    behind.advance(65)
    (first,) = await store.claim_expired()
    assert keys_of([first]) == ["k1"]
    stored = behind.stored()
    assert all(
        stored["expiring:all"][tenancy] <= min(stored[f"expiring:{tenancy.decode()}"].values())
        for tenancy in bounds
    )
    rest = await claim_all(store)
    assert keys_of(rest) == ["k2", "k3", "k4", "k5"]
    for one in (first, *rest):
        assert await one.complete()
    assert not [name for name in behind.stored() if name.startswith("expiring:")]


async def test_q4_many_tenancies_are_read_in_pages(
    store: AsyncSessionStore, behind: Behind
) -> None:
    for number in range(150):
        of = ctx("u", tenant=f"t{number % 75}")
        scope = ReplyScope(conversation=f"{number}")
        await keep(store, f"k{number:03}", scope, of=of, ttl=10 + number / 100)
    for number in range(0, 75, 2):
        await store.remove_session(f"k{number:03}")
    behind.advance(20)
    claims = await store.claim_expired(limit=1000)
    left = [number for number in range(150) if number >= 75 or number % 2]
    assert keys_of(claims) == [f"k{number:03}" for number in left]


@pytest.mark.parametrize("by", [None, ctx(None), CTX], ids=["all", "tenancy", "user"])
async def test_q2_dead_entries_are_dropped_in_steps(
    store: AsyncSessionStore, behind: Behind, by: Any
) -> None:
    await keep(store, "k", A)
    index, of_owner = behind.name("expiring", TENANCY), behind.name("expiring", OWNER)
    dead = [f"dead {number}" for number in range(2500)]
    behind.client.zadd(index, {f"u1:{key}": number for number, key in enumerate(dead)})
    behind.client.sadd(of_owner, *dead)
    alien = b"no entry of ours"
    behind.client.zadd(index, {alien: 100_000})
    behind.client.zadd(behind.name("expiring:all"), {TENANCY: 0})
    behind.advance(61)
    (held,) = await store.claim_expired(by)
    assert record_of(held).key == "k"
    assert behind.client.zrange(index, "-inf", "(200000", byscore=True) in ([], [alien])
    assert behind.client.zscore(index, "u1:k") is not None
    assert behind.client.smembers(of_owner) == {b"k"}


async def test_q2_stale_tenancies_are_dropped_in_steps(
    store: AsyncSessionStore, behind: Behind
) -> None:
    await keep(store, "k", A)
    stale = {f"prod:t{number}:-": number for number in range(2500)}
    behind.client.zadd(behind.name("expiring:all"), stale)
    behind.advance(61)
    assert keys_of(await store.claim_expired()) == ["k"]
    assert behind.client.zrange(behind.name("expiring:all"), 0, -1) == [TENANCY.encode()]


@pytest.mark.parametrize("of", [None, *sorted(INDEX)])
async def test_r2_an_index_key_of_the_wrong_type_hinders_no_call(
    store: AsyncSessionStore, behind: Behind, of: str | None
) -> None:
    for name in INDEX if of is None else [of]:
        behind.client.set(behind.name(name), "x")
    await keep(store, "k", A)
    await store.touch_session("k", 100)
    assert await find(store, A) == "k"
    assert await (await claim(store, A)).complete(NewWait(A, data("next"), 60, expired_ttl=600))
    behind.advance(61)
    for by in (None, ctx(None), CTX):
        await expired(store, by)
    assert await clear(store, A) is False
    assert await store.clear_waits_for_user(CTX, "u1") == 0
    await store.purge_expired()


async def test_r2_an_index_key_of_the_wrong_type_is_left_alone(
    store: AsyncSessionStore, behind: Behind
) -> None:
    for name in INDEX:
        behind.client.set(behind.name(name), "x")
    await keep(store, "k", A)
    assert {behind.left(name) for name in INDEX} == {-1}


@pytest.mark.parametrize("by", [None, ctx(None), CTX], ids=["all", "tenancy", "user"])
@pytest.mark.parametrize(
    "name",
    ["session:k", "meta:k", f"waits:scope:{OWNER}:{A.scope_hash()}"],
    ids=["session", "meta", "scope"],
)
async def test_r2_a_key_of_the_wrong_type_hinders_no_other_wait(
    store: AsyncSessionStore, behind: Behind, name: str, by: TenantCtx | None
) -> None:
    await keep(store, "k", A)
    await keep(store, "k2", B, ttl=61)
    behind.advance(62)
    behind.client.delete(behind.name(name))
    behind.client.rpush(behind.name(name), "x")
    behind.client.expire(behind.name(name), 1000)
    assert await expired(store, by) == ["k2"]
    assert not [name for name in behind.stored() if name.startswith("claim:")]


USES: dict[str, Any] = {
    "remove": lambda store: store.remove_session("k"),
    "register": lambda store: register(store, "k", B),
    "detach": lambda store: register(store, "k2", A),
    "touch": lambda store: store.touch_session("k", 60),
    "update": lambda store: store.update_session("k", data("new")),
    "claim": lambda store: try_claim(store, A),
    "clear": lambda store: clear(store, A),
    "clear all": lambda store: store.clear_waits_for_user(CTX, "u1"),
    "purge": lambda store: store.purge_expired(),
}


@pytest.mark.parametrize("owner", ["x", "", None])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_r2_a_meta_key_that_names_no_owner_keeps_nothing(
    store: AsyncSessionStore, behind: Behind, owner: str | None, use: Any
) -> None:
    await keep(store, "k", A)
    if owner is None:
        behind.client.hdel(behind.name("meta", "k"), "owner")
    else:
        behind.client.hset(behind.name("meta", "k"), "owner", owner)
    with suppress(CorruptSessionError, TenantMismatchError):
        await use(store)
    behind.advance(61)
    assert await claim_all(store) == []
    assert not [name for name in behind.stored() if name.startswith("expiring:")]


@pytest.mark.parametrize("text", [b"no JSON", data(of=OTHER).model_dump_json().encode()])
async def test_r2_a_copy_that_cannot_be_read_is_named_once(
    backend: RedisBackend, store: AsyncSessionStore, behind: Behind, text: bytes
) -> None:
    await keep(store, "k", A, ttl=60, expired_ttl=600)
    await keep(store, "k2", B, ttl=61)
    behind.client.hset(behind.name("meta", "k"), "copy", text)
    behind.advance(62)
    broken, fine = await backend.claim_expired(None, ["x" * 32, "y" * 32], 1000)
    assert isinstance(broken, Unreadable)
    assert broken.key == "k"
    assert isinstance(fine, Claimed)
    assert await backend.release_claim(fine.claim) is Outcome.DONE
    assert not [name for name in behind.stored() if name.startswith("claim:")]
    assert await expired(store) == ["k2"]
    behind.advance(500)
    assert await expired(store) == ["k2"]
    await store.purge_expired()
    assert behind.meta("k")
    behind.advance(101)
    await store.purge_expired()
    assert behind.stored() == {}


# --- Namespaces -------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["expiring", "meta", "claim"])
async def test_t5_nested_namespaces_stay_apart(
    redis_server: RedisServer, behind: Behind, inner: str
) -> None:
    nested = f"{behind.namespace}:{inner}"
    async with (
        AsyncSessionStore.from_url(redis_server.unix_url, namespace=behind.namespace) as outer,
        AsyncSessionStore.from_url(redis_server.unix_url, namespace=nested) as within,
    ):
        await keep(outer, "k", A, "outer")
        await keep(within, "k", A, "within")
        await keep(within, "live", B, ttl=1000)
        behind.advance(61)
        await outer.purge_expired()
        assert await context_of(within, "live") == "{}"
        (held,) = await claim_all(within)
        assert record_of(held).data == data("within")
        (held,) = await claim_all(outer)
        assert record_of(held).data == data("outer")


# --- Beside a Rust process --------------------------------------------------------------------


async def test_q6_a_wait_that_a_rust_process_updated_is_live(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind
) -> None:
    await keep(store, "k", A)
    rust.update("k")  # without a deadline now
    behind.advance(61)
    assert await claim_all(store) == []
    assert await context_of(store, "k") == "rust"
    assert f"expiring:{TENANCY}" not in behind.stored()


async def test_q6_a_wait_that_a_rust_process_moved_is_live_at_its_new_scope(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind
) -> None:
    await keep(store, "k", A)
    rust.register("k", B, ttl=100)
    behind.advance(61)
    assert await claim_all(store) == []
    assert await find(store, B) == "k"
    behind.advance(61)
    assert await claim_all(store) == []


async def test_q6_a_wait_that_a_rust_process_removed_is_handed_out_once(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind
) -> None:
    await keep(store, "k", A, "ours")
    rust.clear(A)
    assert await claim_all(store) == []  # its deadline has not passed
    behind.advance(61)
    held = await claim_one(store)
    assert record_of(held).data == data("ours")
    assert await held.complete() is True
    assert await claim_all(store) == []


async def test_q6_k3_a_claim_on_a_wait_that_a_rust_process_removed_completes_as_before(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await keep(store, "k", A)
    held = await claim(store, A)
    rust.clear(A)
    assert await held.complete() is False


FOLLOWING: dict[str, NewWait | None] = {
    "nothing": None,
    "next": NewWait(A, data("next")),
    "next elsewhere": NewWait(B, data("next"), 60, "k9"),
}


@pytest.mark.parametrize("then", FOLLOWING.values(), ids=FOLLOWING)
@pytest.mark.parametrize(
    "change",
    [
        lambda rust: rust.clear(A),
        lambda rust: rust.register("k", A),
        lambda rust: rust.register("k", B),
        lambda rust: rust.register("k2", A),
    ],
    ids=["cleared", "registered", "moved", "displaced"],
)
@pytest.mark.parametrize("by", ["reply", "worker"])
async def test_q3_q6_a_completed_wait_is_never_handed_out_again(
    store: AsyncSessionStore,
    rust: RustPeer,
    behind: Behind,
    by: str,
    change: Callable[[RustPeer], None],
    then: NewWait | None,
) -> None:
    await keep(store, "k", A)
    if by == "worker":
        behind.advance(61)
    held = await (claim_one(store, lease=200) if by == "worker" else claim(store, A, lease=200))
    change(rust)
    await held.complete(then)
    if await context_of(store, "k") == "rust":
        rust.remove("k")
    behind.advance(61)
    assert await claim_all(store) == []


@pytest.mark.parametrize("is_expired", [False, True])
@pytest.mark.parametrize(
    "end",
    [lambda store: clear(store, A), lambda store: store.clear_waits_for_user(CTX, "u1")],
    ids=["scope", "user"],
)
async def test_q4_q6_a_cleared_wait_is_never_handed_out(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind, end: Any, *, is_expired: bool
) -> None:
    await keep(store, "k", A)
    await keep(store, "k2", B)
    behind.advance(61 if is_expired else 30)
    rust.register("k", C, of=OTHER)
    behind.advance(1 if is_expired else 31)
    await end(store)
    rust.remove("k", of=OTHER)
    assert "k" not in await expired(store)


async def test_n2_q6_a_claim_on_a_cleared_wait_is_superseded(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind
) -> None:
    await keep(store, "k", A)
    behind.advance(61)
    held = await claim_one(store)
    rust.register("k", B)
    await clear(store, A)
    rust.remove("k")
    assert await held.complete(NewWait(A, data("next"))) is False


async def test_w3_q6_a_displaced_wait_is_not_kept(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind
) -> None:
    await keep(store, "k", A)
    rust.register("k", A, ttl=60)
    assert await register(store, "k2", A) == "k"
    behind.advance(61)
    assert await claim_all(store) == []


async def test_q6_another_owners_session_is_never_handed_out(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind
) -> None:
    await keep(store, "k", A)
    rust.register("k", A, of=OTHER, ttl=100)
    behind.advance(61)
    assert await claim_all(store) == []
    assert await context_of(store, "k") == "rust"
    behind.advance(61)
    assert await claim_all(store) == []


@pytest.mark.parametrize("by", ["claim", "touch", "update"])
async def test_q6_a_wait_that_we_wrote_after_a_rust_process_is_not_kept(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind, by: str
) -> None:
    await keep(store, "k", A)
    rust.register("k", A, ttl=60)
    if by == "claim":
        await (await claim(store, A)).release()
    elif by == "touch":
        await store.touch_session("k", 60)
    else:
        await store.update_session("k", data("new"))
    behind.advance(61)
    assert await claim_all(store) == []
    await store.purge_expired()
    assert behind.stored() == {}


async def test_q6_a_rust_process_no_longer_sees_an_expired_wait(
    store: AsyncSessionStore, rust: RustPeer, behind: Behind
) -> None:
    await keep(store, "k", A)
    behind.advance(61)
    assert (rust.find(A), rust.listed()) == (None, [])
    rust.register("k2", A)
    held = await claim_one(store)
    assert await held.complete(NewWait(A, data("again"))) is False
    assert rust.find(A) == "k2"
    assert await claim_all(store) == []


# --- Beside an older version ------------------------------------------------------------------


class OlderVersion:
    """A stand-in for an older version of this library that does not know expired waits."""

    def __init__(self, behind: Behind) -> None:
        self._client = behind.client
        self._name = behind.name

    def complete_with_next(self, key: str, ttl: int) -> None:
        stamp = b"\t" * 32
        document = data("older").model_dump_json().encode() + stamp
        self._client.hset(self._name("meta", key), mapping={"wait": stamp, "stamp": stamp})
        self._client.set(self._name("session", key), document, ex=ttl)
        self._expire([self._scope, self._name("meta", key)], ttl)

    def touch(self, key: str, ttl: int) -> None:
        names = [self._name("session", key), self._name("meta", key), self._scope]
        self._expire(names, ttl)

    def complete(self, key: str) -> None:
        self._client.delete(self._name("session", key), self._name("meta", key), self._scope)

    @property
    def _scope(self) -> str:
        return self._name("waits:scope", OWNER, A.scope_hash())

    def _expire(self, names: Iterable[str], ttl: int) -> None:
        for name in names:
            assert self._client.expire(name, ttl)


@pytest.fixture
def older(behind: Behind) -> OlderVersion:
    return OlderVersion(behind)


async def test_q6_fields_that_an_older_version_left_are_stale(
    store: AsyncSessionStore, behind: Behind, older: OlderVersion
) -> None:
    await keep(store, "k", A)
    older.complete_with_next("k", 30)
    held = await claim(store, A, lease=200)
    behind.advance(61)
    assert await claim_all(store) == []
    assert await held.complete() is False
    await store.purge_expired()
    assert behind.stored() == {}


async def test_q6_stale_fields_are_not_revived(
    store: AsyncSessionStore, behind: Behind, older: OlderVersion
) -> None:
    await keep(store, "k", A)
    older.complete_with_next("k", 30)
    await store.touch_session("k", 60)
    await store.update_session("k", data("new"))
    assert near(behind.left("meta", "k"), 60)
    behind.advance(61)
    assert await claim_all(store) == []


async def test_q6_a_deadline_that_an_older_version_moved_is_followed(
    store: AsyncSessionStore, behind: Behind, older: OlderVersion
) -> None:
    await keep(store, "k", A, ttl=60, expired_ttl=600)
    older.touch("k", 100)
    behind.advance(61)
    assert await claim_all(store) == []
    assert await find(store, A) == "k"
    behind.advance(40)
    assert await expired(store) == ["k"]


async def test_q6_a_wait_that_an_older_version_completed_is_not_handed_out(
    store: AsyncSessionStore, behind: Behind, older: OlderVersion
) -> None:
    await keep(store, "k", A)
    older.complete("k")
    behind.advance(61)
    assert await claim_all(store) == []
    assert not [name for name in behind.stored() if name.startswith("expiring:")]


# --- Claims -----------------------------------------------------------------------------------


async def test_q3_a_reply_that_is_held_over_the_deadline_outlasts_its_session(
    store: AsyncSessionStore, behind: Behind
) -> None:
    await keep(store, "k", A)
    held = await claim(store, A, lease=200)
    behind.advance(61)
    assert await claim_all(store) == []
    await register(store, "k2", A)
    assert await held.complete() is True
    assert await find(store, A) == "k2"
    assert behind.meta("k") == {}


async def test_q3_k2_a_wait_that_a_reply_gave_back_is_handed_out(
    store: AsyncSessionStore, behind: Behind
) -> None:
    await keep(store, "k", A)
    held = await claim(store, A, lease=200)
    await store.update_session("k", data("new"))
    behind.advance(61)
    assert await held.complete(KEEP) is True
    assert record_of(await claim_one(store)).data == data("new")


async def test_q2_the_end_of_a_claim_leaves_no_key_of_its_token(
    store: AsyncSessionStore, behind: Behind
) -> None:
    async def claims_after(end: Any) -> list[str]:
        await end(await claim_one(store))
        return [name for name in behind.stored() if name.startswith("claim:")]

    await keep(store, "k", A)
    behind.advance(61)
    assert await claims_after(WaitClaim.release) == []
    assert await claims_after(lambda held: held.complete(KEEP)) == []
    assert await claims_after(lambda held: held.complete(NewWait(A, data()))) == []
    assert await find(store, A) == "k"


async def test_q2_a_worker_that_died_leaves_no_key_of_its_token(
    store: AsyncSessionStore, behind: Behind
) -> None:
    await keep(store, "k", A)
    behind.advance(61)
    await claim_one(store, lease=10)
    behind.advance(11)
    assert not [name for name in behind.stored() if name.startswith("claim:")]
    assert await try_claim(store, A) is None
    assert await expired(store) == ["k"]


async def test_r1_a_server_that_is_out_of_memory_still_ends_claims() -> None:
    with RedisServer.start() as server, redis.Redis.from_url(server.url) as client:
        async with AsyncSessionStore.from_url(server.url) as store:
            for key, at in (("k", A), ("k2", B), ("k3", C)):
                await keep(store, key, at, ttl=0.05)
            await anyio.sleep(0.1)
            done, kept, released = await claim_all(store)
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailableError, match="out of memory"):
                await done.complete(NewWait(A, data()))
            assert await done.complete() is True
            assert await kept.complete(KEEP) is True
            await released.release()
            with pytest.raises(StoreUnavailableError, match="out of memory"):
                await store.claim_expired()
            client.config_set("maxmemory", 0)
            assert sorted(await expired(store)) == ["k2", "k3"]


@pytest.mark.parametrize("stale", ["expiring:all", f"expiring:{TENANCY}", f"expiring:{OWNER}"])
async def test_r4_a_replica_refuses_to_drop_stale_entries(stale: str) -> None:
    with RedisServer.start() as server, redis.Redis.from_url(server.url) as client:
        async with AsyncSessionStore.from_url(server.url) as store:
            behind = Behind(client, "greentic:session")
            names = [f"prod:t{number}:-" for number in range(1500)]
            if stale == f"expiring:{OWNER}":
                client.sadd(behind.name(stale), *names)
            else:
                client.zadd(behind.name("expiring:all"), {TENANCY: 0})
                client.zadd(behind.name(stale), {f"{name}:": 0 for name in names})
            client.replicaof("127.0.0.1", 1)
            with anyio.fail_after(10), pytest.raises(StoreUnavailableError, match="read-only"):
                await store.claim_expired(CTX if stale == f"expiring:{OWNER}" else None)


@pytest.mark.parametrize("name", ["expiring:x", "expiring:a b:c:-"])
async def test_f7_an_index_without_an_owner_is_emptied(
    store: AsyncSessionStore, behind: Behind, name: str
) -> None:
    await keep(store, "k", A)
    tenancy = name.removeprefix("expiring:")
    behind.client.hset(behind.name("meta", "k"), "owner", f"{tenancy}:u1")
    behind.client.zadd(behind.name(name), {"u1:k": 100_000})
    behind.client.zadd(behind.name("expiring:all"), {tenancy: 0})
    behind.advance(61)
    assert await claim_all(store) == []
    assert not behind.client.exists(behind.name(name))


# --- Restarts ---------------------------------------------------------------------------------


async def test_q1_a_restart_of_the_server_loses_nothing(tmp_path: Path) -> None:
    options = {"dir": str(tmp_path), "appendonly": "yes", "appendfsync": "always"}
    with RedisServer.start(**options) as server:
        async with AsyncSessionStore.from_url(server.url) as store:
            await keep(store, "k", A, "due", ttl=0.2)
            await keep(store, "k2", B, ttl=1000)
            await keep(store, "k3", C, "claimed", ttl=0.1)
            await claim(store, C, lease=100)
            await anyio.sleep(0.25)
    with RedisServer.start(**options) as server:
        async with AsyncSessionStore.from_url(server.url) as store:
            await keep(store, "k4", A, ttl=1000)
            claims = await claim_all(store)
            assert keys_of(claims) == ["k"]
            assert record_of(claims[0]).data == data("due")
            assert await claims[0].complete() is True
            assert await find(store, B) == "k2"
            name = f"greentic:session:claim:{OWNER}:{C.scope_hash()}"
            with redis.Redis.from_url(server.url) as client:
                assert client.delete(name) == 1
            assert keys_of(await claim_all(store)) == ["k3"]
