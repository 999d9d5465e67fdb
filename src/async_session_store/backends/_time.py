"""Dates from the milliseconds that storages count."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND: Final = timedelta(milliseconds=1)
# A day before the last instant, so that it can be converted to any time zone.
_LATEST: Final = datetime(9999, 12, 31, tzinfo=timezone.utc)
_LATEST_MILLISECONDS: Final = (_LATEST - _EPOCH) // _MILLISECOND


def utc_from_ms(milliseconds: int) -> datetime:
    """Return a time in milliseconds since the Unix epoch as a ``datetime`` in UTC.

    A peer may have stored a deadline after the year 9999, which ``datetime`` cannot hold. If this
    raised an error, one such session would fail a whole list. So the last day of that
    year stands for everything later (T6).
    """
    if milliseconds > _LATEST_MILLISECONDS:
        return _LATEST
    return _EPOCH + milliseconds * _MILLISECOND  # takes half as long as timedelta(milliseconds=...)
