"""Where all randomness comes from, so that tests can replace it."""

from __future__ import annotations

import os
import random
import uuid


def unique_id() -> str:
    """A UUID of version 4."""
    return str(uuid.uuid4())


def token() -> str:
    """A secret that no one can guess: 128 bits in hex."""
    return os.urandom(16).hex()


def stamp() -> bytes:
    """64 bits to tell one write from all others, whatever seeds a program gives Python."""
    return os.urandom(8)


def between(low: float, high: float) -> float:
    """A number between the two, for spreading what would happen at once."""
    return random.uniform(low, high)  # noqa: S311  # it spreads load, and keeps nothing secret
