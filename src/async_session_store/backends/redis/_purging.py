"""The purge of index entries whose sessions are gone, in steps of bounded size."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final, TypeAlias, cast

from async_session_store.backends.redis._keys import Keys
from async_session_store.backends.redis._protocol import Argument

_SCAN_STEP: Final = 512
_SCAN_START: Final = b"0"

_logger = logging.getLogger("async_session_store")

Call: TypeAlias = Callable[..., Awaitable[object]]


class IndexPurge:
    """One purge of a namespace.

    Args:
        keys: The names of the keys in the namespace.
        call: Runs a command.
        run: Runs a script, given its name, its keys and its arguments.
        limit: The largest number of entries to drop.
    """

    def __init__(self, keys: Keys, call: Call, run: Call, limit: int) -> None:
        self._keys = keys
        self._call = call
        self._run = run
        self._left = limit

    async def run(self) -> int:
        """Drop stale entries. Return how many were dropped."""
        limit = self._left
        for pattern in self._keys.routes:
            async with aclosing(self._scan(pattern)) as scan:  # trio complains of one left open
                async for names in scan:
                    await self._purge_routes(names)
                    if not self._left:
                        return limit
        members = ((self._keys.users, "purge_members"), (self._keys.all_expiring, "purge_expiring"))
        for pattern, script in members:
            async with aclosing(self._scan(pattern)) as scan:
                async for names in scan:
                    for name in names:
                        await self._purge_members(name, script)
                        if not self._left:
                            return limit
        return limit - self._left

    async def _purge_routes(self, names: list[Argument]) -> None:
        reply = await self._run("purge_routes", names, self._left)
        dropped, skipped = cast("tuple[int, list[bytes]]", reply)
        self._left -= dropped
        _warn_wrong_type(skipped)

    async def _purge_members(self, name: Argument, script: str) -> None:
        cursor = _SCAN_START
        while self._left:
            reply = await self._run(script, [name], self._left, cursor, _SCAN_STEP)
            if reply is None:
                return _warn_wrong_type([cast("bytes", name)])
            cursor, dropped = cast("tuple[bytes, int]", reply)
            self._left -= dropped
            if cursor == _SCAN_START:
                return None
        return None

    async def _scan(self, pattern: str) -> AsyncGenerator[list[Argument], None]:
        """Yield the keys of this namespace that match a pattern, in chunks."""
        cursor = _SCAN_START
        while True:
            reply = await self._call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_STEP)
            cursor, found = cast("tuple[bytes, list[bytes]]", reply)
            names: list[Argument] = [name for name in found if self._keys.is_surely_ours(name)]
            if names:
                yield names
            if cursor == _SCAN_START:
                return


def _warn_wrong_type(names: Iterable[bytes]) -> None:
    for name in names:
        text = name.decode(errors="backslashreplace")
        _logger.warning("purge_expired skipped the key %r, which has the wrong type", text)
