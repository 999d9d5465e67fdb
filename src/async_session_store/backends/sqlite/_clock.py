"""The clock of a database, in milliseconds like its deadlines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_SWEEP_PAUSE: Final = 100  # milliseconds after a sweep that left nothing expired


class Clock:
    """A clock in milliseconds since the Unix epoch that stands still while an operation runs.

    The statements of an operation must agree on what is live. Otherwise the first one could find a
    wait live and the next one no longer delete it, so a wait whose reply was completed would be
    handed out as expired.

    Args:
        seconds: Returns seconds since the Unix epoch.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = 0

    def begin_operation(self) -> None:
        """Read the time of the operation that begins now."""
        self._now = int(self._seconds() * 1000)

    def now(self) -> int:
        return self._now

    def after(self, span: int) -> int:
        """Return the deadline that is ``span`` milliseconds from now."""
        return self.now() + span


class SweepPause:
    """The pause after a sweep that left nothing expired: another one would find hardly anything.

    If the clock is set back, the pause ends.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_at = -_SWEEP_PAUSE

    def begin(self) -> None:
        self._began_at = self._clock.now()

    def is_over(self) -> bool:
        return not 0 <= self._clock.now() - self._began_at < _SWEEP_PAUSE
