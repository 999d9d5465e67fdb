"""The outcome of a call that ran elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from typing_extensions import Self

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Captured(Generic[_T]):
    """The outcome of a call: its value, or the error that it raised."""

    value: _T | None = None
    error: BaseException | None = None

    @classmethod
    def of(cls, call: Callable[[], _T]) -> Self:
        """Make a call, and return its outcome, whatever it raises."""
        try:
            return cls(value=call())
        except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
            return cls(error=error)

    def result(self) -> _T:
        if self.error is not None:
            raise self.error
        return cast("_T", self.value)
