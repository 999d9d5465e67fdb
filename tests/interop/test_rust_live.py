"""Python and the Rust crate on one Redis: what one side does, the other observes."""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sides import PythonStore, Side, clear, find, find_by_user, listed, refusal
from wire_values import identifiers, scopes, sessions, texts

from async_session_store import ReplyScope, SessionData, TenantCtx
from async_session_store.testing.contract.builders import CTX, A, B, C, ctx, data
from clock import shorten_deadlines
from rust_process import RustStore

OTHER = ctx("u2")
RIVAL = ctx(tenant="rival")
MINUTE = timedelta(minutes=1)

generated = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=100,
)


class Both(NamedTuple):
    """The side that acts and the side that looks, on one namespace."""

    actor: Side
    observer: Side
    redis: redis.Redis
    namespace: str

    def register(
        self,
        key: str,
        scope: ReplyScope,
        context: str = "{}",
        *,
        of: TenantCtx = CTX,
        ttl: timedelta | None = None,
    ) -> None:
        written = data(context, of=of)
        self.actor.register_wait(of, of.owner.user or "", scope, key, written, ttl)

    def left(self, *keys: str) -> list[int]:
        """Return the milliseconds until each key's deadline: -1 for none, -2 for no key."""
        return [self.redis.pttl(f"{self.namespace}:{key}") for key in keys]

    def all_see(self, call: str, *arguments: object, result: object) -> None:
        for side in (self.observer, self.actor):
            assert getattr(side, call)(*arguments) == result


@pytest.fixture(params=["python acts", "rust acts"])
def both(
    request: pytest.FixtureRequest,
    python: PythonStore,
    rust: RustStore,
    redis_client: redis.Redis,
    namespace: str,
) -> Both:
    sides = (python, rust) if request.param == "python acts" else (rust, python)
    return Both(*sides, redis_client, namespace)


# --- The nine operations ----------------------------------------------------------------------


def test_s1_create_session(both: Both) -> None:
    key = both.actor.create_session(CTX, data("created"))
    assert uuid.UUID(key).version == 4
    both.all_see("get_session", key, result=data("created"))
    assert listed(both.observer) == []
    assert find_by_user(both.observer) is None
    assert both.left(f"session:{key}") == [-1]


def test_s2_get_session_of_nothing(both: Both) -> None:
    both.all_see("get_session", "none", result=None)


def test_s3_update_session(both: Both) -> None:
    both.register("k", A, "first")
    both.observer.update_session("k", data("second"))
    both.all_see("get_session", "k", result=data("second"))
    both.actor.update_session("k", data("third"))
    both.all_see("get_session", "k", result=data("third"))
    assert find(both.observer, A) == "k"
    assert refusal(both.actor.update_session, "none", data()) == "not_found"


def test_s4_remove_session(both: Both) -> None:
    both.register("k", A)
    both.observer.remove_session("k")
    for side in (both.actor, both.observer):
        assert side.get_session("k") is None
        assert find(side, A) is None
        assert listed(side) == []
        assert refusal(side.remove_session, "k") == "not_found"
        assert refusal(side.update_session, "k", data()) == "not_found"


def test_w1_register_wait(both: Both) -> None:
    both.register("k", A, "state")
    for side in (both.observer, both.actor):
        assert find(side, A) == "k"
        assert find(side, B) is None
        assert listed(side) == ["k"]
        assert find_by_user(side) == ("k", data("state"))
        assert side.get_session("k") == data("state")
        assert find(side, A, of=OTHER) is None
        assert listed(side, of=RIVAL) == []
    assert both.left("session:k", f"waits:scope:prod:acme:-:u1:{A.scope_hash()}") == [-1, -1]


def test_t1_t2_register_wait_with_a_deadline(both: Both) -> None:
    route = f"waits:scope:prod:acme:-:u1:{A.scope_hash()}"
    both.register("k", A, ttl=MINUTE)
    for left in both.left("session:k", route):
        assert 55_000 < left <= 60_000
    both.register("k", A, ttl=timedelta(milliseconds=90_500))
    for left in both.left("session:k", route):
        assert 85_500 < left <= 90_500
    both.register("k", A)
    assert both.left("session:k", route) == [-1, -1]


