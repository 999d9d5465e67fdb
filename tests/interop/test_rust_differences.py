"""Each difference of ``rust_differences.py``, seen with the crate: what it does, and what we do.

A test's name begins with the guarantee and the backend. Where the backend is "both", it runs on
both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import NamedTuple

import pytest
import redis
from pydantic import BaseModel, ValidationError
from sides import PythonStore, Side, clear, find, find_by_user, listed, refusal

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    TenantCtx,
)
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, A, B, ctx, data
from clock import Clock, shorten_deadlines
from rust_process import RustError, RustProcess, RustStore, arguments

OTHER = ctx("u2")
RIVAL = ctx(tenant="rival")
MINUTE = timedelta(minutes=1)


class Pair(NamedTuple):
    """A store of this library and one of the crate that share nothing, and a way to pass time."""

    ours: PythonStore
    theirs: RustStore
    let_a_minute_pass: Callable[[], None]


@pytest.fixture
def memory(rust_process: RustProcess) -> Iterator[Pair]:
    clock = Clock()
    store = AsyncSessionStore(MemoryBackend(clock=clock))
    with (
        PythonStore.opened(store) as ours,
        closing(rust_process.memory_store()) as theirs,
    ):
        yield Pair(ours, theirs, lambda: clock.advance(61))


@pytest.fixture
def on_redis(
    rust_process: RustProcess,
    python: PythonStore,
    redis_client: redis.Redis,
    namespace: str,
    request: pytest.FixtureRequest,
) -> Iterator[Pair]:
    server = request.getfixturevalue("redis_server")
    with closing(rust_process.redis_store(server.url, f"{namespace}:theirs")) as theirs:
        yield Pair(python, theirs, lambda: shorten_deadlines(redis_client, namespace, 61))


@pytest.fixture(params=["memory", "on_redis"])
def both(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(request.param)


def register(
    side: Side,
    key: str,
    scope: ReplyScope,
    context: str = "{}",
    *,
    of: TenantCtx = CTX,
    ttl: timedelta | None = None,
) -> None:
    side.register_wait(of, of.owner.user or "", scope, key, data(context, of=of), ttl)


def register_for_a_moment(pair: Pair, key: str, scope: ReplyScope) -> None:
    """Register a wait on both sides, and let it expire."""
    register(pair.ours, key, scope, ttl=MINUTE)
    pair.let_a_minute_pass()
    register(pair.theirs, key, scope, ttl=timedelta(milliseconds=1))
    time.sleep(0.002)


# --- Types ------------------------------------------------------------------------------------


def reads(kind: type[BaseModel], text: str) -> bool:
    try:
        kind.model_validate_json(text)
    except ValidationError:
        return False
    return True


def reads_in_rust(process: RustProcess, kind: str, text: str) -> bool:
    return refusal(process.rewrite, kind, text) is None


CONTEXT = '{"env":"e","tenant":"t","tenant_id":"t","attempt":0}'


def test_m1_types_a_context_without_attempt(rust_process: RustProcess) -> None:
    text = CONTEXT.replace(',"attempt":0', "")
    assert reads(TenantCtx, text)
    assert not reads_in_rust(rust_process, "TenantCtx", text)


def test_m2_types_one_of_a_pair_of_twins(rust_process: RustProcess) -> None:
    for text in (
        CONTEXT.replace('"tenant":"t",', ""),
        CONTEXT.replace('"tenant_id":"t",', ""),
    ):
        assert reads(TenantCtx, text)
        assert not reads_in_rust(rust_process, "TenantCtx", text)
    for text in (
        CONTEXT.replace('"tenant":"t"', '"tenant":"s"'),
        CONTEXT.replace('"attempt"', '"user":"u","user_id":"v","attempt"'),
        CONTEXT.replace('"attempt"', '"team":"u","team_id":"v","attempt"'),
    ):
        assert not reads(TenantCtx, text)
        assert reads_in_rust(rust_process, "TenantCtx", text)


def test_m3_types_unknown_fields(rust_process: RustProcess) -> None:
    text = '{"node_pointer":"n","new":1}'
    assert SessionCursor.model_validate_json(text).model_dump_json() == text
    assert rust_process.rewrite("SessionCursor", text) == ['{"node_pointer":"n"}']


def test_m4_types_a_newline_in_a_scope(rust_process: RustProcess) -> None:
    texts = [
        '{"conversation":"a\\nb","thread":"c","reply_to":"d"}',
        '{"conversation":"a","thread":"b","reply_to":"c","correlation":"d\\n"}',
    ]
    assert not any(reads(ReplyScope, text) for text in texts)
    one, other = (rust_process.call("scope_hash", text) for text in texts)
    assert one == other


def test_m7_types_the_length_of_a_session_key(rust_process: RustProcess) -> None:
    for key in ("", "x" * 1025, "\N{PILE OF POO}" * 257):
        with pytest.raises(ValidationError):
            SessionKey(key)
        assert reads_in_rust(rust_process, "SessionKey", json.dumps(key))


# --- Owners -----------------------------------------------------------------------------------


def test_f2_redis_another_owner_takes_a_key(on_redis: Pair) -> None:
    for side in on_redis[:2]:
        register(side, "k", A, "mine")
    assert refusal(register, on_redis.ours, "k", A) is None
    with pytest.raises(Exception, match="F2"):
        register(on_redis.ours, "k", A, "theirs", of=RIVAL)
    register(on_redis.theirs, "k", A, "theirs", of=RIVAL)
    assert on_redis.theirs.get_session("k") == data("theirs", of=RIVAL)
    assert on_redis.ours.get_session("k") == data("{}")


def test_f4_both_another_user_of_the_tenant(both: Pair) -> None:
    for side in both[:2]:
        register(side, "k", A, of=OTHER)
    ours, theirs, _ = both
    assert ours.find_wait_by_scope(CTX, "u2", A) is None
    assert ours.list_waits_for_user(CTX, "u2") == []
    assert refusal(ours.clear_wait, CTX, "u2", A) == "invalid_input"
    assert theirs.find_wait_by_scope(CTX, "u2", A) == "k"
    assert theirs.list_waits_for_user(CTX, "u2") == ["k"]
    theirs.clear_wait(CTX, "u2", A)
    assert theirs.get_session("k") is None


def test_f6_both_the_team_that_is_the_mark_for_none(both: Pair) -> None:
    dash = ctx(team="-")
    assert refusal(lambda: register(both.ours, "k", A, of=dash)) == "invalid_input"
    assert refusal(lambda: find(both.ours, A, of=dash)) == "invalid_input"
    register(both.theirs, "k", A, of=dash)
    assert find(both.theirs, A, of=dash) == "k"


def test_f8_both_what_an_error_text_names(both: Pair) -> None:
    texts = []
    for side in both[:2]:
        register(side, "k", A, of=RIVAL)
        with pytest.raises(Exception, match="env") as caught:
            side.update_session("k", data())
        texts.append(str(caught.value))
    assert "rival" not in texts[0]
    assert "rival" in texts[1]


# --- Sessions and waits -----------------------------------------------------------------------


def test_s3_memory_updating_an_expired_session(memory: Pair) -> None:
    register_for_a_moment(memory, "k", A)
    assert refusal(memory.ours.update_session, "k", data()) == "not_found"
    memory.theirs.update_session("k", data())
    assert memory.theirs.get_session("k") is None
    assert refusal(memory.theirs.update_session, "k", data()) == "not_found"


def test_s4_memory_removing_an_expired_session(memory: Pair) -> None:
    register_for_a_moment(memory, "k", A)
    assert refusal(memory.ours.remove_session, "k") == "not_found"
    memory.theirs.remove_session("k")


def test_s4_redis_the_scope_of_a_removed_session(on_redis: Pair) -> None:
    for side in on_redis[:2]:
        register(side, "k", A)
        side.remove_session("k")
        register(side, "k", B)
    assert find(on_redis.ours, A) is None
    assert find(on_redis.theirs, A) == "k"


def test_s6_both_a_large_document(both: Pair) -> None:
    large = data("x" * (9 * 1024 * 1024))
    assert refusal(both.ours.create_session, CTX, large) == "invalid_input"
    key = both.theirs.create_session(CTX, large)
    assert both.theirs.get_session(key) == large


def test_w1_redis_how_many_commands_an_operation_is(
    on_redis: Pair, redis_client: redis.Redis
) -> None:
    def commands() -> dict[str, int]:
        stats = redis_client.info("commandstats")
        return {name: stats[name]["calls"] for name in stats}

    def sent(side: Side) -> dict[str, int]:
        before = commands()
        register(side, "k", A, ttl=MINUTE)
        after = commands()
        return {name: after[name] - before.get(name, 0) for name in after}

    register(on_redis.ours, "k", A)  # so the server has the script
    assert sent(on_redis.ours)["cmdstat_evalsha"] == 1
    theirs = sent(on_redis.theirs)
    assert theirs["cmdstat_set"] == 2
    assert not any(theirs.get(f"cmdstat_{name}") for name in ("multi", "eval", "evalsha"))


def test_w2_redis_the_old_scope_after_a_move(on_redis: Pair) -> None:
    for side in on_redis[:2]:
        register(side, "k", A)
        register(side, "k", B)
        assert find(side, B) == "k"
    assert find(on_redis.ours, A) is None
    assert find(on_redis.theirs, A) == "k"


def remove(side: Side) -> None:
    side.remove_session("detached")


def move(side: Side) -> None:
    register(side, "detached", B)


@pytest.mark.parametrize("end", [remove, move])
def test_w3_memory_the_end_of_a_detached_session(memory: Pair, end: Callable[[Side], None]) -> None:
    for side in memory[:2]:
        register(side, "detached", A)
        register(side, "winner", A)
        assert find(side, A) == "winner"
        end(side)
    assert find(memory.ours, A) == "winner"
    assert find(memory.theirs, A) is None


def test_w3_memory_the_deadline_of_a_detached_session(memory: Pair) -> None:
    register_for_a_moment(memory, "detached", A)
    for side in memory[:2]:
        register(side, "winner", A)
        assert find(side, A) == "winner"
        assert side.get_session("detached") is None
    assert find(memory.ours, A) == "winner"
    assert find(memory.theirs, A) is None


def test_w5_both_the_order_of_a_list(both: Pair) -> None:
    keys = [f"k{number:02}" for number in range(40)]
    for side in both[:2]:
        for key in reversed(keys):
            register(side, key, ReplyScope(conversation=key))
    assert both.ours.list_waits_for_user(CTX, "u1") == keys
    theirs = both.theirs.list_waits_for_user(CTX, "u1")
    assert theirs != keys
    assert sorted(theirs) == keys


def test_w6_both_a_late_clear(both: Pair) -> None:
    for side in both[:2]:
        register(side, "first", A)
        register(side, "next", A)
    both.ours.clear_wait(CTX, "u1", A, session_key="first")
    assert find(both.ours, A) == "next"
    with pytest.raises(TypeError, match="session_key"):
        both.theirs.clear_wait(CTX, "u1", A, session_key="first")  # type: ignore[call-arg]
    both.theirs.clear_wait(CTX, "u1", A)
    assert both.theirs.get_session("next") is None


def test_w6_redis_clearing_the_old_scope(on_redis: Pair) -> None:
    for side in on_redis[:2]:
        register(side, "k", A)
        register(side, "k", B)
        clear(side, A)
    assert find(on_redis.ours, B) == "k"
    assert find(on_redis.theirs, B) is None


# --- Time -------------------------------------------------------------------------------------

HUGE = {"secs": 2**64 - 1, "nanos": 0}


def register_for_long(side: RustStore) -> str | None:
    values = {"ctx": CTX, "user_id": "u1", "scope": A, "session_key": "k", "data": data()}
    call = side.process.call
    return refusal(call, "register_wait", arguments(**values, ttl=HUGE), side.name)


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(days=36_600)])
def test_t1_both_a_ttl_of_nothing_or_of_over_100_years(both: Pair, ttl: timedelta) -> None:
    assert refusal(lambda: register(both.ours, "k", A, ttl=ttl)) == "invalid_input"
    register(both.theirs, "k", A, ttl=ttl)
    time.sleep(0.002)
    assert find(both.theirs, A) == ("k" if ttl else None)


def test_t1_memory_a_huge_ttl(memory: Pair) -> None:
    assert refusal(lambda: register(memory.ours, "k", A, ttl=timedelta.max)) == "invalid_input"
    assert register_for_long(memory.theirs) == "panic"


def test_t1_redis_a_huge_ttl(on_redis: Pair) -> None:
    assert refusal(lambda: register(on_redis.ours, "k", A, ttl=timedelta.max)) == "invalid_input"
    assert on_redis.ours.get_session("k") is None
    assert register_for_long(on_redis.theirs) == "unavailable"
    assert on_redis.theirs.get_session("k") == data()


def test_t3_redis_the_deadline_after_an_update(on_redis: Pair) -> None:
    for side in on_redis[:2]:
        register(side, "k", A, ttl=MINUTE)
        side.update_session("k", data("new"))
    on_redis.let_a_minute_pass()
    assert on_redis.ours.get_session("k") is None
    assert on_redis.theirs.get_session("k") == data("new")


def test_t3_in_memory_neither_moves_the_deadline(memory: Pair) -> None:
    short = timedelta(milliseconds=200)
    for side in memory[:2]:
        register(side, "updated", A, ttl=short)
        side.update_session("updated", data("new"))
        register(side, "anew", B, ttl=short)
        register(side, "anew", B)
        assert side.get_session("updated") == data("new")
    time.sleep(0.21)
    for side in memory[:2]:
        assert side.get_session("updated") is None
        assert find(side, A) is None
        assert find(side, B) == "anew"


def test_t4_memory_the_key_of_an_expired_session(memory: Pair) -> None:
    register_for_a_moment(memory, "k", A)
    register(memory.ours, "k", A, of=OTHER)
    assert refusal(lambda: register(memory.theirs, "k", A, of=OTHER)) == "invalid_input"


def test_t5_memory_what_nobody_reads(memory: Pair) -> None:
    for number in range(50):
        register_for_a_moment(memory, f"k{number}", ReplyScope(conversation=str(number)))
    for number in range(50):
        for side in memory[:2]:
            register(side, f"later{number}", ReplyScope(conversation=f"later{number}"))
    assert memory.ours.purge_expired() == 0  # they are reclaimed already
    for number in range(50):
        memory.theirs.update_session(f"k{number}", data())  # they are all there still


# --- Claims, and documents that cannot be read ------------------------------------------------


def test_k1_both_two_workers(both: Pair) -> None:
    for side in both[:2]:
        register(side, "k", A)
    assert both.ours.claim_wait(CTX, "u1", A) is not None
    assert refusal(both.ours.claim_wait, CTX, "u1", A) == "conflict"
    assert [find(both.theirs, A) for _worker in range(2)] == ["k", "k"]


def test_r2_redis_one_corrupt_document(
    on_redis: Pair, redis_client: redis.Redis, namespace: str
) -> None:
    for side, prefix in ((on_redis.ours, namespace), (on_redis.theirs, f"{namespace}:theirs")):
        register(side, "sound", A)
        register(side, "corrupt", B)
        redis_client.set(f"{prefix}:session:corrupt", "{")
    assert listed(on_redis.ours) == ["sound"]
    assert find_by_user(on_redis.ours) == ("sound", data())
    on_redis.ours.remove_session("corrupt")
    theirs = on_redis.theirs
    calls: list[Callable[[], object]] = [
        lambda: listed(theirs),
        lambda: find(theirs, B),
        lambda: find_by_user(theirs),
        lambda: theirs.update_session("corrupt", data()),
        lambda: theirs.remove_session("corrupt"),
    ]
    for call in calls:
        with pytest.raises(RustError, match="internal"):
            call()
    assert isinstance(theirs.get_session("sound"), SessionData)
