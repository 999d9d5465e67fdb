"""What expires, the earliest first."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

_SLACK: Final = 1024  # outdated entries that are kept, however few others there are
_STEP: Final = 16  # entries that are taken over with one that is added
_DROPPED: Final = 4  # expired entries that are dropped with one that is set

_K = TypeVar("_K")
_T = TypeVar("_T")
_V = TypeVar("_V")


class Deadlines(Generic[_T]):
    """Things and when they expire.

    An entry is outdated once its thing is gone or has another deadline. Once there may be more of
    these than of others, the heap is outgrown: each entry that is added then takes a few over into
    a new heap, or drops them. So nothing here takes long, however many things there are.

    Args:
        is_current: Whether a thing still has this deadline.
    """

    def __init__(self, is_current: Callable[[_T, float], bool]) -> None:
        self._is_current = is_current
        self._heap: list[tuple[float, int, _T]] = []
        self._outgrown: list[tuple[float, int, _T]] = []
        self._added = 0
        self._largest = _SLACK

    def add(self, thing: _T, deadline: float) -> None:
        self._added += 1
        heapq.heappush(self._heap, (deadline, self._added, thing))
        if self._outgrown:
            self._take_over()
        elif len(self._heap) > self._largest:
            self._outgrown, self._heap = self._heap, []

    def is_due(self, now: float) -> bool:
        """Whether there is an entry, current or not, whose deadline has come."""
        heap, outgrown = self._heap, self._outgrown
        return bool((heap and heap[0][0] <= now) or (outgrown and outgrown[0][0] <= now))

    def due(self, now: float, most: int) -> Iterator[_T]:
        """Take out at most so many entries whose deadline has come: the things of current ones."""
        for heap in (self._heap, self._outgrown):
            while most and heap and heap[0][0] <= now:
                deadline, _, thing = heapq.heappop(heap)
                most -= 1
                if self._is_current(thing, deadline):
                    yield thing

    def clear(self) -> None:
        self._heap.clear()
        self._outgrown.clear()

    def __len__(self) -> int:
        return len(self._heap) + len(self._outgrown)

    def _take_over(self) -> None:
        taken = self._outgrown[-_STEP:]
        del self._outgrown[-_STEP:]  # without its last entries, a heap is still one
        for entry in taken:
            if self._is_current(entry[2], entry[0]):
                heapq.heappush(self._heap, entry)
        if not self._outgrown:
            self._largest = 2 * len(self._heap) + _SLACK


class Expiring(Generic[_K, _V]):
    """A mapping whose entries expire; a few that did go with each one that is set."""

    def __init__(self) -> None:
        self._entries: dict[_K, tuple[_V, float]] = {}
        self._deadlines: Deadlines[_K] = Deadlines(self._has_deadline)

    def get(self, key: _K, now: float) -> _V | None:
        entry = self._live(key, now)
        return None if entry is None else entry[0]

    def deadline(self, key: _K, now: float) -> float | None:
        entry = self._live(key, now)
        return None if entry is None else entry[1]

    def set(self, key: _K, value: _V, deadline: float, now: float) -> None:
        for expired in self._deadlines.due(now, _DROPPED):
            del self._entries[expired]
        self._entries[key] = (value, deadline)
        self._deadlines.add(key, deadline)

    def delete(self, key: _K) -> None:
        del self._entries[key]

    def clear(self) -> None:
        self._entries.clear()
        self._deadlines.clear()

    def _live(self, key: _K, now: float) -> tuple[_V, float] | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry[1] > now else None

    def _has_deadline(self, key: _K, deadline: float) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry[1] == deadline
