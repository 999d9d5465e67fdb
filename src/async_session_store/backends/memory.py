"""Sessions in this process's memory."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from typing_extensions import override

from async_session_store.abc import (
    Backend,
    Found,
    Outcome,
    Registration,
    Unreadable,
)
from async_session_store.models import Owner, SessionData, SessionKey, SessionRecord

__all__ = ["MemoryBackend"]

_REGISTERED: Final = Registration(Outcome.DONE)
_FOREIGN: Final = Registration(Outcome.FOREIGN)
_TAKEN: Final = Registration(Outcome.TAKEN)
_SWEEP: Final = 4  # expired sessions reclaimed on each write
_SLACK: Final = 1024  # outdated deadlines that are kept before the heap is built anew


class _Session:
    """A stored session. Another one under its key replaces it; updates change it in place."""

    __slots__ = ("data", "deadline", "expires_at", "key", "owner", "scope_hash", "version")

    def __init__(self, key: SessionKey, owner: Owner, data: SessionData, version: int) -> None:
        self.key = key
        self.owner = owner
        self.data = data
        self.version = version
        self.deadline = math.inf
        self.expires_at: datetime | None = None
        self.scope_hash: str | None = None


_NOWHERE: Final[Mapping[str, _Session]] = {}


class MemoryBackend(Backend):
    """Sessions in this process's memory: gone when it ends, shared with no other store.

    Its calls never suspend, so they are no checkpoint: a loop of nothing but these calls does not
    let other tasks run. Sessions are kept by reference, which is safe because they are immutable.

    Args:
        clock: Monotonic seconds. Tests hand in a clock that they can move.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[SessionKey, _Session] = {}
        self._waits: dict[Owner, dict[str, _Session]] = {}
        self._deadlines: list[tuple[float, int, _Session]] = []
        self._versions = itertools.count(1)

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        pass

    @override
    async def aclose(self) -> None:
        self._sessions.clear()
        self._waits.clear()
        self._deadlines.clear()

    @override
    async def ping(self) -> None:
        pass

    @override
    async def insert(self, key: SessionKey, data: SessionData, ttl: int | None) -> None:
        now = self._clock()
        self._sweep(_SWEEP, now)
        self._store(key, data, ttl, now)

    @override
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        session = self._live(key, self._clock())
        return None if session is None else session.data

    @override
    async def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        session = self._live(key, self._clock())
        return None if session is None else self._record(session)

    @override
    async def replace(self, key: SessionKey, data: SessionData, *, viewer: Owner | None) -> Outcome:
        now = self._clock()
        self._sweep(_SWEEP, now)
        session = self._visible(key, viewer, now)
        if session is None:
            return Outcome.MISSING
        if session.owner != data.tenant_ctx.owner:
            return Outcome.FOREIGN
        session.data = data
        session.version = next(self._versions)
        return Outcome.DONE

    @override
    async def delete(self, key: SessionKey, *, viewer: Owner | None) -> Outcome:
        session = self._visible(key, viewer, self._clock())
        if session is None:
            return Outcome.MISSING
        self._remove(session)
        return Outcome.DONE

    @override
    async def touch(self, key: SessionKey, ttl: int | None, *, viewer: Owner | None) -> Outcome:
        now = self._clock()
        session = self._visible(key, viewer, now)
        if session is None:
            return Outcome.MISSING
        self._set_deadline(session, ttl, now)
        return Outcome.DONE

    @override
    async def put_wait(
        self,
        owner: Owner,
        scope_hash: str,
        key: SessionKey,
        data: SessionData,
        ttl: int | None,
        *,
        only_if_absent: bool,
    ) -> Registration:
        now = self._clock()
        self._sweep(_SWEEP, now)
        before = self._live(key, now)
        if before is not None and before.owner != owner:
            return _FOREIGN
        holder = self._waiting(owner, scope_hash, now)
        if holder is not None and only_if_absent:
            return _TAKEN
        self._route(self._store(key, data, ttl, now), scope_hash)
        if holder is None or holder is before:
            return _REGISTERED
        return Registration(Outcome.DONE, detached=holder.key)

    @override
    async def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        session = self._first_waiting(owner, scope_hashes)
        return None if session is None else session.key

    @override
    async def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        session = self._first_waiting(owner, scope_hashes)
        return None if session is None else self._record(session)

    @override
    async def list_waits(self, owner: Owner) -> Found[SessionKey]:
        return Found(tuple(session.key for session in self._all_waiting(owner)))

    @override
    async def list_wait_records(self, owner: Owner) -> Found[SessionRecord]:
        return Found(tuple(map(self._record, self._all_waiting(owner))))

    @override
    async def delete_wait(
        self, owner: Owner, scope_hash: str, *, session_key: SessionKey | None
    ) -> bool:
        session = self._waiting(owner, scope_hash, self._clock())
        if session is None or session_key not in (None, session.key):
            return False
        self._remove(session)
        return True

    @override
    async def delete_waits(self, owner: Owner) -> int:
        sessions = self._all_waiting(owner)
        for session in sessions:
            self._remove(session)
        return len(sessions)

    @override
    async def purge(self, limit: int) -> int:
        return self._sweep(limit, self._clock())

    # --- Looking up ---------------------------------------------------------------------------

    def _live(self, key: SessionKey, now: float) -> _Session | None:
        session = self._sessions.get(key)
        return session if session is not None and session.deadline > now else None

    def _visible(self, key: SessionKey, viewer: Owner | None, now: float) -> _Session | None:
        session = self._live(key, now)
        if session is None or viewer is None or viewer.sees(session.owner):
            return session
        return None

    def _waiting(self, owner: Owner, scope_hash: str, now: float) -> _Session | None:
        session = self._waits.get(owner, _NOWHERE).get(scope_hash)
        return session if session is not None and session.deadline > now else None

    def _first_waiting(self, owner: Owner, scope_hashes: Sequence[str]) -> _Session | None:
        now = self._clock()
        for scope_hash in scope_hashes:
            session = self._waiting(owner, scope_hash, now)
            if session is not None:
                return session
        return None

    def _all_waiting(self, owner: Owner) -> list[_Session]:
        now = self._clock()
        waiting = self._waits.get(owner, _NOWHERE).values()
        live = [session for session in waiting if session.deadline > now]
        return sorted(live, key=lambda session: session.key)

    def _record(self, session: _Session) -> SessionRecord:
        if session.expires_at is None and session.deadline < math.inf:
            # Told once, so that a session that did not change gives equal records.
            left = timedelta(seconds=session.deadline - self._clock())
            session.expires_at = datetime.now(timezone.utc) + left
        return SessionRecord(session.key, session.data, str(session.version), session.expires_at)

    # --- Changing -----------------------------------------------------------------------------

    def _store(self, key: SessionKey, data: SessionData, ttl: int | None, now: float) -> _Session:
        before = self._sessions.get(key)
        if before is not None:
            self._remove(before)
        session = self._sessions[key] = _Session(
            key, data.tenant_ctx.owner, data, next(self._versions)
        )
        self._set_deadline(session, ttl, now)
        return session

    def _remove(self, session: _Session) -> None:
        self._unroute(session)
        del self._sessions[session.key]

    def _route(self, session: _Session, scope_hash: str) -> None:
        scopes = self._waits.setdefault(session.owner, {})
        displaced = scopes.get(scope_hash)
        if displaced is not None:
            displaced.scope_hash = None
        scopes[scope_hash] = session
        session.scope_hash = scope_hash

    def _unroute(self, session: _Session) -> None:
        if session.scope_hash is None:
            return
        scopes = self._waits[session.owner]
        del scopes[session.scope_hash]
        if not scopes:
            del self._waits[session.owner]
        session.scope_hash = None

    def _set_deadline(self, session: _Session, ttl: int | None, now: float) -> None:
        session.expires_at = None
        if ttl is None:
            session.deadline = math.inf
            return
        session.deadline = now + ttl / 1000
        heapq.heappush(self._deadlines, (session.deadline, session.version, session))
        if len(self._deadlines) > 2 * len(self._sessions) + _SLACK:
            self._deadlines = list(filter(self._is_current, self._deadlines))
            heapq.heapify(self._deadlines)

    def _is_current(self, entry: tuple[float, int, _Session]) -> bool:
        deadline, _, session = entry
        return session.deadline == deadline and self._sessions.get(session.key) is session

    def _sweep(self, limit: int, now: float) -> int:
        """Remove at most ``limit`` expired sessions."""
        removed = 0
        while removed < limit and self._deadlines and self._deadlines[0][0] <= now:
            entry = heapq.heappop(self._deadlines)
            if self._is_current(entry):
                self._remove(entry[2])
                removed += 1
        return removed
