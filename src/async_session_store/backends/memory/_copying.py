"""What another storage needs to hold the same sessions and deliveries, in memory."""

from __future__ import annotations

import math

from async_session_store.abc import (
    CopyName,
    CopyPage,
    DeliveryCopy,
    DeliveryName,
    SessionCopy,
    SessionName,
)
from async_session_store.backends.memory._claims import Claims
from async_session_store.backends.memory._deliveries import Deliveries, delivery_name
from async_session_store.backends.memory._paging import Rest
from async_session_store.backends.memory._session import Session
from async_session_store.backends.memory._sessions import Sessions
from async_session_store.models import SessionKey


class Copies:
    """The sessions and deliveries as copies.

    Args:
        sessions: The sessions, which include the expired waits.
        claims: The claims on all scopes.
        deliveries: The handled deliveries.
    """

    def __init__(self, sessions: Sessions, claims: Claims, deliveries: Deliveries) -> None:
        self._sessions = sessions
        self._claims = claims
        self._deliveries = deliveries

    def page(self, cursor: Rest[SessionKey | bytes] | None, limit: int) -> CopyPage:
        entries, rest = (cursor or self._all()).page(limit)
        return CopyPage(tuple(map(_name, entries)), rest)

    def read(self, name: CopyName, now: float) -> SessionCopy | DeliveryCopy | None:
        if isinstance(name, DeliveryName):
            deadline = self._deliveries.deadline(name.owner, name.digest)
            return DeliveryCopy(name, math.ceil(deadline * 1000)) if deadline > now else None
        session = self._sessions.by_key.get(name.key)
        is_there = session is not None and session.deadline + session.kept > now
        return _copy_of(session) if session is not None and is_there else None

    def put(self, copy: SessionCopy | DeliveryCopy, now: float) -> None:
        if isinstance(copy, DeliveryCopy):
            owner, digest = copy.name
            self._deliveries.put(owner, digest, copy.deadline / 1000, now)
            return
        self._remove(copy.key, now)
        if copy.scope_hash is not None and (copy.deadline is None or copy.deadline > now * 1000):
            self._claims.supersede_at(copy.data.owner, copy.scope_hash)
        self._sessions.put_copy(copy, now)

    def drop(self, name: CopyName, now: float) -> None:
        if isinstance(name, DeliveryName):
            self._deliveries.drop(name.owner, name.digest)
        else:
            self._remove(name.key, now)

    def _all(self) -> Rest[SessionKey | bytes]:
        """Return the keys of all sessions, and the entries of all deliveries."""
        # The entries are not named before their page comes: there may be millions.
        return Rest([*self._sessions.by_key, *self._deliveries.entries()])

    def _remove(self, key: SessionKey, now: float) -> None:
        session = self._sessions.by_key.get(key)
        if session is None:
            return
        if session.deadline > now:
            self._claims.supersede(session)
        else:
            self._claims.supersede_on(session)
        self._sessions.remove(session)


def _name(entry: SessionKey | bytes) -> CopyName:
    return delivery_name(entry) if isinstance(entry, bytes) else SessionName(entry)


def _copy_of(session: Session) -> SessionCopy:
    return SessionCopy(
        session.key,
        session.data,
        session.scope_hash,
        session.scope,
        None if session.deadline == math.inf else math.ceil(session.deadline * 1000),
        round(session.kept * 1000) or None,
    )
