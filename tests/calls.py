"""The calls of a store, for tests that try each of them.

The session "k" waits at A. The scopes B and C and the key "new" are free.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from async_session_store import AsyncSessionStore, WaitClaimedError
from async_session_store.testing.contract.builders import (
    CTX,
    SERVICE,
    A,
    B,
    C,
    clear,
    ctx,
    data,
    find,
    listed,
    register,
    register_if_absent,
)

Call = Callable[[AsyncSessionStore], Awaitable[object]]


async def claim(store: AsyncSessionStore) -> None:
    """Claim the wait, unless an earlier call holds a claim on it."""
    with suppress(WaitClaimedError):
        await store.claim_wait(CTX, "u1", A)


READS: Final[dict[str, Call]] = {
    "get_session": lambda store: store.get_session("k"),
    "get_record": lambda store: store.get_record("k"),
    "find_wait_by_scope": lambda store: find(store, A),
    "get_wait": lambda store: store.get_wait(CTX, "u1", A),
    "list_waits_for_user": listed,
    "explain": lambda store: store.explain(CTX, "u1", [B, A]),
    "list_wait_records": lambda store: store.list_wait_records(CTX, "u1"),
}
GROWING: Final[dict[str, Call]] = {
    "create_session": lambda store: store.create_session(CTX, data(), ttl=60),
    "register_wait": lambda store: register(store, "new", B),
    "register_wait_if_absent": lambda store: register_if_absent(store, "new", B),
    "update_session": lambda store: store.update_session("k", data("new")),
}
"""Writes that need more memory."""
SHRINKING: Final[dict[str, Call]] = {
    "touch_session": lambda store: store.touch_session("k", 60),
    "remove_session": lambda store: store.remove_session("k"),
    "clear_wait": lambda store: clear(store, A),
    "clear_waits_for_user": lambda store: store.clear_waits_for_user(CTX, "u1"),
}
"""Writes that need no more memory."""
CALLS: Final[dict[str, Call]] = {
    **READS,
    **GROWING,
    **SHRINKING,
    "find_by_user": lambda store: store.find_by_user(CTX, "u1"),
    "claim_wait": claim,
    "claim_expired": lambda store: store.claim_expired(),
    "break_claim": lambda store: store.break_claim(SERVICE, "u1", A),
    "ping": lambda store: store.ping(),
}
"""Every public call that is one step."""
SEVERAL_SCOPES: Final[dict[str, Call]] = {
    "find_wait_by_scope": lambda store: find(store, C, B, A),
    "get_wait": lambda store: store.get_wait(CTX, "u1", [C, B, A]),
    "explain": lambda store: store.explain(ctx("u1", team="blue"), "u1", [C, B, A]),
}
MORE_REGISTRATIONS: Final[dict[str, Call]] = {
    "register at a taken scope": lambda store: register(store, "new", A),
    "register anew": lambda store: register(store, "k", A, "new"),
    "move": lambda store: register(store, "k", B),
    "move if absent": lambda store: register_if_absent(store, "k", B),
}
