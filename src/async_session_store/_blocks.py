"""The context manager that holds a claim while its block runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar, cast

from typing_extensions import override

from async_session_store._block_scopes import BlockScope, block_scope
from async_session_store._ending import end, end_quietly
from async_session_store._new_waits import NewWait
from async_session_store._plans import Plan
from async_session_store._renewing import Holder, Renewal, Renewer
from async_session_store.abc import Keep
from async_session_store.claims import WaitClaim, claim_lost
from async_session_store.errors import CorruptSessionError, InvalidInputError

_T_co = TypeVar("_T_co", covariant=True)


class WaitBlock(Holder, Generic[_T_co]):
    """The context manager of ``resume_wait``, ``turn`` and ``expired_turn``.

    A block may start, run and end in different tasks, as the block of a pytest fixture does.

    Args:
        claim_wait: Claims the wait.
        make_target: Turns the claim into the block's target (the value after ``as``) and the plan
            for what happens next. Without a claim the target is None.
        renewer: Renews the claim while the block runs.
    """

    __slots__ = (
        "_claim",
        "_claim_wait",
        "_make_target",
        "_plan",
        "_renewal",
        "_renewer",
        "_scope",
        "_then",
    )

    def __init__(
        self,
        claim_wait: Callable[[], Awaitable[WaitClaim | None]],
        make_target: Callable[[WaitClaim], tuple[_T_co, Plan]],
        renewer: Renewer,
    ) -> None:
        self._claim_wait = claim_wait
        self._make_target = make_target
        self._renewer = renewer
        self._claim: WaitClaim | None = None
        self._plan: Plan | None = None
        self._then: NewWait | Keep | None = None
        self._renewal: Renewal | None = None
        self._scope: BlockScope | None = None
        self.is_running: bool = False

    @property
    def is_claimed(self) -> bool:
        """Whether a claim was granted. It must then be completed or released."""
        return self._claim is not None

    @override
    def __repr__(self) -> str:
        if self._claim is None:
            return "<WaitBlock, not claimed>"
        return f"<WaitBlock of {self._claim!r}>"

    async def __aenter__(self) -> _T_co:
        target = await self.begin()
        if self._claim is not None:
            self._scope = block_scope()
            self.is_running = True
        return target

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scope, self._scope = self._scope, None
        if scope is None:
            return
        self.is_running = False
        try:
            was_cancelled = scope.close(exc_type, exc, traceback)
        except BaseException:
            await self.release()
            raise
        if was_cancelled:
            # A renewal that was in flight may have extended the lease after we gave it up.
            await self.release()
            raise claim_lost() from exc
        if exc is not None:
            await self.release()
            return
        try:
            self.conclude()
        except BaseException:
            await self.release()
            raise
        await self.complete()

    async def begin(self) -> _T_co:
        """Claim the wait and return the block's target.

        The claim is renewed while :attr:`is_running` is true.
        """
        self._claim = claim = await self._claim_wait()
        if claim is None:
            return cast("_T_co", None)
        target, self._plan = self._make_target(claim)
        self._renewal = self._renewer.add(claim, self)
        return target

    def conclude(self) -> None:
        """Ask the plan what follows the claim, before :meth:`complete`. The plan may raise."""
        if self._plan is not None:
            self._then = self._plan.then()
            self._plan.is_settled = True

    async def complete(self) -> None:
        """Complete the claim. Raises like :meth:`WaitClaim.complete`."""
        if self._claim is not None:
            await end(self._complete)

    async def release(self) -> None:
        """Release the claim. Log a failure instead of raising it: the claim ends with its lease."""
        if self._claim is not None:
            await end(partial(end_quietly, self._release))

    @override
    def lose(self) -> bool:
        """Cancel the block. Return False if it cannot be cancelled right now."""
        return not self.is_running or self._scope is None or self._scope.cancel()

    async def _release(self) -> None:
        if self._renewal is not None:
            await self._renewer.stop(self._renewal)
        if self._claim is not None:
            await self._claim.release()

    async def _complete(self) -> None:
        if self._renewal is not None:
            await self._renewer.stop(self._renewal)
        if self._claim is None or self._plan is None:
            return
        try:
            self._plan.superseded = not await self._claim.complete(self._then)
        except (InvalidInputError, CorruptSessionError):
            # The storage refused the next wait, so the claim is still held.
            await end_quietly(self._claim.release)
            raise
