"""The claims on scopes in memory, and whose turn it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import NamedTuple, TypeAlias

from async_session_store.abc import ClaimKey
from async_session_store.backends.memory._deadlines import Expiring
from async_session_store.backends.memory._queues import Queues
from async_session_store.backends.memory._session import Session
from async_session_store.backends.memory._sessions import NOWHERE
from async_session_store.models import Owner

Place: TypeAlias = "tuple[Owner, str]"


class Claim:
    """The holder of a claim on a scope, and the wait that was claimed, if any."""

    __slots__ = ("is_superseded", "token", "wait_id")

    def __init__(self, token: str, wait_id: int | None) -> None:
        self.token = token
        self.wait_id = wait_id
        self.is_superseded = False


class Candidate(NamedTuple):
    """A scope to claim, the session that waits there, and whether it is the caller's turn."""

    place: Place
    session: Session | None
    is_free: bool


class Claims:
    """The claims on scopes, and the queues of callers that wait for them.

    Args:
        now: Returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.queues = Queues(now)
        self._held: Expiring[Place, Claim] = Expiring()
        self.entries = self._held.entries
        """All claims, including expired ones."""

    def held(self, claim: ClaimKey, now: float) -> Claim | None:
        """Return a claim if it is still held."""
        held = self._held.get((claim.owner, claim.scope_hash), now)
        return held if held is not None and held.token == claim.token else None

    def deadline(self, place: Place, now: float) -> float | None:
        """Return when the claim that is held on a scope ends, or None if none is held."""
        return self._held.deadline(place, now)

    def free_in(self, place: Place, now: float) -> int | None:
        """Return for how many milliseconds the claim on a scope lasts, or None if none is held."""
        ends = self._held.deadline(place, now)
        return None if ends is None else math.ceil((ends - now) * 1000)

    def is_free(self, place: Place, now: float) -> bool:
        """Return whether no claim is held on a scope, and nobody waits in its queue."""
        if self._held.get(place, now) is not None:
            return False
        return not (self.queues and self.queues.is_behind("", place))

    def find(
        self,
        owners: Sequence[Owner],
        scope_hashes: Sequence[str],
        by_scope: Mapping[Owner, Mapping[str, Session]],
        *,
        token: str,
        begin_at: str | None,
        now: float,
    ) -> Candidate | None:
        """Return the scope to claim or to wait at, or None if there is nothing to claim."""
        queues = self.queues
        if queues:
            # If it is another caller's turn, its wait may be at any of the scopes by now, and it
            # may claim any of them.
            for place in product(owners, scope_hashes):
                if self._held.get(place, now) is None and queues.is_behind(token, place):
                    return Candidate(place, None, is_free=False)
        for owner in owners:
            waiting = by_scope.get(owner, NOWHERE)
            for scope_hash in scope_hashes:
                place, session = (owner, scope_hash), waiting.get(scope_hash)
                if queues and queues.is_behind(token, place):
                    return Candidate(place, session, is_free=False)
                if session is not None and session.deadline > now:
                    return Candidate(place, session, is_free=self._held.get(place, now) is None)
        return None if begin_at is None else self._find_empty(owners, scope_hashes, begin_at, now)

    def _find_empty(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str], begin_at: str, now: float
    ) -> Candidate:
        for place in product(owners, scope_hashes):
            if self._held.get(place, now) is not None:
                return Candidate(place, None, is_free=False)
        return Candidate((owners[0], begin_at), None, is_free=True)

    def hold(
        self, place: Place, session: Session | None, token: str, lease: int, now: float
    ) -> float:
        """Hold a claim on the wait at a scope, or on an empty scope. Return when it ends."""
        deadline = now + lease / 1000
        wait_id = None if session is None else session.wait_id
        self._held.set(place, Claim(token, wait_id), deadline, now)
        return deadline

    def renew(self, claim: ClaimKey, lease: int, now: float) -> float | None:
        """Extend a claim. Return its new end, or None if it is no longer held."""
        held = self.held(claim, now)
        if held is None:
            return None
        deadline = now + lease / 1000
        self._held.set((claim.owner, claim.scope_hash), held, deadline, now)
        return deadline

    def end(self, claim: ClaimKey) -> None:
        """End a claim that is held, and wake the next caller in the queue."""
        self._end_at((claim.owner, claim.scope_hash))

    def break_at(self, place: Place, now: float) -> bool:
        """End the claim that is held on a scope, whoever holds it. Return whether one was."""
        if self._held.get(place, now) is None:
            return False
        self._end_at(place)
        return True

    def _end_at(self, place: Place) -> None:
        self._held.delete(place)
        if self.queues:
            self.queues.wake_first(place)

    def supersede(self, session: Session) -> None:
        """Supersede the claim at the scope where a session waits, before the session leaves it."""
        if session.scope_hash is not None:
            self.supersede_at(session.owner, session.scope_hash)

    def supersede_at(self, owner: Owner, scope_hash: str) -> None:
        """Supersede the claim that is held on a scope, if any."""
        entry = self.entries.get((owner, scope_hash))
        if entry is not None:
            entry[0].is_superseded = True

    def supersede_on(self, session: Session) -> None:
        """Supersede the claim on a session's own wait, which may have expired, if one is held.

        Another session may wait at the scope by now, and the claim on that one stays.
        """
        entry = self.entries.get((session.owner, session.scope_hash or ""))
        if entry is not None and entry[0].wait_id == session.wait_id:
            entry[0].is_superseded = True

    def erase(self, is_theirs: Callable[[Owner], bool], now: float) -> tuple[int, int]:
        """Drop the claims and the places in queues of some owners. Return how many were live."""
        places = [place for place in self.entries if is_theirs(place[0])]
        held = sum(self._held.get(place, now) is not None for place in places)
        for place in places:
            self._held.delete(place)
        return held, self.queues.erase(is_theirs)

    @property
    def next_expiry(self) -> float:
        return self._held.next_check

    def drop_expired(self, now: float, limit: int) -> int:
        return self._held.drop_expired(now, limit)

    def clear(self) -> None:
        self._held.clear()
        self.queues.close()
