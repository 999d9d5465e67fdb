"""The same histories for the crate's store in memory and for ours: a difference has a name.

After each step both tell the same, but for what ``rust_differences.py`` lists. Where they came to
differ, the crate gets a new store with the state of ours, and the history goes on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sides import PythonStore

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionData,
    SessionStoreError,
    TenantCtx,
)
from async_session_store.abc import Owner
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, A, B, ctx, data
from clock import Clock
from rust_differences import DIFFERENCES
from rust_process import RustProcess, RustStore, arguments, command

Call: TypeAlias = tuple[str, dict[str, Any]]
Answer: TypeAlias = object
Question: TypeAlias = tuple[str, ...]
State: TypeAlias = dict[Question, Answer]
"""The state that a side reports: its answers to the same questions."""

REFUSED: Final = "refused: invalid_input"
MISSING: Final = "refused: not_found"
HOUR: Final = timedelta(hours=1)
SOON: Final = timedelta(milliseconds=1)
"""A time to live that has passed by the next step: our clock is moved, and the crate gets 1 ns."""
IN_RUST: Final = {
    SOON: {"secs": 0, "nanos": 1},
    timedelta.max: {"secs": 2**64 - 1, "nanos": 0},
}

_single_twins = '{"env":"prod","tenant":"acme","tenant_id":"acme","user":"u1","attempt":0}'
OWNERS: Final = [CTX, ctx("u2"), ctx(tenant="rival"), ctx(team="red")]
CALLERS: Final = [
    *OWNERS,
    ctx(None),
    TenantCtx.model_validate_json(_single_twins),
    ctx(team="-"),
    ctx(None, team="red"),
]
SCOPES: Final = [A, B]
NAMES: Final = ["k1", "k2", "k3"]
MOST_CREATED: Final = 3


def owner_name(owner: Owner) -> str:
    return ":".join(str(part or "") for part in owner)


class Ours:
    """The store of this library, with keys named as on the crate's side."""

    def __init__(self, store: PythonStore, keys: dict[str, str]) -> None:
        self._store, self._keys = store, keys

    def answer(self, call: Call) -> Answer:
        (answer,) = self.answers([call])
        return answer

    def answers(self, calls: Iterable[Call]) -> list[Answer]:
        return self._store.run(self._answers(calls))

    async def _answers(self, calls: Iterable[Call]) -> list[Answer]:
        return [await self._answer(op, values) for op, values in calls]

    async def _answer(self, op: str, values: dict[str, Any]) -> Answer:
        try:
            found = await getattr(self._store.store, op)(**with_keys(values, self._keys))
        except SessionStoreError as error:
            return f"refused: {error.code.value}"
        return told(op, found, self._keys)


class Theirs:
    """The crate's store in memory."""

    def __init__(self, store: RustStore, keys: dict[str, str]) -> None:
        self._store, self._keys = store, keys

    def answer(self, call: Call) -> Answer:
        (answer,) = self.answers([call])
        return answer

    def answers(self, calls: Iterable[Call]) -> list[Answer]:
        calls = list(calls)
        commands = [
            command(op, arguments(**with_keys(values, self._keys)), self._store.name)
            for op, values in calls
        ]
        replies = self._store.process.replies(commands)
        return [self._told(op, reply) for (op, _), reply in zip(calls, replies, strict=True)]

    def _told(self, op: str, reply: dict[str, Any]) -> Answer:
        if "error" in reply:
            return f"refused: {reply['error']['code']}"
        return told(op, reply["ok"], self._keys)


