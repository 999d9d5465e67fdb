"""Renewing the claims of all running blocks of a store."""

from __future__ import annotations

import logging
import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Final

import anyio

from async_session_store._background import Background, BackgroundTask, background
from async_session_store._ending import end_quietly
from async_session_store.claims import WaitClaim
from async_session_store.errors import ClaimLostError

_RENEWALS: Final = 3  # in the time of one lease
_EARLY: Final = 0.001  # seconds: a timer may fire a moment before its time

_logger = logging.getLogger("async_session_store")


class Holder(ABC):
    """The object that a claim is renewed for."""

    __slots__ = ("__weakref__", "is_running")

    is_running: bool
    """Whether the holder is sure to end the claim. While False, the claim is not renewed."""

    @abstractmethod
    def lose(self) -> bool:
        """React to the loss of the lease. Return False to be called again later."""


class Renewal:
    """A claim that is renewed for as long as its holder lives."""

    __slots__ = ("attempt", "claim", "due", "holder", "interval")

    def __init__(self, claim: WaitClaim, holder: Holder) -> None:
        self.claim: WaitClaim = claim
        # Weak, so that dropping the holder stops the renewals.
        self.holder: weakref.ref[Holder] = weakref.ref(holder)
        self.interval: float = claim.lease.total_seconds() / _RENEWALS
        self.due: float = math.inf
        self.attempt: BackgroundTask | None = None


class Renewer:
    """Renews each claim three times per lease, in the event loop of its store.

    One timer serves all claims and stays set when a block ends. So a block shorter than a third of
    its lease needs no task, and usually no new timer either.
    """

    def __init__(self) -> None:
        self._background: Background | None = None
        # Keyed by interval: claims with the same interval fall due in the order in which they were
        # added.
        self._waiting: dict[float, dict[Renewal, None]] = {}
        self._wakes_at = math.inf
        self._is_closed = False

    def add(self, claim: WaitClaim, holder: Holder) -> Renewal:
        """Start renewing a claim."""
        renewal = Renewal(claim, holder)
        if self._is_closed:
            return renewal  # the store was closed while the claim was in flight
        if self._background is None:
            self._background = background()
        self._wait(self._background, renewal)
        return renewal

    async def stop(self, renewal: Renewal) -> None:
        """Stop renewing a claim. Cancel an attempt in flight and wait until it has ended."""
        self._forget(renewal)
        if renewal.attempt is not None:
            await renewal.attempt.cancel()

    async def aclose(self) -> None:
        """Stop renewing all claims."""
        self._is_closed = True
        self._waiting.clear()
        if self._background is not None:
            await self._background.aclose()

    def _wait(self, loop: Background, renewal: Renewal) -> None:
        renewal.due = loop.now() + renewal.interval
        self._waiting.setdefault(renewal.interval, {})[renewal] = None
        self._wake_by(loop, renewal.due)

    def _forget(self, renewal: Renewal) -> None:
        waiting = self._waiting.get(renewal.interval, {})
        waiting.pop(renewal, None)
        if not waiting:
            self._waiting.pop(renewal.interval, None)

    def _wake_by(self, loop: Background, due: float) -> None:
        if due < self._wakes_at:
            self._wakes_at = due
            # `due` may be past already: starting the renewals before it took time.
            loop.set_timer(max(0.0, due - loop.now()), partial(self._renew_due, loop))

    def _renew_due(self, loop: Background) -> None:
        self._wakes_at = math.inf
        for renewal in list(self._due(loop.now() + _EARLY)):
            self._forget(renewal)
            renewal.attempt = loop.start(partial(self._attempt, loop, renewal))
        for waiting in self._waiting.values():
            self._wake_by(loop, next(iter(waiting)).due)

    def _due(self, now: float) -> Iterator[Renewal]:
        for waiting in self._waiting.values():
            for renewal in waiting:
                if renewal.due > now:
                    break
                yield renewal

    async def _attempt(self, loop: Background, renewal: Renewal) -> None:
        if await self._keep_renewed(renewal) and not self._is_closed:
            self._wait(loop, renewal)
        renewal.attempt = None

    async def _keep_renewed(self, renewal: Renewal) -> bool:
        """Renew the claim while its holder runs. Return whether to renew it again later."""
        claim = renewal.claim
        if renewal.holder() is None:
            await end_quietly(claim.release)
            return False
        while _is_running(renewal.holder()) and not claim.lost:
            await _renew(claim)
            if claim.seconds_left >= renewal.interval:
                return True
            # The renewal failed or took long, and the lease may end before the next regular one.
            await anyio.sleep(min(claim.seconds_left, renewal.interval / _RENEWALS))
        if not claim.lost:
            return True
        holder = renewal.holder()
        return holder is not None and not holder.lose()


def _is_running(holder: Holder | None) -> bool:
    return holder is not None and holder.is_running


async def _renew(claim: WaitClaim) -> None:
    try:
        with anyio.move_on_after(claim.seconds_left):
            await claim.renew()
    except ClaimLostError:
        pass  # the claim knows that it is lost
    except Exception:  # whatever a backend raises, the block must learn of a lost lease
        _logger.warning("a claim could not be renewed; trying again", exc_info=True)
