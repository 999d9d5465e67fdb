"""The right of one worker to resume one wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from async_session_store import _rules
from async_session_store.abc import Backend, Claimed, Delivery, Outcome
from async_session_store.errors import ClaimLostError
from async_session_store.models import SessionRecord

__all__ = ["WaitClaim"]


class WaitClaim:
    """A claim on a wait, from ``claim_wait``. It is held until it is ended or its lease ends.

    Using it after that raises ``ClaimLostError`` and changes nothing, so a worker that was too
    slow cannot touch what the next one does.
    """

    def __init__(
        self,
        storage: Callable[[], Backend],
        claimed: Claimed,
        lease: int,
        delivery: Delivery | None,
        asked_at: float,
    ) -> None:
        self._storage = storage
        self._claim = claimed.claim
        self._record = claimed.record
        self._lease = lease
        self._lease_ends_at = claimed.lease_ends_at
        self._delivery = delivery
        self._held_until = asked_at + lease / 1000

    @property
    def record(self) -> SessionRecord:
        """The session that waits, as it was when it was claimed."""
        return self._record

    @property
    def token(self) -> str:
        """What tells this claim from all others."""
        return self._claim.token

    @property
    def lease(self) -> timedelta:
        """How long the claim is held without being renewed."""
        return timedelta(milliseconds=self._lease)

    @property
    def lease_ends_at(self) -> datetime:
        """When the lease ends, in UTC, on the storage's clock."""
        return self._lease_ends_at

    @property
    def seconds_left(self) -> float:
        """How long the lease lasts yet, at least; 0 if it may have ended.

        On this process's monotonic clock, from before the claim or its renewal was asked for.
        """
        return max(0.0, self._held_until - time.monotonic())

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended. It asks nothing of the storage, so ask it often."""
        return self.seconds_left == 0

    async def complete(self) -> bool:
        """End the claim and remove the wait and its session; whether they were removed.

        False if the scope does not hold the very wait that was claimed: it was registered anew,
        moved, cleared, removed, expired, or rewritten by a Rust process. What is there stays. A
        delivery id of the claim is remembered. Raises ``ClaimLostError``.
        """
        outcome = await self._storage().complete_claim(self._claim, delivery=self._delivery)
        if outcome is Outcome.LOST:
            raise claim_lost()
        return outcome is Outcome.DONE

    async def release(self) -> None:
        """End the claim and give the wait back, as it is. Raises ``ClaimLostError``."""
        if await self._storage().release_claim(self._claim) is Outcome.LOST:
            raise claim_lost()

    async def renew(self, lease: timedelta | float | None = None) -> None:
        """Let the lease end ``lease`` from now: as long as at first, unless told otherwise.

        Raises ``ClaimLostError``. The deadline of the wait stays as it is.
        """
        milliseconds = self._lease if lease is None else _rules.duration("lease", lease)
        asked_at = time.monotonic()
        ends_at = await self._storage().renew_claim(self._claim, milliseconds)
        if ends_at is None:
            self._held_until = asked_at
            raise claim_lost()
        self._held_until = asked_at + milliseconds / 1000
        self._lease_ends_at = ends_at


def claim_lost() -> ClaimLostError:
    """What is raised when a claim is not held any more."""
    return ClaimLostError(
        "the claim is held no longer: its lease ended, or it was completed or released; "
        "nothing was changed"
    )
