"""The outcome of a call that ran elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Captured(Generic[_T]):
    """The outcome of a call: its value, or the error that it raised."""

    value: _T | None = None
    error: BaseException | None = None

    def result(self) -> _T:
        if self.error is not None:
            raise self.error
        return cast("_T", self.value)


def capture(call: Callable[[], _T]) -> Captured[_T]:
    """Make a call, and return its outcome, whatever it raises."""
    try:
        return Captured(value=call())
    except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
        return Captured(error=error)
