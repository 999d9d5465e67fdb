"""Sessions in this process's memory."""

from __future__ import annotations

import math
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
    Delivery,
    Keep,
    Listing,
    Outcome,
    Queued,
    Registration,
    StoredWait,
    Unreadable,
    WaitState,
)
from async_session_store.backends._time import utc_from_ms
from async_session_store.backends.memory._deadlines import Deadlines, Expiring
from async_session_store.backends.memory._deliveries import Deliveries
from async_session_store.backends.memory._kept_waits import KeptWaits
from async_session_store.backends.memory._queues import Queues
from async_session_store.backends.memory._sessions import Claim, Session
from async_session_store.models import Owner, SessionData, SessionKey, SessionRecord

__all__ = ["MemoryBackend"]

_REGISTERED: Final = Registration(Outcome.DONE)
_FOREIGN: Final = Registration(Outcome.FOREIGN)
_TAKEN: Final = Registration(Outcome.TAKEN)
_SWEEP: Final = 4  # expired sessions reclaimed with each one that is created or registered
_PURGE_SLICE: Final = 256  # entries looked at before other tasks get their turn


_NOWHERE: Final[dict[str, Session]] = {}  # stays empty


class MemoryBackend(Backend):
    """Sessions in this process's memory: gone when it ends, shared with no other store.

    Its calls never suspend, so they are no checkpoint: a loop of nothing but these calls does not
    let other tasks run. Only a purge of many sessions does, after every few hundred. Sessions are
    kept by reference, which is safe because they are immutable.

    Args:
        clock: Returns monotonic seconds. Tests pass a clock that they can move.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[SessionKey, Session] = {}
        self._waits: dict[Owner, dict[str, Session]] = {}
        self._deadlines = Deadlines(self._deadline_of)
        self._claims: Expiring[tuple[Owner, str], Claim] = Expiring()
        self._deliveries = Deliveries()
        self._queues = Queues(clock)
        self._kept = KeptWaits()
        self._writes = 0

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        pass

    @override
    async def aclose(self) -> None:
        self._sessions.clear()
        self._waits.clear()
        self._deadlines.clear()
        self._claims.clear()
        self._deliveries.clear()
        self._queues.clear()
        self._kept.clear()

    @override
    async def ping(self) -> None:
        pass

    @override
    async def insert(self, key: SessionKey, data: SessionData, ttl: int | None) -> None:
        now = self._clock()
        if now >= self._deadlines.next_look:
            self._sweep(_SWEEP, now)
        self._store(key, data, ttl, now)

    @override
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        session = self._sessions.get(key)
        return session.data if session is not None and session.deadline > self._clock() else None

    @override
    async def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        session = self._visible(key, None, self._clock())
        return None if session is None else self._record(session)

    @override
    async def replace(
        self, key: SessionKey, data: SessionData, *, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        session = self._sessions.get(key)
        if session is None or session.deadline <= self._clock():
            return Outcome.MISSING
        if viewer is not None and not viewer.sees(session.owner):
            return Outcome.MISSING
        if session.owner != data.owner:
            return Outcome.FOREIGN
        if if_match is not None and if_match != str(session.version):
            return Outcome.CHANGED
        session.data = data
        self._writes += 1
        session.version = self._writes
        return Outcome.DONE

    @override
    async def delete(self, key: SessionKey, *, viewer: Owner | None) -> Outcome:
        now = self._clock()
        session = self._visible(key, viewer, now)
        if session is None:
            expired = self._expired(key, now)
            if expired is not None and (viewer is None or viewer.sees(expired.owner)):
                self._end_expired(expired)
            return Outcome.MISSING
        self._supersede(session.owner, session.scope_hash)
        self._remove(session)
        return Outcome.DONE

    @override
    async def touch(self, key: SessionKey, ttl: int | None, *, viewer: Owner | None) -> Outcome:
        now = self._clock()
        session = self._visible(key, viewer, now)
        if session is None:
            return Outcome.MISSING
        session.deadline = math.inf if ttl is None else now + ttl / 1000
        session.expires_at = None
        self._deadlines.add(session.key, session.deadline + session.kept)
        if session.kept:
            session.due = session.deadline
            self._kept.add(session)
        return Outcome.DONE

    @override
    async def put_wait(self, wait: StoredWait, *, only_if_absent: bool) -> Registration:
        now = self._clock()
        if now >= self._deadlines.next_look:
            self._sweep(_SWEEP, now)
        before = self._sessions.get(wait.key)
        if before is not None and before.deadline > now and before.owner != wait.owner:
            return _FOREIGN
        if only_if_absent and self._waiting(wait.owner, wait.scope_hash, now) is not None:
            return _TAKEN
        return self._put(wait, before, now)

    @override
    async def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        now, waiting = self._clock(), self._waits.get(owner, _NOWHERE)
        for scope_hash in scope_hashes:
            session = waiting.get(scope_hash)
            if session is not None and session.deadline > now:
                return session.key
        return None

    @override
    async def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        session = self._first_waiting(owner, scope_hashes)
        return None if session is None else self._record(session)

    @override
    async def inspect_waits(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        now = self._clock()
        return tuple(self._state(owner, one, now) for owner in owners for one in scope_hashes)

    @override
    async def list_waits(self, owner: Owner) -> Listing[SessionKey]:
        return Listing(tuple(session.key for session in self._all_waiting(owner)))

    @override
    async def list_wait_records(self, owner: Owner) -> Listing[SessionRecord]:
        return Listing(tuple(map(self._record, self._all_waiting(owner))))

    @override
    async def delete_wait(
        self, owner: Owner, scope_hash: str, *, session_key: SessionKey | None
    ) -> bool:
        now = self._clock()
        if self._kept.sessions:
            for expired in self._all_expired(owner, now):
                if expired.scope_hash == scope_hash and session_key in (None, expired.key):
                    self._end_expired(expired)
        session = self._waiting(owner, scope_hash, now)
        if session is None or (session_key is not None and session_key != session.key):
            return False
        if self._claims.entries:
            self._supersede(owner, scope_hash)
        self._remove(session)
        return True

    @override
    async def delete_waits(self, owner: Owner) -> int:
        for expired in self._all_expired(owner, self._clock()):
            self._end_expired(expired)
        sessions = self._all_waiting(owner)
        for session in sessions:
            self._supersede(session.owner, session.scope_hash)
            self._remove(session)
        return len(sessions)

    @override
    async def claim_wait(
        self,
        owner: Owner,
        scope_hashes: Sequence[str],
        *,
        token: str,
        lease: int,
        deliveries: Sequence[Delivery],
        begin_at: str | None,
        queue: bool,
    ) -> Claimed | Queued | Unreadable | Outcome:
        now = self._clock()
        for delivery in deliveries:
            if self._deliveries.holds(owner, delivery, now):
                self._queues.leave(token)
                return Outcome.DUPLICATE
        found = self._find_to_claim(owner, scope_hashes, token, begin_at, now)
        if found is None:
            self._queues.leave(token)
            return Outcome.MISSING
        place, session, is_free = found
        if is_free:
            return self._claim(place, session, token, lease, now)
        if not queue:
            return Outcome.CLAIMED
        self._queues.keep(token, place)
        ends = self._claims.deadline(place, now)
        free_in = None if ends is None else math.ceil((ends - now) * 1000)
        return Queued(ClaimKey(*place, token), free_in)

    @override
    async def claim_expired(
        self, fence: Owner | None, tokens: Sequence[str], lease: int
    ) -> tuple[Claimed | Unreadable, ...]:
        while self._kept.take_due(self._clock(), _PURGE_SLICE):
            await checkpoint()
        now = self._clock()
        claimed = self._claimed_with(tokens, now)
        used = {found.claim.token for found in claimed}
        free = iter([token for token in tokens if token not in used])
        for session in self._claimable(fence, len(tokens) - len(used), now):
            claimed.append(self._claim_expired(session, next(free), lease, now))
        return tuple(claimed)

    @override
    async def wait_for_turn(self, place: ClaimKey, seconds: float) -> None:
        await self._queues.wait(place.token, seconds)

    @override
    async def complete_claim(
        self, claim: ClaimKey, *, delivery: Delivery | None, then: StoredWait | Keep | None
    ) -> Outcome:
        now = self._clock()
        held = self._held(claim, now)
        if held is None:
            return Outcome.LOST
        if isinstance(then, StoredWait):
            before = self._visible(then.key, None, now)
            if before is not None and before.owner != then.owner:
                return Outcome.FOREIGN
        session = self._waiting(claim.owner, claim.scope_hash, now)
        claimed = self._claimed(claim, held, session, now)
        self._end((claim.owner, claim.scope_hash))
        if delivery is not None:
            self._deliveries.add(claim.owner, delivery, now)
        if isinstance(then, StoredWait):
            may_follow = not held.is_superseded and (
                session is claimed if session is not None else self._is_free(claim.session_key, now)
            )
            if claimed is not None:
                self._remove(claimed)
            if may_follow:
                self._put(then, self._sessions.get(then.key), now)
            return Outcome.DONE if may_follow else Outcome.MISSING
        was_empty = held.wait_id is None and session is None and not held.is_superseded
        if claimed is not None and then is None:
            self._remove(claimed)
        elif claimed is not None:
            self._give_back(claim, now)
        return Outcome.MISSING if claimed is None and not was_empty else Outcome.DONE

    @override
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        now = self._clock()
        if self._held(claim, now) is None:
            return Outcome.DONE if self._queues.leave(claim.token) else Outcome.LOST
        self._give_back(claim, now)
        self._end((claim.owner, claim.scope_hash))
        return Outcome.DONE

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        now = self._clock()
        held = self._held(claim, now)
        if held is None:
            return None
        deadline = now + lease / 1000
        self._claims.set((claim.owner, claim.scope_hash), held, deadline, now)
        return self._wall_time(deadline)

    @override
    async def purge(self, limit: int) -> int:
        now = self._clock()
        purged = self._purge_slice(min(_PURGE_SLICE, limit), now)
        while purged < limit and now >= self._next_look:
            await checkpoint()
            purged += self._purge_slice(min(_PURGE_SLICE, limit - purged), now)
        return purged

    # --- Looking up ---------------------------------------------------------------------------

    def _visible(self, key: SessionKey, viewer: Owner | None, now: float) -> Session | None:
        session = self._sessions.get(key)
        if session is None or session.deadline <= now:
            return None
        return session if viewer is None or viewer.sees(session.owner) else None

    def _waiting(self, owner: Owner, scope_hash: str, now: float) -> Session | None:
        session = self._waits.get(owner, _NOWHERE).get(scope_hash)
        return session if session is not None and session.deadline > now else None

    def _first_waiting(self, owner: Owner, scope_hashes: Sequence[str]) -> Session | None:
        now, waiting = self._clock(), self._waits.get(owner, _NOWHERE)
        for scope_hash in scope_hashes:
            session = waiting.get(scope_hash)
            if session is not None and session.deadline > now:
                return session
        return None

    def _all_waiting(self, owner: Owner) -> list[Session]:
        now = self._clock()
        waiting = self._waits.get(owner, _NOWHERE).values()
        live = [session for session in waiting if session.deadline > now]
        return sorted(live, key=lambda session: session.key)

    def _expired(self, key: SessionKey | None, now: float) -> Session | None:
        """Return the expired wait of a session."""
        session = None if key is None else self._sessions.get(key)
        return session if session is not None and session.is_expired_wait(now) else None

    def _all_expired(self, owner: Owner, now: float) -> list[Session]:
        kept = self._kept.of_owner(owner)
        return [session for session in kept if session.is_expired_wait(now)]

    def _claimable(self, fence: Owner | None, most: int, now: float) -> list[Session]:
        """Return expired waits that may be claimed together, the longest overdue first."""
        found: dict[tuple[Owner, str], Session] = {}
        over: list[Session] = []
        for session in self._kept.due(fence):
            if len(found) >= most:
                break
            place = _place(session)
            if not session.is_expired_wait(now):
                over.append(session)
            elif place not in found and self._is_free_place(place, now):
                found[place] = session
        for session in over:  # or each look would find them again, until they are purged
            self._kept.drop_due(session)
        return list(found.values())

    def _is_free_place(self, place: tuple[Owner, str], now: float) -> bool:
        """Return whether no claim is held at a scope, and nobody waits in its queue."""
        if self._claims.get(place, now) is not None:
            return False
        return not (self._queues and self._queues.is_behind("", place))

    def _claimed_with(self, tokens: Sequence[str], now: float) -> list[Claimed]:
        """Return the expired waits that some tokens have claimed before, and still hold."""
        claimed: list[Claimed] = []
        for token in tokens:
            session = self._kept.claimed_with(token)
            if session is None or not session.is_expired_wait(now):
                continue
            entry = self._claims.entries.get(_place(session))
            if entry is not None and entry[0].token == token and entry[1] > now:
                claimed.append(self._claimed_expired(session, token, entry[1], now))
        return claimed

    def _record(self, session: Session) -> SessionRecord:
        if session.expires_at is None and session.deadline < math.inf:
            # Told once, so that a session that did not change gives equal records.
            session.expires_at = self._wall_time(session.deadline)
        return SessionRecord(
            session.key, session.data, str(session.version), session.expires_at, session.scope
        )

    def _wall_time(self, deadline: float) -> datetime:
        return utc_from_ms(round((time.time() + deadline - self._clock()) * 1000))

    def _state(self, owner: Owner, scope_hash: str, now: float) -> WaitState:
        claim_ends = self._claims.deadline((owner, scope_hash), now)
        claimed_until = None if claim_ends is None else self._wall_time(claim_ends)
        session = self._waiting(owner, scope_hash, now)
        if session is None:
            return WaitState(claimed_until=claimed_until)
        expires_at = self._record(session).expires_at
        return WaitState(session.key, expires_at=expires_at, claimed_until=claimed_until)

    def _held(self, claim: ClaimKey, now: float) -> Claim | None:
        held = self._claims.get((claim.owner, claim.scope_hash), now)
        return held if held is not None and held.token == claim.token else None

    def _claimed(
        self, claim: ClaimKey, held: Claim, session: Session | None, now: float
    ) -> Session | None:
        """Return the wait that was claimed: the live one at the scope, or as an expired wait."""
        if session is not None and session.wait_id == held.wait_id:
            return session  # what supersedes a claim takes the wait away from the scope
        expired = self._expired(claim.session_key, now)
        return expired if expired is not None and expired.wait_id == held.wait_id else None

    def _is_free(self, key: SessionKey | None, now: float) -> bool:
        return key is None or self._visible(key, None, now) is None

    def _find_to_claim(
        self,
        owner: Owner,
        scope_hashes: Sequence[str],
        token: str,
        begin_at: str | None,
        now: float,
    ) -> tuple[tuple[Owner, str], Session | None, bool] | None:
        """Return which scope to claim, what waits there, and whether it is the token's turn."""
        waiting, queues = self._waits.get(owner, _NOWHERE), self._queues
        if queues:
            for scope_hash in scope_hashes:
                place = owner, scope_hash
                if self._claims.get(place, now) is None and queues.is_behind(token, place):
                    return place, None, False
        for scope_hash in scope_hashes:
            place, session = (owner, scope_hash), waiting.get(scope_hash)
            if queues and queues.is_behind(token, place):
                return place, session, False
            if session is not None and session.deadline > now:
                return place, session, self._claims.get(place, now) is None
        if begin_at is None:
            return None
        for scope_hash in scope_hashes:
            if self._claims.get((owner, scope_hash), now) is not None:
                return (owner, scope_hash), None, False
        return (owner, begin_at), None, True

    # --- Changing -----------------------------------------------------------------------------

    def _claim(
        self, place: tuple[Owner, str], session: Session | None, token: str, lease: int, now: float
    ) -> Claimed:
        self._queues.leave(token)
        deadline = now + lease / 1000
        wait_id = None if session is None else session.wait_id
        self._claims.set(place, Claim(token, wait_id), deadline, now)
        key, record = None, None
        if session is not None:
            key, record = session.key, self._record(session)
        return Claimed(ClaimKey(*place, token, key), record, self._wall_time(deadline))

    def _claim_expired(self, session: Session, token: str, lease: int, now: float) -> Claimed:
        deadline = now + lease / 1000
        self._claims.set(_place(session), Claim(token, session.wait_id), deadline, now)
        self._kept.claim(session, token)
        return self._claimed_expired(session, token, deadline, now)

    def _claimed_expired(
        self, session: Session, token: str, deadline: float, now: float
    ) -> Claimed:
        place = _place(session)
        claim = ClaimKey(*place, token, session.key, is_expired=True)
        is_overtaken = self._waiting(*place, now) is not None
        return Claimed(claim, self._record(session), self._wall_time(deadline), is_overtaken)

    def _give_back(self, claim: ClaimKey, now: float) -> None:
        """Put the wait behind all others that are due, if it was claimed as an expired one."""
        expired = self._expired(claim.session_key, now) if claim.is_expired else None
        if expired is not None:
            self._kept.give_back(expired, now)

    def _end_expired(self, session: Session) -> None:
        """Remove an expired wait, and supersede a claim that is held on it."""
        held = self._claims.entries.get((session.owner, session.scope_hash or ""))
        if held is not None and held[0].wait_id == session.wait_id:
            held[0].is_superseded = True
        self._remove(session)

    def _end(self, place: tuple[Owner, str]) -> None:
        """End the claim on a scope, and wake the next in line."""
        self._claims.delete(place)
        if self._queues:
            self._queues.wake_first(place)

    def _supersede(self, owner: Owner, scope_hash: str | None) -> None:
        """Mark the claim that is held where a session waits, before the session leaves."""
        entry = self._claims.entries.get((owner, scope_hash)) if scope_hash else None
        if entry is not None:
            entry[0].is_superseded = True

    def _put(self, wait: StoredWait, before: Session | None, now: float) -> Registration:
        """Register a wait, whose key is that of the session ``before``."""
        owner, scope_hash, scope, key, data, ttl, expired_ttl = wait
        if self._claims.entries:  # usually there are none, and to look takes a tenth of a cycle
            self._supersede(owner, scope_hash)
            if before is not None and before.deadline > now:
                self._supersede(before.owner, before.scope_hash)
        if before is not None:
            # Most sessions are not kept, and to look at the attribute takes less than the call.
            if before.kept and before.is_expired_wait(now):
                self._end_expired(before)
            else:
                self._remove(before)
        waiting = self._waits.setdefault(owner, {})
        holder = waiting.get(scope_hash)
        session = waiting[scope_hash] = self._store(key, data, ttl, now, expired_ttl)
        session.scope_hash, session.scope = scope_hash, scope
        if holder is None or (holder.kept and holder.is_expired_wait(now)):
            return _REGISTERED
        self._detach(holder)
        if holder.deadline <= now:
            return _REGISTERED
        return Registration(Outcome.DONE, detached=holder.key)

    def _detach(self, session: Session) -> None:
        session.scope_hash = session.scope = None
        if session.kept:
            session.kept = 0.0
            self._kept.remove(session)
            self._deadlines.add(session.key, session.deadline)  # it is reclaimed earlier now

    def _store(
        self,
        key: SessionKey,
        data: SessionData,
        ttl: int | None,
        now: float,
        expired_ttl: int | None = None,
    ) -> Session:
        deadline = math.inf if ttl is None else now + ttl / 1000
        self._writes += 1
        session = self._sessions[key] = Session(key, data, self._writes, deadline)
        if expired_ttl is not None:
            session.kept, session.due = expired_ttl / 1000, deadline
            self._kept.add(session)
        if ttl is not None:
            self._deadlines.add(key, deadline + session.kept)
        return session

    def _remove(self, session: Session) -> None:
        del self._sessions[session.key]
        if session.kept:
            self._kept.remove(session)
        waiting = self._waits.get(session.owner, _NOWHERE)
        if session.scope_hash is None or waiting.get(session.scope_hash) is not session:
            return  # it waits nowhere, or is an expired wait whose scope another session has
        del waiting[session.scope_hash]
        if not waiting:
            del self._waits[session.owner]

    def _deadline_of(self, key: SessionKey) -> float:
        session = self._sessions.get(key)
        return math.inf if session is None else session.deadline + session.kept

    @property
    def _next_look(self) -> float:
        """The earliest time at which a session, a claim or a delivery can expire."""
        return min(self._deadlines.next_look, self._claims.next_look, self._deliveries.next_look)

    def _purge_slice(self, limit: int, now: float) -> int:
        """Remove at most ``limit`` expired sessions, claims and deliveries."""
        removed = self._sweep(limit, now)
        removed += self._claims.drop_expired(now, limit - removed)
        return removed + self._deliveries.drop_expired(now, limit - removed)

    def _sweep(self, limit: int, now: float) -> int:
        """Remove at most ``limit`` expired sessions."""
        removed = 0
        for key in self._deadlines.due(now, limit):
            self._remove(self._sessions[key])
            removed += 1
        return removed


def _place(session: Session) -> tuple[Owner, str]:
    """Return where an expired wait waited, which it always knows."""
    return session.owner, cast("str", session.scope_hash)
