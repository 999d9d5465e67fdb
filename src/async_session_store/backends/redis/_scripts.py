"""The Lua scripts, and the files that they include.

A line ``-- include {file}`` is replaced by the file, unless it has been included before. If the
line is indented, the file is local to its block, and another block has to include it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from async_session_store.backends._resources import read_resource

_INCLUDE: Final = "-- include "
# Dragonfly lets a script use keys that its call does not name only if it begins with this line. To
# Redis, the line is a comment. See https://www.dragonflydb.io/docs/managing-dragonfly/scripting.
_ALLOW_UNDECLARED_KEYS: Final = "--!df flags=allow-undeclared-keys\n"


@dataclass(frozen=True, slots=True)
class Script:
    """The source of a script, and the SHA-1 that identifies it on a server."""

    source: bytes
    sha: str


@cache
def script(name: str) -> Script:
    """Return the script in ``lua/{name}.lua``."""
    lines = _lines(f"{name}.lua", included=set())
    source = "".join([_ALLOW_UNDECLARED_KEYS, *lines]).encode()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


def _lines(file: str, included: set[str]) -> Iterator[str]:
    if file in included:
        return
    included.add(file)
    for line in read_resource("async_session_store.backends.redis", "lua", file).split("\n"):
        code = line.strip()
        if code.startswith(_INCLUDE):
            is_in_block = line != code
            before = set(included) if is_in_block else included
            yield from _lines(code.removeprefix(_INCLUDE), before)
        else:
            yield f"{line}\n"
