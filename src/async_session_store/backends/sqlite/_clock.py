"""The backend's clock, in the milliseconds of its deadlines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = datetime.max.replace(tzinfo=timezone.utc)
_LATEST_DEADLINE: Final = (_LATEST - _EPOCH) // timedelta(milliseconds=1)


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
        """Return a deadline as a date and time: the latest there is, if it lies after that."""
        return _EPOCH + timedelta(milliseconds=min(deadline, _LATEST_DEADLINE))
