"""The store for synchronous callers: each call waits in its thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar, overload

from anyio.from_thread import BlockingPortal
from typing_extensions import Self, deprecated

from async_session_store import _rules, _urls
from async_session_store._backoff import edit_pauses
from async_session_store._rules import TimeToLive
from async_session_store._store import (
    DEFAULT_DEDUPE_TTL,
    DEFAULT_LEASE,
    DEFAULT_MAX_DOCUMENT_BYTES,
    DEFAULT_POLL,
    DEFAULT_TURN_WAIT,
    AsyncSessionStore,
)
from async_session_store._sync_operators import SyncOperatorCalls
from async_session_store.abc import Backend
from async_session_store.claims import WaitClaim
from async_session_store.errors import (
    ConflictError,
    SessionNotFoundError,
)
from async_session_store.explanations import Explanation
from async_session_store.models import (
    FlowId,
    ReplyScope,
    SessionData,
    SessionKey,
    SessionRecord,
    TenantCtx,
    UserId,
)
from async_session_store.resumed_waits import ResumedWait
from async_session_store.sync_claims import (
    SyncExpiredWaits,
    SyncWaitBlock,
    SyncWaitClaim,
    claim_in_loop,
    claim_of,
)
from async_session_store.turns import Incoming, Turn

__all__ = ["SessionStore", "SyncExpiredWaits", "SyncWaitClaim"]

_I = TypeVar("_I", bound=Incoming)
_M = TypeVar("_M")


class SessionStore(SyncOperatorCalls):
    """``AsyncSessionStore`` for synchronous callers: the same methods without ``await``.

    Open it with ``with``, or with :meth:`open` and :meth:`close`. Threads may share it. The calls
    run in an asyncio loop on a thread of its own or, if a ``portal`` is given, in its loop, so that
    several stores can share one thread.

    Each method has the promises, errors and arguments of the method in :class:`AsyncSessionStore`.
    A thread that runs an event loop gets ``StoreUsageError`` at once, as the call would freeze that
    loop. So does a process that was forked after the store was opened: it must open a store of its
    own (R7).

    When a signal handler raises (``KeyboardInterrupt``, say), the call in flight is cancelled, and
    its end is awaited for up to 10 seconds; then the exception propagates. The store stays usable
    for all threads (R3). A store that is still open does not keep the interpreter from exiting.

    Args:
        backend: The storage for the sessions, not yet open. The store opens and closes it. A client
            that you passed to the backend stays open.
        default_wait_ttl: The time to live of a wait that is registered without one. None means no
            deadline.
        default_session_ttl: The time to live of a session that is created without one. None means
            no deadline.
        default_expired_ttl: How long a wait that is registered without an ``expired_ttl`` is kept
            for a worker after its deadline, as a ``timedelta`` or in seconds. With None or 0 it is
            not kept.
        max_document_bytes: The largest document, in bytes of JSON. 8 MiB by default (S6).
        portal: An anyio portal to an asyncio loop, which must run until the store is closed.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        default_wait_ttl: TimeToLive | None = None,
        default_session_ttl: TimeToLive | None = None,
        default_expired_ttl: timedelta | float | None = None,
        max_document_bytes: int = DEFAULT_MAX_DOCUMENT_BYTES,
        portal: BlockingPortal | None = None,
    ) -> None:
        store = AsyncSessionStore(
            backend,
            default_wait_ttl=default_wait_ttl,
            default_session_ttl=default_session_ttl,
            default_expired_ttl=default_expired_ttl,
            max_document_bytes=max_document_bytes,
        )
        super().__init__(store, backend, portal)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str | None = None,
        default_wait_ttl: TimeToLive | None = None,
        default_session_ttl: TimeToLive | None = None,
        default_expired_ttl: timedelta | float | None = None,
        max_document_bytes: int = DEFAULT_MAX_DOCUMENT_BYTES,
        portal: BlockingPortal | None = None,
    ) -> Self:
        """Return a store for a URL, as :meth:`AsyncSessionStore.from_url` does."""
        return cls(
            _urls.backend(url, namespace=namespace),
            default_wait_ttl=default_wait_ttl,
            default_session_ttl=default_session_ttl,
            default_expired_ttl=default_expired_ttl,
            max_document_bytes=max_document_bytes,
            portal=portal,
        )

    @classmethod
    def from_env(cls, *, portal: BlockingPortal | None = None) -> Self:
        """Return a store as :meth:`AsyncSessionStore.from_env` does, from environment variables."""
        settings = _urls.settings_from_env()
        return cls.from_url(
            settings.url,
            namespace=settings.namespace,
            default_wait_ttl=settings.wait_ttl_seconds,
            default_expired_ttl=settings.expired_ttl_seconds,
            portal=portal,
        )

    # --- Sessions -----------------------------------------------------------------------------

    def create_session(
        self, ctx: TenantCtx, data: SessionData, *, ttl: TimeToLive | None = None
    ) -> SessionKey:
        """Store a session under a fresh key and return the key. The session waits nowhere."""
        return self._call(self._store.create_session, ctx, data, ttl=ttl)

    def get_session(
        self, key: SessionKey | str, *, ctx: TenantCtx | None = None
    ) -> SessionData | None:
        """Return the data of a session, or None if it is missing or expired."""
        return self._call(self._store.get_session, key, ctx=ctx)

    def get_record(
        self, key: SessionKey | str, *, ctx: TenantCtx | None = None
    ) -> SessionRecord | None:
        """Return a session as :meth:`get_session` does, with its etag, deadline and scope."""
        return self._call(self._store.get_record, key, ctx=ctx)

    def update_session(
        self,
        key: SessionKey | str,
        data: SessionData,
        *,
        ctx: TenantCtx | None = None,
        if_match: str | None = None,
    ) -> None:
        """Replace the data of a session. Its wait and its deadline stay."""
        self._call(self._store.update_session, key, data, ctx=ctx, if_match=if_match)

    def edit_session(
        self,
        key: SessionKey | str,
        fn: Callable[[SessionData], SessionData],
        *,
        ctx: TenantCtx | None = None,
    ) -> SessionData:
        """Read a session, pass its data to ``fn``, write the result, and return it.

        ``fn`` runs in the caller's thread. If someone else writes in between, ``fn`` is called
        again.
        """
        pauses = edit_pauses()
        while True:
            record = self.get_record(key, ctx=ctx)
            if record is None:
                raise SessionNotFoundError(key)
            data = fn(record.data)
            try:
                self.update_session(key, data, ctx=ctx, if_match=record.etag)
            except ConflictError:
                time.sleep(next(pauses))
            else:
                return data

    def remove_session(self, key: SessionKey | str, *, ctx: TenantCtx | None = None) -> None:
        """Remove a session, readable or not, and its wait."""
        self._call(self._store.remove_session, key, ctx=ctx)

    def touch_session(
        self, key: SessionKey | str, ttl: TimeToLive, *, ctx: TenantCtx | None = None
    ) -> None:
        """Set the deadline of a session and of its wait to ``ttl`` from now.

        ``NEVER`` removes the deadline.
        """
        self._call(self._store.touch_session, key, ttl, ctx=ctx)

    # --- Waits --------------------------------------------------------------------------------

    def register_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str,
        scope: ReplyScope,
        session_key: SessionKey | str,
        data: SessionData,
        ttl: TimeToLive | None = None,
        *,
        expired_ttl: timedelta | float | None = None,
    ) -> SessionKey | None:
        """Store a session, creating or replacing it, and route the scope to it.

        Return the key of the session that was detached, or None.
        """
        return self._call(
            self._store.register_wait,
            ctx,
            user_id,
            scope,
            session_key,
            data,
            ttl,
            expired_ttl=expired_ttl,
        )

    def register_wait_if_absent(
        self,
        ctx: TenantCtx,
        user_id: UserId | str,
        scope: ReplyScope,
        session_key: SessionKey | str,
        data: SessionData,
        ttl: TimeToLive | None = None,
        *,
        expired_ttl: timedelta | float | None = None,
    ) -> bool:
        """Register like :meth:`register_wait`, but only if no live wait is at the scope.

        Return whether it was registered.
        """
        return self._call(
            self._store.register_wait_if_absent,
            ctx,
            user_id,
            scope,
            session_key,
            data,
            ttl,
            expired_ttl=expired_ttl,
        )

    def find_wait_by_scope(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
    ) -> SessionKey | None:
        """Return the key of the live session that waits at the scope, or None."""
        return self._call(self._store.find_wait_by_scope, ctx, user_id, scope)

    def get_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
    ) -> SessionRecord | None:
        """Return the record of the live session that waits at the scope, or None."""
        return self._call(self._store.get_wait, ctx, user_id, scope)

    def list_waits_for_user(self, ctx: TenantCtx, user_id: UserId | str) -> list[SessionKey]:
        """Return the keys of all live waits of the user, sorted."""
        return self._call(self._store.list_waits_for_user, ctx, user_id)

    def list_wait_records(self, ctx: TenantCtx, user_id: UserId | str) -> list[SessionRecord]:
        """Return the records of all live waits of the user, sorted by key, in one step."""
        return self._call(self._store.list_wait_records, ctx, user_id)

    def explain(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scopes: ReplyScope | Sequence[ReplyScope],
    ) -> Explanation:
        """Report the state of each of these scopes, for logs and support."""
        return self._call(self._store.explain, ctx, user_id, scopes)

    def clear_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str,
        scope: ReplyScope,
        *,
        session_key: SessionKey | str | None = None,
    ) -> bool:
        """Remove the wait at the scope and its session. Return whether one was removed."""
        return self._call(self._store.clear_wait, ctx, user_id, scope, session_key=session_key)

    def clear_waits_for_user(self, ctx: TenantCtx, user_id: UserId | str) -> int:
        """Remove all waits of the user and their sessions, in one step. Return their number."""
        return self._call(self._store.clear_waits_for_user, ctx, user_id)

    @deprecated("removed in 1.0: use find_wait_by_scope, get_wait or list_wait_records")
    def find_by_user(
        self, ctx: TenantCtx, user_id: UserId | str
    ) -> tuple[SessionKey, SessionData] | None:
        """Return the key and data of the user's only wait, or None.

        Deprecated: it warns, and 1.0 removes it.
        """
        return _rules.only_wait(self.list_wait_records(ctx, user_id))

    # --- Claims -------------------------------------------------------------------------------

    def claim_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
        *,
        lease: timedelta | float = DEFAULT_LEASE,
        wait: timedelta | float = 0,
        delivery_id: str | None = None,
        dedupe_ttl: timedelta | float = DEFAULT_DEDUPE_TTL,
        begin_at: ReplyScope | None = None,
    ) -> SyncWaitClaim | None:
        """Claim the wait at the scope, so that no other worker resumes it.

        Return the claim, or None if no wait is live. Like :meth:`AsyncSessionStore.claim_wait`.
        """

        async def ask() -> list[WaitClaim]:
            claim = await self._store.claim_wait(
                ctx,
                user_id,
                scope,
                lease=lease,
                wait=wait,
                delivery_id=delivery_id,
                dedupe_ttl=dedupe_ttl,
                begin_at=begin_at,
            )
            return [] if claim is None else [claim]

        claims = claim_in_loop(ask, self._open_crossing())
        return claims[0] if claims else None

    @overload
    def resume_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
        *,
        lease: timedelta | float = ...,
        wait: timedelta | float = ...,
        delivery_id: str | None = ...,
        dedupe_ttl: timedelta | float = ...,
        begin_at: ReplyScope,
    ) -> SyncWaitBlock[ResumedWait]: ...

    @overload
    def resume_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
        *,
        lease: timedelta | float = ...,
        wait: timedelta | float = ...,
        delivery_id: str | None = ...,
        dedupe_ttl: timedelta | float = ...,
        begin_at: ReplyScope | None = ...,
    ) -> SyncWaitBlock[ResumedWait | None]: ...

    def resume_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
        *,
        lease: timedelta | float = DEFAULT_LEASE,
        wait: timedelta | float = 0,
        delivery_id: str | None = None,
        dedupe_ttl: timedelta | float = DEFAULT_DEDUPE_TTL,
        begin_at: ReplyScope | None = None,
    ) -> SyncWaitBlock[ResumedWait] | SyncWaitBlock[ResumedWait | None]:
        """Claim the wait at the scope for the length of a block.

        Use it with ``with``. The block gets a :class:`ResumedWait`, or None if no live wait is
        there. Like :meth:`AsyncSessionStore.resume_wait`, but nothing can cancel a thread: if the
        lease is lost, the wait's ``lost`` becomes True, and ``ClaimLostError`` is raised when the
        block ends without an exception.
        """
        block = self._store.resume_wait(
            ctx,
            user_id,
            scope,
            lease=lease,
            wait=wait,
            delivery_id=delivery_id,
            dedupe_ttl=dedupe_ttl,
            begin_at=begin_at,
        )
        return SyncWaitBlock(block, self._open_crossing())

    @overload
    def turn(
        self,
        ctx: TenantCtx,
        inbound: _I,
        *,
        flow: FlowId | str,
        memory: type[_M],
        ttl: TimeToLive | None = ...,
        lease: timedelta | float = ...,
        wait: timedelta | float = ...,
        dedupe_ttl: timedelta | float = ...,
    ) -> SyncWaitBlock[Turn[_I, _M]]: ...

    @overload
    def turn(
        self,
        ctx: TenantCtx,
        inbound: _I,
        *,
        flow: FlowId | str | None,
        memory: type[_M],
        ttl: TimeToLive | None = ...,
        lease: timedelta | float = ...,
        wait: timedelta | float = ...,
        dedupe_ttl: timedelta | float = ...,
    ) -> SyncWaitBlock[Turn[_I, _M] | None]: ...

    def turn(
        self,
        ctx: TenantCtx,
        inbound: _I,
        *,
        flow: FlowId | str | None,
        memory: type[_M],
        ttl: TimeToLive | None = None,
        lease: timedelta | float = DEFAULT_LEASE,
        wait: timedelta | float = DEFAULT_TURN_WAIT,
        dedupe_ttl: timedelta | float = DEFAULT_DEDUPE_TTL,
    ) -> SyncWaitBlock[Turn[_I, _M]] | SyncWaitBlock[Turn[_I, _M] | None]:
        """Take a user's turn: resume the flow that waits for a message, or begin one.

        Use it with ``with``; the block gets a :class:`Turn`, or None if ``flow`` is None and no
        flow waits. Like :meth:`AsyncSessionStore.turn`, but nothing can cancel a thread: see
        :meth:`resume_wait`.
        """
        block = self._store.turn(
            ctx,
            inbound,
            flow=flow,
            memory=memory,
            ttl=ttl,
            lease=lease,
            wait=wait,
            dedupe_ttl=dedupe_ttl,
        )
        return SyncWaitBlock(block, self._open_crossing())

    # --- Expired waits ------------------------------------------------------------------------

    def claim_expired(
        self,
        ctx: TenantCtx | None = None,
        *,
        limit: int = 1,
        lease: timedelta | float = DEFAULT_LEASE,
    ) -> list[SyncWaitClaim]:
        """Claim waits that nobody answered in time, the longest overdue first.

        Like :meth:`AsyncSessionStore.claim_expired`.
        """
        ask = partial(self._store.claim_expired, ctx, limit=limit, lease=lease)
        return claim_in_loop(ask, self._open_crossing())

    def expired_waits(
        self,
        ctx: TenantCtx | None = None,
        *,
        lease: timedelta | float = DEFAULT_LEASE,
        poll: timedelta | float = DEFAULT_POLL,
    ) -> SyncExpiredWaits:
        """Iterate over unanswered waits as they fall due, until ``stop()`` is called.

        Like :meth:`AsyncSessionStore.expired_waits`, with ``for``.
        """
        _rules.viewer(ctx)
        _rules.duration("lease", lease)
        claim_one = partial(self.claim_expired, ctx, lease=lease)
        return SyncExpiredWaits(claim_one, _rules.poll(poll))

    def expired_turn(
        self, claim: SyncWaitClaim, *, memory: type[_M], ttl: TimeToLive | None = None
    ) -> SyncWaitBlock[Turn[None, _M]]:
        """Take the turn of a user who did not answer in time: remind, hand over, or end the flow.

        Use it with ``with``. Like :meth:`AsyncSessionStore.expired_turn`, but nothing can cancel a
        thread: see :meth:`resume_wait`.
        """
        block = self._store.expired_turn(claim_of(claim), memory=memory, ttl=ttl)
        return SyncWaitBlock(block, self._open_crossing())

    # --- Upkeep -------------------------------------------------------------------------------

    def purge_expired(self, limit: int = 1000) -> int:
        """Reclaim the storage of at most ``limit`` expired entries, and return their number."""
        return self._call(self._store.purge_expired, limit)
