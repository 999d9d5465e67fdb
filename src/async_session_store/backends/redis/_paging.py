"""Where an iteration over all sessions is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, cast

from async_session_store.backends.redis._protocol import Argument

_START: Final = b"0"


@dataclass(frozen=True, slots=True)
class ScanCursor:
    """A place in a scan, and the keys that it has returned and that were not read yet.

    A scan returns a key at least once if it exists throughout, and perhaps more than once.
    """

    cursor: bytes | None = None
    """Where the scan goes on. None before it begins."""
    names: tuple[Argument, ...] = field(default=(), repr=False)
    """The session keys that come next."""

    @property
    def is_at_end(self) -> bool:
        return self.cursor == _START and not self.names

    async def filled(
        self, call: Callable[..., Awaitable[object]], pattern: str, count: int
    ) -> ScanCursor:
        """Return the cursor with keys to read; none if this step of the scan found none."""
        if self.names or self.is_at_end:
            return self
        step = ("SCAN", self.cursor or _START, "MATCH", pattern, "COUNT", count)
        cursor, names = cast("tuple[bytes, list[bytes]]", await call(*step))
        return ScanCursor(cursor, tuple(names))

    def after(self, looked_at: int) -> ScanCursor:
        """Return the cursor after some of its keys."""
        return ScanCursor(self.cursor, self.names[looked_at:])
