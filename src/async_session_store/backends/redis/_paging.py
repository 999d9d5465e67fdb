"""Where an iteration over all sessions is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

_START: Final = b"0"


@dataclass(frozen=True, slots=True)
class ScanCursor:
    """A place in a scan, and the keys that it has returned and that were not read yet.

    A scan returns a key at least once if it exists throughout, and perhaps more than once.
    """

    cursor: bytes | None = None
    """Where the scan goes on. None before it begins."""
    names: tuple[bytes, ...] = field(default=(), repr=False)
    """The keys that come next."""
    put_off: tuple[bytes, ...] = field(default=(), repr=False)
    """Keys that come after all others."""
    is_last: bool = field(default=False, repr=False)
    """Whether the keys that come next are those that were put off."""

    @property
    def is_at_end(self) -> bool:
        return self.cursor == _START and not self.names and not self.put_off

    async def filled(
        self, call: Callable[..., Awaitable[object]], pattern: str, count: int
    ) -> ScanCursor:
        """Return the cursor with keys to read; none if this step of the scan found none."""
        if self.names or self.is_at_end:
            return self
        if self.cursor == _START:
            put_off = self.put_off[:count], self.put_off[count:]
            return ScanCursor(_START, *put_off, is_last=True)
        step = ("SCAN", self.cursor or _START, "MATCH", pattern, "COUNT", count)
        cursor, names = cast("tuple[bytes, list[bytes]]", await call(*step))
        return ScanCursor(cursor, tuple(names), self.put_off)

    def only(self, is_wanted: Callable[[bytes], object]) -> ScanCursor:
        """Return the cursor with only some of its keys."""
        return replace(self, names=tuple(filter(is_wanted, self.names)))

    def after(self, looked_at: int, put_off: Sequence[bytes] = ()) -> ScanCursor:
        """Return the cursor after some of its keys. Some of those may have been put off."""
        return replace(self, names=self.names[looked_at:], put_off=(*self.put_off, *put_off))
