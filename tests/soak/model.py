"""A sequential model of the store for one user, and a check that histories are linearizable.

A history is linearizable if there is an order of its calls that keeps each call between its begin
and its end, and in which the model returns the observed result for each call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

Result: TypeAlias = "str | bool | None"


@dataclass(frozen=True)
class Session:
    value: str
    scope: str | None
    wait: str
    """The id of the call that registered it: each registration is a new wait (K3)."""


@dataclass(frozen=True)
class State:
    sessions: tuple[tuple[str, Session], ...] = ()
    claims: tuple[tuple[str, tuple[str, str]], ...] = ()
    """For each claimed scope, the token of the claim and the id of the claimed wait."""

    def session(self, key: str) -> Session | None:
        return dict(self.sessions).get(key)

    def waiting(self, scope: str) -> str | None:
        return next((key for key, session in self.sessions if session.scope == scope), None)

    def claim(self, scope: str) -> tuple[str, str] | None:
        return dict(self.claims).get(scope)

    def with_session(self, key: str, session: Session | None) -> State:
        sessions = {**dict(self.sessions), key: session}
        return replace(
            self, sessions=tuple(sorted((k, s) for k, s in sessions.items() if s is not None))
        )

    def with_claim(self, scope: str, claim: tuple[str, str] | None) -> State:
        claims = {**dict(self.claims), scope: claim}
        return replace(
            self, claims=tuple(sorted((s, c) for s, c in claims.items() if c is not None))
        )


@dataclass(frozen=True)
class Call:
    """A call as its caller saw it. Times are nanoseconds of the machine's monotonic clock."""

    id: str
    name: str
    scope: str
    key: str
    result: Result
    began: int
    ended: int


def register(state: State, call: Call) -> tuple[State, Result]:
    holder = state.waiting(call.scope)
    detached = holder if holder != call.key else None
    if detached is not None:
        held = state.session(detached)
        assert held is not None
        state = state.with_session(detached, replace(held, scope=None))
    return state.with_session(call.key, Session(call.id, call.scope, call.id)), detached


def register_if_absent(state: State, call: Call) -> tuple[State, Result]:
    if state.waiting(call.scope) is not None:
        return state, False
    return register(state, call)[0], True


def find(state: State, call: Call) -> tuple[State, Result]:
    return state, state.waiting(call.scope)


def get(state: State, call: Call) -> tuple[State, Result]:
    session = state.session(call.key)
    return state, None if session is None else session.value


def update(state: State, call: Call) -> tuple[State, Result]:
    session = state.session(call.key)
    if session is None:
        return state, False
    return state.with_session(call.key, replace(session, value=call.id)), True


def remove(state: State, call: Call) -> tuple[State, Result]:
    return state.with_session(call.key, None), state.session(call.key) is not None


def clear(state: State, call: Call) -> tuple[State, Result]:
    key = state.waiting(call.scope)
    return (state, False) if key is None else (state.with_session(key, None), True)


def listed(state: State, call: Call) -> tuple[State, Result]:
    del call
    return state, " ".join(key for key, session in state.sessions if session.scope is not None)


def claim(state: State, call: Call) -> tuple[State, Result]:
    key = state.waiting(call.scope)
    if key is None:
        return state, None
    if state.claim(call.scope) is not None:
        return state, "claimed"
    session = state.session(key)
    assert session is not None
    return state.with_claim(call.scope, (call.key, session.wait)), session.value


def complete(state: State, call: Call) -> tuple[State, Result]:
    held = state.claim(call.scope)
    if held is None or held[0] != call.key:
        return state, "lost"
    state = state.with_claim(call.scope, None)
    key = state.waiting(call.scope)
    session = None if key is None else state.session(key)
    if key is None or session is None or session.wait != held[1]:
        return state, False
    return state.with_session(key, None), True


def release(state: State, call: Call) -> tuple[State, Result]:
    held = state.claim(call.scope)
    if held is None or held[0] != call.key:
        return state, "lost"
    return state.with_claim(call.scope, None), None


MODEL: dict[str, Callable[[State, Call], tuple[State, Result]]] = {
    "register": register,
    "register_if_absent": register_if_absent,
    "find": find,
    "get": get,
    "update": update,
    "remove": remove,
    "clear": clear,
    "list": listed,
    "claim": claim,
    "complete": complete,
    "release": release,
}


def is_linearizable(history: list[Call]) -> bool:
    """Return whether some order explains all calls, by a depth-first search."""
    dead_ends: set[tuple[frozenset[str], State]] = set()

    def search(left: frozenset[Call], state: State) -> bool:
        if not left:
            return True
        place = (frozenset(call.id for call in left), state)
        if place in dead_ends:
            return False
        # Only a call that began before every other call ended can have come first.
        first_end = min(call.ended for call in left)
        for call in sorted(left, key=lambda call: call.ended):
            if call.began > first_end:
                continue
            after, result = MODEL[call.name](state, call)
            if result == call.result and search(left - {call}, after):
                return True
        dead_ends.add(place)
        return False

    return search(frozenset(history), State())
