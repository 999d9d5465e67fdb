"""The right of one worker to resume one wait, for callers that are not async."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, TypeAlias, cast
from weakref import ref

from typing_extensions import override

from async_session_store._blocks import WaitBlock
from async_session_store._crossing import Crossing
from async_session_store._ending import end_quietly
from async_session_store.claims import WaitClaim
from async_session_store.errors import SessionStoreError
from async_session_store.models import SessionRecord

__all__ = ["ClaimedRecord", "SyncWaitClaim"]

_ErrorType: TypeAlias = "type[BaseException] | None"
_STATE: Final = attrgetter("key", "data", "etag", "expires_at")


class SyncWaitClaim:
    """A claim on a wait, from ``SessionStore.claim_wait``: ``WaitClaim`` without ``await``."""

    def __init__(self, claim: WaitClaim, crossing: Crossing) -> None:
        self._claim = claim
        self._crossing = crossing

    @property
    def record(self) -> SessionRecord:
        """The session that waits, as it was when it was claimed."""
        return self._claim.record

    @property
    def token(self) -> str:
        """What tells this claim from all others."""
        return self._claim.token

    @property
    def lease(self) -> timedelta:
        """How long the claim is held without being renewed."""
        return self._claim.lease

    @property
    def lease_ends_at(self) -> datetime:
        """When the lease ends, in UTC, on the storage's clock."""
        return self._claim.lease_ends_at

    @property
    def seconds_left(self) -> float:
        """How long the lease lasts yet, at least; 0 if it may have ended."""
        return self._claim.seconds_left

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended. It asks nothing of the storage, so ask it often."""
        return self._claim.lost

    def complete(self) -> bool:
        """End the claim and remove the wait and its session; whether they were removed.

        As :meth:`WaitClaim.complete`. Raises ``ClaimLostError``.
        """
        return self._crossing.call(self._claim.complete)

    def release(self) -> None:
        """End the claim and give the wait back, as it is. Raises ``ClaimLostError``."""
        self._crossing.call(self._claim.release)

    def renew(self, lease: timedelta | float | None = None) -> None:
        """Let the lease end ``lease`` from now: as long as at first, unless told otherwise.

        Raises ``ClaimLostError``. The deadline of the wait stays as it is.
        """
        self._crossing.call(self._claim.renew, lease)


@dataclass(frozen=True, slots=True, eq=False)
class ClaimedRecord(SessionRecord):
    """The record of the wait that a block of ``SessionStore.resume_wait`` resumes."""

    _claim: WaitClaim

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended, and another worker may resume the wait."""
        return self._claim.lost

    @override
    def __eq__(self, other: object) -> bool:
        """A record equals another one of the same state, claimed or not."""
        return isinstance(other, SessionRecord) and _STATE(self) == _STATE(other)

    @override
    def __hash__(self) -> int:
        return hash(_STATE(self))


class _Leave(partial[None]):
    """What a ``with`` statement calls at its end. It keeps the block alive until then."""

    block: WaitBlock


class _Exit:
    """``__exit__`` as a callable of its own for each block.

    A signal handler may raise before the first bytecode of ``__exit__``. Then the traceback holds
    the arguments, a method's ``self`` among them, and with it the block: as long as someone keeps
    the exception, the claim would be renewed.
    """

    def __get__(self, instance: SyncWaitBlock | None, owner: type[SyncWaitBlock]) -> _Exit | _Leave:
        return self if instance is None else instance.leave

    def __call__(self, block: SyncWaitBlock, *error: Any) -> None:
        """Leave a block, as ``contextlib.ExitStack`` does."""
        block.leave(*error)


class SyncWaitBlock:
    """The context manager of ``SessionStore.resume_wait``.

    A signal handler may raise in it at any bytecode. So the claim is renewed only from the last
    step of entering to the first of leaving, where the ``with`` statement is sure to end it, and
    only for as long as the block lives.
    """

    __exit__: _Exit = _Exit()

    def __init__(self, block: WaitBlock, crossing: Crossing) -> None:
        self._block = block
        self._crossing = crossing
        self.leave: _Leave = _Leave(_leave, cast("Callable[[], WaitBlock]", ref(block)), crossing)
        self.leave.block = block

    def __enter__(self) -> ClaimedRecord | None:
        try:
            record = self._begin()
            self._block.is_running = True
            return record  # noqa: TRY300  # an interrupt before the return must give the wait back too
        except BaseException:
            self._block.is_running = False
            _give_back(self._block, self._crossing)
            raise

    def _begin(self) -> ClaimedRecord | None:
        claim = self._crossing.call(self._block.begin)
        if claim is None:
            return None
        record = claim.record
        return ClaimedRecord(record.key, record.data, record.etag, record.expires_at, claim)


def _leave(
    block: Callable[[], WaitBlock],
    crossing: Crossing,
    _exc_type: _ErrorType,
    exc: BaseException | None,
    _traceback: TracebackType | None,
) -> None:
    block().is_running = False
    if exc is not None:
        _give_back(block(), crossing)
        return
    try:
        if block().is_claimed:
            crossing.call(block().complete)
    except SessionStoreError:
        raise
    except BaseException:  # the call may have been interrupted before it was handed over
        _give_back(block(), crossing)
        raise


def _give_back(block: WaitBlock, crossing: Crossing) -> None:
    if block.is_claimed:
        with suppress(SessionStoreError):  # what was raised before matters more
            crossing.call(block.release)


def claim_in_loop(
    ask: Callable[[], Awaitable[WaitClaim | None]], crossing: Crossing
) -> SyncWaitClaim | None:
    """Claim a wait. If the thread is interrupted, give back a claim that was granted."""
    granted: list[WaitClaim] = []

    async def claim() -> None:
        claim = await ask()
        if claim is not None:
            granted.append(claim)

    try:
        crossing.call(claim)
        return SyncWaitClaim(granted[0], crossing) if granted else None
    except BaseException:
        if granted:
            with suppress(SessionStoreError):  # what was raised before matters more
                crossing.call(end_quietly, granted[0].release)
        raise
