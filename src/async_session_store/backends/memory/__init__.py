"""Sessions in this process's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, cast

from anyio.lowlevel import checkpoint
from typing_extensions import override

from async_session_store.abc import (
    Backend,
    Claimed,
    ClaimKey,
    CopyName,
    CopyPage,
    Delivery,
    DeliveryCopy,
    ErasedUser,
    Fence,
    Keep,
    Listing,
    Outcome,
    PlacedPage,
    PlacedSession,
    Queued,
    Registration,
    SessionCopy,
    SessionMove,
    SessionPage,
    StoredSession,
    StoredWait,
    Unreadable,
    WaitState,
)
from async_session_store.backends.memory._claims import Claim, Claims, Place
from async_session_store.backends.memory._clock import Clock
from async_session_store.backends.memory._copying import Copies
from async_session_store.backends.memory._deliveries import Deliveries
from async_session_store.backends.memory._erasing import UserErasure
from async_session_store.backends.memory._expired import ExpiredClaims
from async_session_store.backends.memory._paging import Rest
from async_session_store.backends.memory._session import Session
from async_session_store.backends.memory._sessions import NOWHERE, Sessions, expiry_of, record_of
from async_session_store.models import (
    EnvId,
    Owner,
    SessionData,
    SessionKey,
    SessionRecord,
    TenantId,
    UserId,
)

__all__ = ["MemoryBackend"]

_REGISTERED: Final = Registration(Outcome.DONE)
_FOREIGN: Final = Registration(Outcome.FOREIGN)
_TAKEN: Final = Registration(Outcome.TAKEN)
_SWEEP: Final = 4  # expired sessions reclaimed with each one that is created or registered
_PURGE_SLICE: Final = 256  # entries looked at before other tasks get their turn


class MemoryBackend(Backend):
    """Sessions in this process's memory: gone when it ends, shared with no other store.

    Its calls never suspend, so they are not checkpoints: a loop of nothing but these calls does not
    let other tasks run. Only a purge of many sessions, a claim of many expired waits, and an
    erasure suspend after every few hundred, and a listing before each page. Sessions are kept by
    reference, which is safe as they are immutable.

    Args:
        clock: Returns monotonic seconds. Tests pass a clock that they can move.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._now = clock
        self._clock = Clock(clock)
        self._sessions = Sessions()
        self._claims = Claims(clock)
        self._expired = ExpiredClaims(self._sessions, self._claims, self._clock)
        self._deliveries = Deliveries()
        self._copies = Copies(self._sessions, self._claims, self._deliveries)

    @property
    @override
    def location(self) -> str:
        return "memory"

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        pass

    @override
    async def aclose(self) -> None:
        self._sessions.clear()
        self._claims.clear()
        self._deliveries.clear()

    @override
    async def ping(self) -> None:
        pass

    # --- Sessions -----------------------------------------------------------------------------

    @override
    async def insert(self, key: SessionKey, data: SessionData, ttl: int | None) -> None:
        now = self._now()
        if now >= self._sessions.deadlines.next_check:
            self._sessions.sweep(_SWEEP, now)
        self._sessions.insert(key, data, ttl, now)

    @override
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        session = self._sessions.by_key.get(key)
        return session.data if session is not None and session.deadline > self._now() else None

    @override
    async def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        session = self._sessions.live(key, self._now())
        return None if session is None else record_of(session, self._clock)

    @override
    async def replace(
        self, key: SessionKey, data: SessionData, *, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        session = self._sessions.by_key.get(key)
        if session is None or session.deadline <= self._now():
            return Outcome.MISSING
        if viewer is not None and not viewer.sees(session.owner):
            return Outcome.MISSING
        if session.owner != data.owner:
            return Outcome.FOREIGN
        if if_match is not None and if_match != str(session.version):
            return Outcome.CHANGED
        session.data, session.version = data, next(self._sessions.versions)
        return Outcome.DONE

    @override
    async def delete(self, key: SessionKey, *, viewer: Owner | None) -> Outcome:
        now = self._now()
        session = self._sessions.visible(key, viewer, now)
        if session is None:
            expired = self._sessions.expired(key, now)
            if expired is not None and (viewer is None or viewer.sees(expired.owner)):
                self._expired.end(expired)
            return Outcome.MISSING
        self._claims.supersede(session)
        self._sessions.remove(session)
        return Outcome.DONE

    @override
    async def touch(self, key: SessionKey, ttl: int | None, *, viewer: Owner | None) -> Outcome:
        now = self._now()
        session = self._sessions.visible(key, viewer, now)
        if session is None:
            return Outcome.MISSING
        self._sessions.touch(session, ttl, now)
        return Outcome.DONE

    # --- Waits --------------------------------------------------------------------------------

    @override
    async def put_wait(self, wait: StoredWait, *, only_if_absent: bool) -> Registration:
        now, sessions = self._now(), self._sessions
        if now >= sessions.deadlines.next_check:
            sessions.sweep(_SWEEP, now)
        before = sessions.by_key.get(wait.key)
        if before is not None and before.deadline > now and before.owner != wait.owner:
            return _FOREIGN
        if only_if_absent and sessions.waiting(wait.owner, wait.scope_hash, now) is not None:
            return _TAKEN
        # Usually there are neither, and the call takes 1% of register, find, get, update and clear.
        if before is not None or self._claims.entries:
            self._make_way(wait, before, now)
        detached = sessions.put(wait, now)
        return _REGISTERED if detached is None else Registration(Outcome.DONE, detached)

    def _make_way(self, wait: StoredWait, before: Session | None, now: float) -> None:
        """Supersede the claims that a wait supersedes. Remove the session that has its key."""
        if self._claims.entries:
            self._claims.supersede_at(wait.owner, wait.scope_hash)
            if before is not None and before.deadline > now:
                self._claims.supersede(before)
        if before is None:
            return
        if before.is_expired_wait(now):
            self._expired.end(before)
        else:
            self._sessions.remove(before)

    @override
    async def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        session = self._sessions.first_waiting(owner, scope_hashes, self._now())
        return None if session is None else session.key

    @override
    async def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        session = self._sessions.first_waiting(owner, scope_hashes, self._now())
        return None if session is None else record_of(session, self._clock)

    @override
    async def inspect_waits(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        now = self._now()
        return tuple(self._state(owner, one, now) for owner in owners for one in scope_hashes)

    def _state(self, owner: Owner, scope_hash: str, now: float) -> WaitState:
        claim_ends = self._claims.deadline((owner, scope_hash), now)
        claimed_until = None if claim_ends is None else self._clock.utc(claim_ends)
        session = self._sessions.waiting(owner, scope_hash, now)
        if session is None:
            return WaitState(claimed_until=claimed_until)
        expires_at = expiry_of(session, self._clock)
        return WaitState(session.key, expires_at=expires_at, claimed_until=claimed_until)

    @override
    async def list_waits(self, owner: Owner) -> Listing[SessionKey]:
        sessions = self._sessions.all_waiting(owner, self._now())
        return Listing(tuple(session.key for session in sessions))

    @override
    async def list_wait_records(self, owner: Owner) -> Listing[SessionRecord]:
        sessions = self._sessions.all_waiting(owner, self._now())
        return Listing(tuple(record_of(session, self._clock) for session in sessions))

    @override
    async def delete_wait(
        self, owner: Owner, scope_hash: str, *, session_key: SessionKey | None
    ) -> bool:
        now = self._now()
        if self._sessions.kept.sessions:
            self._expired.end_at(owner, scope_hash, session_key, now)
        session = self._sessions.by_scope.get(owner, NOWHERE).get(scope_hash)
        if session is None or session.deadline <= now:
            return False
        if session_key is not None and session_key != session.key:
            return False
        if self._claims.entries:
            self._claims.supersede_at(owner, scope_hash)
        self._sessions.remove(session)
        return True

    @override
    async def delete_waits(self, owner: Owner) -> int:
        now = self._now()
        self._expired.end_all(owner, now)
        sessions = self._sessions.all_waiting(owner, now)
        for session in sessions:
            self._claims.supersede(session)
            self._sessions.remove(session)
        return len(sessions)

    # --- Claims -------------------------------------------------------------------------------

    @override
    async def claim_wait(
        self,
        owners: Sequence[Owner],
        scope_hashes: Sequence[str],
        *,
        token: str,
        lease: int,
        deliveries: Sequence[Delivery],
        begin_at: str | None,
        queue: bool,
    ) -> Claimed | Queued | Unreadable | Outcome:
        now, queues = self._now(), self._claims.queues
        for delivery in deliveries:
            if self._deliveries.holds(delivery, now):
                queues.leave(token)
                return Outcome.DUPLICATE
        by_scope = self._sessions.by_scope
        found = self._claims.find(
            owners, scope_hashes, by_scope, token=token, begin_at=begin_at, now=now
        )
        if found is None:
            queues.leave(token)
            return Outcome.MISSING
        place, session, is_free = found
        if is_free:
            return self._claim(place, session, token, lease, now)
        if not queue:
            return Outcome.CLAIMED
        queues.keep(token, place)
        return Queued(ClaimKey(*place, token), self._claims.free_in(place, now))

    def _claim(
        self, place: Place, session: Session | None, token: str, lease: int, now: float
    ) -> Claimed:
        self._claims.queues.leave(token)
        deadline = self._claims.hold(place, session, token, lease, now)
        key, record = None, None
        if session is not None:
            key, record = session.key, record_of(session, self._clock)
        return Claimed(ClaimKey(*place, token, key), record, self._clock.utc(deadline))

    @override
    async def claim_expired(
        self, fence: Owner | None, tokens: Sequence[str], lease: int
    ) -> tuple[Claimed | Unreadable, ...]:
        await self._expired.note_due(_PURGE_SLICE)
        return self._expired.claim(fence, tokens, lease)

    @override
    async def wait_for_turn(self, place: ClaimKey, seconds: float) -> None:
        await self._claims.queues.wait(place.token, seconds)

    @override
    async def complete_claim(
        self, claim: ClaimKey, *, deliveries: Sequence[Delivery], then: StoredWait | Keep | None
    ) -> Outcome:
        now = self._now()
        held = self._claims.held(claim, now)
        if held is None:
            return Outcome.LOST
        if isinstance(then, StoredWait):
            before = self._sessions.live(then.key, now)
            if before is not None and before.owner != then.owner:
                return Outcome.FOREIGN
        session = self._sessions.waiting(claim.owner, claim.scope_hash, now)
        claimed = self._claimed_wait(claim, held, session, now)
        self._claims.end(claim)
        for delivery in deliveries:
            self._deliveries.add(delivery, now)
        if isinstance(then, StoredWait):
            is_replaceable = not held.is_superseded and (
                session is claimed if session is not None else self._is_unused(claim, now)
            )
            if claimed is not None:
                self._sessions.remove(claimed)
            if not is_replaceable:
                return Outcome.MISSING
            self._make_way(then, self._sessions.by_key.get(then.key), now)
            self._sessions.put(then, now)
            return Outcome.DONE
        if claimed is None:
            was_empty = held.wait_id is None and session is None and not held.is_superseded
            return Outcome.DONE if was_empty else Outcome.MISSING
        if then is None:
            self._sessions.remove(claimed)
        else:
            self._expired.give_back(claim, now)
        return Outcome.DONE

    def _claimed_wait(
        self, claim: ClaimKey, held: Claim, session: Session | None, now: float
    ) -> Session | None:
        """Return the wait that was claimed: the live ``session`` at the scope, or an expired one.

        A call that supersedes a claim also takes the wait away from the scope.
        """
        if session is not None and session.wait_id == held.wait_id:
            return session
        expired = self._sessions.expired(claim.session_key, now)
        return expired if expired is not None and expired.wait_id == held.wait_id else None

    def _is_unused(self, claim: ClaimKey, now: float) -> bool:
        """Return whether no live session has the key of the session that was claimed."""
        key = claim.session_key
        return key is None or self._sessions.live(key, now) is None

    @override
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        now = self._now()
        if self._claims.held(claim, now) is None:
            return Outcome.DONE if self._claims.queues.leave(claim.token) else Outcome.LOST
        self._expired.give_back(claim, now)
        self._claims.end(claim)
        return Outcome.DONE

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        deadline = self._claims.renew(claim, lease, self._now())
        return None if deadline is None else self._clock.utc(deadline)

    # --- Reclaiming ---------------------------------------------------------------------------

    @override
    async def purge(self, limit: int) -> int:
        now = self._now()
        purged = self._purge_slice(min(_PURGE_SLICE, limit), now)
        while purged < limit and now >= self._next_expiry:
            await checkpoint()
            purged += self._purge_slice(min(_PURGE_SLICE, limit - purged), now)
        return purged

    @property
    def _next_expiry(self) -> float:
        """The earliest time at which a session, a claim or a delivery can expire."""
        deliveries = self._deliveries.next_check
        return min(self._sessions.deadlines.next_check, self._claims.next_expiry, deliveries)

    def _purge_slice(self, limit: int, now: float) -> int:
        """Remove at most ``limit`` expired sessions, claims and deliveries. Return their number."""
        removed = self._sessions.sweep(limit, now)
        removed += self._claims.drop_expired(now, limit - removed)
        return removed + self._deliveries.drop_expired(now, limit - removed)

    # --- Operators ----------------------------------------------------------------------------

    @override
    async def erase_user(self, env: EnvId, tenant: TenantId, user: UserId) -> ErasedUser:
        erasure = UserErasure(self._sessions, self._claims, self._deliveries, self._clock)
        return await erasure.run(env, tenant, user)

    @override
    async def break_claim(self, owner: Owner, scope_hash: str) -> bool:
        return self._claims.break_at((owner, scope_hash), self._now())

    @override
    async def compact(self, max_pause: int) -> int:
        return 0  # nothing here is on a disk

    @override
    async def read_page(
        self, fence: Fence | None, cursor: object | None, limit: int
    ) -> SessionPage:
        keys, rest = await self._next_keys(cursor, limit)
        now = self._now()
        live = [self._sessions.live(key, now) for key in keys]
        found = tuple(
            StoredSession(record_of(session, self._clock), session.scope_hash is not None)
            for session in live
            if session is not None and (fence is None or fence.includes(session.owner))
        )
        return SessionPage(found, (), rest)

    @override
    async def read_places(self, fence: Fence, cursor: object | None, limit: int) -> PlacedPage:
        keys, rest = await self._next_keys(cursor, limit)
        now = self._now()
        stored = [self._sessions.live(key, now) or self._sessions.expired(key, now) for key in keys]
        found = tuple(
            PlacedSession(
                record_of(session, self._clock),
                session.scope_hash,
                waits=session.scope_hash is not None,
                is_expired=session.deadline <= now,
            )
            for session in stored
            if session is not None and fence.includes(session.owner)
        )
        return PlacedPage(found, (), rest)

    @override
    async def move_session(self, move: SessionMove) -> Outcome:
        now = self._now()
        session = self._sessions.live(move.key, now) or self._sessions.expired(move.key, now)
        if session is None:
            return Outcome.MISSING
        as_read = (move.owner, move.scope_hash, move.etag)
        if (session.owner, session.scope_hash, str(session.version)) != as_read:
            return Outcome.CHANGED
        if move.scope_hash is not None:
            if not self._claims.is_free((move.owner, move.scope_hash), now):
                return Outcome.CLAIMED
            refusal = self._refusal_at_new_place(session, move, now)
            if refusal is not None:
                return refusal
        self._sessions.move(session, move, now)
        return Outcome.DONE

    def _refusal_at_new_place(
        self, session: Session, move: SessionMove, now: float
    ) -> Outcome | None:
        if move.new_scope_hash is None or session.deadline <= now:
            return None
        place = move.data.owner, move.new_scope_hash
        if self._sessions.waiting(*place, now) is not None:
            return Outcome.TAKEN
        return None if self._claims.deadline(place, now) is None else Outcome.CLAIMED

    async def _next_keys(
        self, cursor: object | None, limit: int
    ) -> tuple[list[SessionKey], Rest[SessionKey] | None]:
        """Return the keys of the next page, and where the page after it begins."""
        await checkpoint()  # otherwise a loop over all pages would let no other task run
        rest = cast("Rest[SessionKey]", cursor or Rest(list(self._sessions.by_key)))
        return rest.page(limit)

    @override
    async def read_clock(self) -> int:
        return round(self._now() * 1000)

    @override
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        await checkpoint()  # as in read_page
        return self._copies.page(cast("Rest[SessionKey | bytes] | None", cursor), limit)

    @override
    async def read_copies(
        self, names: Sequence[CopyName]
    ) -> tuple[SessionCopy | DeliveryCopy | Unreadable | None, ...]:
        now = self._now()
        return tuple([self._copies.read(name, now) for name in names])

    @override
    async def put_copies(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        now = self._now()
        for copy in copies:
            self._copies.put(copy, now)

    @override
    async def drop_copies(self, names: Sequence[CopyName]) -> None:
        now = self._now()
        for name in names:
            self._copies.drop(name, now)
