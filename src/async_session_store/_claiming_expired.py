"""Claiming waits that nobody answered in time."""

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
from async_session_store.abc import Backend, Claimed, Unreadable
from async_session_store.claims import WaitClaim
from async_session_store.models import Owner

_FRESH: Final = 0.75  # of a lease: a block renews its claim when it has run for a third of it

_logger = logging.getLogger("async_session_store")


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


async def _give_back(backend: Backend, request: ExpiredRequest, tokens: Sequence[str]) -> None:
    """Release what the tokens hold: asked again, the storage tells, and may grant more."""
    found = await backend.claim_expired(request.fence, tokens, request.lease)
    _warn_unreadable(found)
    for one in found:
        if isinstance(one, Claimed):
            await backend.release_claim(one.claim)


def _warn_unreadable(found: Sequence[Claimed | Unreadable]) -> None:
    for one in found:
        if isinstance(one, Unreadable):
            _logger.warning(
                "session %r expired, and no worker gets it: it cannot be read", str(one.key)
            )
