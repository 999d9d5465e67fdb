"""The calls for operators: they erase, break claims, and go through all sessions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from typing_extensions import Self

from async_session_store import _rules
from async_session_store._copying import CopiedStore, Side, StoreSide, copy
from async_session_store._life_cycle import StoreLifeCycle
from async_session_store._listing import DEFAULT_PAGE, Selection, SessionRecords
from async_session_store._moving import IdChange, MoveRun
from async_session_store.abc import ErasedUser, MovedWaits
from async_session_store.errors import InvalidInputError
from async_session_store.models import FlowId, ReplyScope, TenantCtx, UserId

DEFAULT_MAX_PAUSE: Final = 4  # seconds, below the busy_timeout of those who wait meanwhile
_MAX_PASSES: Final = 10  # so that a bot which goes on writing does not keep an erasure from ending


class OperatorCalls(StoreLifeCycle):
    """The part of ``AsyncSessionStore`` for support and operations."""

    async def erase_user(self, ctx: TenantCtx, user_id: UserId | str) -> ErasedUser:
        """Erase all that is stored of a user in all teams of the tenant (O2). Return how much.

        These are waits, sessions that wait nowhere, expired waits, claims, places in queues, and
        remembered deliveries. A worker that holds a claim on one of the user's scopes loses it.

        ``ctx`` has neither a user nor a team. Raises ``TenantMismatchError`` if it has (O1).

        This is no single step. It goes through the whole storage in small steps, at least twice,
        and other calls run in between. After a crash, a cancellation or an error, call it again.
        Stop the user's messages first: what a bot stores of the user meanwhile may stay, and what
        it stores later does.
        """
        owner = _rules.check_tenant_operator(ctx)
        user = _rules.user_id(user_id)
        erased = ErasedUser()
        for number in range(_MAX_PASSES):
            found = await self._backend.erase_user(owner.env, owner.tenant, user)
            erased += found
            # A turn that was under way may have stored a wait behind the first pass and ended
            # before the pass came to its claim. So the first pass may find nothing of it.
            if number and not found:
                break
        return erased

    async def move_waits(
        self,
        ctx: TenantCtx,
        *,
        user: tuple[UserId | str, UserId | str] | None = None,
        conversation: tuple[str, str] | None = None,
    ) -> MovedWaits:
        """Move the waits of a user, or in a conversation, that has a new id (O6).

        Return how many were moved, and the keys of those that could not be. Take both ids from a
        ``Move`` of ``async_session_store.channels``.

        Args:
            ctx: The tenant, without a user (O1). With a team, only what is stored in that team is
                moved; without one, what is stored in all teams.
            user: The old and the new user id. All sessions of the old user become the new user's:
                waits, expired waits, and sessions that wait nowhere.
            conversation: The old and the new ``conversation`` of scopes. The waits of all users in
                the old conversation move to the new one. The other parts of their scopes stay.

        Give one of the two, or both. Raises ``InvalidInputError`` if there is neither, or if an old
        and a new id are equal, and ``TenantMismatchError`` if ``ctx`` has a user.

        Each session moves in one step, with its deadline and its key; its etag changes. A wait
        stays where it is if somebody is using it, or if another live wait is at its new place, and
        the result names it. This is no single step: it reads every session in the storage, at
        least twice, and other calls run in between. After a crash, a cancellation or an error, or
        if something was left, call it again: what was moved does not move again.
        """
        fence = _rules.operators_fence(ctx)
        change = IdChange.checked(user, conversation)
        run = MoveRun(self._current_backend, fence, change, self._max_document_bytes)
        return await run.run()

    async def break_claim(self, ctx: TenantCtx, user_id: UserId | str, scope: ReplyScope) -> bool:
        """End the claim that is held on a scope, whoever holds it (O3). Return whether one was.

        Use it if you know that the holder is dead, and its lease is long. What waits there stays.
        The next caller gets its turn, and the former holder ``ClaimLostError`` when it uses the
        claim: its block is cancelled at the next renewal, and can complete nothing. But it may
        still be running, so its effects outside the store may happen twice.

        ``ctx`` has no user (O1), and the team of the wait. Raises ``TenantMismatchError`` if not.
        """
        owner = _rules.owner_for_operator(ctx, user_id)
        return await self._backend.break_claim(owner, _rules.scope_hash(scope))

    async def copy_to(self, other: Self, *, again: bool = False) -> CopiedStore:
        """Copy all that this store holds into another one (O5). Return how much, by kind.

        These are all live sessions, waits and expired waits, with their deadlines, and all
        remembered deliveries, of all tenants. Claims and places in queues are not copied. This
        store may be in use, and is not changed. A deadline stays the same point in time. If the
        clocks of the two storages differ by more than a second, it is as far away in the copy as it
        is here. What ends within a second is left as it is.

        To move to another storage, call this while the bots run. Then stop all that use this store,
        call it with ``again``, and let the bots use the other store.

        Args:
            other: An open store. Nobody may use its storage until the copy is complete.
            again: Bring an earlier copy up to date: write what differs, and remove all that this
                store does not hold. Then compare the two once more. Nothing tells whether the other
                store ever was a copy of this one: given the wrong store, this erases it. Without
                it, the other store must be empty.

        A session whose document cannot be read, or that the other store would not take, is left
        out. It is named in ``left_out``, with a log warning.

        This is no single step. It reads about 100 sessions at a time, and takes about 0.1 KB of
        memory for each session and delivery. After a crash, a cancellation or an error, call it
        with ``again``.

        Raises ``InvalidInputError`` if the other store is not empty or, with ``again``, if this one
        is empty and the other is not. Then nothing is written. Raises ``CopyOutdatedError`` if the
        two still differed when they were compared once more, because this store was in use. If this
        returns with ``again``, they were equal.
        """
        if not isinstance(other, OperatorCalls):
            raise InvalidInputError("other: give an AsyncSessionStore")
        return await copy(side_of(self), side_of(other), again=again)

    async def compact(self, *, max_pause: timedelta | float = DEFAULT_MAX_PAUSE) -> int:
        """Give space that nothing uses back to the disk (O7). Return how many bytes.

        This is for SQLite, which otherwise keeps the space of what was removed and uses it again:
        it rewrites the file, and empties its log. Other processes may use the file meanwhile. They
        can read, but their writes wait. If rewriting takes longer than about ``max_pause`` (4
        seconds by default, as a ``timedelta`` or in seconds), nothing is changed, and this raises
        ``StoreUnavailableError``. All other calls of this store wait too.

        It needs free disk space: as much as the file takes, once in its own folder and once in the
        folder for temporary files.

        Memory and Redis do this by themselves. There it returns 0.
        """
        return await self._backend.compact(_rules.duration("max_pause", max_pause))

    def iter_waits(
        self,
        ctx: TenantCtx | None,
        *,
        flow_id: FlowId | str | None = None,
        node: str | None = None,
        expires_before: datetime | None = None,
        conversation: str | None = None,
        page: int = DEFAULT_PAGE,
    ) -> SessionRecords:
        """Iterate over the live waits of all users of a tenant (O4).

        Use it with ``async for``. The records come in the order of their keys on SQLite, in the
        order in which they were stored in memory, and in no order on Redis.

        Args:
            ctx: The tenant, without a user (O1). With a team, only that team's waits; without one,
                those of all teams. None for the waits of all tenants in the store, which is the
                host's right.
            flow_id: Only waits of this flow.
            node: Only waits at this node of their flows.
            expires_before: Only waits whose deadline is before this time, which needs a time zone.
            conversation: Only waits whose scope has this ``conversation``, such as
                ``inbound.scope.conversation``. A wait whose record has no ``scope`` is left out.
            page: About how many sessions to read in one step, from 1 to 1000.

        It reads every session in the storage, also those of other tenants: the filters save memory
        here, not work there. A wait that is live throughout is returned once; on Redis, it may be
        returned twice. One that is registered or ended meanwhile may be returned or not. A wait
        whose document cannot be read is left out, with a log warning (R2).
        """
        selection = Selection.of(
            ctx,
            waits_only=True,
            flow_id=flow_id,
            node=node,
            expires_before=expires_before,
            conversation=conversation,
        )
        return SessionRecords(self._current_backend, selection, _rules.page(page))

    def iter_sessions(
        self,
        ctx: TenantCtx | None,
        *,
        flow_id: FlowId | str | None = None,
        node: str | None = None,
        expires_before: datetime | None = None,
        conversation: str | None = None,
        page: int = DEFAULT_PAGE,
    ) -> SessionRecords:
        """Iterate over all live sessions of a tenant, also those that wait nowhere (O4).

        Those are sessions that were created or detached (S1, W3). Takes the arguments of
        :meth:`iter_waits`, and promises the same.
        """
        selection = Selection.of(
            ctx,
            waits_only=False,
            flow_id=flow_id,
            node=node,
            expires_before=expires_before,
            conversation=conversation,
        )
        return SessionRecords(self._current_backend, selection, _rules.page(page))

    async def count_waits(
        self,
        ctx: TenantCtx | None,
        *,
        flow_id: FlowId | str | None = None,
        node: str | None = None,
        expires_before: datetime | None = None,
        conversation: str | None = None,
        page: int = DEFAULT_PAGE,
    ) -> int:
        """Return how many waits :meth:`iter_waits` returns with the same arguments (O4).

        It reads as much, page by page, so this is no single step either.
        """
        waits = self.iter_waits(
            ctx,
            flow_id=flow_id,
            node=node,
            expires_before=expires_before,
            conversation=conversation,
            page=page,
        )
        return await waits.count()


def side_of(store: OperatorCalls) -> Side:
    """Return what copies to or from a store."""
    return StoreSide(store._current_backend, store._max_document_bytes)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # in its own module
