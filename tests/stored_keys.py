"""A look at a Redis server behind the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import redis

_READ: Final[dict[bytes, Callable[[redis.Redis, bytes], Any]]] = {
    b"string": lambda client, key: client.get(key),
    b"set": lambda client, key: client.smembers(key),
    b"hash": lambda client, key: client.hgetall(key),
    b"list": lambda client, key: client.lrange(key, 0, -1),
}

BLANKS: Final = b"\t\n\r "


def documents(found: dict[str, tuple[Any, bool]]) -> dict[str, tuple[Any, bool]]:
    """The same keys, where each document of ours is without the stamp that it ends in."""
    return {key: (_unstamped(key, value), expires) for key, (value, expires) in found.items()}


def _unstamped(key: str, value: Any) -> Any:
    if not key.startswith("session:"):
        return value
    document: bytes = value.rstrip(BLANKS)
    assert len(value) - len(document) == 32, key
    return document


def stored_keys(client: redis.Redis, namespace: str) -> dict[str, tuple[Any, bool]]:
    """Every key under the namespace, without it: its value, and whether it has a deadline."""
    found = {}
    for key in client.scan_iter(f"{namespace}:*", count=1000):
        value = _READ[client.type(key)](client, key)
        found[key.decode().removeprefix(f"{namespace}:")] = value, client.pttl(key) >= 0
    return found
