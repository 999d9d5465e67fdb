"""Iterate over stored sessions page by page, and pick those that an operator asks for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import anyio
from typing_extensions import Self

from async_session_store import _rules
from async_session_store.abc import Backend, Fence, StoredSession
from async_session_store.models import FlowId, SessionKey, SessionRecord, TenantCtx

DEFAULT_PAGE: Final = 100  # sessions, which on Redis are all decoded in one turn of the loop

_logger = logging.getLogger("async_session_store")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sessions to pick. A filter that is None picks all."""

    fence: Fence | None
    waits_only: bool
    flow_id: FlowId | None
    node: str | None
    expires_before: datetime | None
    conversation: str | None = field(repr=False)

    @classmethod
    def of(
        cls,
        ctx: TenantCtx | None,
        *,
        waits_only: bool,
        flow_id: FlowId | str | None,
        node: str | None,
        expires_before: datetime | None,
        conversation: str | None,
    ) -> Self:
        """Check an operator's arguments, and return what they select (O1, O4)."""
        return cls(
            fence=_rules.fence(ctx),
            waits_only=waits_only,
            flow_id=_rules.flow_filter(flow_id),
            node=_rules.text_filter("node", node),
            expires_before=_rules.time_filter("expires_before", expires_before),
            conversation=_rules.text_filter("conversation", conversation),
        )

    def picks(self, stored: StoredSession) -> bool:
        """Return whether a session within the fence is picked."""
        record = stored.record
        if self.waits_only and not stored.waits:
            return False
        if self.flow_id is not None and record.data.flow_id != self.flow_id:
            return False
        if self.node is not None and record.data.cursor.node_pointer != self.node:
            return False
        if self.expires_before is not None and not _expires(record, self.expires_before):
            return False
        return self.conversation is None or (
            record.scope is not None and record.scope.conversation == self.conversation
        )


def _expires(record: SessionRecord, before: datetime) -> bool:
    return record.expires_at is not None and record.expires_at < before


class SessionRecords:
    """Records of stored sessions: iterate over it with ``async for``.

    Each page is one step in the storage. Between two pages nothing is held there, so the loop may
    be left, cancelled or interrupted at any time. Tasks may share it: each record goes to one.
    """

    def __init__(self, backend: Callable[[], Backend], selection: Selection, page: int) -> None:
        self._backend = backend
        self._selection = selection
        self._page = page
        self._records: deque[SessionRecord] = deque()
        self._reading = anyio.Lock()  # without it, two tasks would both get each record
        self._cursor: object | None = None
        self._is_at_end = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionRecord:
        while not self._records:
            async with self._reading:
                if self._records:  # another task has read the page
                    break
                page = await self.next_page()
                if page is None:
                    raise StopAsyncIteration
                self._records.extend(page)
        return self._records.popleft()

    async def count(self) -> int:
        """Read what is left, and return how many records it is."""
        count = 0
        while (page := await self.next_page()) is not None:
            count += len(page)
        return count

    async def next_page(self) -> list[SessionRecord] | None:
        """Return the records of the next page, which may be none, or None at the end."""
        if self._is_at_end:
            return None
        page = await self._backend().read_page(self._selection.fence, self._cursor, self._page)
        self._cursor, self._is_at_end = page.cursor, page.cursor is None
        warn_unreadable(page.unreadable)
        return [stored.record for stored in page.sessions if self._selection.picks(stored)]


def warn_unreadable(keys: Sequence[SessionKey]) -> None:
    """Warn about sessions that a list leaves out."""
    for key in keys:
        _logger.warning("session %r is left out of the list: it cannot be read", str(key))
