"""A claim for the length of a block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType

from typing_extensions import override

from async_session_store._block_scopes import BlockScope, block_scope
from async_session_store._ending import end, end_quietly
from async_session_store._renewing import Holder, Renewal, Renewer
from async_session_store.claims import WaitClaim, claim_lost
from async_session_store.models import SessionRecord


class WaitBlock(Holder):
    """The context manager of ``resume_wait``.

    A block may begin, take its steps and end in different tasks.
    """

    __slots__ = ("_ask", "_claim", "_renewal", "_renewer", "_scope")

    def __init__(self, ask: Callable[[], Awaitable[WaitClaim | None]], renewer: Renewer) -> None:
        self._ask = ask
        self._renewer = renewer
        self._claim: WaitClaim | None = None
        self._renewal: Renewal | None = None
        self._scope: BlockScope | None = None
        self.is_running: bool = False

    @property
    def is_claimed(self) -> bool:
        """Whether the claim was granted, and may have to be ended."""
        return self._claim is not None

    async def __aenter__(self) -> SessionRecord | None:
        claim = await self.begin()
        if claim is None:
            return None
        self._scope = block_scope()
        self.is_running = True
        return claim.record

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._scope is None:
            return
        self.is_running = False
        try:
            was_cancelled = self._scope.close(exc_type, exc, traceback)
        except BaseException:
            await self.release()
            raise
        if was_cancelled:
            # A renewal in flight may have extended the lease after its holder gave it up.
            await self.release()
            raise claim_lost() from exc
        if exc is None:
            await self.complete()
        else:
            await self.release()

    async def begin(self) -> WaitClaim | None:
        """Claim the wait. The claim is renewed while :attr:`is_running`."""
        self._renewer.check_loop()
        self._claim = claim = await self._ask()
        if claim is not None:
            self._renewal = self._renewer.add(claim, self)
        return claim

    async def complete(self) -> None:
        """Complete the claim. Raises like :meth:`WaitClaim.complete`."""
        if self._claim is not None:
            await end(partial(self._end, self._claim.complete))

    async def release(self) -> None:
        """Give the wait back, if that is possible."""
        if self._claim is not None:
            await end(partial(end_quietly, partial(self._end, self._claim.release)))

    @override
    def lose(self) -> bool:
        """Cancel the block. Return False if it cannot be cancelled where it is now."""
        return not self.is_running or self._scope is None or self._scope.cancel()

    async def _end(self, act: Callable[[], Awaitable[object]]) -> None:
        if self._renewal is not None:
            await self._renewer.stop(self._renewal)
        await act()
