"""The right of one worker to resume one wait, for synchronous callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast
from weakref import ref

from typing_extensions import Self, override

from async_session_store._blocks import WaitBlock
from async_session_store._crossing import Crossing
from async_session_store._ending import end_quietly
from async_session_store._new_waits import NewWait
from async_session_store.abc import Keep
from async_session_store.claims import WaitClaim
from async_session_store.errors import (
    ClaimLostError,
    InvalidInputError,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from async_session_store.expired_waits import HandOuts, Outage
from async_session_store.models import SessionRecord, UserId

__all__ = ["SyncExpiredWaits", "SyncWaitClaim"]

_ErrorType: TypeAlias = "type[BaseException] | None"
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class SyncWaitClaim:
    """A claim on a wait, from a ``SessionStore``: :class:`WaitClaim` without ``await``."""

    def __init__(self, claim: WaitClaim, crossing: Crossing) -> None:
        self._claim = claim
        self._crossing = crossing

    @override
    def __repr__(self) -> str:
        return repr(self._claim).replace("<WaitClaim", "<SyncWaitClaim", 1)

    @property
    def user_id(self) -> UserId:
        """The user whose wait was claimed or, if :attr:`is_new`, for whom a flow begins."""
        return self._claim.user_id

    @property
    def record(self) -> SessionRecord | None:
        """The session that waits, as it was when it was claimed. None if :attr:`is_new`."""
        return self._claim.record

    @property
    def is_new(self) -> bool:
        """Whether an empty scope was claimed, so that a flow begins there."""
        return self._claim.is_new

    @property
    def is_expired(self) -> bool:
        """Whether this is a claim on an expired wait, from ``claim_expired``."""
        return self._claim.is_expired

    @property
    def is_overtaken(self) -> bool:
        """Whether another session waited at the scope of the expired wait when it was claimed."""
        return self._claim.is_overtaken

    @property
    def token(self) -> str:
        """The unique token of this claim."""
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
        """Lower bound on the seconds left in the lease; 0 if it may have ended."""
        return self._claim.seconds_left

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended. This makes no call, so check it often."""
        return self._claim.lost

    def complete(self, then: NewWait | Keep | None = None) -> bool:
        """End the claim, remember its delivery id, and do what ``then`` says, in one step.

        Like :meth:`WaitClaim.complete`.
        """
        return self._crossing.call(self._claim.complete, then)

    def check(self, then: NewWait | Keep | None) -> None:
        """Raise the error that :meth:`complete` would raise for this argument."""
        self._claim.check(then)

    def release(self) -> None:
        """End the claim and give the wait back, as it is. Raises ``ClaimLostError``."""
        self._crossing.call(self._claim.release)

    def renew(self, lease: timedelta | float | None = None) -> None:
        """Extend the lease to ``lease`` from now. The default is the length of the first lease.

        Raises ``ClaimLostError``. The deadline of the wait stays as it is.
        """
        self._crossing.call(self._claim.renew, lease)


class _Leave(partial[None]):
    """The callable at the end of a ``with`` statement. It keeps the block alive until then."""

    block: WaitBlock[Any]


class _Exit:
    """``__exit__`` as a callable of its own for each block.

    A signal handler may raise before the first bytecode of ``__exit__``. Then the traceback holds
    the arguments, a method's ``self`` among them, and with it the block: as long as someone keeps
    the exception, the claim would be renewed.
    """

    def __get__(
        self, instance: SyncWaitBlock[Any] | None, owner: type[SyncWaitBlock[Any]]
    ) -> _Exit | _Leave:
        return self if instance is None else instance.leave

    def __call__(self, block: SyncWaitBlock[Any], *error: Any) -> None:
        """Leave a block, as ``contextlib.ExitStack`` does."""
        block.leave(*error)


