"""The calls for operators in ``SessionStore``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from async_session_store._listing import DEFAULT_PAGE, SessionRecords
from async_session_store._sync_life_cycle import SyncLifeCycle
from async_session_store.abc import ErasedUser, MovedWaits
from async_session_store.models import (
    FlowId,
    ReplyScope,
    SessionRecord,
    TenantCtx,
    UserId,
)


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