def with_keys(values: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """Replace the name of a session in a call with the side's own key."""
    return {
        field: keys.get(value, value) if field in ("key", "session_key") else value
        for field, value in values.items()
    }


def told(op: str, found: Any, keys: dict[str, str]) -> Answer:
    """Return a result in terms that both sides share."""
    names = {key: name for name, key in keys.items()}
    match op:
        case "create_session":
            return {"key": found}
        case "find_wait_by_scope":
            return found and names[found]
        case "list_waits_for_user":
            return sorted(names[key] for key in found)  # W5: the crate's are in no order
        case "get_session":
            return fields(found)
        case "find_by_user":
            return found and (names[found[0]], fields(found[1]))
        case _:
            return None  # more than the trait's methods give: W3, W6


def fields(found: SessionData | dict[str, Any] | None) -> dict[str, Any] | None:
    return found.model_dump(mode="json") if isinstance(found, SessionData) else found


class Histories(RuleBasedStateMachine):
    """One history on both sides."""

    def __init__(self, process: RustProcess, tally: Counter[object]) -> None:
        super().__init__()
        self._process, self._tally = process, tally
        self._clock = Clock(lambda: 0.0)
        self._open = ExitStack()
        store = AsyncSessionStore(MemoryBackend(clock=self._clock))
        self._our_keys: dict[str, str] = {name: name for name in NAMES}
        self._ours = Ours(self._open.enter_context(PythonStore.opened(store)), self._our_keys)
        self._their_store = process.memory_store()
        self._their_keys = dict(self._our_keys)
        self._theirs = Theirs(self._their_store, self._their_keys)
        self._places: dict[str, tuple[Owner, ReplyScope]] = {}  # where each was registered last
        self._expired: str | None = None  # a session that the crate has not dropped yet
        self._state: State = self._look(self._ours)

    def teardown(self) -> None:
        self._open.close()
        self._their_store.close()
        self._tally["histories"] += 1

    # --- What may happen ----------------------------------------------------------------------

    callers = st.sampled_from([*OWNERS, *OWNERS, *CALLERS])
    owners = st.sampled_from([CTX, CTX, CTX, *OWNERS])
    users = st.sampled_from(["u1", "u1", "u2"])
    scopes = st.sampled_from(SCOPES)
    texts = st.sampled_from(["x", "y"])
    ttls = st.sampled_from([*[HOUR, None] * 4, timedelta(0), timedelta(days=36_600), timedelta.max])
    followers = st.sampled_from(["update", "remove", "register", "replace", "anything"])
    names = st.sampled_from(NAMES) | st.sampled_from([f"c{n}" for n in range(MOST_CREATED)])

    @rule(caller=callers, owner=owners | callers, text=texts)
    def create_session(self, caller: TenantCtx, owner: TenantCtx, text: str) -> None:
        name = f"c{len(self._our_keys) - len(NAMES)}"
        if len(self._our_keys) == len(NAMES) + MOST_CREATED:
            return
        call = "create_session", {"ctx": caller, "data": data(text, of=owner)}
        here, there = self._both(call)
        if isinstance(here, dict) and isinstance(there, dict):
            self._our_keys[name], self._their_keys[name] = here["key"], there["key"]
            here = there = None
        self._check(call, here, there)

    @rule(owner=owners, scope=scopes, name=names, text=texts)
    def register(self, owner: TenantCtx, scope: ReplyScope, name: str, text: str) -> None:
        self._register(owner, owner.owner.user or "", data(text, of=owner), scope, name, None)

    @rule(
        caller=callers,
        user=users,
        owner=callers,
        scope=scopes,
        name=names,
        ttl=ttls,
    )
    def register_for_anyone(
        self,
        caller: TenantCtx,
        user: str,
        owner: TenantCtx,
        scope: ReplyScope,
        name: str,
        ttl: timedelta | None,
    ) -> None:
        self._register(caller, user, data(of=owner), scope, name, ttl)

    @rule(owner=owners, scope=scopes, name=names, other=names, next_owner=owners, then=followers)
    def register_and_let_expire(
        self,
        owner: TenantCtx,
        scope: ReplyScope,
        name: str,
        other: str,
        next_owner: TenantCtx,
        then: str,
    ) -> None:
        self._compare({})
        self._register(owner, owner.owner.user or "", data(of=owner), scope, name, SOON)
        match then:
            case "update":
                self.update_session(name, next_owner, "x")
            case "remove":
                self.remove_session(name)
            case "register":
                self.register(next_owner, scope, name, "x")
            case "replace":
                self.register(owner, scope, other, "x")
            case _:
                pass

    @rule(name=names, owner=owners | callers, text=texts)
    def update_session(self, name: str, owner: TenantCtx, text: str) -> None:
        self._act("update_session", key=name, data=data(text, of=owner))

    @rule(name=names)
    def remove_session(self, name: str) -> None:
        self._act("remove_session", key=name)

    @rule(name=names)
    def get_session(self, name: str) -> None:
        self._act("get_session", key=name)

    @rule(caller=callers, user=users, scope=scopes)
    def find_wait(self, caller: TenantCtx, user: str, scope: ReplyScope) -> None:
        self._act("find_wait_by_scope", ctx=caller, user_id=user, scope=scope)

    @rule(caller=callers, user=users)
    def list_waits(self, caller: TenantCtx, user: str) -> None:
        self._act("list_waits_for_user", ctx=caller, user_id=user)

    @rule(caller=callers, user=users, scope=scopes)
    def clear_wait(self, caller: TenantCtx, user: str, scope: ReplyScope) -> None:
        self._act("clear_wait", ctx=caller, user_id=user, scope=scope)

    @rule(caller=callers, user=users)
    def find_by_user(self, caller: TenantCtx, user: str) -> None:
        self._act("find_by_user", ctx=caller, user_id=user)

    # --- A step -------------------------------------------------------------------------------

    def _register(
        self,
        caller: TenantCtx,
        user: str,
        written: SessionData,
        scope: ReplyScope,
        name: str,
        ttl: timedelta | None,
    ) -> None:
        if name not in self._our_keys:
            return
        values = {"ctx": caller, "user_id": user, "scope": scope, "session_key": name}
        values |= {"data": written, "ttl": ttl}
        allowed = self._unrouted_by_registering(name, written.tenant_ctx.owner, scope)
        call = "register_wait", values
        here, there = self._both(call)
        if here is not None:
            allowed = {}
        else:
            self._places[name] = written.tenant_ctx.owner, scope
        if self._explain(call, here, there):
            return
        if ttl is SOON and here is None and not allowed:
            self._state = self._look(self._ours)
            self._expired = name
        else:
            self._compare(allowed)

    def _act(self, op: str, **values: Any) -> None:
        if values.get("key", NAMES[0]) not in self._our_keys:
            return
        allowed = self._unrouted_by_ending(values["key"]) if op == "remove_session" else {}
        self._check((op, values), *self._both((op, values)), allowed)

    def _both(self, call: Call) -> tuple[Answer, Answer]:
        op, values = call
        here = self._ours.answer(call)
        if values.get("ttl") is SOON:
            self._clock.advance(1)
        if "ttl" in values:
            call = op, {**values, "ttl": IN_RUST.get(values["ttl"], values["ttl"])}
        return here, self._theirs.answer(call)

    def _check(
        self, call: Call, here: Answer, there: Answer, allowed: dict[Question, Answer] | None = None
    ) -> None:
        if not self._explain(call, here, there):
            self._compare(allowed or {})

    # --- The differences ----------------------------------------------------------------------

    def _explain(self, call: Call, here: Answer, there: Answer) -> bool:
        """Return whether the answers differ. They may only where a listed difference says so."""
        if here == there:
            return False
        reason = self._reason(*call, here)
        assert reason is not None, f"{call}: {here!r} here, {there!r} in Rust"
        self._differ(reason)
        return True

    def _reason(self, op: str, values: dict[str, Any], here: Answer) -> tuple[str, str] | None:
        contexts = [values[name] for name in ("ctx",) if name in values]
        contexts += [values["data"].tenant_ctx] if "data" in values else []
        if any(context.owner.team == "-" for context in contexts) and here == REFUSED:
            return "F6", "both"
        if self._expired is not None and self._expired == values.get("key", ""):
            reasons = {"update_session": ("S3", "memory"), "remove_session": ("S4", "memory")}
            return reasons.get(op) if here == MISSING else None
        if op == "register_wait":
            return self._registration_reason(values, here)
        user = values["ctx"].owner.user if "ctx" in values else None
        if user is None or user == values.get("user_id", user):
            return None
        nothing = {"list_waits_for_user": [], "clear_wait": REFUSED}.get(op)
        return ("F4", "both") if here == nothing else None

    def _registration_reason(self, values: dict[str, Any], here: Answer) -> tuple[str, str] | None:
        ttl = values["ttl"]
        if ttl is not None and not timedelta(0) < ttl <= timedelta(days=36_525):
            huge = ttl == timedelta.max
            return ("T1", "memory" if huge else "both") if here == REFUSED else None
        if values["session_key"] == self._expired and here is None:
            return "T4", "memory"
        return None

    def _unrouted_by_ending(self, name: str) -> dict[Question, Answer]:
        """Return what the crate loses when a detached session ends: the one that replaced it."""
        if name not in self._places or not self._is_live(name):
            return {}
        owner, scope = self._places[name]
        question = find_question(owner, scope)
        return {} if self._state[question] in (None, name) else {question: None}

    def _unrouted_by_registering(
        self, name: str, owner: Owner, scope: ReplyScope
    ) -> dict[Question, Answer]:
        """Return what the crate loses when a detached session moves, or an expired one goes."""
        lost = self._unrouted_by_ending(name)
        expired = self._expired
        if expired not in (None, name) and self._places.get(expired or "") == (owner, scope):
            return {**lost, find_question(owner, scope): None}
        if lost and self._places[name] == (owner, scope):
            return {("also listed", owner_name(owner)): self._state[find_question(owner, scope)]}
        return lost

    def _is_live(self, name: str) -> bool:
        return self._state[("get", name)] is not None

    # --- Comparing both -----------------------------------------------------------------------

    def _compare(self, allowed: dict[Question, Answer]) -> None:
        """Ask both sides everything. They may differ only as ``allowed`` says."""
        self._expired = None
        here, there = self._look(self._ours), self._look(self._theirs)
        self._state = here
        self._places = {name: at for name, at in self._places.items() if self._is_live(name)}
        expected = with_losses(here, allowed)
        assert there in (here, expected)
        if there != here:
            self._differ(("W3", "memory"))

    def _look(self, side: Ours | Theirs) -> State:
        # In this order: the crate drops what is expired when it is read by its key.
        calls: dict[Question, Call] = {
            ("get", name): ("get_session", {"key": name}) for name in self._our_keys
        }
        for owner in OWNERS:
            user: dict[str, Any] = {"ctx": owner, "user_id": owner.owner.user}
            for scope in SCOPES:
                calls[find_question(owner.owner, scope)] = (
                    "find_wait_by_scope",
                    {**user, "scope": scope},
                )
            calls["list", owner_name(owner.owner)] = "list_waits_for_user", user
            calls["find_by_user", owner_name(owner.owner)] = "find_by_user", user
        return dict(zip(calls, side.answers(calls.values()), strict=True))

    def _differ(self, reason: tuple[str, str]) -> None:
        assert reason in DIFFERENCES
        self._tally[reason] += 1
        self._expired = None
        self._state = self._look(self._ours)
        self._places = {name: at for name, at in self._places.items() if self._is_live(name)}
        self._give_the_crate_our_state()

    def _give_the_crate_our_state(self) -> None:
        self._their_store.close()
        self._their_store = self._process.memory_store()
        self._theirs = Theirs(self._their_store, self._their_keys)
        self._their_keys.update(self._our_keys)
        live = [name for name in self._our_keys if self._is_live(name)]
        waiting = [name for name in live if self._waits(name)]
        # Who comes later detaches who came before.
        for name in sorted(live, key=waiting.__contains__):
            stored = SessionData.model_validate_json(json.dumps(self._state["get", name]))
            if name not in self._places:
                made = self._their_store.create_session(stored.tenant_ctx, stored)
                self._their_keys[name] = made
                continue
            scope = self._places[name][1]
            self._register_there(name, scope, stored)
            if name not in waiting:
                self._register_there("passing", scope, stored)
                self._their_store.clear_wait(
                    stored.tenant_ctx, stored.tenant_ctx.owner.user or "", scope
                )
        assert self._look(self._theirs) == self._state

    def _register_there(self, name: str, scope: ReplyScope, stored: SessionData) -> None:
        key, context = self._our_keys.get(name, name), stored.tenant_ctx
        self._their_store.register_wait(context, context.owner.user or "", scope, key, stored)

    def _waits(self, name: str) -> bool:
        return name in self._places and self._state[find_question(*self._places[name])] == name


def find_question(owner: Owner, scope: ReplyScope) -> Question:
    return "find", owner_name(owner), scope.conversation


def with_losses(state: State, losses: dict[Question, Answer]) -> State:
    """Return the state that the crate should report, given ours and what it loses."""
    expected = {**state}
    for question, answer in losses.items():
        kind, *rest = question
        if kind != "also listed":
            expected[question] = answer
            continue
        (owner,) = rest
        names = sorted({*state["list", owner], answer})  # type: ignore[misc]
        expected["list", owner] = names
        expected["find_by_user", owner] = (
            REFUSED if len(names) > 1 else (names[0], state["get", names[0]])
        )
    return expected


@pytest.mark.filterwarnings("ignore:removed in 1.0:DeprecationWarning")
def test_the_same_histories_have_the_same_results(rust_process: RustProcess) -> None:
    wanted = settings(
        max_examples=max(200, settings().max_examples), stateful_step_count=40, deadline=None
    )
    tally: Counter[object] = Counter()
    run_state_machine_as_test(lambda: Histories(rust_process, tally), settings=wanted)
    print(dict(tally))
    assert tally["histories"] >= wanted.max_examples
