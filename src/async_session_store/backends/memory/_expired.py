"""Claims on expired waits in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from anyio.lowlevel import checkpoint

from async_session_store.abc import Claimed, ClaimKey
from async_session_store.backends.memory._claims import Claims, Place
from async_session_store.backends.memory._clock import Clock
from async_session_store.backends.memory._session import Session
from async_session_store.backends.memory._sessions import Sessions, record_of
from async_session_store.models import Owner


class ExpiredClaims:
    """The claims of workers on expired waits.

    Args:
        sessions: The sessions, which include the expired waits.
        claims: The claims on all scopes.
        clock: The clock that decides which waits have expired.
    """

    def __init__(self, sessions: Sessions, claims: Claims, clock: Clock) -> None:
        self._sessions = sessions
        self._kept = sessions.kept
        self._claims = claims
        self._clock = clock

    async def note_due(self, step: int) -> None:
        """Find all waits that have fallen due, with a checkpoint after every ``step`` of them."""
        while self._kept.take_due(self._clock.now(), step):
            await checkpoint()

    def claim(self, fence: Owner | None, tokens: Sequence[str], lease: int) -> tuple[Claimed, ...]:
        """Claim expired waits, at most as many as there are tokens.

        If a token already holds a claim, that one is returned: its caller may have been cancelled.
        """
        now = self._clock.now()
        claimed = list(self._claimed_with(tokens, now))
        used = {found.claim.token for found in claimed}
        unused = iter([token for token in tokens if token not in used])
        claimable = self._claimable(fence, len(tokens) - len(used), now)
        claimed += [self._claim(session, next(unused), lease, now) for session in claimable]
        return tuple(claimed)

    def end(self, session: Session) -> None:
        """Remove an expired wait, and supersede a claim that is held on it."""
        self._claims.supersede_on(session)
        self._sessions.remove(session)

    def end_all(self, owner: Owner, now: float) -> None:
        """End all expired waits of an owner."""
        for session in self._sessions.all_expired(owner, now):
            self.end(session)

    def end_at(self, owner: Owner, scope_hash: str, session_key: str | None, now: float) -> None:
        """End all expired waits at a scope, or only the one with a key."""
        for session in self._sessions.all_expired(owner, now):
            if session.scope_hash == scope_hash and session_key in (None, session.key):
                self.end(session)

    def give_back(self, claim: ClaimKey, now: float) -> None:
        """Put a wait behind all others that are due, if it was claimed as an expired one."""
        session = self._sessions.expired(claim.session_key, now) if claim.is_expired else None
        if session is not None:
            self._kept.give_back(session, now)

    def _claimed_with(self, tokens: Sequence[str], now: float) -> Iterator[Claimed]:
        """Yield the expired waits that the tokens have already claimed and still hold."""
        for token in tokens:
            session = self._kept.claimed_with(token)
            if session is None or not session.is_expired_wait(now):
                continue
            claim = _claim_key(session, token)
            deadline = self._claims.deadline(_place(session), now)
            if deadline is not None and self._claims.held(claim, now) is not None:
                yield self._claimed(session, claim, deadline, now)

    def _claimable(self, fence: Owner | None, limit: int, now: float) -> list[Session]:
        """Return expired waits that may be claimed together, the longest overdue first."""
        found: dict[Place, Session] = {}
        outdated: list[Session] = []
        for session in self._kept.due(fence):
            if len(found) >= limit:
                break
            place = _place(session)
            if not session.is_expired_wait(now):
                outdated.append(session)
            elif place not in found and self._claims.is_free(place, now):
                found[place] = session
        for session in outdated:  # otherwise each call would find them again until they are purged
            self._kept.drop_due(session)
        return list(found.values())

    def _claim(self, session: Session, token: str, lease: int, now: float) -> Claimed:
        deadline = self._claims.hold(_place(session), session, token, lease, now)
        self._kept.claim(session, token)
        return self._claimed(session, _claim_key(session, token), deadline, now)

    def _claimed(self, session: Session, claim: ClaimKey, deadline: float, now: float) -> Claimed:
        is_overtaken = self._sessions.waiting(claim.owner, claim.scope_hash, now) is not None
        record = record_of(session, self._clock)
        return Claimed(claim, record, self._clock.utc(deadline), is_overtaken)


def _claim_key(session: Session, token: str) -> ClaimKey:
    return ClaimKey(*_place(session), token, session.key, is_expired=True)


def _place(session: Session) -> Place:
    """Return where an expired wait waited. It always has a scope."""
    return session.owner, cast("str", session.scope_hash)
