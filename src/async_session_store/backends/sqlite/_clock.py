"""The backend's clock, in the milliseconds of its deadlines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from async_session_store.backends import _time

_SWEEP_PAUSE: Final = 100  # milliseconds after a sweep that left nothing expired


class Clock:
    """Milliseconds since the Unix epoch, which stand still while an operation runs.

    Its statements must agree on what is live: a wait that the first one found live, and that the
    next one can no longer delete, would be handed out as expired although a reply was completed.

    Args:
        seconds: Seconds since the Unix epoch.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = 0

    def begin_operation(self) -> None:
        """Read the time at which the next operation happens."""
        self._now = int(self._seconds() * 1000)

    def now(self) -> int:
        return self._now

    def after(self, span: int) -> int:
        """The deadline in so many milliseconds from now."""
        return self.now() + span

    @staticmethod
    def utc(deadline: int) -> datetime:
        """Return a deadline as a ``datetime``, or the latest one that there is if it is later."""
        return _time.utc(deadline)


class SweepPause:
    """The pause after a sweep that left nothing expired: another would not be worth its cost.

    It ends at once if the clock is set back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_at = -_SWEEP_PAUSE

    def begin(self) -> None:
        self._began_at = self._clock.now()

    def is_over(self) -> bool:
        return not 0 <= self._clock.now() - self._began_at < _SWEEP_PAUSE
