"""Waits that are kept for a worker after their deadline, and claims on them."""

from __future__ import annotations

from datetime import timedelta

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionKey,
    TenantCtx,
    TimeToLive,
    WaitClaim,
)
from async_session_store.testing.contract.builders import CTX, A, data
from async_session_store.testing.contract.claim_builders import record_of
from async_session_store.testing.contract.turn_builders import Message, Order

Kept = timedelta | float


async def keep(
    store: AsyncSessionStore,
    key: str,
    at: ReplyScope,
    context: str = "{}",
    *,
    of: TenantCtx = CTX,
    ttl: TimeToLive | None = 60,
    expired_ttl: Kept | None = 600,
) -> SessionKey | None:
    """Register a wait that is kept for a worker after its deadline."""
    return await store.register_wait(
        of, of.owner.user or "", at, key, data(context, of=of), ttl, expired_ttl=expired_ttl
    )


async def claim_all(
    store: AsyncSessionStore, by: TenantCtx | None = None, *, lease: float = 30
) -> list[WaitClaim]:
    """Claim every expired wait that can be claimed."""
    return await store.claim_expired(by, limit=100, lease=lease)


async def claim_one(store: AsyncSessionStore, *, lease: float = 30) -> WaitClaim:
    """Claim the expired wait that is longest overdue. There must be one."""
    claims = await store.claim_expired(lease=lease)
    assert len(claims) == 1
    return claims[0]


def keys_of(claims: list[WaitClaim]) -> list[str]:
    return [str(record_of(one).key) for one in claims]


async def expired(store: AsyncSessionStore, by: TenantCtx | None = None) -> list[str]:
    """Return the keys of the expired waits that a worker would get, and give them back."""
    claims = await claim_all(store, by)
    for one in claims:
        await one.release()
    return keys_of(claims)


async def begin_order(
    store: AsyncSessionStore, *, at: ReplyScope = A, pizza: str = "margherita"
) -> None:
    """Begin a flow, and ask a question that nobody answers."""
    message = Message(scope=at)
    async with store.turn(CTX, message, flow="order", memory=Order) as turn:
        turn.memory.pizza = pizza
        turn.ask("size", ttl=60, expired_ttl=600)
