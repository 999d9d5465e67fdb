"""Backends that need asyncio, for apps that run on trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from typing_extensions import ParamSpec, override

from async_session_store._task_crossing import TaskCrossing
from async_session_store.abc import (
    Backend,
    Claimed,
    ClaimKey,
    CopyName,
    CopyPage,
    Delivery,
    DeliveryCopy,
    ErasedUser,
    Fence,
    Keep,
    Listing,
    Outcome,
    PlacedPage,
    Queued,
    Registration,
    SessionCopy,
    SessionMove,
    SessionPage,
    StoredWait,
    Unreadable,
    WaitState,
)
from async_session_store.errors import StoreUsageError
from async_session_store.models import (
    EnvId,
    Owner,
    SessionData,
    SessionKey,
    SessionRecord,
    TenantId,
    UserId,
)

__all__ = ["AsyncioBridge"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncioBridge(Backend):
    """A backend that runs another one, which needs asyncio, in an asyncio loop on a thread.

    ``AsyncSessionStore`` inserts it by itself when it is opened under trio. Each operation crosses
    to the thread and back once; operations that are in flight together cross together. Cancelling
    a call cancels it there and waits for its end. Errors come out unchanged.

    Args:
        backend: The backend to run. The bridge opens and closes it, in its own loop.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._crossing: TaskCrossing | None = None

    @property
    @override
    def location(self) -> str:
        return self._backend.location

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        crossing = TaskCrossing("async_session_store bridge")
        await crossing.open(self._backend.open, max_document_bytes=max_document_bytes)
        self._crossing = crossing

    @override
    async def aclose(self) -> None:
        crossing, self._crossing = self._crossing, None
        if crossing is not None:
            await crossing.aclose(self._backend.aclose)

    @override
    async def ping(self) -> None:
        await self._call(self._backend.ping)

    @override
    async def insert(self, key: SessionKey, data: SessionData, ttl: int | None) -> None:
        await self._call(self._backend.insert, key, data, ttl)

    @override
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        return await self._call(self._backend.read, key)

    @override
    async def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        return await self._call(self._backend.read_record, key)

    @override
    async def replace(
        self, key: SessionKey, data: SessionData, *, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        return await self._call(self._backend.replace, key, data, viewer=viewer, if_match=if_match)

    @override
    async def delete(self, key: SessionKey, *, viewer: Owner | None) -> Outcome:
        return await self._call(self._backend.delete, key, viewer=viewer)

    @override
    async def touch(self, key: SessionKey, ttl: int | None, *, viewer: Owner | None) -> Outcome:
        return await self._call(self._backend.touch, key, ttl, viewer=viewer)

    @override
    async def put_wait(self, wait: StoredWait, *, only_if_absent: bool) -> Registration:
        return await self._call(self._backend.put_wait, wait, only_if_absent=only_if_absent)

    @override
    async def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        return await self._call(self._backend.find_wait, owner, scope_hashes)

    @override
    async def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        return await self._call(self._backend.read_wait, owner, scope_hashes)

    @override
    async def inspect_waits(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        return await self._call(self._backend.inspect_waits, owners, scope_hashes)

    @override
    async def list_waits(self, owner: Owner) -> Listing[SessionKey]:
        return await self._call(self._backend.list_waits, owner)

    @override
    async def list_wait_records(self, owner: Owner) -> Listing[SessionRecord]:
        return await self._call(self._backend.list_wait_records, owner)

    @override
    async def delete_wait(
        self, owner: Owner, scope_hash: str, *, session_key: SessionKey | None
    ) -> bool:
        return await self._call(
            self._backend.delete_wait, owner, scope_hash, session_key=session_key
        )

    @override
    async def delete_waits(self, owner: Owner) -> int:
        return await self._call(self._backend.delete_waits, owner)

    @override
    async def claim_wait(
        self,
        owners: Sequence[Owner],
        scope_hashes: Sequence[str],
        *,
        token: str,
        lease: int,
        deliveries: Sequence[Delivery],
        begin_at: str | None,
        queue: bool,
    ) -> Claimed | Queued | Unreadable | Outcome:
        return await self._call(
            self._backend.claim_wait,
            owners,
            scope_hashes,
            token=token,
            lease=lease,
            deliveries=deliveries,
            begin_at=begin_at,
            queue=queue,
        )

    @override
    async def claim_expired(
        self, fence: Owner | None, tokens: Sequence[str], lease: int
    ) -> tuple[Claimed | Unreadable, ...]:
        return await self._call(self._backend.claim_expired, fence, tokens, lease)

    @override
    async def wait_for_turn(self, place: ClaimKey, seconds: float) -> None:
        await self._call(self._backend.wait_for_turn, place, seconds)

    @override
    async def complete_claim(
        self, claim: ClaimKey, *, deliveries: Sequence[Delivery], then: StoredWait | Keep | None
    ) -> Outcome:
        return await self._call(
            self._backend.complete_claim, claim, deliveries=deliveries, then=then
        )

    @override
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        return await self._call(self._backend.release_claim, claim)

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        return await self._call(self._backend.renew_claim, claim, lease)

    @override
    async def purge(self, limit: int) -> int:
        return await self._call(self._backend.purge, limit)

    @override
    async def erase_user(self, env: EnvId, tenant: TenantId, user: UserId) -> ErasedUser:
        return await self._call(self._backend.erase_user, env, tenant, user)

    @override
    async def break_claim(self, owner: Owner, scope_hash: str) -> bool:
        return await self._call(self._backend.break_claim, owner, scope_hash)

    @override
    async def compact(self, max_pause: int) -> int:
        return await self._call(self._backend.compact, max_pause)

    @override
    async def read_page(
        self, fence: Fence | None, cursor: object | None, limit: int
    ) -> SessionPage:
        return await self._call(self._backend.read_page, fence, cursor, limit)

    @override
    async def read_places(self, fence: Fence, cursor: object | None, limit: int) -> PlacedPage:
        return await self._call(self._backend.read_places, fence, cursor, limit)

    @override
    async def move_session(self, move: SessionMove) -> Outcome:
        return await self._call(self._backend.move_session, move)

    @override
    async def read_clock(self) -> int:
        return await self._call(self._backend.read_clock)

    @override
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        return await self._call(self._backend.list_copies, cursor, limit)

    @override
    async def read_copies(
        self, names: Sequence[CopyName]
    ) -> tuple[SessionCopy | DeliveryCopy | Unreadable | None, ...]:
        return await self._call(self._backend.read_copies, names)

    @override
    async def put_copies(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        await self._call(self._backend.put_copies, copies)

    @override
    async def drop_copies(self, names: Sequence[CopyName]) -> None:
        await self._call(self._backend.drop_copies, names)

    async def _call(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        if self._crossing is None:
            raise StoreUsageError("this backend is not open")
        return await self._crossing.call(method, *args, **kwargs)
