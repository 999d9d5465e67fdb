"""The async store: it checks the rules, calls a backend once, and returns or raises the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar, overload

import anyio
from typing_extensions import Self, deprecated

from async_session_store import _random, _rules, _urls
from async_session_store._backoff import edit_pauses
from async_session_store._blocks import WaitBlock
from async_session_store._claiming import ClaimRequest, claim
from async_session_store._claiming_expired import ExpiredRequest, claim_expired, with_fresh_lease
from async_session_store._listing import warn_unreadable
from async_session_store._look_ups import find_first, read_first
from async_session_store._memory import memory_type
from async_session_store._new_waits import WaitDefaults, check_size
from async_session_store._operators import OperatorCalls
from async_session_store._rules import TimeToLive
from async_session_store.abc import Backend, Outcome, Unreadable
from async_session_store.claims import WaitClaim
from async_session_store.errors import (
    ConflictError,
    CorruptSessionError,
    InvalidInputError,
    SessionNotFoundError,
)
from async_session_store.expired_waits import ExpiredWaits
from async_session_store.explanations import Explanation, explain_other_user, explain_states
from async_session_store.models import (
    FlowId,
    Owner,
    ReplyScope,
    SessionData,
    SessionKey,
    SessionRecord,
    TenantCtx,
    UserId,
)
from async_session_store.resumed_waits import ResumedWait, resumed_wait
from async_session_store.turns import (
    Incoming,
    Turn,
    TurnSetting,
    begin_expired_turn,
    begin_turn,
    check_incoming,
    users_of,
)

__all__ = ["AsyncSessionStore"]

DEFAULT_MAX_DOCUMENT_BYTES: Final = 8 * 1024 * 1024
DEFAULT_LEASE: Final = 30  # seconds
DEFAULT_DEDUPE_TTL: Final = 24 * 60 * 60  # seconds
DEFAULT_TURN_WAIT: Final = 10  # seconds
DEFAULT_POLL: Final = 0.5  # seconds

_I = TypeVar("_I", bound=Incoming)
_M = TypeVar("_M")


class AsyncSessionStore(OperatorCalls):
    """Sessions of paused flows, and the waits that route a reply to them.

    Open it with ``async with``, or with :meth:`open` and :meth:`aclose`, which may run in
    different tasks. Each call is one atomic step in the storage: it happens completely or not at
    all, even if the caller is cancelled. A store belongs to the event loop that it was opened in.

    Every call may raise ``StoreUnavailableError`` (the storage is unreachable or refuses the call)
    or ``StoreTimeoutError`` (no answer in time; whether a write happened is unknown). If the store
    is not open, or is used in another event loop or in a forked process, it raises
    ``StoreUsageError``, and nothing was done. Arguments are checked before anything is written:
    ``InvalidInputError``, or its subclass ``TenantMismatchError`` if ``ctx`` does not permit the
    call.

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
    """

    def __init__(
        self,
        backend: Backend,
        *,
        default_wait_ttl: TimeToLive | None = None,
        default_session_ttl: TimeToLive | None = None,
        default_expired_ttl: timedelta | float | None = None,
        max_document_bytes: int = DEFAULT_MAX_DOCUMENT_BYTES,
    ) -> None:
        self._defaults = WaitDefaults(
            _rules.milliseconds("default_wait_ttl", default_wait_ttl),
            _rules.expired_ttl("default_expired_ttl", default_expired_ttl),
            _rules.max_document_bytes(max_document_bytes),
        )
        super().__init__(backend, max_document_bytes=self._defaults.max_document_bytes)
        self._default_session_ttl = _rules.milliseconds("default_session_ttl", default_session_ttl)

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
    ) -> Self:
        """Return a store for a URL. It does not connect until it is opened.

        The URL is ``memory://``; ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or
        ``sqlite://`` (a private database in memory); or one with ``redis://``, ``rediss://`` or
        ``unix://``, with any option that redis-py accepts in a URL.

        ``namespace`` is for Redis only. It prefixes every key, and is ``greentic:session`` by
        default. The other arguments are those of the constructor.

        Raises ``InvalidInputError`` for a URL that no backend accepts, and ``ImportError`` naming
        the extra to install if the backend's driver is missing.
        """
        return cls(
            _urls.backend(url, namespace=namespace),
            default_wait_ttl=default_wait_ttl,
            default_session_ttl=default_session_ttl,
            default_expired_ttl=default_expired_ttl,
            max_document_bytes=max_document_bytes,
        )

    @classmethod
    def from_env(cls) -> Self:
        """Return a store that environment variables describe.

        The URL is ``SESSION_STORE_URL``, else ``SESSION_REDIS_URL``, else ``memory://``.
        ``SESSION_NAMESPACE`` sets the namespace, ``SESSION_WAIT_TTL_SECS`` the default time to live
        of a wait, and ``SESSION_EXPIRED_TTL_SECS`` the default time for which a wait is kept after
        that, both in seconds. Raises like :meth:`from_url`.
        """
        settings = _urls.settings_from_env()
        return cls.from_url(
            settings.url,
            namespace=settings.namespace,
            default_wait_ttl=settings.wait_ttl_seconds,
            default_expired_ttl=settings.expired_ttl_seconds,
        )

    # --- Sessions -----------------------------------------------------------------------------

    async def create_session(
        self, ctx: TenantCtx, data: SessionData, *, ttl: TimeToLive | None = None
    ) -> SessionKey:
        """Store a session under a fresh key and return the key. The session waits nowhere (S1).

        ``ctx`` must have the environment, tenant and team of the data and, if the data has a user,
        that user. Otherwise this raises ``TenantMismatchError`` (F1).
        """
        _rules.check_new_session(ctx, data)
        milliseconds = self._default_session_ttl if ttl is None else _rules.milliseconds("ttl", ttl)
        check_size(data, self._defaults.max_document_bytes)
        key = SessionKey(_random.unique_id())
        await self._backend.insert(key, data, milliseconds)
        return key

    async def get_session(
        self, key: SessionKey | str, *, ctx: TenantCtx | None = None
    ) -> SessionData | None:
        """Return the data of a session, or None if it is missing or expired.

        With ``ctx``, also return None if the session belongs to another environment, tenant or team
        or, if both have a user, to another user (F5). Raises ``CorruptSessionError`` if the session
        cannot be read.
        """
        key = _rules.session_key(key)
        viewer = _rules.viewer(ctx)
        found = await self._backend.read(key)
        if isinstance(found, SessionData):
            return found if viewer is None or viewer.sees(found.tenant_ctx.owner) else None
        _check_readable(found, viewer)
        return None

    async def get_record(
        self, key: SessionKey | str, *, ctx: TenantCtx | None = None
    ) -> SessionRecord | None:
        """Return a session as :meth:`get_session` does, with its etag, deadline and scope."""
        key = _rules.session_key(key)
        viewer = _rules.viewer(ctx)
        found = await self._backend.read_record(key)
        if isinstance(found, SessionRecord):
            return found if viewer is None or viewer.sees(found.data.tenant_ctx.owner) else None
        _check_readable(found, viewer)
        return None

    async def update_session(
        self,
        key: SessionKey | str,
        data: SessionData,
        *,
        ctx: TenantCtx | None = None,
        if_match: str | None = None,
    ) -> None:
        """Replace the data of a session. Its wait and its deadline stay (S3).

        With ``if_match``, the etag of a record, write only if the stored document is still that
        one, and raise ``ConflictError`` if it is not (E2). Of several writers with one etag, each
        with a document that differs from the stored one, exactly one succeeds.

        Raises ``SessionNotFoundError`` if the session is missing or expired (with ``ctx``, also if
        ``ctx`` does not see it), ``TenantMismatchError`` if the data has another owner than the
        stored session (F2), and ``CorruptSessionError`` if the stored document cannot be read. A
        session that was removed is never brought back.
        """
        key = _rules.session_key(key)
        viewer = _rules.viewer(ctx)
        _rules.owner_of_data(data)
        check_size(data, self._defaults.max_document_bytes)
        if if_match is not None:
            if_match = _rules.etag(if_match)
        outcome = await self._backend.replace(key, data, viewer=viewer, if_match=if_match)
        if outcome is not Outcome.DONE:
            raise _rules.refusal(outcome, key, data)

    async def edit_session(
        self,
        key: SessionKey | str,
        fn: Callable[[SessionData], SessionData],
        *,
        ctx: TenantCtx | None = None,
    ) -> SessionData:
        """Read a session, pass its data to ``fn``, write the result, and return it (E3).

        If someone else writes in between, ``fn`` is called again with the new data: up to 20 times,
        after random pauses of up to a quarter of a second. After the last attempt this raises
        ``ConflictError``. Since ``fn`` may run several times, it must be a plain function without
        side effects. If it raises, its exception propagates, and nothing is written. Otherwise
        raises like :meth:`update_session`.
        """
        pauses = edit_pauses()
        while True:
            record = await self.get_record(key, ctx=ctx)
            if record is None:
                raise SessionNotFoundError(key)
            data = fn(record.data)
            try:
                await self.update_session(key, data, ctx=ctx, if_match=record.etag)
            except ConflictError:
                await anyio.sleep(next(pauses))
            else:
                return data

    async def remove_session(self, key: SessionKey | str, *, ctx: TenantCtx | None = None) -> None:
        """Remove a session, readable or not, and its wait (S4).

        Raises ``SessionNotFoundError`` if the session is missing or expired (with ``ctx``, also if
        ``ctx`` does not see it), and ``CorruptSessionError`` if there is a ``ctx`` but the
        session's owner cannot be determined.
        """
        key = _rules.session_key(key)
        viewer = _rules.viewer(ctx)
        outcome = await self._backend.delete(key, viewer=viewer)
        if outcome is not Outcome.DONE:
            raise _rules.refusal(outcome, key)

    async def touch_session(
        self, key: SessionKey | str, ttl: TimeToLive, *, ctx: TenantCtx | None = None
    ) -> None:
        """Set the deadline of a session and of its wait to ``ttl`` from now (T3).

        ``NEVER`` removes the deadline. None is refused, as there is no default here. Raises like
        :meth:`remove_session`.
        """
        key = _rules.session_key(key)
        viewer = _rules.viewer(ctx)
        milliseconds = _rules.deadline_change(ttl)
        outcome = await self._backend.touch(key, milliseconds, viewer=viewer)
        if outcome is not Outcome.DONE:
            raise _rules.refusal(outcome, key)

    # --- Waits --------------------------------------------------------------------------------

    async def register_wait(
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
        """Store a session, creating or replacing it, and route the scope to it (W1).

        Return the key of the session that was detached, or None. A session waits at only one scope,
        so registering it elsewhere moves it (W2). A scope routes to only one session, so another
        live session that waited there is detached: it can be read by its key until its own
        deadline, but waits nowhere (W3). Without a ``ttl`` and a default, the wait has no deadline,
        even if the session had one before (T2).

        With ``expired_ttl`` (a ``timedelta`` or seconds; None uses the store's default, 0 means
        no), a wait that nobody answers by its deadline is kept for that long as an expired wait,
        which :meth:`claim_expired` and :meth:`expired_waits` hand to a worker.

        ``ctx`` must have the environment, tenant, team and user of the data, and ``user_id`` must
        be that user. Raises ``TenantMismatchError`` if not, or if a session of another owner is
        stored under the key (F1 to F3), and ``CorruptSessionError`` if the document there cannot be
        read.
        """
        owner = _rules.check_new_wait(ctx, user_id, data)
        wait = self._defaults.check_wait(owner, scope, session_key, data, ttl, expired_ttl)
        registration = await self._backend.put_wait(wait, only_if_absent=False)
        if registration.outcome is not Outcome.DONE:
            raise _rules.refusal(registration.outcome, session_key, data)
        return registration.detached

    async def register_wait_if_absent(
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
        """Register like :meth:`register_wait`, but only if no live wait is at the scope (W7).

        Return whether it was registered. Of any number of concurrent callers, exactly one gets
        True.
        """
        owner = _rules.check_new_wait(ctx, user_id, data)
        wait = self._defaults.check_wait(owner, scope, session_key, data, ttl, expired_ttl)
        registration = await self._backend.put_wait(wait, only_if_absent=True)
        if registration.outcome is Outcome.TAKEN:
            return False
        if registration.outcome is not Outcome.DONE:
            raise _rules.refusal(registration.outcome, session_key, data)
        return True

    async def find_wait_by_scope(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
    ) -> SessionKey | None:
        """Return the key of the live session that waits at the scope, or None.

        ``scope`` may be a sequence, most specific first. Then the first scope with a live wait
        wins, in the same single step (W4). ``user_id`` may be a sequence too, such as
        ``inbound.user_ids``. Then the first user with a live wait at any of the scopes wins, still
        in one step (W10). A ``ctx`` with another user than ``user_id`` finds nothing (F4).
        """
        if not isinstance(user_id, str):
            owners = _rules.owners_for_read(ctx, user_id)
            scope_hashes = _rules.scope_hashes(scope)
            first = await find_first(self._current_backend, owners, scope_hashes)
            return None if first is None else first.key
        owner = _rules.owner_for_read(ctx, user_id)
        scope_hashes = _rules.scope_hashes(scope)
        if owner is None:
            return None
        return await self._backend.find_wait(owner, scope_hashes)

    async def get_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scope: ReplyScope | Sequence[ReplyScope],
    ) -> SessionRecord | None:
        """Return the record of the live session that waits at the scope, or None (W8).

        The wait is looked up as by :meth:`find_wait_by_scope`, in one step. With several users, a
        second step reads what the first one found (W10). Raises ``CorruptSessionError`` if the
        document cannot be read.
        """
        if isinstance(user_id, str):
            owner = _rules.owner_for_read(ctx, user_id)
            scope_hashes = _rules.scope_hashes(scope)
            if owner is None:
                return None
            found = await self._backend.read_wait(owner, scope_hashes)
        else:
            owners = _rules.owners_for_read(ctx, user_id)
            scope_hashes = _rules.scope_hashes(scope)
            found = await read_first(self._current_backend, owners, scope_hashes)
        if isinstance(found, SessionRecord):
            return found
        _check_readable(found, None)  # no backend finds another owner's wait
        return None

    async def list_waits_for_user(self, ctx: TenantCtx, user_id: UserId | str) -> list[SessionKey]:
        """Return the keys of all live waits of the user, sorted (W5).

        A ``ctx`` with another user than ``user_id`` finds nothing. A session whose owner cannot
        be read is left out, with a log warning (R2).
        """
        owner = _rules.owner_for_read(ctx, user_id)
        if owner is None:
            return []
        found = await self._backend.list_waits(owner)
        warn_unreadable(found.unreadable)
        return list(found.items)

    async def list_wait_records(self, ctx: TenantCtx, user_id: UserId | str) -> list[SessionRecord]:
        """Return the records of all live waits of the user, sorted by key, in one step (W8a).

        A ``ctx`` with another user than ``user_id`` finds nothing. A session whose document cannot
        be read is left out, with a log warning (R2).
        """
        owner = _rules.owner_for_read(ctx, user_id)
        if owner is None:
            return []
        found = await self._backend.list_wait_records(owner)
        warn_unreadable(found.unreadable)
        return list(found.items)

    async def explain(
        self,
        ctx: TenantCtx,
        user_id: UserId | str | Sequence[UserId | str],
        scopes: ReplyScope | Sequence[ReplyScope],
    ) -> Explanation:
        """Report the state of each of these scopes, for logs and support, in one step (X4).

        The report shows why a look-up does or does not find a wait. It covers only the waits of
        ``user_id``, or of each user in a sequence, for the team of ``ctx`` and, if it has one, also
        without a team, because leaving out the team is a common mistake. If ``ctx`` has another
        user than ``user_id``, nothing is looked up. Nothing is changed, and an unreadable document
        raises no error.
        """
        visible = _rules.owners_for_read(ctx, user_id)
        scope_hashes = _rules.scope_hashes(scopes)
        asked = [scopes] if isinstance(scopes, ReplyScope) else list(scopes)
        if not visible:
            return explain_other_user(_rules.owner_of(ctx), asked)
        owners = [one for owner in visible for one in _rules.with_and_without_team(owner)]
        states = await self._backend.inspect_waits(owners, scope_hashes)
        return explain_states(owners, asked, states)

    async def clear_wait(
        self,
        ctx: TenantCtx,
        user_id: UserId | str,
        scope: ReplyScope,
        *,
        session_key: SessionKey | str | None = None,
    ) -> bool:
        """Remove the wait at the scope and its session (W6). Return whether one was removed.

        With a ``session_key``, remove it only if the scope still routes to that session, so that a
        late clean-up leaves the next wait alone. This takes one scope, not a sequence. A ``ctx``
        with another user than ``user_id`` raises ``TenantMismatchError`` (F4).
        """
        owner = _rules.owner_for_write(ctx, user_id)
        scope_hash = _rules.scope_hash(scope)
        key = None if session_key is None else _rules.session_key(session_key)
        return await self._backend.delete_wait(owner, scope_hash, session_key=key)

    async def clear_waits_for_user(self, ctx: TenantCtx, user_id: UserId | str) -> int:
        """Remove all waits of the user and their sessions, in one step (W8a). Return their number.

        A ``ctx`` with another user than ``user_id`` raises ``TenantMismatchError`` (F4).
        """
        return await self._backend.delete_waits(_rules.owner_for_write(ctx, user_id))

    @deprecated("removed in 1.0: use find_wait_by_scope, get_wait or list_wait_records")
    async def find_by_user(
        self, ctx: TenantCtx, user_id: UserId | str
    ) -> tuple[SessionKey, SessionData] | None:
        """Return the key and data of the user's only wait, or None (W9).

        Deprecated: it warns, and 1.0 removes it. Raises ``InvalidInputError`` if there are several
        waits.
        """
        return _rules.only_wait(await self.list_wait_records(ctx, user_id))

    # --- Claims -------------------------------------------------------------------------------

    async def claim_wait(
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
    ) -> WaitClaim | None:
        """Claim the wait at the scope, so that no other worker resumes it (K1).

        Return the claim, or None if no wait is live. At most one claim is held on a scope, across
        processes and machines. Nothing renews the claim, and the caller has to end it;
        :meth:`resume_wait` does both. A cancelled call leaves no claim.

        Args:
            ctx: The tenant. A ``ctx`` with another user than ``user_id`` raises
                ``TenantMismatchError`` (F4).
            user_id: The user whose wait to claim, or a sequence of users, such as
                ``inbound.user_ids``. Of a sequence, the first user with a live wait at any of the
                scopes counts, and a flow begins for the first one (K7).
            scope: A scope, or a sequence of scopes, most specific first. Of a sequence, the first
                with a live wait is claimed.
            lease: How long the claim lasts unless it is renewed, and so how long other workers wait
                if this process dies. 30 seconds by default.
            wait: How long to wait for a turn while another claim is held, in order of arrival (N4).
                After that this raises ``WaitClaimedError``.
            delivery_id: The platform's id of this delivery, such as a webhook's event id, 1 to 1024
                bytes in UTF-8. If a completed claim on one of the scopes handled it within its
                ``dedupe_ttl``, this raises ``DuplicateDeliveryError`` (K6). With several users, it
                is looked for and remembered for each of them, at each of the scopes.
            dedupe_ttl: How long the delivery is remembered once the claim is completed. 24 hours by
                default.
            begin_at: An empty scope to claim if no wait is live and no claim is held at any of the
                scopes (N3). Then the claim's ``is_new`` is True and its ``record`` None. Nothing is
                stored there unless ``complete(NewWait(...))`` registers the flow's first wait.

        Also raises ``CorruptSessionError`` for a wait whose document cannot be read.
        """
        owners = _rules.owners_for_write(ctx, user_id)
        scope_hashes, begin = _rules.begin_at(_rules.scope_hashes(scope), begin_at)
        request = ClaimRequest(
            owners=owners,
            scope_hashes=scope_hashes,
            lease=_rules.duration("lease", lease),
            wait_timeout=_rules.wait_timeout(wait),
            deliveries=_rules.deliveries(owners, scope_hashes, delivery_id, dedupe_ttl),
            begin_at=begin,
        )
        return await claim(self._current_backend, request, self._defaults)

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
    ) -> WaitBlock[ResumedWait]: ...

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
    ) -> WaitBlock[ResumedWait | None]: ...

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
    ) -> WaitBlock[ResumedWait] | WaitBlock[ResumedWait | None]:
        """Claim the wait at the scope for the length of a block (K4).

        Use it with ``async with``. The block gets a :class:`ResumedWait`, or None if no live wait
        is there. The claim is renewed in the background, three times per lease. When the block ends
        without an exception, the wait is completed: it and its session are removed, unless the
        block called ``next(NewWait(...))`` or ``keep()``. If the block registered the wait again,
        or someone else changed it, the newer wait stays. When the block raises or is cancelled, the
        wait is given back, and the exception propagates unchanged.

        If the lease is lost, the block is cancelled and ``ClaimLostError`` is raised. A block may
        end in another task than it began in. One whose steps run in different tasks cannot always
        be cancelled; then ``ClaimLostError`` is raised when the block ends without an exception.

        One worker at a time runs the block, and no wait is lost. But a worker can die after its
        effects and before the block ends, and then another runs it again: make effects idempotent.

        Takes the arguments of :meth:`claim_wait`, and raises like it when the block begins. When
        the block ends, raises ``ClaimLostError``, or any error of ``register_wait`` for the wait
        that follows.
        """
        claim_wait = partial(
            self.claim_wait,
            ctx,
            user_id,
            scope,
            lease=lease,
            wait=wait,
            delivery_id=delivery_id,
            dedupe_ttl=dedupe_ttl,
            begin_at=begin_at,
        )
        return WaitBlock(claim_wait, resumed_wait, self._renewer)

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
    ) -> WaitBlock[Turn[_I, _M]]: ...

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
    ) -> WaitBlock[Turn[_I, _M] | None]: ...

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
    ) -> WaitBlock[Turn[_I, _M]] | WaitBlock[Turn[_I, _M] | None]:
        """Take a user's turn: resume the flow that waits for a message, or begin one.

        Use it with ``async with``; the block gets a :class:`Turn`. The flow that waits at one of
        ``inbound.scopes()`` is resumed, whichever flow that is. If none waits, ``flow`` begins at
        ``inbound.scope``; if ``flow`` is None, the block gets None. Turns at one place are taken
        one at a time, in order, across processes and machines (N4).

        If the message has several ids of its user (``inbound.user_ids``), a flow that waits under
        any of them is found, the first id first, in the same step. A flow begins under the first,
        and stays with the id under which it began (K7).

        The block's calls (``ask``, ``end``, ``keep``) take effect when it ends without an
        exception, in one step that also remembers the message's delivery (N1, N3, N6). If it
        raises, or its process dies, nothing has changed, and the message may be handled again.

        Args:
            ctx: The tenant. It needs no user. With one, the turn is taken for that id of the
                message's user; if the message does not have it, it is refused (F4).
            inbound: The message: an ``Inbound``, or any other :class:`Incoming`.
            flow: The flow to begin. None begins none.
            memory: The type of the flow's memory, which pydantic must be able to read and write: a
                model, a dataclass or a ``TypedDict``. A new flow's memory is ``memory()``. If
                pydantic cannot read and write the type, or ``memory()`` fails, the call raises
                ``InvalidInputError`` at once.
            ttl: How long a question waits for its answer. None uses the store's default.
            lease: How long another worker has to wait if this one dies. 30 seconds by default.
            wait: How long to wait for earlier turns at this place. 10 seconds by default.
            dedupe_ttl: How long the message's delivery is remembered. 24 hours by default.

        Raises like :meth:`resume_wait`, and ``FlowMemoryError`` if the memory does not fit its
        type.
        """
        setting = TurnSetting(
            ctx, None if flow is None else _rules.flow(flow), memory_type(memory), ttl
        )
        _rules.milliseconds("ttl", ttl)
        # The attributes of a message may run the caller's code. So they are read before anything is
        # claimed and, for a SessionStore, in the caller's thread.
        try:
            users, scope, scopes = users_of(inbound), inbound.scope, inbound.scopes()
            delivery_id = inbound.delivery_id
        except AttributeError as error:
            check_incoming(inbound, error)
            raise
        users = _rules.user_ids(users)
        claim_wait = partial(
            self.claim_wait,
            ctx,
            users,
            scopes,
            lease=lease,
            wait=wait,
            delivery_id=delivery_id,
            dedupe_ttl=dedupe_ttl,
            begin_at=None if flow is None else scope,
        )
        make_target = partial(begin_turn, setting, inbound, users[0], scope)
        return WaitBlock(claim_wait, make_target, self._renewer)

    # --- Expired waits ------------------------------------------------------------------------

    async def claim_expired(
        self,
        ctx: TenantCtx | None = None,
        *,
        limit: int = 1,
        lease: timedelta | float = DEFAULT_LEASE,
    ) -> list[WaitClaim]:
        """Claim waits that nobody answered in time, the longest overdue first (Q2).

        Only waits that were registered with an ``expired_ttl`` are kept for this. Return at most
        ``limit`` claims (1 to 1000), or an empty list if nothing is due. Each wait is claimed by
        one worker at a time, across processes and machines, for ``lease``; a worker that dies gives
        it back when the lease ends. Nothing renews a claim until it is passed to
        :meth:`expired_turn`. Otherwise complete or release it.

        With ``ctx``, claim only waits of its environment, tenant and team, and if it has a user,
        only that user's. Without it, claim those of all tenants of this store, which is the host's
        right (Q4).

        A wait whose document cannot be read is left out, with a log warning. A cancelled call
        leaves no claim.
        """
        request = ExpiredRequest(
            _rules.viewer(ctx), _rules.claim_limit(limit), _rules.duration("lease", lease)
        )
        return await claim_expired(self._current_backend, request, self._defaults)

    def expired_waits(
        self,
        ctx: TenantCtx | None = None,
        *,
        lease: timedelta | float = DEFAULT_LEASE,
        poll: timedelta | float = DEFAULT_POLL,
    ) -> ExpiredWaits:
        """Iterate over unanswered waits as they fall due, one claim at a time.

        Use it with ``async for``, in as many workers as you like. Takes the ``ctx`` and ``lease``
        of :meth:`claim_expired`. If nothing is due, the iterator polls again after ``poll`` (half a
        second by default), with one command, so a wait may be handed out that late. It keeps trying
        while the storage is unreachable, until ``stop()`` is called.
        """
        request = ExpiredRequest(_rules.viewer(ctx), 1, _rules.duration("lease", lease))
        claim_one = partial(claim_expired, self._current_backend, request, self._defaults)
        return ExpiredWaits(claim_one, _rules.poll(poll))

    def expired_turn(
        self, claim: WaitClaim, *, memory: type[_M], ttl: TimeToLive | None = None
    ) -> WaitBlock[Turn[None, _M]]:
        """Take the turn of a user who did not answer in time: remind, hand over, or end the flow.

        Use it with ``async with`` on a claim of :meth:`claim_expired` or :meth:`expired_waits`. The
        block gets a :class:`Turn` whose ``is_expired`` is True, and which has no message. The claim
        is renewed while the block runs. The block's calls take effect when it ends without an
        exception. If it calls nothing, or ``end()``, the flow ends. ``ask`` asks again, unless
        ``is_overtaken``: then the user has begun another flow there. If the block raises, the wait
        is handed out again (Q5).

        Args:
            claim: The claim. The block ends it.
            memory: As for :meth:`turn`.
            ttl: How long a question waits for its answer; None for the store's default.

        Raises ``ClaimLostError`` if the lease has ended, and ``FlowMemoryError`` if the memory does
        not fit its type.
        """
        if not isinstance(claim, WaitClaim) or not claim.is_expired:
            raise InvalidInputError("claim: give one from claim_expired or expired_waits")
        _rules.milliseconds("ttl", ttl)
        make_target = partial(begin_expired_turn, ttl, memory_type(memory))
        return WaitBlock(partial(self._with_fresh_lease, claim), make_target, self._renewer)

    # --- Upkeep -------------------------------------------------------------------------------

    async def purge_expired(self, limit: int = 1000) -> int:
        """Reclaim the storage of at most ``limit`` expired entries, and return their number (T5).

        The entries are sessions, claims and deliveries. Redis drops those itself, so there they are
        stale index entries. An expired session does not exist for any call, purged or not (T4). An
        expired wait is kept until its ``expired_ttl`` has passed.
        """
        return await self._backend.purge(_rules.limit(limit))

    # --- Inside -------------------------------------------------------------------------------

    async def _with_fresh_lease(self, claim: WaitClaim) -> WaitClaim:
        self._current_backend()  # a claim with enough lease left makes no backend call
        return await with_fresh_lease(claim)


def _check_readable(found: Unreadable | None, viewer: Owner | None) -> None:
    """Raise ``CorruptSessionError`` for an unreadable document, unless it is not the viewer's."""
    if found is None:
        return
    if viewer is None or found.owner is None or viewer.sees(found.owner):
        raise CorruptSessionError(found.key, found.reason)