def test_t4_a_wait_ends_at_its_deadline(both: Both) -> None:
    both.register("k", A, ttl=MINUTE)
    both.register("later", B, ttl=MINUTE * 3)
    shorten_deadlines(both.redis, both.namespace, 61)
    for side in (both.observer, both.actor):
        assert find(side, A) is None
        assert side.get_session("k") is None
        assert listed(side) == ["later"]
        assert find_by_user(side) == ("later", data())
        assert refusal(side.update_session, "k", data()) == "not_found"
        assert refusal(side.remove_session, "k") == "not_found"
        assert find(side, B) == "later"


def test_t4_a_wait_ends_at_its_deadline_in_real_time(both: Both) -> None:
    both.register("k", A, ttl=timedelta(milliseconds=300))
    assert find(both.observer, A) == "k"
    time.sleep(0.32)
    assert find(both.observer, A) is None
    assert listed(both.observer) == []


def test_w3_a_wait_that_takes_the_scope_of_the_other_sides(both: Both) -> None:
    both.observer.register_wait(CTX, "u1", A, "first", data("first"))
    both.register("second", A, "second")
    for side in (both.observer, both.actor):
        assert find(side, A) == "second"
        assert listed(side) == ["second"]
        assert side.get_session("first") == data("first")


def test_w4_w5_several_waits_of_several_owners(both: Both) -> None:
    owners = [CTX, OTHER, RIVAL, ctx(team="red"), ctx(env="dev")]
    for number, owner in enumerate(owners):
        both.register(f"a{number}", A, of=owner)
        both.register(f"b{number}", B, of=owner)
    for side in (both.observer, both.actor):
        for number, owner in enumerate(owners):
            assert find(side, A, of=owner) == f"a{number}"
            assert find(side, B, of=owner) == f"b{number}"
            assert find(side, C, of=owner) is None
            assert listed(side, of=owner) == [f"a{number}", f"b{number}"]


def test_w6_clear_wait(both: Both) -> None:
    both.register("k", A)
    both.register("other", B)
    both.register("theirs", A, of=OTHER)
    clear(both.observer, A)
    for side in (both.actor, both.observer):
        assert side.get_session("k") is None
        assert find(side, A) is None
        assert listed(side) == ["other"]
        assert find(side, A, of=OTHER) == "theirs"
        clear(side, A)


def test_w9_find_by_user(both: Both) -> None:
    assert find_by_user(both.observer) is None
    both.register("k", A, "one")
    assert find_by_user(both.observer) == ("k", data("one"))
    both.register("k2", B)
    for side in (both.actor, both.observer):
        assert refusal(find_by_user, side) == "invalid_input"


# --- Together ---------------------------------------------------------------------------------


def test_w2_python_moves_what_either_registered(both: Both, python: PythonStore) -> None:
    both.register("k", A, ttl=MINUTE)
    python.register_wait(CTX, "u1", B, "k", data("moved"))
    if both.actor is python:
        assert find(both.observer, A) is None
    for side in (both.actor, both.observer):
        assert find(side, B) == "k"
        assert listed(side) == ["k"]
        assert side.get_session("k") == data("moved")


def test_o6_a_wait_that_moves_is_found_by_both(both: Both, python: PythonStore) -> None:
    both.register("k", A, "mine", ttl=MINUTE)
    both.register("chat", B)
    moved = python.move_waits(ctx(None), user=("u1", "u2"))
    assert (moved.waits, moved.is_complete) == (2, True)
    assert python.move_waits(ctx(None), conversation=("b", "c")).waits == 1
    for side in (both.actor, both.observer):
        assert find(side, A) is find(side, B, of=OTHER) is None
        assert find(side, A, of=OTHER) == "k"
        assert find(side, C, of=OTHER) == "chat"
        assert listed(side) == []
        assert listed(side, of=OTHER) == ["chat", "k"]
        assert side.get_session("k") == data("mine", of=OTHER)
    assert all(0 < left <= 60_000 for left in both.left("session:k"))
    clear(both.observer, A, of=OTHER)
    assert find(both.actor, A, of=OTHER) is None


def test_s1_a_session_that_one_creates_waits_by_the_other(both: Both) -> None:
    key = both.actor.create_session(CTX, data("created"))
    both.observer.register_wait(CTX, "u1", A, key, data("waits"), MINUTE)
    for side in (both.actor, both.observer):
        assert find(side, A) == key
        assert side.get_session(key) == data("waits")


@pytest.mark.parametrize("change", [ctx(tenant="rival"), ctx("u2"), ctx(None), ctx(team="red")])
def test_f2_neither_updates_to_another_owner(both: Both, change: TenantCtx) -> None:
    both.register("k", A)
    assert refusal(both.observer.update_session, "k", data(of=change)) == "invalid_input"
    both.all_see("get_session", "k", result=data())


