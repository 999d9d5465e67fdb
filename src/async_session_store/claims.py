"""The right of one worker to resume one wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, cast

from typing_extensions import override

from async_session_store import _rules
from async_session_store._new_waits import NewWait, WaitDefaults
from async_session_store.abc import (
    KEEP,
    Backend,
    Claimed,
    Delivery,
    Keep,
    Outcome,
    StoredWait,
)
from async_session_store.errors import ClaimLostError
from async_session_store.models import SessionRecord, UserId

__all__ = ["WaitClaim"]

_MILLISECOND: Final = timedelta(milliseconds=1)


class WaitClaim:
    """A claim on a wait, from ``claim_wait`` or ``claim_expired``.

    It is held until it is ended or its lease ends. Using it after that raises ``ClaimLostError``
    and changes nothing, so a worker that was too slow cannot interfere with the next one (K2).
    """

    def __init__(
        self,
        storage: Callable[[], Backend],
        claimed: Claimed,
        lease: int,
        deliveries: Sequence[Delivery],
        asked_at: float,
        defaults: WaitDefaults,
    ) -> None:
        self._storage = storage
        self._defaults = defaults
        self._claim = claimed.claim
        self._record = claimed.record
        self._lease = lease
        self._lease_ends_at = claimed.lease_ends_at
        self._is_overtaken = claimed.is_overtaken
        self._deliveries = deliveries
        self._held_until = asked_at + lease / 1000

    @override
    def __repr__(self) -> str:
        what = "an empty scope"
        if self._claim.session_key is not None:
            kind = "expired session" if self.is_expired else "session"
            what = f"{kind} {str(self._claim.session_key)!r}"
        return f"<WaitClaim on {what}, lease {self._lease / 1000:g} s{', lost' * self.lost}>"

    @property
    def user_id(self) -> UserId:
        """The user whose wait was claimed or, if :attr:`is_new`, for whom a flow begins (K7)."""
        return cast("UserId", self._claim.owner.user)

    @property
    def record(self) -> SessionRecord | None:
        """The session that waits, as it was when it was claimed. None if :attr:`is_new`."""
        return self._record

    @property
    def is_new(self) -> bool:
        """Whether an empty scope was claimed, so that a flow begins there."""
        return self._record is None

    @property
    def is_expired(self) -> bool:
        """Whether this is a claim on an expired wait, from ``claim_expired``."""
        return self._claim.is_expired

    @property
    def is_overtaken(self) -> bool:
        """Whether another session waited at the scope of the expired wait when it was claimed.

        The user has begun another flow there, so ``complete(NewWait(...))`` would have no effect
        (Q2).
        """
        return self._is_overtaken

    @property
    def token(self) -> str:
        """The unique token of this claim."""
        return self._claim.token

    @property
    def lease(self) -> timedelta:
        """How long the claim is held without being renewed."""
        return self._lease * _MILLISECOND

    @property
    def lease_ends_at(self) -> datetime:
        """When the lease ends, in UTC, on the storage's clock."""
        return self._lease_ends_at

    @property
    def seconds_left(self) -> float:
        """Lower bound on the seconds left in the lease; 0 if it may have ended.

        It is measured on this process's monotonic clock, from before the claim or its renewal was
        sent.
        """
        return max(0.0, self._held_until - time.monotonic())

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended. This makes no call, so check it often."""
        return self.seconds_left == 0

    async def complete(self, then: NewWait | Keep | None = None) -> bool:
        """End the claim, remember its delivery id, and do what ``then`` says, in one step (N1).

        Without ``then``, remove the wait and its session. With ``KEEP``, leave the wait as it is.
        With a ``NewWait``, register that one in its place, even if the claimed wait has expired
        in the meantime. This overwrites changes that someone else made with ``update_session``.

        Return whether that happened. Return False if the scope no longer holds the very wait that
        was claimed: it was registered again, moved, cleared, removed, or rewritten by a Rust
        process; without a ``NewWait``, also if it expired. Then the scope is left as it is, but the
        claim still ends (K3, N2).

        An expired wait is removed, unless ``then`` is ``KEEP``: then it is handed out again. If
        another session now waits at its scope, a ``NewWait`` is not registered, and this returns
        False (Q2).

        Raises ``ClaimLostError``, or any error of ``register_wait`` for the new wait. In both cases
        nothing was changed, and in the second the claim is still held.
        """
        stored = self._checked(then)
        outcome = await self._storage().complete_claim(
            self._claim, deliveries=self._deliveries, then=stored
        )
        if outcome is Outcome.LOST:
            raise claim_lost()
        if isinstance(stored, StoredWait) and outcome in (Outcome.FOREIGN, Outcome.UNREADABLE):
            raise _rules.refusal(outcome, stored.key, stored.data)
        return outcome is Outcome.DONE

    def check(self, then: NewWait | Keep | None) -> None:
        """Raise the error that :meth:`complete` would raise for this argument.

        This does not ask the storage, so it cannot check who owns the session under a
        ``session_key``.
        """
        self._checked(then)

    def _checked(self, then: NewWait | Keep | None) -> StoredWait | Keep | None:
        if then is None or then is KEEP:
            return then
        return self._defaults.check_following_wait(self._claim, then)

    async def release(self) -> None:
        """End the claim and give the wait back, as it is. Raises ``ClaimLostError``."""
        if await self._storage().release_claim(self._claim) is Outcome.LOST:
            raise claim_lost()

    async def renew(self, lease: timedelta | float | None = None) -> None:
        """Extend the lease to ``lease`` from now. The default is the length of the first lease.

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
    """Return the error for a claim that is no longer held."""
    return ClaimLostError(
        "the claim is no longer held: its lease ended, or it was completed or released; "
        "nothing was changed"
    )
