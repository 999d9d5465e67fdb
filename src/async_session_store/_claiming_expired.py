"""Claiming expired waits: those that nobody answered in time."""

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

# The share of the lease that must be left when a block starts: the first renewal is due after a
# third.
_FRESH_SHARE: Final = 0.75

_logger = logging.getLogger("async_session_store")


class ExpiredRequest(NamedTuple):
    """A checked request: claim up to ``limit`` expired waits within ``fence``, for ``lease`` ms."""

    fence: Owner | None
    limit: int
    lease: int


async def claim_expired(
    storage: Callable[[], Backend], request: ExpiredRequest, defaults: WaitDefaults
) -> list[WaitClaim]:
    """Claim expired waits. Log a warning for each one that cannot be read."""
    tokens = [_random.token() for _ in range(request.limit)]
    backend, asked_at = storage(), time.monotonic()
    try:
        found = await backend.claim_expired(request.fence, tokens, request.lease)
    except anyio.get_cancelled_exc_class():
        # The storage may have granted claims, which nobody would use until their leases end.
        await end_quietly(partial(_give_back, backend, request, tokens))
        raise
    _warn_unreadable(found)
    return [
        WaitClaim(storage, one, request.lease, (), asked_at, defaults)
        for one in found
        if isinstance(one, Claimed)
    ]


async def with_fresh_lease(claim: WaitClaim) -> WaitClaim:
    """Return the claim, renewed if its lease might end before a block first renews it.

    If the renewal fails, release the claim: a block that never starts must not keep the wait.
    """
    if claim.seconds_left < claim.lease.total_seconds() * _FRESH_SHARE:
        try:
            await claim.renew()
        except BaseException:
            await end_quietly(claim.release)
            raise
    return claim


async def _give_back(backend: Backend, request: ExpiredRequest, tokens: Sequence[str]) -> None:
    """Release the claims of the tokens. Asking again returns them, and perhaps more."""
    found = await backend.claim_expired(request.fence, tokens, request.lease)
    _warn_unreadable(found)
    for one in found:
        if isinstance(one, Claimed):
            await backend.release_claim(one.claim)


def _warn_unreadable(found: Sequence[Claimed | Unreadable]) -> None:
    for one in found:
        if isinstance(one, Unreadable):
            _logger.warning("expired session %r is not handed out: it cannot be read", str(one.key))
