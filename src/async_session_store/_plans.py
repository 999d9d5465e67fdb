"""What is to follow the claim of a block, once the block has ended."""

from __future__ import annotations

from abc import ABC, abstractmethod

from typing_extensions import override

from async_session_store._new_waits import NewWait
from async_session_store.abc import Keep
from async_session_store.errors import InvalidInputError


class Plan(ABC):
    """What follows a claim. The block shares it with the object that its user gets."""

    __slots__ = ("is_settled", "superseded")

    def __init__(self) -> None:
        self.is_settled: bool = False
        """Whether the block has ended well, so that nothing that is said counts any more."""
        self.superseded: bool = False
        """Whether it had no effect, because the wait was no longer the claimed one."""

    @abstractmethod
    def then(self) -> NewWait | Keep | None:
        """Return what follows. May raise. Called once, after a block that did not raise."""

    def check_unsettled(self) -> None:
        """Raise ``InvalidInputError`` if it is too late to say what follows."""
        if self.is_settled:
            raise InvalidInputError("the block has ended: say what follows inside of it")


class SpokenPlan(Plan):
    """The last thing that the block asked for."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        super().__init__()
        self.said: NewWait | Keep | None = None

    @override
    def then(self) -> NewWait | Keep | None:
        return self.said
