"""The clock of a memory backend, which measures monotonic time and converts it to dates."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from async_session_store.backends._time import utc_from_ms


class Clock:
    """A monotonic clock that can convert its times to dates.

    Args:
        now: Returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    def utc(self, deadline: float) -> datetime:
        """Return the date of a deadline, by the wall clock as it is set now."""
        return utc_from_ms(round((time.time() + deadline - self.now()) * 1000))