class SyncWaitBlock(Generic[_T_co]):
    """The context manager of ``resume_wait``, ``turn`` and ``expired_turn`` of a ``SessionStore``.

    A signal handler may raise in it at any bytecode. So the claim is renewed only from the last
    step of entering to the first of leaving, where the ``with`` statement is sure to end it, and
    only for as long as the block lives.
    """

    if TYPE_CHECKING:

        def __exit__(
            self, exc_type: _ErrorType, exc: BaseException | None, traceback: TracebackType | None
        ) -> None: ...
    else:
        __exit__ = _Exit()

    def __init__(self, block: WaitBlock[_T_co], crossing: Crossing) -> None:
        self._block = block
        self._crossing = crossing
        self.leave: _Leave = _Leave(
            _leave, cast("Callable[[], WaitBlock[_T_co]]", ref(block)), crossing
        )
        self.leave.block = block

    @override
    def __repr__(self) -> str:
        return repr(self._block).replace("<WaitBlock", "<SyncWaitBlock", 1)

    def __enter__(self) -> _T_co:
        try:
            target = self._crossing.call(self._block.begin)
            self._block.is_running = True
            return target  # noqa: TRY300  # an interrupt before the return must give the wait back too
        except BaseException:
            self._block.is_running = False
            _give_back(self._block, self._crossing)
            raise


def _leave(
    block: Callable[[], WaitBlock[_T]],
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
        block().conclude()  # in this thread, as it may run the caller's own code
    except BaseException:
        _give_back(block(), crossing)
        raise
    try:
        if block().is_claimed:
            crossing.call(block().complete)
    except SessionStoreError:
        raise
    except BaseException:  # the call may have been interrupted before it was handed over
        _give_back(block(), crossing)
        raise


def _give_back(block: WaitBlock[_T], crossing: Crossing) -> None:
    if block.is_claimed:
        with suppress(SessionStoreError):  # the earlier exception matters more
            crossing.call(block.release)


def claim_in_loop(
    ask: Callable[[], Awaitable[list[WaitClaim]]], crossing: Crossing
) -> list[SyncWaitClaim]:
    """Claim waits. If the thread is interrupted, give back the claims that were granted."""
    granted: list[WaitClaim] = []

    async def claim() -> None:
        granted.extend(await ask())

    try:
        crossing.call(claim)
        return [SyncWaitClaim(one, crossing) for one in granted]
    except BaseException:
        with suppress(SessionStoreError):  # the earlier exception matters more
            crossing.call(end_quietly, partial(_release_all, granted))
        raise


async def _release_all(claims: list[WaitClaim]) -> None:
    for claim in claims:
        with suppress(ClaimLostError):
            await claim.release()


def claim_of(claim: SyncWaitClaim) -> WaitClaim:
    """Return the claim of the loop for which a thread's claim stands."""
    if not isinstance(claim, SyncWaitClaim):
        raise InvalidInputError("claim: give one from claim_expired or expired_waits")
    # Not for users, as it belongs to the loop.
    return claim._claim  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # in its own module


class SyncExpiredWaits:
    """Expired waits as they fall due, to iterate over with ``for``.

    It is :class:`ExpiredWaits` without ``async``, and its items are :class:`SyncWaitClaim`. Threads
    may share it. A thread that waits for the next wait polls the store every ``poll`` seconds.
    """

    def __init__(
        self,
        claim_one: Callable[[], list[SyncWaitClaim]],
        poll: float,
    ) -> None:
        self._claim_one = claim_one
        self._poll = poll
        self._hand_outs = HandOuts(poll)
        self._outage = Outage()
        self._is_stopped = False
        # A lock in Python code could stay locked if a signal handler raises; this is written in C.
        self._wake_ups: SimpleQueue[None] = SimpleQueue()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SyncWaitClaim:
        while not self._is_stopped:
            claim = self._next()
            if claim is not None:
                return claim
            self._pause()
        raise StopIteration

    def stop(self) -> None:
        """End the loops once their bodies are done with the waits that they have.

        Any thread may call this, and so may a signal handler.
        """
        self._is_stopped = True
        self._wake_ups.put(None)

    def _next(self) -> SyncWaitClaim | None:
        """Claim the next expired wait. Return None if it is time for a pause."""
        try:
            claims = self._claim_one()
        except (StoreTimeoutError, StoreUnavailableError) as error:
            self._outage.begin(error)
            return None
        self._outage.end()
        for claim in claims:
            if claim.record is None or not self._hand_outs.comes_too_soon(claim.record.key):
                return claim
            with suppress(SessionStoreError):  # then its lease ends
                claim.release()
        return None

    def _pause(self) -> None:
        with suppress(Empty):
            self._wake_ups.get(timeout=self._poll)
            self._wake_ups.put(None)  # for the next thread
