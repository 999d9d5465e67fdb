"""Copy everything from one storage to another, and bring such a copy up to date."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from typing_extensions import override

from async_session_store import _rules
from async_session_store._new_waits import check_size
from async_session_store.abc import (
    Backend,
    CopyName,
    CopyPage,
    DeliveryCopy,
    SessionCopy,
    SessionName,
    Unreadable,
)
from async_session_store.errors import CopyOutdatedError, InvalidInputError
from async_session_store.models import SessionKey

__all__ = ["CopiedStore"]

_PAGE: Final = 100  # names listed in one step; what they name is read and written together
_SLACK: Final = 1000  # milliseconds by which equal deadlines may differ
_CLOCK_READINGS: Final = 5

_logger = logging.getLogger("async_session_store")

_Copy: TypeAlias = SessionCopy | DeliveryCopy
_Found: TypeAlias = SessionCopy | DeliveryCopy | Unreadable | None


@dataclass(frozen=True, slots=True)
class CopiedStore:
    """What was copied from one store to another. ``copy_to`` returns it."""

    waits: int = 0
    """Live waits of the source, with their sessions."""
    sessions: int = 0
    """Live sessions of the source that waited nowhere."""
    expired_waits: int = 0
    """Waits of the source that were past their deadlines, and kept for a worker."""
    deliveries: int = 0
    """Deliveries that the source remembered."""
    written: int = 0
    """How many of all these the call wrote to the copy."""
    removed: int = 0
    """How many the call removed from the copy, because the source no longer had them."""
    left_out: tuple[SessionKey, ...] = ()
    """The keys of the sessions that the copy lacks, because they cannot be read."""


class Side(Protocol):
    """One side of a copy."""

    max_document_bytes: int

    async def read_clock(self) -> int: ...
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage: ...
    async def read_copies(self, names: Sequence[CopyName]) -> Sequence[_Found]: ...
    async def put_copies(self, copies: Sequence[_Copy]) -> None: ...
    async def drop_copies(self, names: Sequence[CopyName]) -> None: ...


class StoreSide(Side):
    """The side of a store.

    Args:
        backend: Returns the backend if it may be used here and now.
        max_document_bytes: The limit of the store.
    """

    def __init__(self, backend: Callable[[], Backend], max_document_bytes: int) -> None:
        self._backend = backend
        self.max_document_bytes = max_document_bytes

    @override
    async def read_clock(self) -> int:
        return await self._backend().read_clock()

    @override
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        return await self._backend().list_copies(cursor, limit)

    @override
    async def read_copies(self, names: Sequence[CopyName]) -> Sequence[_Found]:
        return await self._backend().read_copies(names)

    @override
    async def put_copies(self, copies: Sequence[_Copy]) -> None:
        await self._backend().put_copies(copies)

    @override
    async def drop_copies(self, names: Sequence[CopyName]) -> None:
        await self._backend().drop_copies(names)


async def copy(source: Side, target: Side, *, again: bool) -> CopiedStore:
    """Copy everything into an empty target, or bring the copy in the target up to date (O5)."""
    if again:
        await _check_source(source, target)
    else:
        await _check_empty(target)
    clocks = await Clocks.measured(source, target)
    if not again:
        return await _Pass(source, target, clocks, compares=False).run()
    updated = await _Pass(source, target, clocks, compares=True).run()
    if not _changes(updated):
        return updated
    checked = await _Pass(source, target, clocks, compares=True).run()
    if _changes(checked):
        raise CopyOutdatedError(_changes(checked))
    return replace(checked, written=updated.written, removed=updated.removed)


def _changes(copied: CopiedStore) -> int:
    return copied.written + copied.removed


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of both storages, in milliseconds."""

    target_ahead: int
    """How far the target's clock is ahead of this process's."""
    shift: int
    """How far the target's clock is ahead of the source's. 0 if they agree to within a second."""

    @classmethod
    async def measured(cls, source: Side, target: Side) -> Clocks:
        target_ahead = await _ahead(target)
        shift = target_ahead - await _ahead(source)
        return cls(target_ahead, 0 if abs(shift) <= _SLACK else shift)

    def in_target(self, copy: _Copy) -> _Copy:
        """Return a copy with its deadline by the target's clock."""
        if copy.deadline is None or not self.shift:
            return copy
        return copy._replace(deadline=copy.deadline + self.shift)

    def target_now(self) -> int:
        return _now() + self.target_ahead


