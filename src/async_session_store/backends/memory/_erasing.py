"""Erase all that is stored of a user in memory."""

from __future__ import annotations

from typing import Final

from anyio.lowlevel import checkpoint

from async_session_store.abc import ErasedUser
from async_session_store.backends.memory._claims import Claims
from async_session_store.backends.memory._clock import Clock
from async_session_store.backends.memory._deliveries import Deliveries, entry_matcher
from async_session_store.backends.memory._session import Session
from async_session_store.backends.memory._sessions import Sessions
from async_session_store.models import EnvId, Owner, TenantId, UserId

_STEP: Final = 256  # sessions looked at before other tasks get their turn
_DELIVERIES_STEP: Final = 4096  # likewise


class UserErasure:
    """One pass over the storage, which erases a user of a tenant, in all teams.

    Args:
        sessions: The sessions, which include the expired waits.
        claims: The claims on all scopes, and the queues.
        deliveries: The handled deliveries.
        clock: The clock that decides what is live.
    """

    def __init__(
        self, sessions: Sessions, claims: Claims, deliveries: Deliveries, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._claims = claims
        self._deliveries = deliveries
        self._clock = clock

    async def run(self, env: EnvId, tenant: TenantId, user: UserId) -> ErasedUser:
        """Erase the user. Return how much was erased."""

        def is_theirs(owner: Owner) -> bool:
            return (owner.env, owner.tenant, owner.user) == (env, tenant, user)

        # Claims go first: then no turn that is under way can store the next wait.
        claims, places = self._claims.erase(is_theirs, self._clock.now())
        erased = ErasedUser(claims=claims, places=places)
        # A copy, as other tasks change the dict between the steps.
        for number, key in enumerate(list(self._sessions.by_key)):
            if number % _STEP == 0:
                await checkpoint()
            session = self._sessions.by_key.get(key)  # it may have been registered again
            if session is not None and is_theirs(session.owner):
                erased += self._erase(session)
        return erased + ErasedUser(deliveries=await self._erase_deliveries(env, tenant, user))

    async def _erase_deliveries(self, env: EnvId, tenant: TenantId, user: UserId) -> int:
        is_entry = entry_matcher(env, tenant, user)
        erased, looked_at = 0, 0
        for second, number in self._deliveries.seconds():
            erased += self._deliveries.erase(second, is_entry, self._clock.now())
            looked_at += number
            if looked_at >= _DELIVERIES_STEP:
                looked_at = 0
                await checkpoint()
        return erased

    def _erase(self, session: Session) -> ErasedUser:
        now = self._clock.now()
        is_live, waits = session.deadline > now, session.scope_hash is not None
        is_expired_wait = session.is_expired_wait(now)
        self._claims.supersede_on(session)
        self._sessions.remove(session)
        if is_live:
            return ErasedUser(waits=1) if waits else ErasedUser(sessions=1)
        return ErasedUser(expired_waits=int(is_expired_wait))
