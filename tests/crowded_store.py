"""A store that 63 tasks call all the time, so that each call of a test shares a batch."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import Final

from typing_extensions import Self, override

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionNotFoundError,
    StoreUnavailableError,
    StoreUsageError,
    TenantCtx,
)
from async_session_store.backends.memory import MemoryBackend

CROWD: Final = 63


class CrowdedStore(AsyncSessionStore):
    """A store with a crowd of callers, who look for missing sessions and so leave nothing."""

    _crowd: tuple[asyncio.Task[None], ...] = ()

    @override
    async def open(self) -> Self:
        await super().open()
        if not isinstance(
            self._storage, MemoryBackend
        ):  # its calls never suspend, nor share batches
            self._crowd = tuple(asyncio.create_task(self._call_on(one)) for one in range(CROWD))
        return self

    @override
    async def aclose(self) -> None:
        crowd, self._crowd = self._crowd, ()
        try:
            await super().aclose()
        finally:
            for task in crowd:
                task.cancel()

    async def _call_on(self, number: int) -> None:
        user, scope, key = f"crowd-{number}", ReplyScope(conversation="crowd"), f"crowd-{number}"
        ctx = TenantCtx(env="test", tenant_id="acme", user_id=user)
        cursor = SessionCursor(node_pointer="wait")
        data = SessionData(tenant_ctx=ctx, flow_id="crowd", cursor=cursor, context_json="{}")
        with suppress(StoreUnavailableError, StoreUsageError):
            for turn in itertools.count(number):
                match turn % 4:
                    case 0:
                        assert await self.find_wait_by_scope(ctx, user, scope) is None
                    case 1:
                        assert await self.get_session(key) is None
                    case 2:
                        assert not await self.clear_wait(ctx, user, scope)
                    case _:
                        with suppress(SessionNotFoundError):
                            await self.update_session(key, data)
