"""Sessions on a Redis server, in the layout of the Rust crate ``greentic-session``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import Self, override

from async_session_store import _random
from async_session_store._background import runs_asyncio
from async_session_store._running_loop import Future
from async_session_store._unicode import encoded
from async_session_store.abc import (
    KEEP,
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
    PlacedSession,
    Queued,
    Registration,
    SessionCopy,
    SessionMove,
    SessionPage,
    StoredSession,
    StoredWait,
    Unreadable,
    WaitState,
)
from async_session_store.backends._time import utc_from_ms
from async_session_store.errors import InvalidInputError, StoreUsageError
from async_session_store.models import (
    EnvId,
    Owner,
    SessionData,
    SessionKey,
    SessionRecord,
    TenantId,
    UserId,
)

try:
    import hiredis  # noqa: F401  # pyright: ignore[reportUnusedImport]  # for modules below
    import orjson  # noqa: F401  # pyright: ignore[reportUnusedImport]  # for modules below
    from redis.asyncio import Redis
except ImportError as _missing:
    raise ImportError(
        "the Redis backend needs redis-py, hiredis and orjson; "
        'pip install "async-session-store[redis]"'
    ) from _missing

from async_session_store.backends.redis import _documents, _replies, _stamps
from async_session_store.backends.redis._client import (
    check_client,
    make_client,
    place_of,
    take_over_timeout,
    timeout_of,
)
from async_session_store.backends.redis._commands import Commands
from async_session_store.backends.redis._connection import Command
from async_session_store.backends.redis._copying import Copies, CopyCursor
from async_session_store.backends.redis._erasing import UserErasure
from async_session_store.backends.redis._keys import (
    Keys,
    fence_text,
    leads_to_sessions,
    owner_text,
    page_fence_text,
)
from async_session_store.backends.redis._paging import ScanCursor
from async_session_store.backends.redis._protocol import Argument
from async_session_store.backends.redis._purging import IndexPurge
from async_session_store.backends.redis._scripts import script
from async_session_store.backends.redis._server import check_server

if TYPE_CHECKING:
    from async_session_store.backends.redis._crossed_commands import CrossedCommands

__all__ = ["DEFAULT_NAMESPACE", "RedisBackend"]

DEFAULT_NAMESPACE: Final = "greentic:session"
"""The default namespace of a backend, and of a Rust process."""
_NOTHING: Final = ""
_END: Final = "END"
_KEEP: Final = "KEEP"
_EXPIRED: Final = "EXPIRED"
_NEXT: Final = "NEXT"


class RedisBackend(Backend):
    """Sessions on a Redis server (6.2 or newer, also behind Sentinel; not Redis Cluster).

    Processes that use the Rust crate ``greentic-session`` may work on the same namespace at the
    same time. Each operation is one command or one script, so it takes one round trip. Calls that
    arrive while others are in flight go out together, in the next write on one connection of the
    client's pool. Nothing is sent twice: if a reply is lost, the caller gets an error that says
    that the outcome is unknown.

    Args:
        client: A ``redis.asyncio.Redis`` that the caller made. It stays open. Its
            ``socket_timeout`` limits every call; without one, the limit is 5 seconds.
        namespace: The prefix of every key. A colon follows it.
    """

    def __init__(self, client: Redis, *, namespace: str = DEFAULT_NAMESPACE) -> None:
        check_client(client)
        if not isinstance(namespace, str) or not encoded("namespace", namespace):
            raise InvalidInputError("namespace: give a non-empty text")
        self._client = client
        self._owns_client = False
        self._timeout = timeout_of(client)
        self._namespace = namespace
        self._keys = Keys(namespace)
        self._channel = self._keys.channel(_random.token())
        self._max_document_bytes = 0
        self._commands: Commands | CrossedCommands | None = None
        self._submit: Callable[[Command, int], Future[object]] = _refuse

    @classmethod
    def from_url(cls, url: str, *, namespace: str = DEFAULT_NAMESPACE) -> Self:
        """Return a backend with a client of its own, made by ``redis.asyncio.Redis.from_url``.

        Connecting and answering take at most 5 seconds each unless the URL sets other limits
        (``?socket_timeout=10&socket_connect_timeout=10``), and nothing is retried.
        """
        client = make_client(url)
        backend = cls(client, namespace=namespace)
        backend._owns_client = True
        take_over_timeout(client)
        return backend

    @property
    @override
    def location(self) -> str:
        place = place_of(self._client)
        if self._namespace == DEFAULT_NAMESPACE:
            return place
        return f"{place}, namespace {self._namespace}"

    @override
    async def open(self, *, max_document_bytes: int) -> None:
        self._max_document_bytes = max_document_bytes
        commands = self._commands = self._new_commands()
        try:
            await commands.open()
            self._submit = commands.submit
            await self._check_server()
        except BaseException:
            await self.aclose()
            raise

    @override
    async def aclose(self) -> None:
        if self._commands is not None:
            await self._commands.aclose()

    @override
    async def ping(self) -> None:
        await self._call("PING")

    @override
    async def insert(self, key: SessionKey, data: SessionData, ttl: int | None) -> None:
        document = _documents.encode(data, _stamps.fresh())
        deadline = () if ttl is None else ("PX", ttl)
        await self._call("SET", self._keys.session(key), document, *deadline, size=len(document))

    @override
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        document = await self._call("GET", self._keys.session(key))
        if document is None:
            return None
        return _replies.data(key, document, self._max_document_bytes)

    @override
    async def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        return self._record(await self._run("read_record", [self._keys.session(key)], key))

    @override
    async def replace(
        self, key: SessionKey, data: SessionData, *, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        stamp = _stamps.fresh()
        document = _documents.encode(data, stamp)
        reply = await self._run(
            "replace",
            [self._keys.session(key)],
            key,
            _viewer(viewer),
            owner_text(data.owner),
            document,
            stamp,
            _NOTHING if if_match is None else _stamps.as_stored(if_match),
            size=len(document),
        )
        return _replies.outcome(reply)

    @override
    async def delete(self, key: SessionKey, *, viewer: Owner | None) -> Outcome:
        reply = await self._run("delete", [self._keys.session(key)], key, _viewer(viewer))
        return _replies.outcome(reply)

    @override
    async def touch(self, key: SessionKey, ttl: int | None, *, viewer: Owner | None) -> Outcome:
        keys = [self._keys.session(key)]
        reply = await self._run("touch", keys, key, _viewer(viewer), _ttl(ttl), _stamps.fresh())
        return _replies.outcome(reply)

    @override
    async def put_wait(self, wait: StoredWait, *, only_if_absent: bool) -> Registration:
        owner, scope_hash, key = wait.owner, wait.scope_hash, wait.key
        stamp = _stamps.fresh()
        document = _documents.encode(wait.data, stamp)
        reply = await self._run(
            "put_wait",
            [
                self._keys.session(key),
                self._keys.scope(owner, scope_hash),
                self._keys.meta(key),
                self._keys.user(owner),
                self._keys.claim(owner, scope_hash),
            ],
            key,
            owner_text(owner),
            scope_hash,
            document,
            stamp,
            _ttl(wait.ttl),
            wait.scope.encoded,
            int(only_if_absent),
            _ttl(wait.expired_ttl),
            size=len(document),
        )
        outcome, detached = cast("list[object]", reply)
        return Registration(_replies.outcome(outcome), _replies.optional_key(detached))

    @override
    async def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        return _replies.optional_key(await self._look_up("find_wait", owner, scope_hashes))

    @override
    async def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        return self._record(await self._look_up("read_wait", owner, scope_hashes))

    @override
    async def inspect_waits(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        places = [(owner, scope_hash) for owner in owners for scope_hash in scope_hashes]
        keys = [self._keys.scope(owner, scope_hash) for owner, scope_hash in places]
        named = [text for owner, scope_hash in places for text in (owner_text(owner), scope_hash)]
        reply = await self._run("inspect_waits", keys, *named)
        return tuple(map(_replies.state, cast("list[object]", reply)))

    @override
    async def list_waits(self, owner: Owner) -> Listing[SessionKey]:
        reply = await self._run("list_waits", [self._keys.user(owner)], owner_text(owner))
        found, unreadable = cast("list[list[object]]", reply)
        return Listing(_replies.sorted_keys(found), _replies.sorted_keys(unreadable))

    @override
    async def list_wait_records(self, owner: Owner) -> Listing[SessionRecord]:
        reply = await self._run("list_wait_records", [self._keys.user(owner)], owner_text(owner))
        records = list(map(self._record, cast("list[object]", reply)))
        found = [record for record in records if isinstance(record, SessionRecord)]
        unreadable = [record.key for record in records if isinstance(record, Unreadable)]
        return Listing(tuple(sorted(found, key=lambda record: record.key)), tuple(unreadable))

    @override
    async def delete_wait(
        self, owner: Owner, scope_hash: str, *, session_key: SessionKey | None
    ) -> bool:
        reply = await self._run(
            "delete_wait",
            [
                self._keys.scope(owner, scope_hash),
                self._keys.user(owner),
                self._keys.claim(owner, scope_hash),
                self._keys.expiring(owner),
            ],
            owner_text(owner),
            scope_hash,
            *(() if session_key is None else (session_key,)),
        )
        return reply == 1

    @override
    async def delete_waits(self, owner: Owner) -> int:
        keys = [self._keys.user(owner), self._keys.expiring(owner)]
        reply = await self._run("delete_waits", keys, owner_text(owner))
        return cast("int", reply)

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
        keys = self._keys
        places = list(product(owners, scope_hashes))
        reply = await self._run(
            "claim_wait",
            [
                *[keys.scope(*place) for place in places],
                *[keys.claim(*place) for place in places],
                *[keys.queue(*place) for place in places],
                *[keys.delivery(delivery) for delivery in deliveries],
            ],
            token,
            _stamps.fresh(),
            lease,
            _NOTHING if begin_at is None else scope_hashes.index(begin_at) + 1,
            self._channel if queue else _NOTHING,
            len(scope_hashes),
            *scope_hashes,
            *map(owner_text, owners),
        )
        verdict, *rest = cast("list[object]", reply)
        if verdict == _replies.QUEUED:
            queued_at, free_in = cast("list[int]", rest)
            place = ClaimKey(*places[queued_at - 1], token)
            return Queued(place, None if free_in < 0 else free_in)
        outcome = _replies.outcome(verdict)
        if outcome is not Outcome.DONE:
            return _replies.refused_claim(outcome, rest)
        claimed_at, lease_end, *found = rest
        record = self._record(found or None)
        key = record.key if isinstance(record, SessionRecord) else None
        claim = ClaimKey(*places[cast("int", claimed_at) - 1], token, key)
        if isinstance(record, Unreadable):
            await self.release_claim(claim)
            return record
        return Claimed(claim, record, utc_from_ms(cast("int", lease_end)))

    @override
    async def claim_expired(
        self, fence: Owner | None, tokens: Sequence[str], lease: int
    ) -> tuple[Claimed | Unreadable, ...]:
        is_stopped, found = True, list[_replies.Expired]()
        while is_stopped and not found and tokens:
            reply = await self._run(
                "claim_expired", [self._keys.expiring(fence)], fence_text(fence), lease, *tokens
            )
            is_stopped, found = _replies.expired(reply, self._max_document_bytes)
        return tuple([await self._hand_out(each) for each in found])

    @override
    async def wait_for_turn(self, place: ClaimKey, seconds: float) -> None:
        if self._commands is None:
            raise StoreUsageError("this backend is not open")
        await self._commands.wait_for_turn(place.token, seconds)

    @override
    async def complete_claim(
        self, claim: ClaimKey, *, deliveries: Sequence[Delivery], then: StoredWait | Keep | None
    ) -> Outcome:
        owner, scope_hash = claim.owner, claim.scope_hash
        keys = [
            self._keys.claim(owner, scope_hash),
            self._keys.scope(owner, scope_hash),
            self._keys.queue(owner, scope_hash),
            self._keys.user(owner),
            *map(self._keys.delivery, deliveries),
        ]
        following: tuple[Argument, ...] = (_END,)
        if then is KEEP:
            following = (_KEEP, _EXPIRED if claim.is_expired else _NOTHING)
        size = 0
        if isinstance(then, StoredWait):
            stamp = _stamps.fresh()
            document = _documents.encode(then.data, stamp)
            ttl, expired_ttl = _ttl(then.ttl), _ttl(then.expired_ttl)
            following = (_NEXT, document, stamp, ttl, then.scope.encoded, expired_ttl)
            if (then.key, then.owner, then.scope_hash) != (claim.session_key, owner, scope_hash):
                following += (then.key, owner_text(then.owner), then.scope_hash)
            size = len(document)
        reply = await self._run(
            "complete_claim",
            keys,
            owner_text(owner),
            scope_hash,
            claim.token,
            deliveries[0].ttl if deliveries else _NOTHING,
            claim.session_key or _NOTHING,
            *following,
            size=size,
        )
        return _replies.outcome(reply)

    @override
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        owner, scope_hash = claim.owner, claim.scope_hash
        if claim.is_expired:
            return await self._release_expired(claim, is_due=True)
        keys = [self._keys.claim(owner, scope_hash), self._keys.queue(owner, scope_hash)]
        return _replies.outcome(await self._run("release_claim", keys, claim.token))

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        keys = [self._keys.claim(claim.owner, claim.scope_hash)]
        reply = await self._run("renew_claim", keys, claim.token, lease)
        return None if reply is None else utc_from_ms(cast("int", reply))

    @override
    async def purge(self, limit: int) -> int:
        return await IndexPurge(self._keys, self._call, self._run, limit).run()

    @override
    async def erase_user(self, env: EnvId, tenant: TenantId, user: UserId) -> ErasedUser:
        return await UserErasure(self._keys, self._call, self._run, env, tenant, user).run()

    @override
    async def break_claim(self, owner: Owner, scope_hash: str) -> bool:
        keys = [self._keys.claim(owner, scope_hash), self._keys.queue(owner, scope_hash)]
        return await self._run("break_claim", keys) == 1

    @override
    async def compact(self, max_pause: int) -> int:
        return 0  # the server does this by itself

    @override
    async def read_page(
        self, fence: Fence | None, cursor: object | None, limit: int
    ) -> SessionPage:
        scan = ScanCursor() if cursor is None else cast("ScanCursor", cursor)
        scan = await scan.filled(self._call, self._keys.sessions, limit)
        sessions: tuple[StoredSession, ...] = ()
        unreadable: tuple[SessionKey, ...] = ()
        if scan.names:
            text = "" if fence is None else page_fence_text(fence)
            reply = await self._run("read_page", scan.names, text)
            looked_at, found = cast("tuple[int, list[list[object]]]", reply)
            sessions, unreadable = _replies.page(found, self._max_document_bytes)
            scan = scan.after(looked_at)
        return SessionPage(sessions, unreadable, None if scan.is_at_end else scan)

    @override
    async def read_places(self, fence: Fence, cursor: object | None, limit: int) -> PlacedPage:
        scan = ScanCursor() if cursor is None else cast("ScanCursor", cursor)
        scan = await scan.filled(self._call, self._keys.pattern, limit)
        scan = scan.only(leads_to_sessions(self._keys, fence))
        sessions: tuple[PlacedSession, ...] = ()
        unreadable: tuple[Unreadable, ...] = ()
        if scan.names:
            arguments = (page_fence_text(fence), int(scan.is_last))
            reply = await self._run("read_places", scan.names, *arguments)
            looked_at, found, put_off = cast("tuple[int, list[list[object]], list[bytes]]", reply)
            sessions, unreadable = _replies.places(found, self._max_document_bytes)
            scan = scan.after(looked_at, put_off)
        return PlacedPage(sessions, unreadable, None if scan.is_at_end else scan)

    @override
    async def move_session(self, move: SessionMove) -> Outcome:
        stamp = _stamps.fresh()
        document = _documents.encode(move.data, stamp)
        reply = await self._run(
            "move_session",
            [self._keys.session(move.key)],
            move.key,
            owner_text(move.owner),
            move.scope_hash or _NOTHING,
            _stamps.as_stored(move.etag),
            owner_text(move.data.owner),
            move.new_scope_hash or _NOTHING,
            _NOTHING if move.new_scope is None else move.new_scope.encoded,
            document,
            stamp,
            size=len(document),
        )
        return _replies.outcome(reply)

    @override
    async def read_clock(self) -> int:
        seconds, microseconds = cast("list[bytes]", await self._call("TIME"))
        return int(seconds) * 1000 + int(microseconds) // 1000

    @override
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        return await self._copies.page(cast("CopyCursor | None", cursor) or CopyCursor(), limit)

    @override
    async def read_copies(
        self, names: Sequence[CopyName]
    ) -> tuple[SessionCopy | DeliveryCopy | Unreadable | None, ...]:
        return await self._copies.read(names)

    @override
    async def put_copies(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        await self._copies.put(copies)

    @override
    async def drop_copies(self, names: Sequence[CopyName]) -> None:
        await self._copies.drop(names)

    @property
    def _copies(self) -> Copies:
        return Copies(self._keys, self._call, self._run, self._max_document_bytes)

    # --- Commands -----------------------------------------------------------------------------

    def _new_commands(self) -> Commands | CrossedCommands:
        """Return the commands for the running loop."""
        commands = Commands(
            self._client,
            self._timeout,
            self._channel,
            self._keys.channels,
            owns_client=self._owns_client,
        )
        if runs_asyncio():
            return commands
        from async_session_store.backends.redis._crossed_commands import CrossedCommands

        return CrossedCommands(commands)

    async def _check_server(self) -> None:
        name = SessionKey(_random.unique_id())
        keys = [self._keys.session(name), self._keys.meta(name)]
        probe = partial(self._run, "probe", keys, name)
        await check_server(partial(self._call, "INFO"), probe, key_pattern=self._keys.pattern)

    def _call(self, *arguments: Argument, size: int = 0) -> Future[object]:
        return self._submit(Command(arguments), size)

    def _run(
        self, name: str, keys: Sequence[Argument], *arguments: Argument, size: int = 0
    ) -> Future[object]:
        """Run a script. Its first two arguments are always the namespace and the size limit."""
        common = (self._namespace, self._max_document_bytes)
        command = Command((len(keys), *keys, *common, *arguments), script(name))
        return self._submit(command, size)

    def _look_up(self, name: str, owner: Owner, scope_hashes: Sequence[str]) -> Future[object]:
        keys = [self._keys.scope(owner, scope_hash) for scope_hash in scope_hashes]
        return self._run(name, keys, owner_text(owner), *scope_hashes)

    async def _hand_out(self, found: _replies.Expired) -> Claimed | Unreadable:
        if isinstance(found.record, SessionRecord):
            return Claimed(found.claim, found.record, found.lease_end, found.is_overtaken)
        await self._release_expired(found.claim, is_due=False)
        return found.record

    async def _release_expired(self, claim: ClaimKey, *, is_due: bool) -> Outcome:
        """Release a claim on an expired wait. The wait is due from now on, or else never again."""
        owner, scope_hash, token, key, _ = claim
        keys = [
            self._keys.claim(owner, scope_hash),
            self._keys.queue(owner, scope_hash),
            self._keys.claim_of_token(token),
        ]
        never = int(not is_due)
        reply = await self._run(
            "release_claim", keys, token, key or _NOTHING, owner_text(owner), never
        )
        return _replies.outcome(reply)

    def _record(self, reply: object) -> SessionRecord | Unreadable | None:
        return _replies.record(reply, self._max_document_bytes)


def _refuse(command: Command, size: int) -> Future[object]:  # noqa: ARG001  # the same as submit
    raise StoreUsageError("this backend is not open")


def _viewer(viewer: Owner | None) -> str:
    return _NOTHING if viewer is None else owner_text(viewer)


def _ttl(ttl: int | None) -> Argument:
    return _NOTHING if ttl is None else ttl
