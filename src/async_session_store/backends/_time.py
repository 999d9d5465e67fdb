"""Times on a storage's clock, as dates."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
# A day before the last one, so that it can be converted to any time zone.
_LATEST: Final = datetime(9999, 12, 31, tzinfo=timezone.utc)
_LATEST_MILLISECONDS: Final = (_LATEST - _EPOCH) // timedelta(milliseconds=1)


def utc(milliseconds: int) -> datetime:
    """Return the time that is so many milliseconds after the Unix epoch.

    Storage can hold deadlines after the year 9999: a peer may have written one. ``datetime`` can
    not, and an error here would take down the whole list that holds such a session. So its last
    day stands for all that is later (T6).
    """
    if milliseconds > _LATEST_MILLISECONDS:
        return _LATEST
    return _EPOCH + timedelta(milliseconds=milliseconds)
