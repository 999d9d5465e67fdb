"""What a block wants to follow the claim that it holds."""

from __future__ import annotations

from abc import ABC, abstractmethod

from typing_extensions import override

from async_session_store._new_waits import NewWait
from async_session_store.abc import Keep
from async_session_store.errors import InvalidInputError


class Plan(ABC):
    """Shared by a block and by what its user is given."""

    __slots__ = ("is_settled", "superseded")

    def __init__(self) -> None:
        self.is_settled: bool = False
        """Whether the block has ended well, so that nothing that is said counts any more."""
        self.superseded: bool = False
        """Whether the storage refused it, as the wait was not the claimed one any more."""

    @abstractmethod
    def then(self) -> NewWait | Keep | None:
        """Return what follows. It is asked once, when the block has ended well, and may raise."""

    def check_unsettled(self) -> None:
        """Raise ``InvalidInputError`` if it is too late to say what follows."""
        if self.is_settled:
            raise InvalidInputError("the block has ended: say what follows inside of it")


class SpokenPlan(Plan):
    """What the block said last."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        super().__init__()
        self.said: NewWait | Keep | None = None

    @override
    def then(self) -> NewWait | Keep | None:
        return self.said
