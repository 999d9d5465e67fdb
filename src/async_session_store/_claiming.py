"""Claiming waits: by a reply, in turn, and once they have expired."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
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

# How often a waiting caller renews its place. If its loop hangs for longer than the rest of
# PLACE_TTL, it loses the place; if it dies, it holds the others up for PLACE_TTL.
_LONGEST_PAUSE: Final = PLACE_TTL / 1000 * 0.3  # seconds
_CLOCK_TICK: Final = 0.001  # seconds, to be sure that the lease has ended on the storage's clock
_FRESH: Final = 0.75  # of a lease: a block renews its claim when it has run for a third of it

_logger = logging.getLogger("async_session_store")


class ClaimRequest(NamedTuple):
    """What to claim: ``lease`` in milliseconds, ``wait_timeout`` in seconds."""

    owner: Owner
    scope_hashes: tuple[str, ...]
    lease: int
    wait_timeout: float
    deliveries: tuple[Delivery, ...]
    """The delivery at each of the scopes, or none."""
    begin_at: str | None
    """The hash of the scope where a flow may begin."""

    def delivery_at(self, scope_hash: str) -> Delivery | None:
        if not self.deliveries:
            return None
        return self.deliveries[self.scope_hashes.index(scope_hash)]


async def claim(
    storage: Callable[[], Backend], request: ClaimRequest, defaults: WaitDefaults
) -> WaitClaim | None:
    """Claim a wait, or wait for a turn to claim it. Return None if no wait is live.

    ``storage`` is called for each attempt, since the store may be closed in the meantime.
    """
    token, backend = _random.token(), storage()
    try:
        found, asked_at = await _claim_in_turn(storage, request, token)
    except anyio.get_cancelled_exc_class():
        # A claim may have been granted, and then no one would hold it until its lease ends.
        await _give_up(backend, request, token)
        raise
    if isinstance(found, Claimed):
        delivery = request.delivery_at(found.claim.scope_hash)
        return WaitClaim(storage, found, request.lease, delivery, asked_at, defaults)
    if isinstance(found, Queued):
        await _give_up(backend, request, token)
    if isinstance(found, Queued) or found is Outcome.CLAIMED:
        raise WaitClaimedError("another worker holds this wait; try later, or give a longer wait=")
    if isinstance(found, Unreadable):
        raise CorruptSessionError(found.key, found.reason)
    if found is Outcome.DUPLICATE:
        raise DuplicateDeliveryError("this delivery was handled before; acknowledge it")
    return None


async def _claim_in_turn(
    storage: Callable[[], Backend], request: ClaimRequest, token: str
) -> tuple[Claimed | Queued | Unreadable | Outcome, float]:
    """Claim a wait, in turn. Return the last result, and when it was asked for."""
    give_up_at = time.monotonic() + request.wait_timeout
    while True:
        backend = storage()
        asked_at = time.monotonic()
        found = await backend.claim_wait(
            request.owner,
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


def _pause(queued: Queued) -> float:
    """Return how long to wait before asking the storage again, in seconds."""
    if queued.free_in is None:
        return _LONGEST_PAUSE
    return min(_LONGEST_PAUSE, queued.free_in / 1000 + _CLOCK_TICK)


async def _give_up(backend: Backend, request: ClaimRequest, token: str) -> None:
    """Give back what a token may have got: a claim, or a place in a queue."""

    async def release() -> None:
        for scope_hash in request.scope_hashes:
            await backend.release_claim(ClaimKey(request.owner, scope_hash, token))

    await end_quietly(release)


class ExpiredRequest(NamedTuple):
    """Which expired waits to claim: at most ``limit``, for ``lease`` milliseconds."""

    fence: Owner | None
    limit: int
    lease: int


async def claim_expired(
    storage: Callable[[], Backend], request: ExpiredRequest, defaults: WaitDefaults
) -> list[WaitClaim]:
    """Claim expired waits, and warn of those that cannot be read."""
    tokens = [_random.token() for _ in range(request.limit)]
    backend, asked_at = storage(), time.monotonic()
    try:
        found = await backend.claim_expired(request.fence, tokens, request.lease)
    except anyio.get_cancelled_exc_class():
        # Claims may have been granted, and then no one would hold them until their leases end.
        await end_quietly(partial(_give_back, backend, request, tokens))
        raise
    _warn_unreadable(found)
    return [
        WaitClaim(storage, one, request.lease, None, asked_at, defaults)
        for one in found
        if isinstance(one, Claimed)
    ]


async def _give_back(backend: Backend, request: ExpiredRequest, tokens: Sequence[str]) -> None:
    """Release what the tokens hold: asked again, the storage tells, and may grant more."""
    found = await backend.claim_expired(request.fence, tokens, request.lease)
    _warn_unreadable(found)
    for one in found:
        if isinstance(one, Claimed):
            await backend.release_claim(one.claim)


async def held_on(claim: WaitClaim) -> WaitClaim:
    """Return a claim that holds until the first of its renewals in a block.

    If it cannot be renewed, give the wait back: the block ends the claim, also if it never begins.
    """
    if claim.seconds_left < claim.lease.total_seconds() * _FRESH:
        try:
            await claim.renew()
        except BaseException:
            await end_quietly(claim.release)
            raise
    return claim


def _warn_unreadable(found: Sequence[Claimed | Unreadable]) -> None:
    for one in found:
        if isinstance(one, Unreadable):
            _logger.warning(
                "session %r expired, and no worker gets it: it cannot be read", str(one.key)
            )