def test_f1_f3_neither_registers_for_someone_else(both: Both) -> None:
    calls = [
        (CTX, "u2", data()),
        (CTX, "u1", data(of=OTHER)),
        (ctx(None), "u1", data()),
        (CTX, "u1", data(of=ctx(None))),
        (RIVAL, "u1", data()),
        (ctx(team="red"), "u1", data()),
        (ctx(env="dev"), "u1", data()),
    ]
    for caller, user, written in calls:
        arguments = caller, user, A, "k", written
        assert refusal(both.actor.register_wait, *arguments) == "invalid_input"
        assert refusal(both.observer.register_wait, *arguments) == "invalid_input"
    both.all_see("get_session", "k", result=None)


@given(document=sessions, update=sessions)
@generated
def test_m1_m3_any_document_comes_across(
    python: PythonStore, rust: RustStore, document: dict[str, Any], update: dict[str, Any]
) -> None:
    found = SessionData.model_validate_json(json.dumps(document))
    key = rust.create_session(found.tenant_ctx, found)
    assert python.get_session(key) == found
    changed = SessionData.model_validate_json(
        json.dumps({**update, "tenant_ctx": {**update["tenant_ctx"], **_owner(document)}})
    )
    python.update_session(key, changed)
    assert rust.get_session(key) == changed
    rust.update_session(key, found)
    assert python.get_session(key) == found


def _owner(document: dict[str, Any]) -> dict[str, Any]:
    names = ("env", "tenant", "tenant_id", "team", "team_id", "user", "user_id")
    return {name: document["tenant_ctx"].get(name) for name in names}


owners = st.builds(
    ctx, identifiers, env=identifiers, tenant=identifiers, team=st.none() | identifiers
).filter(lambda owner: owner.owner.team != "-")
keys = texts.filter(lambda text: 0 < len(text.encode()) <= 1024)


@given(owner=owners, scope=scopes, key=keys)
@generated
def test_w4_any_wait_is_found(
    both: Both, owner: TenantCtx, scope: dict[str, Any], key: str
) -> None:
    at = ReplyScope.model_validate_json(json.dumps(scope))
    both.register(key, at, of=owner)
    for side in (both.observer, both.actor):
        assert find(side, at, of=owner) == key
        assert listed(side, of=owner) == [key]
    clear(both.observer, at, of=owner)
    for side in (both.actor, both.observer):
        assert find(side, at, of=owner) is None
        assert side.get_session(key) is None


# --- Claims -----------------------------------------------------------------------------------


def test_k1_k5_rust_reads_updates_and_clears_what_python_has_claimed(
    python: PythonStore, rust: RustStore
) -> None:
    python.register_wait(CTX, "u1", A, "k", data("first"), MINUTE)
    claim = python.claim_wait(CTX, "u1", A)
    assert find(rust, A) == "k"
    assert rust.get_session("k") == data("first")
    assert find_by_user(rust) == ("k", data("first"))
    rust.update_session("k", data("second"))
    assert refusal(python.claim_wait, CTX, "u1", A) == "conflict"
    python.run(claim.renew())
    assert python.get_session("k") == data("second")
    clear(rust, A)
    assert python.get_session("k") is None
    assert python.run(claim.complete()) is False


def test_k3_python_claims_and_completes_what_rust_registered(
    python: PythonStore, rust: RustStore
) -> None:
    async def resume() -> SessionData | None:
        async with python.store.resume_wait(CTX, "u1", A) as record:
            return None if record is None else record.data

    rust.register_wait(CTX, "u1", A, "k", data("first"), MINUTE)
    assert python.run(resume()) == data("first")
    assert find(rust, A) is None
    assert rust.get_session("k") is None
    assert listed(rust) == []


def test_k4_the_next_question_that_rust_asks_stays(python: PythonStore, rust: RustStore) -> None:
    async def resume() -> None:
        async with python.store.resume_wait(CTX, "u1", A, delivery_id="event"):
            rust.register_wait(CTX, "u1", A, "k", data("second"), MINUTE)

    rust.register_wait(CTX, "u1", A, "k", data("first"))
    python.run(resume())
    assert find(rust, A) == "k"
    assert refusal(partial(python.claim_wait, delivery_id="event"), CTX, "u1", A) == "conflict"
    assert python.run(python.claim_wait(CTX, "u1", A).complete()) is True
    assert find(rust, A) is None
