"""What is to follow the claim of a block, once the block has ended."""

from __future__ import annotations

from abc import ABC, abstractmethod

from typing_extensions import override

from async_session_store._new_waits import NewWait
from async_session_store.abc import Keep


class Plan(ABC):
    """What follows a claim. The block shares it with the object that its user gets."""

    __slots__ = ("superseded",)

    def __init__(self) -> None:
        self.superseded: bool = False
        """Whether it had no effect, because the wait was no longer the claimed one."""

    @abstractmethod
    def then(self) -> NewWait | Keep | None:
        """Return what follows. May raise. Called once, after a block that did not raise."""


class SpokenPlan(Plan):
    """The last thing that the block asked for."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        super().__init__()
        self.said: NewWait | Keep | None = None

    @override
    def then(self) -> NewWait | Keep | None:
        return self.said
