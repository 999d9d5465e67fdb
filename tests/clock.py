"""Clocks that a test can move."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

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


# In one script, so that keys with one deadline keep having one.
_SHORTEN: Final = """
local cursor = '0'
repeat
  local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do
    local left = redis.call('PTTL', key)
    if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[2]) end
  end
until cursor == '0'
"""


def shorten_deadlines(client: redis.Redis, namespace: str, seconds: float) -> None:
    """Do what would happen if the server's clock moved on: it has none that can be moved."""
    client.eval(_SHORTEN, 0, f"{namespace}:*", round(seconds * 1000))
