"""A look at a Redis server behind the API."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import redis

_READ: Final[dict[bytes, Callable[[redis.Redis, bytes], Any]]] = {
    b"string": lambda client, key: client.get(key),
    b"set": lambda client, key: client.smembers(key),
    b"hash": lambda client, key: client.hgetall(key),
    b"zset": lambda client, key: dict(client.zrange(key, 0, -1, withscores=True)),
    b"list": lambda client, key: client.lrange(key, 0, -1),
}

BLANKS: Final = b"\t\n\r "


def documents(found: dict[str, tuple[Any, bool]]) -> dict[str, tuple[Any, bool]]:
    """Return the same keys, with each document of ours stripped of the stamp at its end."""
    return {key: (_unstamped(key, value), expires) for key, (value, expires) in found.items()}


def _unstamped(key: str, value: Any) -> Any:
    if not key.startswith("session:"):
        return value
    document: bytes = value.rstrip(BLANKS)
    assert len(value) - len(document) == 32, key
    return document


def stored_keys(
    client: redis.Redis, namespace: str, without_value: Collection[bytes] = ()
) -> dict[str, tuple[Any, bool]]:
    """Return each key of the namespace, without the prefix: its value, and whether it expires."""
    found: dict[str, tuple[Any, bool]] = {}
    for key in client.scan_iter(f"{namespace}:*", count=1000):
        kind = client.type(key)
        if kind == b"none":
            continue  # it has just expired
        value = None if kind in without_value else _READ[kind](client, key)
        found[key.decode().removeprefix(f"{namespace}:")] = value, client.pttl(key) >= 0
    return found


def image(client: redis.Redis, namespace: str) -> dict[bytes, tuple[object, int]]:
    """Return each key of the namespace: its value byte for byte, and its deadline or -1."""
    return {
        key: (_value(client, key), _deadline(client, key))
        for key in client.scan_iter(f"{namespace}:*", count=1000)
    }


def _value(client: redis.Redis, key: bytes) -> object:
    kind = client.type(key)
    return kind, client.xrange(key) if kind == b"stream" else _READ[kind](client, key)


def _deadline(client: redis.Redis, key: bytes) -> int:
    """Return a deadline in milliseconds since the epoch. Redis 6.2 knows only the time left."""
    script = """
        local time = redis.call('TIME')
        local left = redis.call('PTTL', KEYS[1])
        return left < 0 and left or time[1] * 1000 + math.floor(time[2] / 1000) + left
    """
    # The result is too early if a millisecond ended between the two commands.
    return max(client.eval(script, 1, key) for _ in range(3))
