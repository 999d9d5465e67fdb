"""Calls that claim a wait, and changes that others may make to it while it is claimed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionRecord,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    C,
    Call,
    clear,
    context_of,
    find,
    register,
    register_if_absent,
)

Use = Callable[[WaitClaim], Coroutine[Any, Any, object]]

A_DAY = 24 * 60 * 60.0
"""Seconds."""


async def try_claim(
    store: AsyncSessionStore,
    *scopes: ReplyScope,
    lease: float = 30,
    wait: float = 0,
    delivery_id: str | None = None,
    dedupe_ttl: float = A_DAY,
) -> WaitClaim | None:
    return await store.claim_wait(
        CTX,
        "u1",
        scopes,
        lease=lease,
        wait=wait,
        delivery_id=delivery_id,
        dedupe_ttl=dedupe_ttl,
    )


async def claim(
    store: AsyncSessionStore,
    *scopes: ReplyScope,
    lease: float = 30,
    wait: float = 0,
    delivery_id: str | None = None,
    dedupe_ttl: float = A_DAY,
) -> WaitClaim:
    """Claim a live wait that nobody else holds a claim on."""
    claimed = await try_claim(
        store, *scopes, lease=lease, wait=wait, delivery_id=delivery_id, dedupe_ttl=dedupe_ttl
    )
    assert claimed is not None
    return claimed


def record_of(claimed: WaitClaim) -> SessionRecord:
    """Return the record of a claim on a wait."""
    assert claimed.record is not None
    return claimed.record


async def is_claimed(store: AsyncSessionStore, scope: ReplyScope) -> bool:
    """Return whether a claim is held on the scope. A wait must be live there."""
    try:
        claimed = await claim(store, scope)
    except WaitClaimedError:
        return True
    await claimed.release()
    return False


async def begin(store: AsyncSessionStore, *scopes: ReplyScope, **options: Any) -> WaitClaim:
    """Claim the first of the scopes for a flow that begins: nothing waits at any of them."""
    claimed = await store.claim_wait(
        CTX, "u1", scopes or A, begin_at=(scopes or (A,))[0], **options
    )
    assert claimed is not None
    assert claimed.is_new
    assert claimed.record is None
    return claimed


async def seen(store: AsyncSessionStore) -> tuple[object, ...]:
    """Return everything that a user can see of the waits in these tests."""
    return (
        [await find(store, scope) for scope in (A, B, C)],
        await store.list_wait_records(CTX, "u1"),
        [await context_of(store, key) for key in ("k", "k2")],
    )


async def move_away_and_back(store: AsyncSessionStore) -> None:
    await register(store, "k", B)
    await register(store, "k", A)


async def clear_and_register(store: AsyncSessionStore) -> None:
    await clear(store, A)
    await register(store, "k", A)


async def remove_and_register(store: AsyncSessionStore) -> None:
    await store.remove_session("k")
    assert await register_if_absent(store, "k", A, "new")


CHANGES: dict[str, tuple[Call, str | None]] = {
    "registered anew": (lambda store: register(store, "k", A), "k"),
    "registered anew with other data": (lambda store: register(store, "k", A, "new"), "k"),
    "registered anew with a ttl": (lambda store: register(store, "k", A, ttl=900), "k"),
    "detached": (lambda store: register(store, "k2", A), "k2"),
    "moved": (lambda store: register(store, "k", B), None),
    "moved away and back": (move_away_and_back, "k"),
    "cleared": (lambda store: clear(store, A), None),
    "all cleared": (lambda store: store.clear_waits_for_user(CTX, "u1"), None),
    "cleared and registered": (clear_and_register, "k"),
    "removed": (lambda store: store.remove_session("k"), None),
    "removed and registered": (remove_and_register, "k"),
}
"""Changes that others may make to a claimed wait, and the key of the session then waiting there."""

changes: pytest.MarkDecorator = pytest.mark.parametrize(
    ("change", "waiting"), CHANGES.values(), ids=CHANGES.keys()
)

USES: dict[str, Use] = {
    "complete": lambda claimed: claimed.complete(),
    "release": lambda claimed: claimed.release(),
    "renew": lambda claimed: claimed.renew(),
    "renew for longer": lambda claimed: claimed.renew(600),
}

uses: pytest.MarkDecorator = pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
