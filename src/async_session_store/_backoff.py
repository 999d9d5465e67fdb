"""How long to leave others the way before trying again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from async_session_store import _random
from async_session_store.errors import ConflictError

_SHORTEST_PAUSE: Final = 0.005  # seconds
_LONGEST_PAUSE: Final = 0.25  # seconds
_EDIT_ATTEMPTS: Final = 20


def pause(attempt: int) -> float:
    """How long to wait after an attempt, the first being 0, in seconds."""
    return _random.between(0, min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2 ** min(attempt, 10)))


def edit_pauses() -> Iterator[float]:
    """The pauses after attempts to edit a session; after the last one, raise ``ConflictError``."""
    for attempt in range(_EDIT_ATTEMPTS - 1):
        yield pause(attempt)
    raise ConflictError(
        f"others changed the session {_EDIT_ATTEMPTS} times in a row; try again later"
    )
