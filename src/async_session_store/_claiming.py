"""Waiting for a turn to claim a wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio

from async_session_store import _random
from async_session_store._backoff import pause
from async_session_store._ending import end_quietly
from async_session_store.abc import Backend, Claimed, ClaimKey, Delivery, Outcome, Unreadable
from async_session_store.claims import WaitClaim
from async_session_store.errors import (
    CorruptSessionError,
    DuplicateDeliveryError,
    WaitClaimedError,
)
from async_session_store.models import Owner


@dataclass(frozen=True, slots=True)
class ClaimWish:
    """What to claim: ``lease`` in milliseconds, ``patience`` (how long to wait) in seconds."""

    owner: Owner
    scope_hashes: tuple[str, ...]
    lease: int
    patience: float
    deliveries: tuple[Delivery, ...]
    """The delivery at each of the scopes, or none."""

    def delivery_at(self, scope_hash: str) -> Delivery | None:
        if not self.deliveries:
            return None
        return self.deliveries[self.scope_hashes.index(scope_hash)]


async def claim(storage: Callable[[], Backend], wish: ClaimWish) -> WaitClaim | None:
    """Claim a wait, or wait for a turn; None if none is live.

    The storage is asked for at each attempt, as the store may be closed meanwhile.
    """
    give_up_at = anyio.current_time() + wish.patience
    attempt = 0
    while True:
        backend = storage()
        asked_at = time.monotonic()
        found = await _try_once(backend, wish)
        left = give_up_at - anyio.current_time()
        if found is not Outcome.CLAIMED or left <= 0:
            break
        await anyio.sleep(min(left, pause(attempt)))
        attempt += 1
    if isinstance(found, Claimed):
        delivery = wish.delivery_at(found.claim.scope_hash)
        return WaitClaim(storage, found, wish.lease, delivery, asked_at)
    if isinstance(found, Unreadable):
        raise CorruptSessionError(found.key, found.reason)
    if found is Outcome.CLAIMED:
        raise WaitClaimedError("another worker resumes this wait; try later or set wait=")
    if found is Outcome.DUPLICATE:
        raise DuplicateDeliveryError("this delivery was handled before; acknowledge it")
    return None


async def _try_once(backend: Backend, wish: ClaimWish) -> Claimed | Unreadable | Outcome:
    token = _random.token()
    try:
        return await backend.claim_wait(
            wish.owner,
            wish.scope_hashes,
            token=token,
            lease=wish.lease,
            deliveries=wish.deliveries,
        )
    except anyio.get_cancelled_exc_class():
        # It may have been granted, and then no one would hold it until its lease ends.
        for scope_hash in wish.scope_hashes:
            release = partial(backend.release_claim, ClaimKey(wish.owner, scope_hash, token))
            await end_quietly(release)
        raise
