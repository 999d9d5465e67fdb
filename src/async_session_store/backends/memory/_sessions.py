"""The sessions in memory, and where they wait."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from async_session_store.abc import SessionCopy, SessionMove, StoredWait
from async_session_store.backends.memory._clock import Clock
from async_session_store.backends.memory._deadlines import Deadlines
from async_session_store.backends.memory._kept_waits import KeptWaits
from async_session_store.backends.memory._session import Session
from async_session_store.models import Owner, SessionData, SessionKey, SessionRecord

NOWHERE: Final[dict[str, Session]] = {}
"""Stands for the waits of an owner who has none. It stays empty."""


class Sessions:
    """The sessions by key, and by the scope at which they wait.

    An expired session is not found as a live one, but stays until :meth:`sweep` reclaims it.
    Methods that look up or change one session, here and in the backend, repeat two lines now and
    then instead of calling each other: a call takes 0.05 µs, and most operations take 1 µs.
    """

    def __init__(self) -> None:
        self.by_key: dict[SessionKey, Session] = {}
        """All sessions, including expired ones."""
        self.kept = KeptWaits()
        self.by_scope: dict[Owner, dict[str, Session]] = {}
        """Each owner's sessions by the scope at which they wait, including expired ones."""
        self.deadlines = Deadlines(self._deadline_of)
        self.versions = itertools.count(1)
        """The versions of sessions to come. Each write takes one, so no two are equal."""

    # --- Looking up ---------------------------------------------------------------------------

    def live(self, key: SessionKey, now: float) -> Session | None:
        session = self.by_key.get(key)
        return session if session is not None and session.deadline > now else None

    def visible(self, key: SessionKey, viewer: Owner | None, now: float) -> Session | None:
        """Return a live session that a viewer sees."""
        session = self.by_key.get(key)
        if session is None or session.deadline <= now:
            return None
        return session if viewer is None or viewer.sees(session.owner) else None

    def waiting(self, owner: Owner, scope_hash: str, now: float) -> Session | None:
        session = self.by_scope.get(owner, NOWHERE).get(scope_hash)
        return session if session is not None and session.deadline > now else None

    def first_waiting(
        self, owner: Owner, scope_hashes: Sequence[str], now: float
    ) -> Session | None:
        waiting = self.by_scope.get(owner, NOWHERE)
        for scope_hash in scope_hashes:
            session = waiting.get(scope_hash)
            if session is not None and session.deadline > now:
                return session
        return None

    def all_waiting(self, owner: Owner, now: float) -> list[Session]:
        """Return an owner's live waits, in the order of their keys."""
        waiting = self.by_scope.get(owner, NOWHERE).values()
        live = [session for session in waiting if session.deadline > now]
        return sorted(live, key=lambda session: session.key)

    def expired(self, key: SessionKey | None, now: float) -> Session | None:
        """Return the expired wait that has a key."""
        session = None if key is None else self.by_key.get(key)
        return session if session is not None and session.is_expired_wait(now) else None

    def all_expired(self, owner: Owner, now: float) -> list[Session]:
        kept = self.kept.of_owner(owner)
        return [session for session in kept if session.is_expired_wait(now)]

    # --- Changing -----------------------------------------------------------------------------

    def insert(self, key: SessionKey, data: SessionData, ttl: int | None, now: float) -> None:
        """Store a session that waits nowhere."""
        deadline = math.inf if ttl is None else now + ttl / 1000
        self.by_key[key] = Session(key, data.owner, data, next(self.versions), deadline)
        if ttl is not None:
            self.deadlines.add(key, deadline)

    def put(self, wait: StoredWait, now: float) -> SessionKey | None:
        """Store a session that waits at a scope. Return the live session that it displaces."""
        owner, scope_hash, scope, key, data, ttl, expired_ttl = wait
        deadline = math.inf if ttl is None else now + ttl / 1000
        session = Session(key, owner, data, next(self.versions), deadline, scope_hash, scope)
        self.by_key[key] = session
        if expired_ttl is not None:
            session.kept, session.due = expired_ttl / 1000, deadline
            self.kept.add(session)
        if ttl is not None:
            self.deadlines.add(key, deadline + session.kept)
        waiting = self.by_scope.setdefault(owner, {})
        holder = waiting.get(scope_hash)
        waiting[scope_hash] = session
        if holder is None or (holder.kept and holder.is_expired_wait(now)):
            return None
        self._detach(holder)
        return holder.key if holder.deadline > now else None

    def move(self, session: Session, move: SessionMove, now: float) -> None:
        """Give a session, live or expired, another owner and another scope."""
        self._leave_scope(session)
        owner = move.data.owner
        if session.kept:
            self.kept.change_owner(session, owner)
        session.data, session.version, session.owner = move.data, next(self.versions), owner
        session.scope_hash, session.scope = move.new_scope_hash, move.new_scope
        if move.new_scope_hash is None or session.deadline <= now:
            return  # no look-up finds an expired wait, and another session may wait there
        waiting = self.by_scope.setdefault(owner, {})
        holder = waiting.get(move.new_scope_hash)
        waiting[move.new_scope_hash] = session
        if holder is not None and not holder.is_expired_wait(now):
            self._detach(holder)  # it has expired, and was not reclaimed yet

    def _leave_scope(self, session: Session) -> None:
        waiting = self.by_scope.get(session.owner, NOWHERE)
        if session.scope_hash is not None and waiting.get(session.scope_hash) is session:
            del waiting[session.scope_hash]
            if not waiting:
                del self.by_scope[session.owner]

    def put_copy(self, copy: SessionCopy, now: float) -> None:
        """Store a session or an expired wait of another storage, under an unused key."""
        key, data, scope_hash, scope, deadline_ms, expired_ttl = copy
        deadline = math.inf if deadline_ms is None else deadline_ms / 1000
        session = Session(key, data.owner, data, next(self.versions), deadline, scope_hash, scope)
        self.by_key[key] = session
        if expired_ttl is not None:
            session.kept, session.due = expired_ttl / 1000, deadline
            self.kept.add(session)
        if deadline_ms is not None:
            self.deadlines.add(key, deadline + session.kept)
        if scope_hash is None or deadline <= now:
            return
        waiting = self.by_scope.setdefault(session.owner, {})
        holder = waiting.get(scope_hash)
        waiting[scope_hash] = session
        if holder is not None and not holder.is_expired_wait(now):
            self._detach(holder)

    def touch(self, session: Session, ttl: int | None, now: float) -> None:
        """Move the deadline of a live session."""
        session.deadline = math.inf if ttl is None else now + ttl / 1000
        session.expires_at = None
        self.deadlines.add(session.key, session.deadline + session.kept)
        if session.kept:
            session.due = session.deadline
            self.kept.add(session)

    def remove(self, session: Session) -> None:
        del self.by_key[session.key]
        if session.kept:
            self.kept.remove(session)
        waiting = self.by_scope.get(session.owner, NOWHERE)
        if session.scope_hash is None or waiting.get(session.scope_hash) is not session:
            return  # it waits nowhere, or it has expired and another session has its scope
        del waiting[session.scope_hash]
        if not waiting:
            del self.by_scope[session.owner]

    def _detach(self, session: Session) -> None:
        session.scope_hash = session.scope = None
        if session.kept:
            session.kept = 0.0
            self.kept.remove(session)
            self.deadlines.add(session.key, session.deadline)  # it can be reclaimed earlier now

    # --- Reclaiming ---------------------------------------------------------------------------

    def sweep(self, limit: int, now: float) -> int:
        """Remove at most ``limit`` expired sessions. Return how many were removed."""
        removed = 0
        for key in self.deadlines.due(now, limit):
            self.remove(self.by_key[key])
            removed += 1
        return removed

    def clear(self) -> None:
        self.by_key.clear()
        self.kept.clear()
        self.by_scope.clear()
        self.deadlines.clear()

    def _deadline_of(self, key: SessionKey) -> float:
        session = self.by_key.get(key)
        return math.inf if session is None else session.deadline + session.kept


def record_of(session: Session, clock: Clock) -> SessionRecord:
    return SessionRecord(
        session.key, session.data, str(session.version), expiry_of(session, clock), session.scope
    )


def expiry_of(session: Session, clock: Clock) -> datetime | None:
    """Return the date of a session's deadline, or None if it has none.

    It is computed once and then kept. The wall clock may be set in between, and a session that did
    not change must give equal records.
    """
    if session.expires_at is None and session.deadline < math.inf:
        session.expires_at = clock.utc(session.deadline)
    return session.expires_at