async def _ahead(side: Side) -> int:
    """Return how far the clock of a side is ahead. The fastest answer is the most exact one."""
    answers: list[tuple[int, int]] = []
    for _ in range(_CLOCK_READINGS):
        asked_at = _now()
        read = await side.read_clock()
        elapsed = _now() - asked_at
        answers.append((elapsed, read - asked_at - elapsed // 2))
    return min(answers)[1]


def _now() -> int:
    return round(time.monotonic() * 1000)


class _Pass:
    """One pass over the source and, if it compares the two, over the target."""

    def __init__(self, source: Side, target: Side, clocks: Clocks, *, compares: bool) -> None:
        self._source = source
        self._target = target
        self._clocks = clocks
        self._compares = compares
        self._counted = Counter[str]()
        self._seen = set[int]()
        self._left_out: list[SessionKey] = []

    async def run(self) -> CopiedStore:
        await _for_each(self._source, self._seen, self._bring)
        if self._compares:  # only names that the source did not list are new to this step
            await _for_each(self._target, self._seen, self._remove_ended)
        counted = self._counted
        return CopiedStore(
            counted["waits"],
            counted["sessions"],
            counted["expired_waits"],
            counted["deliveries"],
            counted["written"],
            counted["removed"],
            tuple(self._left_out),
        )

    async def _bring(self, names: Sequence[CopyName]) -> None:
        """Bring what the names name into the target."""
        while names:
            found = await self._source.read_copies(names)
            some, names = names[: len(found)], names[len(found) :]
            present = await _read(self._target, some) if self._compares else [None] * len(some)
            now = self._clocks.target_now()
            wanted = [self._wanted(each, now) for each in found]
            rows = list(zip(some, wanted, present, strict=True))
            await self._put([new for _, new, old in rows if new and not _is_same(new, old)])
            await self._drop([name for name, new, old in rows if not new and _lasts(old, now)])

    def _wanted(self, found: _Found, now: int) -> _Copy | None:
        """Count what the source has, and return what the target should have."""
        if isinstance(found, SessionCopy) and (reason := self._refusal(found)) is not None:
            found = Unreadable(found.key, None, reason)
        if isinstance(found, Unreadable):
            self._left_out.append(found.key)
            _logger.warning("session %r is not copied: %s", str(found.key), found.reason)
            return None
        if found is None:
            return None
        copy = self._clocks.in_target(found)
        self._counted[_kind(copy, now)] += 1
        return copy if _lasts(copy, now) else None

    def _refusal(self, found: SessionCopy) -> str | None:
        """Return why the target cannot hold a session, or None. A Rust process may have it."""
        if not SessionKey.accepts(found.key):
            return "its key is empty or too long"
        try:
            _rules.owner_of_data(found.data)
            check_size(found.data, self._target.max_document_bytes)
        except InvalidInputError as error:
            return str(error)
        return None

    async def _remove_ended(self, names: Sequence[CopyName]) -> None:
        """Remove what the names name from the target if the source does not have it."""
        wanted = await _read(self._source, names)
        missing = [name for name, found in zip(names, wanted, strict=True) if found is None]
        present = await _read(self._target, missing)
        now = self._clocks.target_now()
        await self._drop([n for n, old in zip(missing, present, strict=True) if _lasts(old, now)])

    async def _put(self, copies: Sequence[_Copy]) -> None:
        if copies:
            await self._target.put_copies(copies)
            self._counted["written"] += len(copies)

    async def _drop(self, names: Sequence[CopyName]) -> None:
        if names:
            await self._target.drop_copies(names)
            self._counted["removed"] += len(names)


async def _for_each(
    side: Side, seen: set[int], step: Callable[[Sequence[CopyName]], Awaitable[None]]
) -> None:
    """Take a step for the names of each page that were not seen before.

    A storage may list a name twice. ``seen`` holds hashes, as there may be millions of names.
    """
    cursor, is_more = None, True
    while is_more:
        page = await side.list_copies(cursor, _PAGE)
        names = {_hash(name): name for name in page.names}
        await step([name for hashed, name in names.items() if hashed not in seen])
        seen.update(names)
        cursor, is_more = page.cursor, page.cursor is not None


def _hash(name: CopyName) -> int:
    """Return the hash of a name. Where a session waits does not count."""
    return hash(name.key if isinstance(name, SessionName) else name)


async def _check_empty(target: Side) -> None:
    if await _holds_anything(target):
        raise InvalidInputError(
            "other: it is not empty; copy into an empty storage, or pass again=True to bring an "
            "earlier copy up to date, which removes all that this store does not hold (O5)"
        )


async def _check_source(source: Side, target: Side) -> None:
    """Refuse to empty a storage because its source was mistyped, or the two were swapped."""
    if not await _holds_anything(source) and await _holds_anything(target):
        raise InvalidInputError(
            "other: this store holds nothing, so again=True would remove all that the other one "
            "holds; check which is which; if this store is the right one, use an empty storage (O5)"
        )


async def _holds_anything(side: Side) -> bool:
    cursor, is_more = None, True
    while is_more:
        page = await side.list_copies(cursor, _PAGE)
        if any(found is not None for found in await _read(side, page.names)):
            return True
        cursor, is_more = page.cursor, page.cursor is not None
    return False


async def _read(side: Side, names: Sequence[CopyName]) -> list[_Found]:
    found: list[_Found] = []
    while len(found) < len(names):
        found += await side.read_copies(names[len(found) :])
    return found


def _kind(copy: _Copy, now: int) -> str:
    if isinstance(copy, DeliveryCopy):
        return "deliveries"
    if copy.deadline is not None and copy.deadline <= now:
        return "expired_waits"
    return "sessions" if copy.scope_hash is None else "waits"


def _lasts(found: _Found, now: int) -> bool:
    """Return whether something is there, and will not end by itself in a moment.

    If it will, one side may still have it when the other one has not, and neither is wrong.
    """
    if found is None or isinstance(found, Unreadable) or found.deadline is None:
        return found is not None
    kept = (found.expired_ttl or 0) if isinstance(found, SessionCopy) else 0
    return found.deadline + kept > now + _SLACK


def _is_same(copy: _Copy, old: _Found) -> bool:
    """Return whether the target has a copy as it should be. Its deadline may differ slightly."""
    if old is None or isinstance(old, Unreadable) or type(old) is not type(copy):
        return False
    if copy.deadline is None or old.deadline is None:
        return copy == old
    is_near = abs(copy.deadline - old.deadline) <= _SLACK
    return is_near and copy == old._replace(deadline=copy.deadline)
