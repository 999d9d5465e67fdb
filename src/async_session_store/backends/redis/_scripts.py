"""The Lua scripts. Each stands behind what all of them use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

_COMMON: Final = ("documents", "sessions")


@dataclass(frozen=True, slots=True)
class Script:
    """A script's source, and the SHA-1 by which a server knows it."""

    source: bytes
    sha: str


@cache
def script(name: str) -> Script:
    """The script in ``lua/{name}.lua``."""
    folder = files("async_session_store.backends.redis").joinpath("lua")
    parts = [folder.joinpath(f"{part}.lua").read_bytes() for part in (*_COMMON, name)]
    source = b"\n".join(parts)
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())
