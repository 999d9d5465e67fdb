"""The Lua scripts. A line ``-- include {file}`` in one stands for that file, once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from async_session_store.backends._resources import read_resource

_INCLUDE: Final = "-- include "


@dataclass(frozen=True, slots=True)
class Script:
    """A script's source, and the SHA-1 by which a server knows it."""

    source: bytes
    sha: str


@cache
def script(name: str) -> Script:
    """The script in ``lua/{name}.lua``."""
    source = "".join(_lines(f"{name}.lua", included=set())).encode()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


def _lines(file: str, included: set[str]) -> Iterator[str]:
    if file in included:
        return
    included.add(file)
    for line in read_resource("async_session_store.backends.redis", "lua", file).split("\n"):
        code = line.strip()
        if code.startswith(_INCLUDE):
            yield from _lines(code.removeprefix(_INCLUDE), included)
        else:
            yield f"{line}\n"
