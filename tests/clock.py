from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """A clock that a test can move. It runs on in real time, unless ``real`` stands still."""

    def __init__(self, real: Callable[[], float] = time.monotonic) -> None:
        self._real = real
        self._ahead = 0.0

    def __call__(self) -> float:
        return self._real() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
