"""A read only decides: it changes nothing, runs on a replica, and costs little (F9)."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import anyio
import pytest
import redis

from async_session_store import (
    AsyncSessionStore,
    ConflictError,
    CorruptSessionError,
    ReplyScope,
    SessionNotFoundError,
    SessionStoreError,
    TenantCtx,
    TenantMismatchError,
    WaitClaimedError,
)
from async_session_store.backends.redis import _documents
from async_session_store.backends.redis._scripts import script
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    ctx,
    data,
    find,
    listed,
    register,
)
from async_session_store.testing.contract.claim_builders import claim
from calls import READS, Call
from redis_server import RedisServer
from rust_peers import RustPeer
from stored_keys import image

pytestmark = pytest.mark.anyio

OTHER = ctx(tenant="rival")
OWNERS = (CTX, OTHER, ctx("u2"), ctx(team="red"))
KEYS = ("k1", "k2", "k3")
SCOPES = (A, B)
MEBIBYTE = 1024 * 1024

READ_SCRIPTS: Final = (
    "find_wait",
    "inspect_waits",
    "list_wait_records",
    "list_waits",
    "read_record",
    "read_wait",
)
COMMANDS_THAT_READ: Final = {
    *("EXISTS", "GET", "GETRANGE", "HMGET", "PEXPIRETIME", "PTTL", "SMEMBERS", "STRLEN", "TIME")
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# --- Nothing changes --------------------------------------------------------------------------


@pytest.mark.parametrize("name", READ_SCRIPTS)
def test_f9_a_script_that_reads_has_no_command_that_writes(name: str) -> None:
    calls = re.findall(rb"redis\.p?call\(\s*'(\w+)'", script(name).source)
    assert {call.decode() for call in calls} <= COMMANDS_THAT_READ
    assert len(calls) == len(re.findall(rb"redis\.p?call", script(name).source))


async def read_everything(store: AsyncSessionStore, of: TenantCtx) -> None:
    user = of.user_id or ""
    calls: list[Call] = [
        lambda store: store.find_wait_by_scope(of, user, SCOPES),
        lambda store: store.list_waits_for_user(of, user),
        lambda store: store.list_wait_records(of, user),
        lambda store: store.explain(of, user, SCOPES),
    ]
    calls += [lambda store, scope=scope: find(store, scope, of=of) for scope in SCOPES]
    calls += [lambda store, scope=scope: store.get_wait(of, user, scope) for scope in SCOPES]
    calls += [lambda store, key=key: store.get_session(key, ctx=of) for key in KEYS]
    calls += [lambda store, key=key: store.get_record(key, ctx=of) for key in KEYS]
    for call in calls:
        with suppress(CorruptSessionError):
            await call(store)


SPOILT: Final = (b"", b"spoilt", b"[[],[]]", b'{"tenant_ctx":{"env":"prod"}}', b"{}" + b" " * 32)


def rust_steps(rust: RustPeer, client: redis.Redis, chance: random.Random) -> Iterator[None]:
    """Act as a Rust process, or damage a document, with one command in each step."""
    of, key, scope = chance.choice(OWNERS), chance.choice(KEYS), chance.choice(SCOPES)
    match chance.choice(["register", "register", "register", "update", "remove", "clear", "spoil"]):
        case "register":
            ttl = chance.choice([None, 600])
            same = chance.choice(["", data("here", of=of).model_dump_json()])
            yield from rust.registering(key, scope, same, of=of, ttl=ttl)
        case "update":
            rust.update(key, of=of)
            yield
        case "remove":
            rust.remove(key, of=of)
            yield
        case "clear":
            rust.clear(scope, of=of)
            yield
        case _:
            client.set(rust.session(key), chance.choice(SPOILT), xx=True, keepttl=True)
            yield


async def write_here(store: AsyncSessionStore, chance: random.Random) -> None:
    of, key, scope = chance.choice(OWNERS), chance.choice(KEYS), chance.choice(SCOPES)
    user, ttl = of.user_id or "", chance.choice([None, 600])
    calls: list[Call] = [
        lambda store: register(store, key, scope, "here", of=of, ttl=ttl),
        lambda store: store.update_session(key, data("here", of=of), ctx=of),
        lambda store: store.touch_session(key, ttl or 60, ctx=of),
        lambda store: store.claim_wait(of, user, scope),
        lambda store: store.remove_session(key, ctx=of),
        lambda store: store.clear_wait(of, user, scope),
    ]
    refusals = (SessionNotFoundError, TenantMismatchError, CorruptSessionError, WaitClaimedError)
    with suppress(*refusals):
        await chance.choice(calls)(store)


@pytest.mark.parametrize("seed", range(10))
async def test_f9_no_read_changes_a_key_a_value_or_a_deadline(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    namespace: str,
    seed: int,
) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        if chance.random() < 0.4:
            await write_here(store, chance)
        steps = rust_steps(rust, redis_client, chance)
        for _ in steps:
            if chance.random() < 0.4:
                before = image(redis_client, namespace)
                for of in OWNERS:
                    await read_everything(store, of)
                assert unchanged(before, image(redis_client, namespace))


def unchanged(
    before: dict[bytes, tuple[object, int]], after: dict[bytes, tuple[object, int]]
) -> bool:
    """Return whether keys and values are equal, and deadlines to the tick of the clock."""
    return before.keys() == after.keys() and all(
        value == after[key][0] and abs(deadline - after[key][1]) <= 2
        for key, (value, deadline) in before.items()
    )


@pytest.mark.parametrize("ttl", [None, 60])
async def test_f9_t4_reads_between_the_commands_of_a_rust_process_keep_its_deadline(
    store: AsyncSessionStore,
    rust: RustPeer,
    redis_client: redis.Redis,
    ttl: int | None,
) -> None:
    await register(store, "k", A, ttl=30)
    for _ in rust.registering("k", A, ttl=ttl):
        for read in READS.values():
            await read(store)
        await (await claim(store, A)).release()
    for name in (rust.session("k"), rust.scope(A, CTX)):
        left = redis_client.pttl(name)
        assert left == -1 if ttl is None else 50_000 < left <= 60_000


async def test_f7_f9_a_record_for_another_owner_leaves_the_deadline(
    store: AsyncSessionStore, rust: RustPeer
) -> None:
    await register(store, "k", A, ttl=60)
    rust.update("k")
    assert await store.get_record("k", ctx=OTHER) is None
    assert rust.milliseconds("k") == -1


# --- On a replica -----------------------------------------------------------------------------


async def test_f9_a_replica_that_takes_no_writes_serves_every_read(namespace: str) -> None:
    with (
        RedisServer.start() as primary,
        RedisServer.start(replicaof=f"127.0.0.1 {primary.port}") as replica,
        redis.Redis.from_url(primary.unix_url) as client,
        redis.Redis.from_url(replica.unix_url) as behind,
    ):
        rust = RustPeer(client, namespace)
        async with (
            AsyncSessionStore.from_url(primary.unix_url, namespace=namespace) as store,
            AsyncSessionStore.from_url(replica.unix_url, namespace=namespace) as reader,
        ):
            await leave_what_reads_used_to_mend(store, rust)
            await replicated(client, behind, namespace)
            for name, read in READS.items():
                assert await read(reader) == await read(store), name
            for of in OWNERS:
                await read_everything(reader, of)
            with pytest.raises(SessionStoreError, match="replica"):
                await store_session(reader)


async def leave_what_reads_used_to_mend(store: AsyncSessionStore, rust: RustPeer) -> None:
    await register(store, "k", A, ttl=60)
    rust.update("k")  # a deadline that was dropped
    await register(store, "gone", B)
    rust.remove("gone")  # a scope key without a session
    rust.register("moved", C)
    await register(store, "moved", ReplyScope(conversation="elsewhere"))
    rust.register("k3", B, of=OTHER)
    rust.register("touched", ReplyScope(conversation="touched"), ttl=60)
    await store.touch_session("touched", 600)
    for member in ("gone", "k3"):
        rust._redis.sadd(rust.user(CTX), member)


async def replicated(primary: redis.Redis, replica: redis.Redis, namespace: str) -> None:
    deadline = time.monotonic() + 20
    while values(primary, namespace) != values(replica, namespace):
        assert time.monotonic() < deadline
        await anyio.sleep(0.05)


def values(client: redis.Redis, namespace: str) -> dict[bytes, object]:
    """Deadlines are left out: Redis 6.2 replicates a time to live, which begins later there."""
    return {key: value for key, (value, _) in image(client, namespace).items()}


async def store_session(store: AsyncSessionStore) -> None:
    await store.create_session(CTX, data())


# --- What a large document costs --------------------------------------------------------------

LOOK_UPS: Final[dict[str, Call]] = {
    "find_wait_by_scope": lambda store: find(store, A),
    "explain": lambda store: store.explain(CTX, "u1", A),
    "list_waits_for_user": listed,
    "clear_wait": lambda store: store.clear_wait(CTX, "u1", A, session_key="none"),
    "register_wait_if_absent": lambda store: store.register_wait_if_absent(
        CTX, "u1", A, "new", data()
    ),
    "claim_wait": lambda store: claim(store, A),
    "update_session": lambda store: store.update_session("k", data("new")),
    "touch_session": lambda store: store.touch_session("k", 60),
}
"""Calls that must find out whose a document is, and do not return it."""


def microseconds(client: redis.Redis) -> float:
    """Return the processor time of the server, which a busy machine does not change."""
    cpu = client.info("cpu")
    return (cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6


LARGE: Final = {
    "ascii": data("x" * MEBIBYTE).model_dump_json(),
    "json": data(json.dumps({"a": ["b", 1] * 90_000})).model_dump_json(),
    "other": data("\N{PILE OF POO}é" * (MEBIBYTE // 6)).model_dump_json(),
}
HOSTILE: Final = {
    "brackets": "[" + "[]," * (8 * MEBIBYTE // 3 - 10) + "[]]",
    "brackets in the context": '{"tenant_ctx":[' + "[]," * (8 * MEBIBYTE // 3 - 10) + "[]]}",
    "brackets after": data("rust").model_dump_json()[:-1]
    + ',"new":['
    + "[]," * (8 * MEBIBYTE // 3 - 200)
    + "[]]}",
    "quotes": '{"a":"' + '\\"' * (4 * MEBIBYTE - 100) + '"}',
}


@pytest.mark.parametrize("call", LOOK_UPS.values(), ids=LOOK_UPS)
@pytest.mark.parametrize("document", [*LARGE.values(), *HOSTILE.values()], ids=[*LARGE, *HOSTILE])
async def test_a_look_up_does_not_read_the_whole_of_a_large_document(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, call: Call, document: str
) -> None:
    times = []
    for _ in range(4):
        rust.register("k", A, document)
        with suppress(SessionStoreError):
            before = microseconds(redis_client)
            await call(store)
        times.append(microseconds(redis_client) - before)
        await store.clear_waits_for_user(CTX, "u1")
        redis_client.delete(rust.session("k"), rust.scope(A, CTX), rust.user(CTX))
    assert min(times) < 5_000  # the whole of it takes 20,000 to 2,600,000


# --- Whose a large document is ----------------------------------------------------------------

FILLER: Final = "x" * 20_000


def fields(**changes: object) -> dict[str, object]:
    return {**data(FILLER).model_dump(mode="json"), **changes}


def test_the_size_from_which_a_document_is_cut_is_the_same_for_scripts_and_readers() -> None:
    (largest,) = re.findall(rb"LARGEST_WHOLE = (\d+)", script("read_record").source)
    assert int(largest) == _documents._LARGEST_WHOLE
    (tail,) = re.findall(rb"size - (\d+), size - 1\)", script("read_record").source)
    assert int(tail) == _documents._TAIL


CUT_HEAD: Final = json.dumps(fields(context_json="")).replace(" ", "")[:-2]
THEIRS: Final = json.dumps(OTHER.model_dump(mode="json"))

READABLE: Final = {
    "as the crate writes it": json.dumps(fields(), separators=(",", ":")),
    "a line feed behind it": json.dumps(fields(), separators=(",", ":")) + "\r\n",
    "many blanks behind it": json.dumps(fields(), separators=(",", ":")) + " " * 70,
    "unknown fields before": json.dumps({"new": {"a": 1}, **fields()}, separators=(",", ":")),
    "another order before": json.dumps(
        {"cursor": fields()["cursor"], **{k: v for k, v in fields().items() if k != "cursor"}},
        separators=(",", ":"),
    ).replace('"context_json"', '"context_json"'),
    "the name in a text": json.dumps(
        fields(context_json=',"context_json":"' + FILLER), separators=(",", ":")
    ),
    "a context before it that counts no more": f'{{"tenant_ctx":{THEIRS},'
    + CUT_HEAD[1:]
    + f'{FILLER}"}}',
}
UNTELLABLE: Final = {
    "context_json first": json.dumps(dict(reversed(fields().items())), separators=(",", ":")),
    "context_json not last": f'{CUT_HEAD}{FILLER}","new":1}}',
    "blanks between": json.dumps(fields()),
    "a large context": json.dumps(
        fields(tenant_ctx={**CTX.model_dump(mode="json"), "attributes": {"a": FILLER}}),
        separators=(",", ":"),
    ),
}
"""Whole documents whose owner no script can determine."""
FORGED: Final = {
    "another context behind": f'{CUT_HEAD}{FILLER}","tenant_ctx":{THEIRS},"new":"x"}}',
    "another context behind, escaped": (
        f'{CUT_HEAD}{FILLER}","tenant\\u005fctx":{THEIRS},"new":"x"}}'
    ),
    "another of both behind": (f'{CUT_HEAD}{FILLER}","tenant_ctx":{THEIRS},"context_json":"x"}}'),
    "another context_json behind": f'{CUT_HEAD}{FILLER}","context_json":"x"}}',
    "not utf-8": f'{CUT_HEAD}{FILLER}\udcff"}}',
    "a lone surrogate": f'{CUT_HEAD}{FILLER}\\ud800"}}',
}
"""Documents that are sound in the part that a script reads."""


@pytest.mark.parametrize("document", READABLE.values(), ids=READABLE)
async def test_m3_a_large_document_of_a_rust_process_is_read(
    store: AsyncSessionStore, rust: RustPeer, document: str
) -> None:
    rust.register("k", A, document)
    record = await store.get_wait(CTX, "u1", A)
    assert record is not None
    assert record.data.owner == CTX.owner
    assert FILLER in record.data.context_json
    assert await store.get_session("k", ctx=CTX) == record.data
    assert await find(store, A) == "k"
    assert await listed(store) == ["k"]
    assert await store.get_session("k", ctx=OTHER) is None
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k", ctx=OTHER)
    await store.update_session("k", data("new"), ctx=CTX, if_match=record.etag)
    assert await (await claim(store, A)).complete() is True


@pytest.mark.parametrize("document", UNTELLABLE.values(), ids=UNTELLABLE)
async def test_r2_a_large_document_of_another_form_is_unreadable(
    store: AsyncSessionStore, rust: RustPeer, document: str
) -> None:
    rust.register("k", A, document)
    rust.register("sound", B)
    refused: list[Call] = [
        lambda store: store.get_session("k"),
        lambda store: store.get_record("k"),
        lambda store: store.get_wait(CTX, "u1", A),
        lambda store: store.update_session("k", data()),
        lambda store: register(store, "k", C),
        lambda store: store.claim_wait(CTX, "u1", A),
        lambda store: store.remove_session("k", ctx=CTX),
    ]
    for call in refused:
        with pytest.raises(CorruptSessionError):
            await call(store)
    assert await find(store, A) == "k"
    assert await listed(store) == ["sound"]
    assert await store.clear_wait(CTX, "u1", A)
    await store.remove_session("k")


@pytest.mark.parametrize("document", FORGED.values(), ids=FORGED)
async def test_f7_a_large_document_belongs_to_the_owner_in_its_head(
    store: AsyncSessionStore, rust: RustPeer, document: str
) -> None:
    rust.register("k", A, document.encode(errors="surrogateescape"))
    for scope_of in (CTX, OTHER):
        rust.register("k", A, document.encode(errors="surrogateescape"), of=scope_of)
    assert await find(store, A) == "k"
    assert await find(store, A, of=OTHER) is None
    assert await listed(store, of=OTHER) == []
    assert await store.get_session("k", ctx=OTHER) is None
    assert await store.get_record("k", ctx=OTHER) is None
    assert await store.get_wait(OTHER, "u1", A) is None
    for call in (
        store.get_session("k"),
        store.get_session("k", ctx=CTX),
        store.get_record("k", ctx=CTX),
        store.get_wait(CTX, "u1", A),
        store.claim_wait(CTX, "u1", A),
    ):
        with pytest.raises(CorruptSessionError):
            await call
    with pytest.raises(SessionNotFoundError):
        await store.remove_session("k", ctx=OTHER)
    with pytest.raises(TenantMismatchError):
        await register(store, "k", B, of=OTHER)
    # The claim was given back.
    assert await register(store, "k2", A) == "k"
    assert await (await claim(store, A)).complete() is True


def hostile(chance: random.Random) -> bytes:
    """Return a document of sound and odd parts, in any order, some of them twice."""
    theirs, ours = (
        json.dumps(OTHER.model_dump(mode="json")),
        json.dumps(CTX.model_dump(mode="json")),
    )
    text = chance.choice(["", "x", "y" * 16_000, "z" * 16_384, "w" * 40_000])
    parts = [
        f'"tenant_ctx":{chance.choice([ours, theirs])}',
        f'"tenant\\u005fctx":{chance.choice([ours, theirs])}',
        f'"tenant_ctx":{{"env":"prod","tenant":"{chance.choice(["acme", "rival"])}","user":"u1"}}',
        '"flow_id":"f"',
        '"cursor":{"node_pointer":"n"}',
        f'"context_json":"{text}"',
        f'"context_json":"{text}\\","',
        f'"own":{{"a":1,"context_json":"{text}","tenant_ctx":{theirs}}}',
        f'"own":["{text}",{ours}]',
    ]
    sound = [parts[0], *parts[3:6]]
    chosen = sound + [chance.choice(parts) for _ in range(chance.choice([0, 0, 1, 2, 3]))]
    if chance.random() < 0.5:
        chance.shuffle(chosen)
    whole = chance.choice([",", ", "]).join(chosen).encode()
    if chance.random() < 0.2:
        cut = chance.randrange(len(whole))
        whole = whole[:cut] + bytes([chance.randrange(256)]) + whole[cut + 1 :]
    ending = chance.choice([b"", b"", b"\n", b" " * 31, b" " * 32, b"\t" * 33, b" " * 70])
    return b"{" + whole + b"}" + ending


@pytest.mark.parametrize("seed", range(4))
async def test_f7_a_hostile_document_is_never_read_by_two_owners(
    store: AsyncSessionStore, rust: RustPeer, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        document = hostile(chance)
        rust.register("k", A, document)
        rust.register("k", A, document, of=OTHER)
        if chance.random() < 0.5:
            with suppress(SessionStoreError):
                await store.touch_session("k", 60)  # which may stamp it
        readers = [of for of in (CTX, OTHER) if await is_read_by(store, of, document)]
        assert len(readers) <= 1, document
        with suppress(SessionNotFoundError):
            await store.remove_session("k")


async def is_read_by(store: AsyncSessionStore, of: TenantCtx, document: bytes) -> bool:
    """Return whether any call gives the owner the data. Check that the data is the owner's own."""
    records = [*await store.list_wait_records(of, "u1")]
    data_of = []
    for read in (store.get_wait(of, "u1", A), store.get_record("k", ctx=of)):
        with suppress(CorruptSessionError):
            records += filter(None, [await read])
    with suppress(CorruptSessionError):
        data_of += filter(None, [await store.get_session("k", ctx=of)])
    with suppress(CorruptSessionError):
        claimed = await store.claim_wait(of, "u1", A)
        if claimed is not None:
            records.append(claimed.record)
            await claimed.release()
    data_of += [record.data for record in records]
    assert {found.owner for found in data_of} <= {of.owner}, document
    return bool(data_of)


