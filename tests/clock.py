"""Clocks that a test can move."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis


class Clock:
    """It runs on in real time, unless ``real`` stands still."""

    def __init__(self, real: Callable[[], float] = time.monotonic) -> None:
        self._real = real
        self._ahead = 0.0

    def __call__(self) -> float:
        return self._real() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


def shorten_deadlines(client: redis.Redis, namespace: str, seconds: float) -> None:
    """Do what would happen if the server's clock moved on: it has none that can be moved."""
    for key in client.scan_iter(f"{namespace}:*", count=1000):
        left = client.pttl(key)
        if left >= 0:
            client.pexpire(key, left - round(seconds * 1000))
