"""Deadlines in order, and a mapping whose entries expire."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

_SLACK: Final = 1024  # outdated entries that are tolerated, however few valid ones there are
_STEP: Final = 16  # entries moved to the new heap with each one that is added
_DROPPED: Final = 4  # expired entries dropped with each one that is set

_K = TypeVar("_K")
_V = TypeVar("_V")


class Deadlines(Generic[_K]):
    """Keys by deadline, the earliest first.

    A key has one valid entry, with the time at which to check it: its deadline, or an earlier one
    that it had before. So moving a deadline to a later time, or removing a key and storing it
    again, adds no entry. An entry is outdated once its key is gone or has an earlier entry. When
    there may be more outdated entries than valid ones, a new heap is started. From then on, each
    added entry moves a few from the outgrown heap to the new one, or drops them. So no step takes
    long, however many keys there are.

    Args:
        deadline_of: Returns the deadline of a key, infinity if it has none or is gone.
    """

    def __init__(self, deadline_of: Callable[[_K], float]) -> None:
        self._deadline_of = deadline_of
        self._check_at: dict[_K, float] = {}
        self._heap: list[tuple[float, int, _K]] = []
        self._outgrown: list[tuple[float, int, _K]] = []
        self._pushed = 0
        self._largest = _SLACK
        self.next_check = math.inf
        """The time before which no entry is due, not even an outdated one."""

    def add(self, key: _K, deadline: float) -> None:
        """Add a key, or note that its deadline has moved."""
        if self._check_at.get(key, math.inf) <= deadline:
            return  # the present entry is due first, and then the new deadline is looked up
        self._push(key, deadline)
        if self._outgrown:
            self._migrate_some()
        elif len(self._heap) > self._largest:
            self._outgrown, self._heap = self._heap, []

    def due(self, now: float, limit: int) -> Iterator[_K]:
        """Remove at most ``limit`` entries that are due, and yield the keys that have expired.

        They are yielded in the order of their deadlines, even across several calls.
        """
        for _ in range(limit):
            heap = self._earliest()
            if not heap or heap[0][0] > now:
                break
            check_at, _, key = heapq.heappop(heap)
            if self._check_at.get(key) != check_at:
                continue
            del self._check_at[key]
            deadline = self._deadline_of(key)
            if deadline <= check_at:
                yield key
            elif deadline < math.inf:
                self._push(key, deadline)
        heap = self._earliest()
        self.next_check = heap[0][0] if heap else math.inf

    def clear(self) -> None:
        self._check_at.clear()
        self._heap.clear()
        self._outgrown.clear()
        self.next_check = math.inf

    def __len__(self) -> int:
        return len(self._heap) + len(self._outgrown)

    def _earliest(self) -> list[tuple[float, int, _K]]:
        """Return the heap that has the earliest entry, or an empty one."""
        if self._outgrown and (not self._heap or self._outgrown[0] < self._heap[0]):
            return self._outgrown
        return self._heap

    def _push(self, key: _K, deadline: float) -> None:
        self._pushed += 1
        self._check_at[key] = deadline
        heapq.heappush(self._heap, (deadline, self._pushed, key))
        self.next_check = min(self.next_check, deadline)

    def _migrate_some(self) -> None:
        taken = self._outgrown[-_STEP:]
        del self._outgrown[-_STEP:]  # a heap without its last entries is still a heap
        for check_at, number, key in taken:
            if self._check_at.get(key) != check_at:
                continue
            if self._deadline_of(key) < math.inf:
                heapq.heappush(self._heap, (check_at, number, key))
            else:
                del self._check_at[key]
        if not self._outgrown:
            self._largest = 2 * len(self._heap) + _SLACK


class Expiring(Generic[_K, _V]):
    """A mapping whose entries expire. Setting an entry drops a few expired ones."""

    def __init__(self) -> None:
        self.entries: dict[_K, tuple[_V, float]] = {}
        """All entries, including expired ones."""
        self._deadlines: Deadlines[_K] = Deadlines(self._deadline_of)

    def get(self, key: _K, now: float) -> _V | None:
        entry = self._live(key, now)
        return None if entry is None else entry[0]

    def deadline(self, key: _K, now: float) -> float | None:
        entry = self._live(key, now)
        return None if entry is None else entry[1]

    def set(self, key: _K, value: _V, deadline: float, now: float) -> None:
        if now >= self._deadlines.next_check:
            self.drop_expired(now, _DROPPED)
        self.entries[key] = (value, deadline)
        self._deadlines.add(key, deadline)

    def delete(self, key: _K) -> None:
        del self.entries[key]

    @property
    def next_check(self) -> float:
        """The time before which no entry can expire."""
        return self._deadlines.next_check

    def drop_expired(self, now: float, limit: int) -> int:
        """Drop expired entries after checking at most ``limit``. Return how many were dropped."""
        dropped = 0
        for expired in self._deadlines.due(now, limit):
            del self.entries[expired]
            dropped += 1
        return dropped

    def clear(self) -> None:
        self.entries.clear()
        self._deadlines.clear()

    def _live(self, key: _K, now: float) -> tuple[_V, float] | None:
        entry = self.entries.get(key)
        return entry if entry is not None and entry[1] > now else None

    def _deadline_of(self, key: _K) -> float:
        entry = self.entries.get(key)
        return math.inf if entry is None else entry[1]
