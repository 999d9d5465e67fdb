"""The library's only source of randomness, so that tests can replace it."""

from __future__ import annotations

import os
import random
import uuid


def unique_id() -> str:
    """Return a random UUID (version 4)."""
    return str(uuid.uuid4())


def token() -> str:
    """Return an unguessable secret: 128 random bits in hex."""
    return os.urandom(16).hex()


def stamp() -> bytes:
    """Return 64 random bits that identify a write, even if the program seeds ``random``."""
    return os.urandom(8)


def between(low: float, high: float) -> float:
    """Return a random number between two bounds, to spread load over time."""
    return random.uniform(low, high)  # noqa: S311  # spreads load; not a secret
