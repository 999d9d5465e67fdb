"""The plan of a block: what happens to its claimed wait when the block ends."""

from __future__ import annotations

from abc import ABC, abstractmethod

from typing_extensions import override

from async_session_store._new_waits import NewWait
from async_session_store.abc import Keep
from async_session_store.errors import InvalidInputError


class Plan(ABC):
    """The plan for a claimed wait. A block shares it with its target, which the user calls."""

    __slots__ = ("is_settled", "superseded")

    def __init__(self) -> None:
        self.is_settled: bool = False
        """Whether the block has ended without an exception. The plan can no longer change."""
        self.superseded: bool = False
        """Whether the plan had no effect, because the wait was no longer the claimed one."""

    @abstractmethod
    def then(self) -> NewWait | Keep | None:
        """Return what follows the claim. Called once, after a block without an exception.

        May raise.
        """

    def check_unsettled(self) -> None:
        """Raise ``InvalidInputError`` if the plan can no longer change."""
        if self.is_settled:
            raise InvalidInputError("the block has ended; call this inside the block")


class RequestedPlan(Plan):
    """The plan of a block of ``resume_wait``: whatever the block requested last."""

    __slots__ = ("requested",)

    def __init__(self) -> None:
        super().__init__()
        self.requested: NewWait | Keep | None = None

    @override
    def then(self) -> NewWait | Keep | None:
        return self.requested
