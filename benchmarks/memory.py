"""The memory backend against bare dicts with the same indexes."""

from __future__ import annotations

import asyncio
import heapq
from time import monotonic

from harness import Arm, compare, table
from workload import TTL, session, user_ctx

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionData,
    SessionKey,
    TenantCtx,
    UserId,
)

Owner = tuple[str, str, str | None, str]
Place = tuple[str, str | None, str | None, str | None]

CTX = user_ctx("u1")
USER = UserId("u1")
SCOPE = ReplyScope(conversation="chat", thread="topic")
KEY = SessionKey("key")
DATA = session(CTX)


class BareDicts:
    """Sessions by key, waits by owner and scope, deadlines in a heap; nothing is checked."""

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


async def main() -> None:
    bare = BareDicts()
    async with AsyncSessionStore.from_url("memory://") as store:

        async def with_dicts(repeats: int) -> None:
            for _ in range(repeats):
                await bare.register(CTX, USER, SCOPE, KEY, DATA, TTL)
                await bare.find(CTX, USER, SCOPE)
                await bare.get(KEY)
                await bare.update(KEY, DATA)
                await bare.clear(CTX, USER, SCOPE)

        async def with_store(repeats: int) -> None:
            for _ in range(repeats):
                await store.register_wait(CTX, USER, SCOPE, KEY, DATA, TTL)
                await store.find_wait_by_scope(CTX, USER, SCOPE)
                await store.get_session(KEY)
                await store.update_session(KEY, DATA)
                await store.clear_wait(CTX, USER, SCOPE)

        arms = [Arm("bare dicts", with_dicts), Arm("MemoryBackend", with_store)]
        print(table("register, find, get, update, clear", await compare(arms, repeats=20_000)))


if __name__ == "__main__":
    asyncio.run(main())
