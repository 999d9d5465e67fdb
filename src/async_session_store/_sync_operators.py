"""The calls for operators in ``SessionStore``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from typing_extensions import ParamSpec, Self, override

from async_session_store._copying import CopiedStore, Side, copy
from async_session_store._listing import DEFAULT_PAGE, SessionRecords
from async_session_store._operators import DEFAULT_MAX_PAUSE, side_of
from async_session_store._sync_life_cycle import SyncLifeCycle
from async_session_store.abc import (
    CopyName,
    CopyPage,
    DeliveryCopy,
    ErasedUser,
    MovedWaits,
    SessionCopy,
    Unreadable,
)
from async_session_store.errors import InvalidInputError
from async_session_store.models import (
    FlowId,
    ReplyScope,
    SessionRecord,
    TenantCtx,
    UserId,
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


class SyncOperatorCalls(SyncLifeCycle):
    """The part of ``SessionStore`` for support and operations."""

    def erase_user(self, ctx: TenantCtx, user_id: UserId | str) -> ErasedUser:
        """Erase all that is stored of a user in all teams of the tenant. Return how much."""
        return self._call(self._store.erase_user, ctx, user_id)

    def move_waits(
        self,
        ctx: TenantCtx,
        *,
        user: tuple[UserId | str, UserId | str] | None = None,
        conversation: tuple[str, str] | None = None,
    ) -> MovedWaits:
        """Move the waits of a user, or in a conversation, that has a new id.

        Like :meth:`AsyncSessionStore.move_waits`.
        """
        return self._call(self._store.move_waits, ctx, user=user, conversation=conversation)

    def break_claim(self, ctx: TenantCtx, user_id: UserId | str, scope: ReplyScope) -> bool:
        """End the claim that is held on a scope, whoever holds it. Return whether one was."""
        return self._call(self._store.break_claim, ctx, user_id, scope)

    def copy_to(self, other: Self, *, again: bool = False) -> CopiedStore:
        """Copy all that this store holds into another one. Return how much, by kind.

        Like :meth:`AsyncSessionStore.copy_to`. Each step is a call.
        """
        if not isinstance(other, SyncOperatorCalls):
            raise InvalidInputError("other: give a SessionStore")
        return _run(copy(self._side, other._side, again=again))  # of the same class

    @property
    def _side(self) -> Side:
        return _BlockingSide(self._call, side_of(self._store))

    def compact(self, *, max_pause: timedelta | float = DEFAULT_MAX_PAUSE) -> int:
        """Give space that nothing uses back to the disk. Return how many bytes."""
        return self._call(self._store.compact, max_pause=max_pause)

    def iter_waits(
        self,
        ctx: TenantCtx | None,
        *,
        flow_id: FlowId | str | None = None,
        node: str | None = None,
        expires_before: datetime | None = None,
        conversation: str | None = None,
        page: int = DEFAULT_PAGE,
    ) -> Iterator[SessionRecord]:
        """Iterate over the live waits of all users of a tenant, with ``for``.

        Like :meth:`AsyncSessionStore.iter_waits`. Each page is one call.
        """
        records = self._store.iter_waits(
            ctx,
            flow_id=flow_id,
            node=node,
            expires_before=expires_before,
            conversation=conversation,
            page=page,
        )
        return self._each(records)

    def iter_sessions(
        self,
        ctx: TenantCtx | None,
        *,
        flow_id: FlowId | str | None = None,
        node: str | None = None,
        expires_before: datetime | None = None,
        conversation: str | None = None,
        page: int = DEFAULT_PAGE,
    ) -> Iterator[SessionRecord]:
        """Iterate over all live sessions of a tenant, also those that wait nowhere, with ``for``.

        Like :meth:`AsyncSessionStore.iter_sessions`. Each page is one call.
        """
        records = self._store.iter_sessions(
            ctx,
            flow_id=flow_id,
            node=node,
            expires_before=expires_before,
            conversation=conversation,
            page=page,
        )
        return self._each(records)

    def count_waits(
        self,
        ctx: TenantCtx | None,
        *,
        flow_id: FlowId | str | None = None,
        node: str | None = None,
        expires_before: datetime | None = None,
        conversation: str | None = None,
        page: int = DEFAULT_PAGE,
    ) -> int:
        """Return how many waits :meth:`iter_waits` returns with the same arguments."""
        return self._call(
            self._store.count_waits,
            ctx,
            flow_id=flow_id,
            node=node,
            expires_before=expires_before,
            conversation=conversation,
            page=page,
        )

    def _each(self, records: SessionRecords) -> Iterator[SessionRecord]:
        while (page := self._call(records.next_page)) is not None:  # one call per page
            yield from page


class _Caller(Protocol):
    """Makes a call in the event loop of a store, and waits for its end."""

    def __call__(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T: ...


class _BlockingSide(Side):
    """The side of a store whose calls block: awaiting one never suspends the caller.

    The two stores of a copy may have different event loops, so neither can run it.

    Args:
        call: Makes a call in the store's loop.
        side: The side of the store in that loop.
    """

    def __init__(self, call: _Caller, side: Side) -> None:
        self._call = call
        self._side = side
        self.max_document_bytes = side.max_document_bytes

    @override
    async def read_clock(self) -> int:
        return self._call(self._side.read_clock)

    @override
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        return self._call(self._side.list_copies, cursor, limit)

    @override
    async def read_copies(
        self, names: Sequence[CopyName]
    ) -> Sequence[SessionCopy | DeliveryCopy | Unreadable | None]:
        return self._call(self._side.read_copies, names)

    @override
    async def put_copies(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        self._call(self._side.put_copies, copies)

    @override
    async def drop_copies(self, names: Sequence[CopyName]) -> None:
        self._call(self._side.drop_copies, names)


def _run(copying: Coroutine[object, None, _T]) -> _T:
    """Run a coroutine whose awaits never suspend, without an event loop."""
    try:
        copying.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise AssertionError("a blocking call suspended")
