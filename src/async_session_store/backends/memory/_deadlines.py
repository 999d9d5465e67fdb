"""What expires, the earliest first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

_SLACK: Final = 1024  # outdated entries that are kept, however few others there are
_STEP: Final = 16  # entries that are taken over with one that is added
_DROPPED: Final = 4  # expired entries that are dropped with one that is set

_K = TypeVar("_K")
_V = TypeVar("_V")


class Deadlines(Generic[_K]):
    """Keys, and when what is stored under them expires.

    A key has one entry that counts, for a time when it is to be looked at: its deadline, or one
    that it had before. So to move a deadline away, or to remove a key and store it anew, costs no
    entry. An entry is outdated once its key is gone or has an earlier one. Once there may be more
    of these than of others, the heap is outgrown: each entry that is added then takes a few over
    into a new heap, or drops them. So nothing here takes long, however many keys there are.

    Args:
        deadline_of: The deadline of a key: infinite if it has none, or is gone.
    """

    def __init__(self, deadline_of: Callable[[_K], float]) -> None:
        self._deadline_of = deadline_of
        self._look_at: dict[_K, float] = {}
        self._heap: list[tuple[float, int, _K]] = []
        self._outgrown: list[tuple[float, int, _K]] = []
        self._pushed = 0
        self._largest = _SLACK
        self.next_look = math.inf
        """Before then no entry is due, outdated or not."""

    def add(self, key: _K, deadline: float) -> None:
        """Tell of the deadline that a key has now."""
        if self._look_at.get(key, math.inf) <= deadline:
            return  # by then it is looked at, and its deadline asked for
        self._push(key, deadline)
        if self._outgrown:
            self._take_over()
        elif len(self._heap) > self._largest:
            self._outgrown, self._heap = self._heap, []

    def due(self, now: float, most: int) -> Iterator[_K]:
        """Take out at most so many entries whose time has come: the keys that have expired.

        They come in the order of their deadlines, also if several calls take them out.
        """
        for _ in range(most):
            heap = self._earliest()
            if not heap or heap[0][0] > now:
                break
            look_at, _, key = heapq.heappop(heap)
            if self._look_at.get(key) != look_at:
                continue
            del self._look_at[key]
            deadline = self._deadline_of(key)
            if deadline <= look_at:
                yield key
            elif deadline < math.inf:
                self._push(key, deadline)
        heap = self._earliest()
        self.next_look = heap[0][0] if heap else math.inf

    def clear(self) -> None:
        self._look_at.clear()
        self._heap.clear()
        self._outgrown.clear()
        self.next_look = math.inf

    def __len__(self) -> int:
        return len(self._heap) + len(self._outgrown)

    def _earliest(self) -> list[tuple[float, int, _K]]:
        """Return the heap that has the earliest entry, or an empty one."""
        if self._outgrown and (not self._heap or self._outgrown[0] < self._heap[0]):
            return self._outgrown
        return self._heap

    def _push(self, key: _K, deadline: float) -> None:
        self._pushed += 1
        self._look_at[key] = deadline
        heapq.heappush(self._heap, (deadline, self._pushed, key))
        self.next_look = min(self.next_look, deadline)

    def _take_over(self) -> None:
        taken = self._outgrown[-_STEP:]
        del self._outgrown[-_STEP:]  # without its last entries, a heap is still one
        for look_at, number, key in taken:
            if self._look_at.get(key) != look_at:
                continue
            if self._deadline_of(key) < math.inf:
                heapq.heappush(self._heap, (look_at, number, key))
            else:
                del self._look_at[key]
        if not self._outgrown:
            self._largest = 2 * len(self._heap) + _SLACK


class Expiring(Generic[_K, _V]):
    """A mapping whose entries expire; a few that did go with each one that is set."""

    def __init__(self) -> None:
        self.entries: dict[_K, tuple[_V, float]] = {}
        """All of them, also those that have expired."""
        self._deadlines: Deadlines[_K] = Deadlines(self._deadline_of)

    def get(self, key: _K, now: float) -> _V | None:
        entry = self._live(key, now)
        return None if entry is None else entry[0]

    def deadline(self, key: _K, now: float) -> float | None:
        entry = self._live(key, now)
        return None if entry is None else entry[1]

    def set(self, key: _K, value: _V, deadline: float, now: float) -> None:
        if now >= self._deadlines.next_look:
            self.drop_expired(now, _DROPPED)
        self.entries[key] = (value, deadline)
        self._deadlines.add(key, deadline)

    def delete(self, key: _K) -> None:
        del self.entries[key]

    @property
    def next_look(self) -> float:
        """The earliest time at which an entry can expire."""
        return self._deadlines.next_look

    def drop_expired(self, now: float, most: int) -> int:
        """Drop expired entries, looking at ``most`` of them at most, and return how many went."""
        dropped = 0
        for expired in self._deadlines.due(now, most):
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
