"""The queues of callers that wait for a turn at a scope, in order of arrival."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from async_session_store._waking import wait_until_set
from async_session_store.abc import PLACE_TTL
from async_session_store.models import Owner


class Queues:
    """The queues of all scopes. A place that is not renewed is lost, unless its caller is waiting.

    A caller that waits in this process is alive, even if a handler blocks the loop so that no
    caller can renew its place. If those places were lost, callers would overtake each other once
    the loop runs again.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queues: dict[tuple[Owner, str], dict[str, float]] = {}
        self._places: dict[str, tuple[Owner, str]] = {}
        # The first caller to arrive has the lowest ticket, at whichever scope it waits.
        self._tickets: dict[str, int] = {}
        self._last_ticket = 0
        self._wake_ups: dict[str, anyio.Event] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def is_behind(self, token: str, place: tuple[Owner, str]) -> bool:
        """Return whether a caller that arrived before the token waits in a queue."""
        self._drop_lost(place)
        for first in self._queues.get(place, ()):
            return self._tickets[first] < self._tickets.get(token, math.inf)
        return False

    def keep(self, token: str, place: tuple[Owner, str]) -> None:
        """Renew the token's place, or append one. A place that moves keeps its rank."""
        kept_until = self._clock() + PLACE_TTL / 1000
        if self._places.get(token) == place:
            self._queues[place][token] = kept_until
            return
        ticket = self._tickets.get(token)
        if ticket is None:
            ticket = self._last_ticket = self._last_ticket + 1
        self.leave(token)
        self._places[token], self._tickets[token] = place, ticket
        queue = self._queues.setdefault(place, {})
        queue[token] = kept_until
        if ticket < self._last_ticket:
            in_order = sorted(queue, key=self._tickets.__getitem__)
            self._queues[place] = {one: queue[one] for one in in_order}

    def leave(self, token: str) -> bool:
        """Give up the token's place. Return whether it had one."""
        self._tickets.pop(token, None)
        place = self._places.pop(token, None)
        if place is None:
            return False
        queue = self._queues[place]
        del queue[token]
        if queue:
            self.wake_first(place)
        else:
            del self._queues[place]
        return True

    def erase(self, is_theirs: Callable[[Owner], bool]) -> int:
        """Drop the queues of some owners. Return how many places were not lost.

        Nobody is woken: a caller that asked now might claim a wait that is about to be erased.
        """
        places = 0
        for place in [place for place in self._queues if is_theirs(place[0])]:
            for token, kept_until in self._queues.pop(place).items():
                places += not self._is_lost(token, kept_until)
                del self._places[token], self._tickets[token]
        return places

    def wake_first(self, place: tuple[Owner, str]) -> None:
        """Wake the caller that is first in a queue."""
        self._drop_lost(place)
        for token in self._queues.get(place, ()):
            wake_up = self._wake_ups.get(token)
            if wake_up is not None:
                wake_up.set()
            return

    async def wait(self, token: str, seconds: float) -> None:
        """Wait for at most ``seconds`` until the token is woken. Its place is renewed."""
        wake_up = self._wake_ups[token] = anyio.Event()
        try:
            await wait_until_set(wake_up, seconds)
        finally:
            del self._wake_ups[token]
            if token in self._places:
                self.keep(token, self._places[token])

    def close(self) -> None:
        """Drop all places, and wake all waiting callers, whose next call finds the store closed."""
        for wake_up in self._wake_ups.values():
            wake_up.set()
        self._queues.clear()
        self._places.clear()
        self._tickets.clear()

    def _drop_lost(self, place: tuple[Owner, str]) -> None:
        """Drop the lost places at the front. Lost places further back do not matter yet."""
        queue = self._queues.get(place, {})
        while queue and self._is_lost(first := next(iter(queue)), queue[first]):
            del queue[first], self._places[first], self._tickets[first]
        if not queue:
            self._queues.pop(place, None)

    def _is_lost(self, token: str, kept_until: float) -> bool:
        return kept_until <= self._clock() and token not in self._wake_ups
