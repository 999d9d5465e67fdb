"""Bare dicts with the same indexes as the memory backend."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from harness import Step
from workload import TTL, Caller

from async_session_store import ReplyScope, SessionData, TenantCtx

Owner = tuple[str, str, str | None, str]
Place = tuple[str, str | None, str | None, str | None]


class BareDicts:
    """Sessions by key, waits by owner and scope, and deadlines in a heap. Nothing is checked."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[SessionData, float, Owner, Place]] = {}
        self._waits: dict[Owner, dict[Place, str]] = {}
        self._deadlines: list[tuple[float, str]] = []

    async def register(
        self, ctx: TenantCtx, user: str, scope: ReplyScope, key: str, data: SessionData, ttl: float
    ) -> None:
        now = monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            self._sessions.pop(heapq.heappop(self._deadlines)[1], None)
        owner = (ctx.env, ctx.tenant_id, ctx.team_id, user)
        place = (scope.conversation, scope.thread, scope.reply_to, scope.correlation)
        before = self._sessions.get(key)
        if before is not None:
            self._waits[before[2]].pop(before[3], None)
        self._sessions[key] = (data, now + ttl, owner, place)
        self._waits.setdefault(owner, {})[place] = key
        heapq.heappush(self._deadlines, (now + ttl, key))
        if len(self._deadlines) > 2 * len(self._sessions) + 1024:
            self._deadlines = [(entry[1], key) for key, entry in self._sessions.items()]
            heapq.heapify(self._deadlines)

    async def find(self, ctx: TenantCtx, user: str, scope: ReplyScope) -> str | None:
        places = self._waits.get((ctx.env, ctx.tenant_id, ctx.team_id, user))
        if places is None:
            return None
        place = (scope.conversation, scope.thread, scope.reply_to, scope.correlation)
        key = places.get(place)
        return key if key is not None and self._sessions[key][1] > monotonic() else None

    async def get(self, key: str) -> SessionData | None:
        entry = self._sessions.get(key)
        return entry[0] if entry is not None and entry[1] > monotonic() else None

    async def update(self, key: str, data: SessionData) -> None:
        _, deadline, owner, place = self._sessions[key]
        if deadline <= monotonic():
            raise KeyError(key)
        self._sessions[key] = (data, deadline, owner, place)

    async def clear(self, ctx: TenantCtx, user: str, scope: ReplyScope) -> bool:
        key = await self.find(ctx, user, scope)
        if key is None:
            return False
        _, _, owner, place = self._sessions.pop(key)
        del self._waits[owner][place]
        if not self._waits[owner]:
            del self._waits[owner]
        return True


@asynccontextmanager
async def bare_dicts() -> AsyncIterator[Step[Caller]]:
    dicts = BareDicts()

    async def cycle(caller: Caller) -> SessionData | None:
        ctx, user, scope, key = caller.ctx, caller.user, caller.scope, caller.key
        await dicts.register(ctx, user, scope, key, caller.data, TTL)
        await dicts.find(ctx, user, scope)
        data = await dicts.get(key)
        await dicts.update(key, caller.data)
        await dicts.clear(ctx, user, scope)
        return data

    yield cycle
