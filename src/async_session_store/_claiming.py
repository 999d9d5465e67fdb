"""Claiming a wait, and queueing for the claim while another worker holds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from typing import Final, NamedTuple

import anyio

from async_session_store import _random
from async_session_store._ending import end_quietly
from async_session_store._new_waits import WaitDefaults
from async_session_store.abc import (
    PLACE_TTL,
    Backend,
    Claimed,
    ClaimKey,
    Delivery,
    Outcome,
    Queued,
    Unreadable,
)
from async_session_store.claims import WaitClaim
from async_session_store.errors import (
    CorruptSessionError,
    DuplicateDeliveryError,
    WaitClaimedError,
)
from async_session_store.models import Owner

# How often a waiting caller renews its place in the queue. If its loop hangs for the remaining 0.7
# of PLACE_TTL, it loses the place. If it dies, it blocks the callers behind it for PLACE_TTL.
_LONGEST_PAUSE: Final = PLACE_TTL / 1000 * 0.3  # seconds
_CLOCK_TICK: Final = 0.001  # seconds; by then the lease has ended on the storage's clock too


class ClaimRequest(NamedTuple):
    """A checked request for a claim: ``lease`` in milliseconds, ``wait_timeout`` in seconds."""

    owners: tuple[Owner, ...]
    """Whose wait to claim: that of the first owner who has one."""
    scope_hashes: tuple[str, ...]
    lease: int
    wait_timeout: float
    deliveries: tuple[Delivery, ...]
    """The delivery at each scope of each owner; empty without a delivery id."""
    begin_at: str | None
    """The hash of the scope where a flow may begin, or None."""

    def handled_by(self, claim: ClaimKey) -> tuple[Delivery, ...]:
        """Return the deliveries to remember when a claim is completed.

        A message that is delivered again may name only some of its user's ids, and other scopes.
        """
        if not self.deliveries or len(self.owners) > 1:
            return self.deliveries
        return (self.deliveries[self.scope_hashes.index(claim.scope_hash)],)


async def claim(
    storage: Callable[[], Backend], request: ClaimRequest, defaults: WaitDefaults
) -> WaitClaim | None:
    """Claim a wait, queueing if another worker holds it. Return None if no wait is live.

    ``storage`` is called for each attempt, because the store may be closed between two of them.
    """
    token, backend = _random.token(), storage()
    try:
        found, asked_at = await _claim_in_turn(storage, backend, request, token)
    except anyio.get_cancelled_exc_class():
        # The storage may have granted the claim, which nobody would use until its lease ends.
        await _give_up(backend, request, token)
        raise
    if isinstance(found, Claimed):
        deliveries = request.handled_by(found.claim)
        return WaitClaim(storage, found, request.lease, deliveries, asked_at, defaults)
    if isinstance(found, Queued):
        await _give_up(backend, request, token)
    if isinstance(found, Queued) or found is Outcome.CLAIMED:
        raise WaitClaimedError(
            "another worker holds this wait; try again later, or give a longer wait="
        )
    if isinstance(found, Unreadable):
        raise CorruptSessionError(found.key, found.reason)
    if found is Outcome.DUPLICATE:
        raise DuplicateDeliveryError("this delivery was handled before; acknowledge it")
    return None


async def _claim_in_turn(
    storage: Callable[[], Backend], backend: Backend, request: ClaimRequest, token: str
) -> tuple[Claimed | Queued | Unreadable | Outcome, float]:
    """Claim a wait, in turn. Return the storage's last answer, and the time of that request."""
    give_up_at = time.monotonic() + request.wait_timeout
    while True:
        asked_at = time.monotonic()
        found = await backend.claim_wait(
            request.owners,
            request.scope_hashes,
            token=token,
            lease=request.lease,
            deliveries=request.deliveries,
            begin_at=request.begin_at,
            queue=request.wait_timeout > 0,
        )
        if not isinstance(found, Queued):
            return found, asked_at
        left = give_up_at - time.monotonic()
        if left <= 0:
            return found, asked_at
        await backend.wait_for_turn(found.place, min(left, _pause(found)))
        backend = storage()


def _pause(queued: Queued) -> float:
    """Return how long to wait before asking the storage again, in seconds."""
    if queued.free_in is None:
        return _LONGEST_PAUSE
    return min(_LONGEST_PAUSE, queued.free_in / 1000 + _CLOCK_TICK)


async def _give_up(backend: Backend, request: ClaimRequest, token: str) -> None:
    """Release the claim, or the place in a queue, that the storage may have granted to a token."""

    async def release() -> None:
        for owner, scope_hash in product(request.owners, request.scope_hashes):
            await backend.release_claim(ClaimKey(owner, scope_hash, token))

    await end_quietly(release)
