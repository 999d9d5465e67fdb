"""What expires, the earliest first."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

_SLACK: Final = 1024  # outdated entries that are kept before the heap is built anew

_K = TypeVar("_K")
_T = TypeVar("_T")
_V = TypeVar("_V")


class Deadlines(Generic[_T]):
    """Things and when they expire.

    An entry is outdated once its thing is gone or has another deadline. Outdated entries are
    passed over, and dropped before there are more of them than of others.

    Args:
        is_current: Whether a thing still has this deadline.
    """

    def __init__(self, is_current: Callable[[_T, float], bool]) -> None:
        self._is_current = is_current
        self._heap: list[tuple[float, int, _T]] = []
        self._added = 0
        self._largest = _SLACK

    def add(self, thing: _T, deadline: float) -> None:
        self._added += 1
        heapq.heappush(self._heap, (deadline, self._added, thing))
        if len(self._heap) > self._largest:
            self._heap = [entry for entry in self._heap if self._is_current(entry[2], entry[0])]
            heapq.heapify(self._heap)
            self._largest = 2 * len(self._heap) + _SLACK

    def due(self, now: float) -> Iterable[_T]:
        """Take out the things whose deadline has come."""
        return self._take_due(now) if self._heap and self._heap[0][0] <= now else ()

    def _take_due(self, now: float) -> Iterator[_T]:
        while self._heap and self._heap[0][0] <= now:
            deadline, _, thing = heapq.heappop(self._heap)
            if self._is_current(thing, deadline):
                yield thing

    def clear(self) -> None:
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._heap)


class Expiring(Generic[_K, _V]):
    """A mapping whose entries expire; those that did go with the next one that is set."""

    def __init__(self) -> None:
        self._entries: dict[_K, tuple[_V, float]] = {}
        self._deadlines: Deadlines[_K] = Deadlines(self._has_deadline)

    def get(self, key: _K, now: float) -> _V | None:
        entry = self._entries.get(key)
        return entry[0] if entry is not None and entry[1] > now else None

    def deadline(self, key: _K, now: float) -> float | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[1] > now else None

    def set(self, key: _K, value: _V, deadline: float, now: float) -> None:
        for expired in self._deadlines.due(now):
            del self._entries[expired]
        self._entries[key] = (value, deadline)
        self._deadlines.add(key, deadline)

    def delete(self, key: _K) -> None:
        del self._entries[key]

    def clear(self) -> None:
        self._entries.clear()
        self._deadlines.clear()

    def _has_deadline(self, key: _K, deadline: float) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry[1] == deadline
