"""Sessions in a SQLite file, which several processes may share."""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import product
from typing import Final, Literal, TypeVar, cast

import anyio
from typing_extensions import override

from async_session_store import _codec
from async_session_store._background import Background, background
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
from async_session_store.backends.sqlite._compacting import size_on_disk
from async_session_store.backends.sqlite._copying import After, StoredCopy
from async_session_store.backends.sqlite._database import Database, Operation, Tables
from async_session_store.backends.sqlite._erasing import FIRST_ROW, FoundRows, FoundTeams, User
from async_session_store.backends.sqlite._place import IN_MEMORY
from async_session_store.backends.sqlite._rows import Document, Wait
from async_session_store.backends.sqlite._schema import Settings
from async_session_store.backends.sqlite._turns import TurnWatch
from async_session_store.backends.sqlite._worker import DatabaseWorker, open_worker
from async_session_store.errors import (
    InvalidInputError,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store.models import (
    EnvId,
    Owner,
    SessionData,
    SessionKey,
    SessionRecord,
    TenantId,
    UserId,
)

__all__ = ["SqliteBackend"]

BUSY_TIMEOUT: Final = 5.0  # seconds
_PURGE_SLICE: Final = 256  # rows deleted in one transaction
_ERASE_SLICE: Final = 256  # rows overwritten in one transaction
_LOCK_PAUSE: Final = 0.01  # seconds between two attempts outside of a transaction
_MAX_INLINE_BYTES: Final = 64 * 1024  # of a document, if its context is ASCII
_MAX_INLINE_SCOPES: Final = 16

_T = TypeVar("_T")


class SqliteBackend(Backend):
    """Sessions in a SQLite file in WAL mode, which several processes may share.

    Calls run in a thread of their own. Calls that arrive while a transaction runs share the next
    one, and are answered after its commit. A call that arrives alone runs inline in the loop's own
    thread if it touches only a few rows: a read, or a write of at most 64 KiB whose commit does not
    sync (at ``NORMAL``, or in memory). An inline call never waits for a lock, and hardly ever for
    the disk. It takes microseconds, but reading or replacing a document of 1 MiB takes a few
    milliseconds. A new file gets the mode 0600.

    Args:
        path: The database file. Its folder must exist. ``:memory:`` is a private database that
            ends with the backend.
        synchronous: With ``FULL``, every answered write survives a loss of power, except claims
            and their renewals, whose holders do not survive it either. With ``NORMAL``, the last
            writes may be lost then. If only the process dies, neither loses anything.
        busy_timeout: How long to wait for another process's transaction, in seconds.
        clock: Returns seconds since the Unix epoch. Tests pass a clock that they can move.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        busy_timeout: float = BUSY_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise InvalidInputError("synchronous: give 'FULL' or 'NORMAL'")
        if not isinstance(busy_timeout, (int, float)) or not 0 < busy_timeout < math.inf:
            raise InvalidInputError("busy_timeout: give a positive, finite number of seconds")
        self._path = _text_path(path)
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._clock = clock
        self._worker: DatabaseWorker | None = None
        self._background: Background | None = None
        self._turns: TurnWatch | None = None

    @property
    @override
    def location(self) -> str:
        return f"sqlite {self._path}"

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        settings = Settings(
            self._path,
            self._synchronous,
            self._busy_timeout,
            self._clock,
            max_document_bytes,
        )
        self._worker = worker = await open_worker(partial(Database, settings))
        self._background = loop = background()
        self._turns = TurnWatch(loop, self._next_in_line)
        # Weak, so that a store that is dropped does not live on in its task.
        loop.start(partial(_close_with_the_loop, weakref.ref(worker)))

    @override
    async def aclose(self) -> None:
        if self._worker is None or self._turns is None or self._background is None:
            return
        self._turns.close()
        try:
            await self._worker.aclose()
        finally:
            await self._background.aclose()

    @override
    async def ping(self) -> None:
        await self._reading(lambda tables: tables.sessions.ping(), single=True)

    @override
    async def insert(self, key: SessionKey, data: SessionData, ttl: int | None) -> None:
        document = _document(data)
        await self._writing(
            lambda tables: tables.sessions.insert(key, document, ttl), size=document.size
        )

    @override
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        return await self._reading(lambda tables: tables.sessions.read(key), single=True)

    @override
    async def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        return await self._reading(lambda tables: tables.sessions.read_record(key), single=True)

    @override
    async def replace(
        self, key: SessionKey, data: SessionData, *, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        document = _document(data)
        return await self._writing(
            lambda tables: tables.sessions.replace(key, document, viewer, if_match),
            size=document.size,
        )

    @override
    async def delete(self, key: SessionKey, *, viewer: Owner | None) -> Outcome:
        return await self._writing(lambda tables: tables.sessions.delete(key, viewer))

    @override
    async def touch(self, key: SessionKey, ttl: int | None, *, viewer: Owner | None) -> Outcome:
        return await self._writing(lambda tables: tables.sessions.touch(key, ttl, viewer))

    @override
    async def put_wait(self, wait: StoredWait, *, only_if_absent: bool) -> Registration:
        stored = _wait(wait)
        return await self._writing(
            lambda tables: tables.sessions.put_wait(stored, only_if_absent=only_if_absent),
            size=stored.document.size,
        )

    @override
    async def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        return await self._reading(
            lambda tables: tables.sessions.find_wait(owner, scope_hashes),
            inline=len(scope_hashes) <= _MAX_INLINE_SCOPES,
            single=len(scope_hashes) == 1,
        )

    @override
    async def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        return await self._reading(
            lambda tables: tables.sessions.read_wait(owner, scope_hashes),
            inline=len(scope_hashes) <= _MAX_INLINE_SCOPES,
            single=len(scope_hashes) == 1,
        )

    @override
    async def inspect_waits(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        return await self._reading(
            lambda tables: tables.claims.inspect(owners, scope_hashes),
            inline=len(owners) * len(scope_hashes) <= _MAX_INLINE_SCOPES,
        )

    @override
    async def list_waits(self, owner: Owner) -> Listing[SessionKey]:
        return await self._reading(
            lambda tables: tables.sessions.list_waits(owner), inline=False, single=True
        )

    @override
    async def list_wait_records(self, owner: Owner) -> Listing[SessionRecord]:
        return await self._reading(
            lambda tables: tables.sessions.list_wait_records(owner), inline=False, single=True
        )

    @override
    async def delete_wait(
        self, owner: Owner, scope_hash: str, *, session_key: SessionKey | None
    ) -> bool:
        return await self._writing(
            lambda tables: tables.sessions.delete_wait(owner, scope_hash, session_key)
        )

    @override
    async def delete_waits(self, owner: Owner) -> int:
        return await self._writing(lambda tables: tables.sessions.delete_waits(owner), inline=False)

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
        found = await self._writing(
            lambda tables: tables.claims.claim(
                owners,
                scope_hashes,
                token=token,
                lease=lease,
                deliveries=deliveries,
                begin_at=begin_at,
                queue=queue,
            ),
            inline=len(owners) * len(scope_hashes) <= _MAX_INLINE_SCOPES,
            durable=False,
        )
        if queue and not isinstance(found, (Claimed, Queued)):
            # The caller may have given up a place, so it may be someone else's turn.
            for owner, scope_hash in product(owners, scope_hashes):
                self._wake_next(owner, scope_hash)
        return found

    @override
    async def claim_expired(
        self, fence: Owner | None, tokens: Sequence[str], lease: int
    ) -> tuple[Claimed | Unreadable, ...]:
        inline = len(tokens) <= _MAX_INLINE_SCOPES
        is_due = await self._reading(
            lambda tables: tables.expired.is_due(fence, tokens), inline=inline
        )
        found: tuple[Claimed | Unreadable, ...] | None = None if is_due else ()
        while found is None:
            found = await self._writing(
                lambda tables: tables.expired.claim(fence, tokens, lease),
                inline=inline,
                durable=False,
            )
        return found

    @override
    async def wait_for_turn(self, place: ClaimKey, seconds: float) -> None:
        if self._turns is None:
            raise _not_open()
        await self._turns.wait(place, seconds)

    @override
    async def complete_claim(
        self, claim: ClaimKey, *, deliveries: Sequence[Delivery], then: StoredWait | Keep | None
    ) -> Outcome:
        following = _wait(then) if isinstance(then, StoredWait) else then
        size = following.document.size if isinstance(following, Wait) else 0
        outcome = await self._writing(
            lambda tables: tables.claims.complete(claim, deliveries, following), size=size
        )
        self._wake_next(claim.owner, claim.scope_hash)
        return outcome

    @override
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        outcome = await self._writing(lambda tables: tables.claims.release(claim), durable=False)
        self._wake_next(claim.owner, claim.scope_hash)
        return outcome

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        return await self._writing(lambda tables: tables.claims.renew(claim, lease), durable=False)

    @override
    async def purge(self, limit: int) -> int:
        purged = 0
        while purged < limit:
            rows = min(_PURGE_SLICE, limit - purged)
            deleted = await self._sweep(rows)
            purged += deleted
            if deleted < rows:
                break
        return purged

    async def _sweep(self, rows: int) -> int:
        return await self._writing(lambda tables: _sweep(tables, rows), inline=False)

    # --- Operators ----------------------------------------------------------------------------

    @override
    async def erase_user(self, env: EnvId, tenant: TenantId, user: UserId) -> ErasedUser:
        whose = User.of(env, tenant, user)
        # Claims go first: then no turn that is under way can store the next wait.
        erased = await self._erasing(partial(_erase_claims, whose))
        erased += await self._erase_sessions(whose)
        erased += await self._erase_deliveries(whose)
        await self._empty_log("the rows were erased")
        return erased

    @override
    async def break_claim(self, owner: Owner, scope_hash: str) -> bool:
        was_held = await self._writing(lambda tables: tables.claims.break_claim(owner, scope_hash))
        self._wake_next(owner, scope_hash)
        return was_held

    @override
    async def read_page(
        self, fence: Fence | None, cursor: object | None, limit: int
    ) -> SessionPage:
        after = cast("bytes", cursor or b"")
        return await self._reading(
            lambda tables: tables.sessions.read_page(fence, after, limit), inline=False
        )

    @override
    async def read_places(self, fence: Fence, cursor: object | None, limit: int) -> PlacedPage:
        after = cast("bytes", cursor or b"")
        return await self._reading(
            lambda tables: tables.sessions.read_places(fence, after, limit), inline=False
        )

    @override
    async def move_session(self, move: SessionMove) -> Outcome:
        document = _document(move.data)
        return await self._writing(
            lambda tables: tables.moving.move(move, document), size=document.size
        )

    @override
    async def read_clock(self) -> int:
        return await self._reading(lambda tables: tables.copies.now())

    @override
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        after = cast("After | None", cursor) or After()
        return await self._reading(
            lambda tables: tables.copies.page(after, limit), inline=False, single=True
        )

    @override
    async def read_copies(
        self, names: Sequence[CopyName]
    ) -> tuple[SessionCopy | DeliveryCopy | Unreadable | None, ...]:
        return await self._reading(lambda tables: tables.copies.read(names), inline=False)

    @override
    async def put_copies(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        stored = list(map(_stored_copy, copies))
        size = sum(one.wait.document.size for one in stored if isinstance(one, StoredCopy))
        await self._writing(lambda tables: tables.copies.put(stored), size=size, inline=False)

    @override
    async def drop_copies(self, names: Sequence[CopyName]) -> None:
        await self._writing(lambda tables: tables.copies.drop(names), inline=False)

    @override
    async def compact(self, max_pause: int) -> int:
        if self._path == IN_MEMORY:
            return 0
        before = size_on_disk(self._path)
        await self._alone(
            partial(_rewrite, max_pause / 1000),
            StoreUnavailableError(
                "nothing was changed, as another process was writing to the SQLite file for "
                "busy_timeout; call again"
            ),
        )
        await self._empty_log("the file was rewritten")
        return max(0, before - size_on_disk(self._path))

    async def _erase_sessions(self, user: User) -> ErasedUser:
        erased, last = ErasedUser(), FIRST_ROW
        while True:
            found = await self._reading(partial(_find_sessions, user, last), inline=False)
            for begin in range(0, len(found.rows), _ERASE_SLICE):
                rows = found.rows[begin : begin + _ERASE_SLICE]
                erased += await self._erasing(partial(_erase_sessions, user, rows))
            if found.last_row is None:
                return erased
            last = found.last_row

    async def _erase_deliveries(self, user: User) -> ErasedUser:
        erased, last = ErasedUser(), None
        while True:
            found = await self._reading(partial(_find_teams, user, last), inline=False)
            for team in found.teams:
                is_more = True
                while is_more:
                    some, is_more = await self._erasing(partial(_erase_deliveries, user, team))
                    erased += some
            last = found.last_team
            if last is None:
                return erased

    def _erasing(self, run: Callable[[Tables], _T]) -> Awaitable[_T]:
        # It is not durable until the log is written back, at the end, which syncs once.
        return self._writing(run, inline=False, durable=False)

    async def _empty_log(self, done: str) -> None:
        """Empty the log, which holds copies of rows that are gone."""
        await self._alone(
            _empty_log,
            StoreTimeoutError(
                f"{done}, but the -wal could not be emptied, as another process was using it for "
                "busy_timeout; call again"
            ),
        )

    async def _alone(self, run: Callable[[Tables], bool], otherwise: SessionStoreError) -> None:
        """Run an operation outside of a transaction until nobody is in its way.

        Each attempt that finds another process in the way ends at once, so that no call of this
        store has to wait behind it.
        """
        give_up_at = time.monotonic() + self._busy_timeout
        operation = Operation(run, writes=True, may_run_inline=False, transactional=False)
        while not await self._submit(operation):
            if time.monotonic() >= give_up_at:
                raise otherwise
            await anyio.sleep(_LOCK_PAUSE)

    # --- Inside -------------------------------------------------------------------------------

    def _wake_next(self, owner: Owner, scope_hash: str) -> None:
        """Wake the next in line at a scope if it is a caller of this backend."""
        if self._turns is not None:
            self._turns.poll_for(owner, scope_hash)

    def _next_in_line(self) -> Awaitable[frozenset[str]]:
        return self._reading(lambda tables: tables.queues.next_in_line(), single=True)

    def _reading(
        self, run: Callable[[Tables], _T], *, inline: bool = True, single: bool = False
    ) -> Awaitable[_T]:
        operation = Operation(run, writes=False, may_run_inline=inline, single=single)
        return cast("Awaitable[_T]", self._submit(operation))

    def _writing(
        self,
        run: Callable[[Tables], _T],
        *,
        size: int = 0,
        inline: bool = True,
        durable: bool = True,
    ) -> Awaitable[_T]:
        inline = inline and size <= _MAX_INLINE_BYTES
        operation = Operation(run, writes=True, may_run_inline=inline, durable=durable)
        return cast("Awaitable[_T]", self._submit(operation, size))

    def _submit(self, operation: Operation, size: int = 0) -> Awaitable[object]:
        if self._worker is None:
            raise _not_open()
        return self._worker.submit(operation, size)


async def _close_with_the_loop(get_worker: Callable[[], DatabaseWorker | None]) -> None:
    """Close the database of a store that was never closed, when its event loop ends.

    If the loop is dropped instead, this is too, and nothing may be awaited any more. The thread
    then closes the database.
    """
    cancelled = anyio.get_cancelled_exc_class()
    try:
        await anyio.sleep_forever()
    except cancelled:
        if (worker := get_worker()) is not None:
            worker.drop_waiting()
            await worker.aclose()
        raise


def _sweep(tables: Tables, limit: int) -> int:
    """Delete at most ``limit`` expired sessions, claims and deliveries. Return the number."""
    deleted = tables.sessions.sweep(limit)
    return deleted + tables.claims.sweep(limit - deleted)


def _erase_claims(user: User, tables: Tables) -> ErasedUser:
    return tables.erasing.erase_claims(user)


def _rewrite(max_pause: float, tables: Tables) -> bool:
    return tables.compaction.rewrite(max_pause)


def _empty_log(tables: Tables) -> bool:
    return tables.compaction.empty_log()


def _find_sessions(user: User, after: int, tables: Tables) -> FoundRows:
    return tables.erasing.find_sessions(user, after)


def _erase_sessions(user: User, rows: Sequence[int], tables: Tables) -> ErasedUser:
    return tables.erasing.erase_sessions(user, rows)


def _find_teams(user: User, after: str | None, tables: Tables) -> FoundTeams:
    return tables.erasing.find_teams(user, after)


def _erase_deliveries(user: User, team: str, tables: Tables) -> tuple[ErasedUser, bool]:
    return tables.erasing.erase_deliveries(user, team)


def _not_open() -> StoreUsageError:
    return StoreUsageError("this backend is not open")


def _wait(wait: StoredWait) -> Wait:
    document = _document(wait.data)
    return Wait(wait.scope_hash, wait.scope.encoded, wait.key, document, wait.ttl, wait.expired_ttl)


def _stored_copy(copy: SessionCopy | DeliveryCopy) -> StoredCopy | DeliveryCopy:
    if isinstance(copy, DeliveryCopy):
        return copy
    scope = None if copy.scope is None else copy.scope.encoded
    document = _document(copy.data)
    wait = Wait(copy.scope_hash or "", scope, copy.key, document, None, copy.expired_ttl)
    return StoredCopy(wait, copy.deadline, copy.scope_hash is not None)


def _document(data: SessionData) -> Document:
    return Document(data.owner, _codec.encode_head(data), data.context_json)


def _text_path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInputError("path: give the path of a file as text, or ':memory:'")
    return text