async def test_s3_a_session_of_this_library_may_have_a_head_of_any_size(
    store: AsyncSessionStore,
) -> None:
    of = CTX.model_copy(update={"trace_id": "é" * 50_000, "attributes": {"a": FILLER}})
    key = await store.create_session(of, data(FILLER, of=of))
    await store.update_session(key, data(FILLER, of=of), ctx=of)
    record = await store.get_record(key, ctx=of)
    assert record is not None
    assert record.data == data(FILLER, of=of)
    assert await store.get_session(key, ctx=OTHER) is None
    await register(store, key, A, of=of)
    await store.remove_session(key, ctx=of)


async def test_s6_a_session_as_large_as_allowed_can_be_updated_and_claimed(
    redis_server: RedisServer, rust: RustPeer, namespace: str
) -> None:
    document = data(FILLER).model_dump_json()
    async with AsyncSessionStore.from_url(
        redis_server.unix_url, namespace=namespace, max_document_bytes=len(document)
    ) as store:
        key = await store.create_session(CTX, data(FILLER))
        await store.update_session(key, data(FILLER))
        rust.register("k", A, document)
        await (await claim(store, A)).release()
        assert await store.get_session("k") == data(FILLER)
        await store.update_session("k", data(FILLER))


# --- Etags ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "etag",
    ["}", " ", "\n", '"}', " " * 32, "\t\n\r " * 8, "0" * 16, "A" * 40, "0" * 40, "x" * 40, "-"],
)
async def test_e2_only_an_etag_of_this_library_matches(
    store: AsyncSessionStore, rust: RustPeer, redis_client: redis.Redis, etag: str
) -> None:
    await register(store, "ours", A)
    rust.register("theirs", B)
    rust.register("blanks", C, data().model_dump_json() + " " * 40)
    created = await store.create_session(CTX, data())
    stamp = redis_client.get(rust.session(created))[-32:].decode()
    for key in ("ours", "theirs", "blanks", created):
        for text in (etag, stamp):
            with pytest.raises(ConflictError):
                await store.update_session(key, data("lost"), if_match=text)
        record = await store.get_record(key)
        assert record is not None
        for text in (record.etag.upper() + "0", f"{record.etag} ", f" {record.etag}"):
            with pytest.raises(ConflictError):
                await store.update_session(key, data("lost"), if_match=text)
        await store.update_session(key, data("new"), if_match=record.etag)
