"""Conversion of the replies of scripts into values of the library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple, cast

from async_session_store import _codec
from async_session_store.abc import (
    ClaimKey,
    Outcome,
    PlacedSession,
    SessionCopy,
    StoredSession,
    Unreadable,
    WaitState,
)
from async_session_store.backends._time import utc_from_ms
from async_session_store.backends.redis import _documents, _stamps
from async_session_store.backends.redis._keys import owner_in_reply, parse_owner
from async_session_store.models import Owner, SessionData, SessionKey, SessionRecord

QUEUED: Final = b"QUEUED"


def outcome(reply: object) -> Outcome:
    return Outcome[cast("bytes", reply).decode()]


def refused_claim(refusal: Outcome, rest: list[object]) -> Unreadable | Outcome:
    """Return why a claim was not granted, with the key of the document if it is unreadable."""
    key = optional_key(rest[0]) if refusal is Outcome.UNREADABLE else None
    return refusal if key is None else Unreadable(key, None, "its fields cannot be determined")


def optional_key(reply: object) -> SessionKey | None:
    return None if reply is None else stored_key(reply)


def sorted_keys(replies: Iterable[object]) -> tuple[SessionKey, ...]:
    return tuple(sorted(map(stored_key, replies)))


def stored_key(reply: object) -> SessionKey:
    """Return a stored key without checking it.

    A Rust process may use an empty key, or one that is longer than M7 allows, and its waits must be
    found, claimed and cleared like any other.
    """
    return str.__new__(SessionKey, cast("bytes", reply).decode())


def data(key: SessionKey, document: object, maximum: int) -> SessionData | Unreadable:
    if not isinstance(document, bytes):
        return Unreadable(key, None, "it is not a text")
    try:
        return _documents.decode(document, maximum)
    except _codec.UnreadableDocumentError as error:
        return Unreadable(key, _documents.stored_owner(document), str(error))


def record(reply: object, maximum: int) -> SessionRecord | Unreadable | None:
    """Return a record from the items that the Lua function ``record`` returns."""
    return None if reply is None else _record(reply, maximum)


def _record(reply: object, maximum: int) -> SessionRecord | Unreadable:
    raw_key, document, expiry, owner, place = cast(
        "tuple[bytes, bytes | None, int, bytes | None, bytes | None]", reply
    )
    key = stored_key(raw_key)
    if document is None:
        return Unreadable(key, None, "it is not a text, or larger than max_document_bytes")
    found = data(key, document, maximum)
    if isinstance(found, Unreadable):
        return found
    # The script has let the caller see the session because of this owner. If the document names
    # another one, its data must not be returned (F7).
    if owner is None or owner.decode() != owner_in_reply(found.owner):
        return Unreadable(key, None, "its owner cannot be determined")
    return SessionRecord(
        key,
        found,
        _stamps.etag(document),
        None if expiry < 0 else utc_from_ms(expiry),
        None if place is None else _codec.decode_scope(place),
    )


def page(
    found: list[list[object]], maximum: int
) -> tuple[tuple[StoredSession, ...], tuple[SessionKey, ...]]:
    """Return the sessions in a reply of ``read_page.lua``, and the unreadable ones."""
    sessions: list[StoredSession] = []
    unreadable: list[SessionKey] = []
    for waits, *item in found:
        record = _record(item, maximum)
        if isinstance(record, Unreadable):
            unreadable.append(record.key)
        else:
            sessions.append(StoredSession(record, waits == 1))
    return tuple(sessions), tuple(unreadable)


def places(
    found: list[list[object]], maximum: int
) -> tuple[tuple[PlacedSession, ...], tuple[Unreadable, ...]]:
    """Return the sessions in a reply of ``read_places.lua``, and the unreadable ones."""
    sessions: list[PlacedSession] = []
    unreadable: list[Unreadable] = []
    for waits, is_expired, scope_hash, owner, *item in found:
        record = _record(item, maximum)
        if isinstance(record, Unreadable):
            unreadable.append(replace(record, owner=_owner(owner)))
            continue
        place = None if scope_hash is None else cast("bytes", scope_hash).decode()
        sessions.append(PlacedSession(record, place, waits == 1, is_expired == 1))
    return tuple(sessions), tuple(unreadable)


def _owner(reply: object) -> Owner | None:
    try:
        return parse_owner(cast("bytes", reply).decode())
    except ValueError:  # it belongs to no owner of ours
        return None


def copy(reply: object, maximum: int) -> SessionCopy | Unreadable | None:
    """Return a session from one item of the reply of ``read_copies.lua``."""
    if reply is None:
        return None
    scope_hash, expired_ttl, *item = cast("list[object]", reply)
    record = _record(item, maximum)
    if isinstance(record, Unreadable):
        return record
    return SessionCopy(
        record.key,
        record.data,
        cast("bytes", scope_hash).decode() or None,
        record.scope,
        None if cast("int", item[2]) < 0 else cast("int", item[2]),
        cast("int | None", expired_ttl),
    )


class Expired(NamedTuple):
    """An expired wait that was claimed. Its document may be unreadable."""

    claim: ClaimKey
    record: SessionRecord | Unreadable
    lease_end: datetime
    is_overtaken: bool


def expired(reply: object, maximum: int) -> tuple[bool, list[Expired]]:
    """Return whether ``claim_expired.lua`` stopped early, and what it claimed."""
    is_stopped, claimed = cast("tuple[int, list[list[object]]]", reply)
    return is_stopped == 1, [_expired(each, maximum) for each in claimed]


def _expired(reply: list[object], maximum: int) -> Expired:
    token, owner, scope_hash, lease_end, is_overtaken, *item = reply
    texts = [cast("bytes", text).decode() for text in (token, owner, scope_hash)]
    key = stored_key(item[0])
    claim = ClaimKey(parse_owner(texts[1]), texts[2], texts[0], key, is_expired=True)
    return Expired(
        claim, _record(item, maximum), utc_from_ms(cast("int", lease_end)), is_overtaken == 1
    )


def state(reply: object) -> WaitState:
    """Return the state of a scope, from one item of the reply of ``inspect_waits.lua``."""
    raw_key, readable, expiry, claim_end = cast("tuple[bytes | None, int, int, int]", reply)
    claimed_until = None if claim_end < 0 else utc_from_ms(claim_end)
    key = optional_key(raw_key)
    if key is None:
        return WaitState(claimed_until=claimed_until)
    return WaitState(key, readable == 1, None if expiry < 0 else utc_from_ms(expiry), claimed_until)
