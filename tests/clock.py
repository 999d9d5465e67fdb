"""Clocks that a test can move forward."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import redis


class Clock:
    """A clock that can be moved ahead of another, by default of real time."""

    def __init__(self, real: Callable[[], float] = time.monotonic) -> None:
        self._real = real
        self._ahead = 0.0

    def __call__(self) -> float:
        return self._real() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


# One script, so that keys that share a deadline still share it afterwards. The scores of sorted
# sets are times, too. Redis 6.2 has no PEXPIRETIME: there a deadline may move a millisecond less.
_SHORTEN: Final = """
local function shorten(key)
  local deadline = redis.pcall('PEXPIRETIME', key)
  local left = redis.call('PTTL', key)
  if left < 0 then return end
  if type(deadline) == 'number' then
    redis.call('PEXPIREAT', key, deadline - ARGV[2])
  else
    redis.call('PEXPIRE', key, left - ARGV[2])
  end
end

local function shorten_scores(key)
  if redis.call('TYPE', key).ok ~= 'zset' then return end
  local found = redis.call('ZRANGE', key, '0', '-1')
  for _, member in ipairs(found) do redis.call('ZINCRBY', key, -ARGV[2], member) end
end

local cursor = '0'
repeat
  local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do
    shorten_scores(key)
    shorten(key)
  end
until cursor == '0'
"""


def shorten_deadlines(client: redis.Redis, namespace: str, seconds: float) -> None:
    """Shorten all deadlines in a namespace, as the server's clock cannot be moved."""
    client.eval(_SHORTEN, 0, f"{namespace}:*", round(seconds * 1000))
