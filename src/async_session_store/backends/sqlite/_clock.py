"""The backend's clock, in the milliseconds of its deadlines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from async_session_store.backends import _time


class Clock:
    """Milliseconds since the Unix epoch.

    Args:
        seconds: Seconds since the Unix epoch.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds

    def now(self) -> int:
        return int(self._seconds() * 1000)

    def after(self, span: int) -> int:
        """The deadline in so many milliseconds from now."""
        return self.now() + span

    @staticmethod
    def utc(deadline: int) -> datetime:
        """Return a deadline as a ``datetime``, or the latest one that there is if it is later."""
        return _time.utc(deadline)
