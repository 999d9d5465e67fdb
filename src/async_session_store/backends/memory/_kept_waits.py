"""The waits that are kept for a worker after their deadlines, and those that are due."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from async_session_store.backends.memory._deadlines import Deadlines
from async_session_store.backends.memory._session import Session
from async_session_store.models import Owner, SessionKey

_DUE_TIME: Final = attrgetter("due")


class KeptWaits:
    """Sessions that are kept, and in the order in which they fell due, those that did.

    A session is *pending* until :meth:`take_due` finds it due. What is due stays so while it is
    claimed. Sessions are only ever found due in order, so the dicts of them are in that order too.
    """

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, Session] = {}
        """All of them."""
        self._by_owner: dict[Owner, dict[SessionKey, Session]] = {}
        self._pending: Deadlines[SessionKey] = Deadlines(self._due_time)
        self._due: dict[SessionKey, Session] = {}
        self._due_by_tenancy: dict[Owner, dict[SessionKey, Session]] = {}
        # The last claim on each session that is due. It may have been lost since.
        self._tokens: dict[SessionKey, str] = {}
        self._claimed: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """Keep a session, or note that its due time has moved."""
        self.sessions[session.key] = session
        self._by_owner.setdefault(session.owner, {})[session.key] = session
        self._pending.add(session.key, session.due)

    def remove(self, session: Session) -> None:
        """Keep a session no longer."""
        del self.sessions[session.key]
        _discard(self._by_owner, session.owner, session.key)
        self.drop_due(session)

    def give_back(self, session: Session, now: float) -> None:
        """Put a session behind all others that are due."""
        self.drop_due(session)
        session.due = now
        # Others may have fallen due before it that no one has looked at.
        self._pending.add(session.key, now)

    def claim(self, session: Session, token: str) -> None:
        """Note that a token has claimed a session that is due."""
        self._forget_claim(session)
        self._tokens[session.key] = token
        self._claimed[token] = session

    def claimed_with(self, token: str) -> Session | None:
        """Return the session that a token has claimed, if no other has since."""
        return self._claimed.get(token)

    def of_owner(self, owner: Owner) -> list[Session]:
        """Return an owner's sessions that are kept, due or not."""
        return list(self._by_owner.get(owner, {}).values())

    def take_due(self, now: float, most: int) -> bool:
        """Look at ``most`` sessions at most that may have fallen due. Return whether more may."""
        for key in self._pending.due(now, most):
            session = self._due[key] = self.sessions[key]
            self._due_by_tenancy.setdefault(_tenancy(session), {})[key] = session
        return self._pending.next_look <= now

    def due(self, fence: Owner | None) -> Iterable[Session]:
        """Return what is due behind a fence: an owner's, all of a tenancy's, or everything."""
        if fence is None:
            return self._due.values()
        if fence.user is None:
            return self._due_by_tenancy.get(fence, {}).values()
        due = [session for session in self.of_owner(fence) if session.key in self._due]
        return sorted(due, key=_DUE_TIME)

    def drop_due(self, session: Session) -> None:
        """Stop handing out a session, if it is due."""
        if self._due.pop(session.key, None) is not None:
            _discard(self._due_by_tenancy, _tenancy(session), session.key)
            self._forget_claim(session)

    def clear(self) -> None:
        self.sessions.clear()
        self._by_owner.clear()
        self._pending.clear()
        self._due.clear()
        self._due_by_tenancy.clear()
        self._tokens.clear()
        self._claimed.clear()

    def _due_time(self, key: SessionKey) -> float:
        session = self.sessions.get(key)
        return math.inf if session is None else session.due

    def _forget_claim(self, session: Session) -> None:
        token = self._tokens.pop(session.key, "")
        if self._claimed.get(token) is session:  # a token may have claimed another one since
            del self._claimed[token]


def _tenancy(session: Session) -> Owner:
    return session.owner._replace(user=None)


def _discard(groups: dict[Owner, dict[SessionKey, Session]], owner: Owner, key: SessionKey) -> None:
    group = groups[owner]
    del group[key]
    if not group:
        del groups[owner]
