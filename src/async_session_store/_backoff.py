"""Randomized back-off between attempts to edit a session that others edit too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from async_session_store import _random
from async_session_store.errors import ConflictError

_SHORTEST_PAUSE: Final = 0.005  # seconds
_LONGEST_PAUSE: Final = 0.25  # seconds
_ATTEMPTS: Final = 20


def edit_pauses() -> Iterator[float]:
    """Yield the pause after each failed attempt, in seconds: random, with a bound that doubles.

    Raises ``ConflictError`` after the last attempt.
    """
    for attempt in range(_ATTEMPTS - 1):
        yield _random.between(0, min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2**attempt))
    raise ConflictError(f"others changed the session {_ATTEMPTS} times in a row; try again later")
