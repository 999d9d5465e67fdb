"""Who waits for a turn at which scope, in the order of arrival."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from async_session_store.abc import PLACE_TTL
from async_session_store.models import Owner


class Queues:
    """The queues at scopes. A place that is not renewed in time is lost.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queues: dict[tuple[Owner, str], dict[str, float]] = {}
        self._places: dict[str, tuple[Owner, str]] = {}
        self._wake_ups: dict[str, anyio.Event] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def place_of(self, token: str) -> tuple[Owner, str] | None:
        """Return where the token has a place, if it still has one."""
        place = self._places.get(token)
        if place is not None and self._queues[place][token] <= self._clock():
            self._drop(token, place)
            return None
        return place

    def is_behind(self, token: str, place: tuple[Owner, str]) -> bool:
        """Return whether someone else is ahead of the token in a queue."""
        self._drop_lost(place)
        return next(iter(self._queues.get(place, ())), token) != token

    def keep(self, token: str, place: tuple[Owner, str]) -> None:
        """Renew the place that the token has there, or give it the last one."""
        if self.place_of(token) != place:
            self.leave(token)
            self._places[token] = place
        self._queues.setdefault(place, {})[token] = self._clock() + PLACE_TTL / 1000

    def leave(self, token: str) -> bool:
        """Give up the token's place. Return whether it had one."""
        place = self.place_of(token)
        if place is None:
            return False
        self._drop(token, place)
        self.wake_first(place)
        return True

    def wake_first(self, place: tuple[Owner, str]) -> None:
        """Wake whoever is first in a queue."""
        self._drop_lost(place)
        for token in self._queues.get(place, ()):
            wake_up = self._wake_ups.get(token)
            if wake_up is not None:
                wake_up.set()
            return

    async def wait(self, token: str, seconds: float) -> None:
        """Wait until the token is woken, or so many seconds have passed."""
        wake_up = self._wake_ups[token] = anyio.Event()
        try:
            with anyio.move_on_after(seconds):
                await wake_up.wait()
        finally:
            del self._wake_ups[token]

    def clear(self) -> None:
        self._queues.clear()
        self._places.clear()

    def _drop_lost(self, place: tuple[Owner, str]) -> None:
        """Drop the lost places at the front. Those behind them do not matter yet."""
        queue, now = self._queues.get(place, {}), self._clock()
        while queue and queue[first := next(iter(queue))] <= now:
            self._drop(first, place)

    def _drop(self, token: str, place: tuple[Owner, str]) -> None:
        queue = self._queues[place]
        del queue[token], self._places[token]
        if not queue:
            del self._queues[place]
