"""What another storage needs to hold the same sessions and deliveries, in steps of bounded size."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, cast

from pydantic import ValidationError

from async_session_store._running_loop import Future
from async_session_store.abc import (
    CopyName,
    CopyPage,
    Delivery,
    DeliveryCopy,
    DeliveryName,
    SessionCopy,
    SessionName,
    Unreadable,
)
from async_session_store.backends.redis import _documents, _replies, _stamps
from async_session_store.backends.redis._keys import Keys, owner_text, parse_owner
from async_session_store.backends.redis._protocol import Argument
from async_session_store.models import SessionKey

_SCAN_START: Final = b"0"
_KEYS_OF_A_WAIT: Final = 4
_MAX_READ: Final = 256  # sessions or deliveries in one step
_KIND: Final = re.compile(rb":(session|meta|delivery):")
_DELIVERY: Final = re.compile(r"([^:]+:[^:]+:[^:]+:[^:]+):([A-Za-z0-9_-]{20})")
_LISTED: Final = 1
_ROUTED: Final = 2

Call: TypeAlias = Callable[..., Future[object]]


@dataclass(frozen=True, slots=True)
class CopyCursor:
    """A place in a scan of all keys, and in one of all scope keys that may follow it.

    The second scan is for sessions that a Rust process wrote: only scope keys say where they wait.
    """

    cursor: bytes = _SCAN_START
    unread: tuple[bytes, ...] = field(default=(), repr=False)
    """The keys that the scan has returned and that were not looked at yet."""
    has_begun: bool = False
    is_in_routes: bool = False
    routed: set[SessionKey] = field(default_factory=set[SessionKey], repr=False)
    """The sessions whose scope keys were not found yet."""

    @property
    def is_scanned(self) -> bool:
        return self.has_begun and self.cursor == _SCAN_START and not self.unread


class Copies:
    """The sessions, expired waits and deliveries of a namespace as copies.

    Args:
        keys: The names of the keys in the namespace.
        call: Runs a command.
        run: Runs a script, given its name, its keys and its arguments.
        maximum: A larger document is unreadable.
    """

    def __init__(self, keys: Keys, call: Call, run: Call, maximum: int) -> None:
        self._keys = keys
        self._call = call
        self._run = run
        self._maximum = maximum

    # --- Listing ------------------------------------------------------------------------------

    async def page(self, place: CopyCursor, limit: int) -> CopyPage:
        deliveries: list[CopyName] = []
        cursor, unread = place.cursor, place.unread
        if not unread:
            pattern = self._keys.routes[0] if place.is_in_routes else self._keys.pattern
            step = ("SCAN", cursor, "MATCH", pattern, "COUNT", limit * _KEYS_OF_A_WAIT)
            cursor, found = cast("tuple[bytes, list[bytes]]", await self._call(*step))
            if place.is_in_routes:
                is_route = self._keys.is_route
                unread = tuple([name for name in found if is_route(name)])
            else:
                unread, deliveries = self._sorted(found)
        sessions, judged = await self._judged(unread, place.routed)
        rest = replace(place, cursor=cursor, unread=unread[judged:], has_begun=True)
        names = (*sessions, *deliveries)
        if not rest.is_scanned:
            return CopyPage(names, rest)
        if place.routed and not place.is_in_routes:
            return CopyPage(names, CopyCursor(is_in_routes=True, routed=place.routed))
        # No scope key of their owners leads to these, so they wait nowhere.
        return CopyPage((*names, *map(SessionName, place.routed)), None)

    def _sorted(self, found: Sequence[bytes]) -> tuple[tuple[bytes, ...], list[CopyName]]:
        """Return the keys that have to be looked at, and the names of deliveries."""
        to_judge: list[bytes] = []
        deliveries: list[CopyName] = []
        for name in found:
            kind = _KIND.match(name, self._keys.prefix_length)
            if kind is None:
                continue
            if kind[1] != b"delivery":
                to_judge.append(name)
            elif (delivery := _delivery_name(name[kind.end() :])) is not None:
                deliveries.append(delivery)
        return tuple(to_judge), deliveries

    async def _judged(
        self, names: Sequence[bytes], routed: set[SessionKey]
    ) -> tuple[list[CopyName], int]:
        """Return the sessions that some keys name, and how many keys were looked at.

        Sessions that wait where only a scope key says are remembered in ``routed`` instead.
        """
        if not names:
            return [], 0
        verdicts = cast("list[int | bytes]", await self._run("list_copies", names))
        found: list[CopyName] = []
        for name, verdict in zip(names, verdicts, strict=False):
            if isinstance(verdict, bytes):
                key = _replies.stored_key(verdict)
                if key in routed:
                    routed.remove(key)
                    found.append(SessionName(key, name.rpartition(b":")[2].decode()))
            elif verdict == _LISTED:
                found.append(SessionName(self._session_key(name)))
            elif verdict == _ROUTED:
                routed.add(self._session_key(name))
        return found, len(verdicts)

    # --- Reading ------------------------------------------------------------------------------

    async def read(
        self, names: Sequence[CopyName]
    ) -> tuple[SessionCopy | DeliveryCopy | Unreadable | None, ...]:
        """Read the first names, as long as they are of one kind."""
        kind = type(names[0])
        number = next((n for n, name in enumerate(names) if type(name) is not kind), len(names))
        some = names[: min(number, _MAX_READ)]
        sessions = [name for name in some if isinstance(name, SessionName)]
        if sessions:
            return await self._sessions(sessions)
        deliveries = [name for name in some if isinstance(name, DeliveryName)]
        keys = [self._delivery(name) for name in deliveries]
        deadlines = cast("list[int]", await self._run("read_deliveries", keys))
        return tuple(
            DeliveryCopy(name, deadline) if deadline >= 0 else None
            for name, deadline in zip(deliveries, deadlines, strict=True)
        )

    async def _sessions(
        self, names: Sequence[SessionName]
    ) -> tuple[SessionCopy | Unreadable | None, ...]:
        keys = [self._keys.session(name.key) for name in names]
        hints = [name.scope_hash or "" for name in names]
        found = cast("list[object]", await self._run("read_copies", keys, *hints))
        return tuple([_replies.copy(item, self._maximum) for item in found])

    # --- Writing ------------------------------------------------------------------------------

    async def put(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        await _all([self._put(copy) for copy in copies])

    def _put(self, copy: SessionCopy | DeliveryCopy) -> Future[object]:
        if isinstance(copy, DeliveryCopy):
            return self._call("SET", self._delivery(copy.name), "1", "PXAT", copy.deadline)
        stamp = _stamps.fresh()
        document = _documents.encode(copy.data, stamp)
        return self._run(
            "put_copy",
            [self._keys.session(copy.key)],
            copy.key,
            owner_text(copy.data.owner),
            copy.scope_hash or "",
            document,
            stamp,
            "" if copy.deadline is None else copy.deadline,
            "" if copy.scope is None else copy.scope.encoded,
            copy.expired_ttl or "",
            size=len(document),
        )

    async def drop(self, names: Sequence[CopyName]) -> None:
        await _all([self._drop(name) for name in names])

    def _drop(self, name: CopyName) -> Future[object]:
        if isinstance(name, DeliveryName):
            return self._call("DEL", self._delivery(name))
        no_viewer = ""
        return self._run("delete", [self._keys.session(name.key)], name.key, no_viewer)

    def _delivery(self, name: DeliveryName) -> Argument:
        return self._keys.delivery(Delivery(name.owner, name.digest, 0))

    def _session_key(self, name: bytes) -> SessionKey:
        """Return the key of the session that a session key or a meta key names."""
        kind = cast("re.Match[bytes]", _KIND.match(name, self._keys.prefix_length))
        return _replies.stored_key(name[kind.end() :])


def _delivery_name(text: bytes) -> DeliveryName | None:
    """Return the delivery that the end of a key names, or None if we did not write the key.

    It may also be a key of a nested namespace. Its value tells: see read_deliveries.lua.
    """
    match = _DELIVERY.fullmatch(text.decode(errors="replace"))
    try:
        return match and DeliveryName(parse_owner(match[1]), urlsafe_b64decode(match[2]))
    except ValidationError:
        return None


async def _all(calls: Sequence[Future[object]]) -> None:
    """Wait for all of some calls that share batches, then raise the first error."""
    errors: list[Exception] = []
    try:
        for call in calls:
            try:
                await call
            except Exception as error:  # noqa: BLE001  # it is raised below
                errors.append(error)
    except BaseException:  # what has not been sent yet must not be sent now
        for call in calls:
            call.cancel()
        raise
    if errors:
        raise errors[0]
