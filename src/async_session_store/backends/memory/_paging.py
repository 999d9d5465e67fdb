"""Pages of names that stay the same while the storage changes, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from typing_extensions import Self

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rest(Generic[_T]):
    """The names that there were when the first page was read, and where the next one begins.

    The names are not copied for each page, as that would take longer than reading it.
    """

    names: list[_T]
    begin: int = 0

    def page(self, limit: int) -> tuple[list[_T], Self | None]:
        """Return the names of the next page, and what is left after it."""
        end = self.begin + limit
        rest = None if end >= len(self.names) else type(self)(self.names, end)
        return self.names[self.begin : end], rest
