"""The clock of a memory backend: monotonic inside, wall time in what it returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from async_session_store.backends._time import utc_from_ms


class Clock:
    """A monotonic clock that can also tell the date of a deadline.

    Args:
        now: Returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    def utc(self, deadline: float) -> datetime:
        """Return when a deadline is, by the wall clock as it is set now."""
        return utc_from_ms(round((time.time() + deadline - self.now()) * 1000))
