"""The waits that are kept for a worker after their deadlines, and the due ones among them."""

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
    """The sessions that are kept, and those of them that are due, the longest overdue first.

    A session is *pending* until :meth:`take_due` finds it due. A due session stays due while it is
    claimed. Sessions are found due in the order of their due times, so the dicts of due sessions
    are in that order, too.
    """

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, Session] = {}
        """All kept sessions, pending or due."""
        self._by_owner: dict[Owner, dict[SessionKey, Session]] = {}
        self._pending: Deadlines[SessionKey] = Deadlines(self._due_time)
        self._due: dict[SessionKey, Session] = {}
        self._due_by_tenancy: dict[Owner, dict[SessionKey, Session]] = {}
        # The token of the last claim on each due session. That claim may be lost by now.
        self._tokens: dict[SessionKey, str] = {}
        self._claimed: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """Keep a session, or note that its due time has moved."""
        self.sessions[session.key] = session
        self._by_owner.setdefault(session.owner, {})[session.key] = session
        self._pending.add(session.key, session.due)

    def remove(self, session: Session) -> None:
        """Stop keeping a session."""
        del self.sessions[session.key]
        _discard(self._by_owner, session.owner, session.key)
        self.drop_due(session)

    def change_owner(self, session: Session, owner: Owner) -> None:
        """Give a session an owner who differs in the user. It stays as due as it was."""
        _discard(self._by_owner, session.owner, session.key)
        self._by_owner.setdefault(owner, {})[session.key] = session

    def give_back(self, session: Session, now: float) -> None:
        """Put a session behind all others that are due."""
        self.drop_due(session)
        session.due = now
        # It is pending again: others may have fallen due before it that take_due has not seen yet.
        self._pending.add(session.key, now)

    def claim(self, session: Session, token: str) -> None:
        """Note that a token has claimed a due session."""
        self._forget_claim(session)
        self._tokens[session.key] = token
        self._claimed[token] = session

    def claimed_with(self, token: str) -> Session | None:
        """Return the session that a token has claimed, unless another token claimed it since."""
        return self._claimed.get(token)

    def of_owner(self, owner: Owner) -> list[Session]:
        """Return an owner's kept sessions, pending or due."""
        return list(self._by_owner.get(owner, {}).values())

    def take_due(self, now: float, limit: int) -> bool:
        """Check at most ``limit`` sessions that may be due. Return whether more may be."""
        for key in self._pending.due(now, limit):
            session = self._due[key] = self.sessions[key]
            self._due_by_tenancy.setdefault(_tenancy(session), {})[key] = session
        return self._pending.next_check <= now

    def due(self, fence: Owner | None) -> Iterable[Session]:
        """Return the due sessions within a fence: an owner's, a tenancy's, or all."""
        if fence is None:
            return self._due.values()
        if fence.user is None:
            return self._due_by_tenancy.get(fence, {}).values()
        due = [session for session in self.of_owner(fence) if session.key in self._due]
        return sorted(due, key=_DUE_TIME)

    def drop_due(self, session: Session) -> None:
        """Stop handing out a session if it is due."""
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
