"""Every rule about tenants, arguments and time, as pure functions.

Ids in parentheses, such as (F4), name guarantees in the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal, TypeAlias, TypeVar

from pydantic import ValidationError

from async_session_store._deliveries import delivery_digest
from async_session_store._wire import WireModel, give_text
from async_session_store.abc import Delivery, Fence, Outcome
from async_session_store.errors import (
    ConflictError,
    CorruptSessionError,
    InvalidInputError,
    SessionNotFoundError,
    SessionStoreError,
    TenantMismatchError,
)
from async_session_store.models import (
    FlowId,
    Impersonation,
    InvocationDeadline,
    Owner,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    SessionRecord,
    TenantCtx,
    UserId,
)

_MAX_SECONDS: Final = 36_525 * 86_400  # 100 years with their leap days
_MAX_INTEGER: Final = 2**63 - 1  # the largest that the drivers accept
_MAX_CLAIMS: Final = 1000  # in one step, which must not block other callers for long
_MAX_PAGE: Final = 1000  # likewise
_ONE_SCOPE: Final = "a ReplyScope"
_NO_TEAM_MARK: Final = "-"
_CACHED: Final = 1024
_OWN_FIELDS: Final[dict[type[WireModel], str]] = {
    SessionData: "context_json",
    SessionCursor: "context_json",
    TenantCtx: "attributes",
    InvocationDeadline: "the attributes of the TenantCtx",
    Impersonation: "the attributes of the TenantCtx",
    ReplyScope: "correlation",
}

_T = TypeVar("_T")


class Never(Enum):
    """The type of :data:`NEVER`."""

    NEVER = "never"


NEVER: Final = Never.NEVER
"""A time to live that never ends."""

TimeToLive: TypeAlias = "timedelta | float | Literal[Never.NEVER]"


# --- Arguments --------------------------------------------------------------------------------


def session_key(value: SessionKey | str) -> SessionKey:
    return value if type(value) is SessionKey else _text(SessionKey, "session_key", value)


def user_id(value: UserId | str) -> UserId:
    return value if type(value) is UserId else _text(UserId, "user_id", value)


def user_ids(value: UserId | str | Sequence[UserId | str]) -> tuple[UserId, ...]:
    """Return one user, or several in their order, each of them once (K7)."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return (user_id(value),)
    if len(value) == 1:
        return (user_id(value[0]),)  # the common case: Inbound.user_ids
    if not value:
        raise InvalidInputError(
            "user_id: give a user id or a sequence of at least one, not an empty one"
        )
    return tuple(dict.fromkeys(map(user_id, value)))


def flow(value: FlowId | str) -> FlowId:
    if type(value) is str:
        return _cached_flow(value)
    return value if type(value) is FlowId else _text(FlowId, "flow", value)


@lru_cache(_CACHED)
def _cached_flow(value: str) -> FlowId:
    """Check a flow id. Cached, because a bot has few flows and names one in each turn."""
    return _text(FlowId, "flow", value)


def flow_filter(value: FlowId | str | None) -> FlowId | None:
    return None if value is None else _text(FlowId, "flow_id", value)


def text_filter(argument: str, value: str | None) -> str | None:
    if not isinstance(value, (str, type(None))):
        raise _no_text(argument, value)
    return value


def user_change(
    value: tuple[UserId | str, UserId | str] | None,
) -> tuple[UserId, UserId] | None:
    """Return the old and the new id of a user (O6)."""
    if value is None:
        return None
    old, new = _old_and_new("user", value)
    return _text(UserId, "user", old), _text(UserId, "user", new)


def conversation_change(value: tuple[str, str] | None) -> tuple[str, str] | None:
    """Return the old and the new id of a conversation (O6)."""
    if value is None:
        return None
    old, new = _old_and_new("conversation", value)
    return _conversation(old), _conversation(new)


def check_any_change(*changes: object) -> None:
    if all(change is None for change in changes):
        raise InvalidInputError("user: give (old, new), or give conversation=(old, new), or both")


def _old_and_new(argument: str, pair: tuple[str, str]) -> tuple[str, str]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise _wrong_type(argument, "a pair of ids, (old, new)", pair)
    old, new = pair
    if old == new:
        raise InvalidInputError(f"{argument}: the old and the new id must differ")
    return old, new


def _conversation(value: str) -> str:
    if isinstance(value, ReplyScope):
        raise _wrong_type("conversation", "the text of an id", value, "pass its .conversation")
    try:
        return ReplyScope(conversation=value).conversation
    except ValidationError as error:
        rule = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise InvalidInputError(f"conversation: {rule}") from error


def time_filter(argument: str, value: datetime | None) -> datetime | None:
    """Return a time to compare deadlines with. It needs a time zone, as they have one."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        hint = "datetime.now(timezone.utc) + timedelta(...) makes one"
        raise _wrong_type(argument, "a datetime with a time zone", value, hint)
    if value.utcoffset() is None:
        raise InvalidInputError(
            f"{argument}: has no time zone; use datetime.now(timezone.utc) or .astimezone()"
        )
    return value


def page(value: int) -> int:
    if _whole_number("page", value) > _MAX_PAGE:
        raise InvalidInputError(f"page: must be at most {_MAX_PAGE} (O4)")
    return value


def cursor(node: str) -> SessionCursor:
    """Return the cursor of a flow that pauses at a node."""
    try:
        return _cached_cursor(node)
    except (TypeError, ValidationError) as error:  # TypeError: an unhashable value
        if not isinstance(node, str):
            raise _no_text("node", node) from error
        raise InvalidInputError("node: give valid Unicode text") from error


@lru_cache(_CACHED, typed=True)
def _cached_cursor(node: str) -> SessionCursor:
    """Build a cursor. Cached, because a bot has few nodes and building takes 20 times as long."""
    return SessionCursor(node_pointer=node)


def scope_hash(scope: ReplyScope, argument: str = "scope") -> str:
    if type(scope) is not ReplyScope:
        raise _wrong_scope(argument, _ONE_SCOPE, scope)
    try:
        return scope.digest
    except AttributeError:
        raise _bypassed_validation(argument) from None


def scope_hashes(scopes: ReplyScope | Sequence[ReplyScope]) -> tuple[str, ...]:
    """Return the hashes of one scope, or of a sequence of scopes in the same order."""
    if type(scopes) is ReplyScope:
        try:
            return (scopes.digest,)
        except AttributeError:
            raise _bypassed_validation("scope") from None
    if isinstance(scopes, tuple) and scopes:
        return tuple([scope_hash(one) for one in scopes])  # the common case: Inbound.scopes()
    if isinstance(scopes, Sequence) and not scopes:
        raise InvalidInputError(
            "scope: give a ReplyScope or a sequence of at least one, not an empty one"
        )
    if not isinstance(scopes, Sequence) or isinstance(scopes, (str, bytes)):
        raise _wrong_scope("scope", "a ReplyScope or a sequence of them", scopes)
    return tuple(map(scope_hash, scopes))


def etag(value: str) -> str:
    return _text(SessionKey, "if_match", value)


def limit(value: int) -> int:
    return _whole_number("limit", value)


def claim_limit(value: int) -> int:
    if _whole_number("limit", value) > _MAX_CLAIMS:
        raise InvalidInputError(f"limit: must be at most {_MAX_CLAIMS} (Q2)")
    return value


def poll(value: timedelta | float) -> float:
    """Return the seconds between two polls of the storage (Q5)."""
    return duration("poll", value) / 1000


def max_document_bytes(value: int) -> int:
    return _whole_number("max_document_bytes", value)


def _whole_number(argument: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_INTEGER:
        raise InvalidInputError(f"{argument}: give a whole number from 1 to 2**63 - 1")
    return value


def _text(kind: type[_T], argument: str, value: object) -> _T:
    if not isinstance(value, str):
        raise _no_text(argument, value)
    try:
        return kind(value)  # type: ignore[call-arg]  # every kind is built from one text
    except ValidationError as error:
        rule = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise InvalidInputError(f"{argument}: {rule}") from error


def _no_text(argument: str, value: object) -> InvalidInputError:
    return InvalidInputError(f"{argument}: {give_text(value)}")


def _wrong_model(argument: str, wanted: type[WireModel], value: object) -> InvalidInputError:
    if isinstance(value, wanted):
        return _subclass(argument, value)
    is_mapping = issubclass(type(value), Mapping)
    hint = f"build one with {wanted.__name__}(**...)" if is_mapping else ""
    return _wrong_type(argument, f"a {wanted.__name__}", value, hint)


def _wrong_scope(argument: str, wanted: str, value: object) -> InvalidInputError:
    if isinstance(value, ReplyScope):
        return _subclass(argument, value)
    hint = ""
    if isinstance(value, str):
        hint = "build one with ReplyScope(conversation=...)"
    elif hasattr(value, "scopes"):  # a message
        takes_many = wanted != _ONE_SCOPE
        hint = f"inbound.{'scopes() returns' if takes_many else 'scope is'} a message's scope"
        hint += "s" * takes_many
    return _wrong_type(argument, wanted, value, hint)


def _subclass(argument: str, value: WireModel) -> InvalidInputError:
    wanted = next(kind for kind in _OWN_FIELDS if isinstance(value, kind))
    return InvalidInputError(
        f"{argument}: give a {wanted.__name__}, not its subclass {type(value).__name__}, whose "
        f"own fields would be lost; put them into {_OWN_FIELDS[wanted]} (M7)"
    )


def _wrong_type(argument: str, wanted: str, value: object, hint: str = "") -> InvalidInputError:
    text = f"{argument}: give {wanted}, not a value of type {type(value).__name__}"
    return InvalidInputError(f"{text}; {hint}" if hint else text)


# --- Time -------------------------------------------------------------------------------------


def milliseconds(argument: str, ttl: TimeToLive | None) -> int | None:
    """Return a time to live in whole milliseconds, at least 1; None for no deadline (T1)."""
    if type(ttl) is int and 0 < ttl <= _MAX_SECONDS:
        return ttl * 1000  # the common case
    if ttl is None or ttl is NEVER:
        return None
    seconds = _seconds(argument, ttl, "a timedelta, seconds, or NEVER")
    return _in_bounds(argument, seconds, ", or NEVER")


def expired_ttl(argument: str, value: timedelta | float | None) -> int | None:
    """Return for how many milliseconds an expired wait is kept; None if it is not kept (Q1)."""
    if value is None:
        return None
    seconds = _seconds(argument, value, "a timedelta or seconds")
    return None if seconds == 0 else _in_bounds(argument, seconds, ", or 0")


def duration(argument: str, value: timedelta | float) -> int:
    """Return a duration that must end, in whole milliseconds, at least 1."""
    return _in_bounds(argument, _seconds(argument, value, "a timedelta or seconds"), "")


def _in_bounds(argument: str, seconds: float, otherwise: str) -> int:
    if 0 < seconds <= _MAX_SECONDS:
        return round(seconds * 1000) or 1
    if _MAX_SECONDS < seconds < math.inf:
        raise InvalidInputError(f"{argument}: must be at most 100 years{otherwise} (T1)")
    raise InvalidInputError(f"{argument}: must be positive and finite{otherwise} (T1)")


def begin_at(
    scope_hashes: tuple[str, ...], scope: ReplyScope | None
) -> tuple[tuple[str, ...], str | None]:
    """Return the hashes of all scopes to look up, and of the one where a flow may begin (N3)."""
    if scope is None:
        return scope_hashes, None
    begin = scope_hash(scope, "begin_at")
    return (scope_hashes if begin in scope_hashes else (*scope_hashes, begin)), begin


def deliveries(
    owners: Sequence[Owner],
    scope_hashes: Sequence[str],
    delivery_id: str | None,
    dedupe_ttl: timedelta | float,
) -> tuple[Delivery, ...]:
    """Return the delivery at each scope of each owner, or nothing without a delivery id (K6)."""
    remembered = duration("dedupe_ttl", dedupe_ttl)
    if delivery_id is None:
        return ()
    if not (isinstance(delivery_id, str) and SessionKey.accepts(delivery_id)):
        _text(SessionKey, "delivery_id", delivery_id)
    digests = [delivery_digest(one, delivery_id) for one in scope_hashes]
    return tuple([Delivery(owner, digest, remembered) for owner in owners for digest in digests])


def wait_timeout(wait: timedelta | float) -> float:
    """Return how many seconds a claim waits for its turn (K1)."""
    seconds = _seconds("wait", wait, "a timedelta or seconds")
    if not 0 <= seconds <= _MAX_SECONDS:
        raise InvalidInputError("wait: must be from 0 seconds to 100 years (K1)")
    return seconds


def _seconds(argument: str, value: timedelta | float, wanted: str) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise _wrong_type(argument, wanted, value, _seconds_hint(value))
    return seconds


def _seconds_hint(value: object) -> str:
    if isinstance(value, datetime):
        return "subtract datetime.now(timezone.utc) from a deadline"
    return "convert a text with float(...)" if isinstance(value, str) else ""


def deadline_change(ttl: TimeToLive) -> int | None:
    """Return a new deadline like :func:`milliseconds`, but refuse None: it has no default (T3)."""
    if ttl is None:
        raise InvalidInputError("ttl: give a timedelta, seconds, or NEVER")
    return milliseconds("ttl", ttl)


def only_wait(records: Sequence[SessionRecord]) -> tuple[SessionKey, SessionData] | None:
    """Return the key and data of a user's only wait, or None. Refuse several (W9)."""
    if len(records) > 1:
        raise InvalidInputError("user_id: has multiple waits; look one up by its scope (W9)")
    return (records[0].key, records[0].data) if records else None


# --- Owners -----------------------------------------------------------------------------------


def owner_of(ctx: TenantCtx) -> Owner:
    """Return the owner that a context names."""
    if type(ctx) is not TenantCtx:
        raise _wrong_model("ctx", TenantCtx, ctx)
    try:
        owner = ctx.owner
    except AttributeError:
        raise _bypassed_validation("ctx") from None
    if owner.team is not None and owner.team == _NO_TEAM_MARK:
        raise _team_mark("ctx")
    return owner


def owner_of_data(data: SessionData) -> Owner:
    """Return the owner of the session that has this data."""
    if type(data) is not SessionData:
        raise _wrong_model("data", SessionData, data)
    try:
        owner = data.owner
    except AttributeError:
        raise _bypassed_validation("data") from None
    # Only data is stored, so only here could the fields of a subclass be lost.
    if data.foreign_part is not None:
        raise _subclass(f"data.{data.foreign_part}", attrgetter(data.foreign_part)(data))
    if owner.team is not None and owner.team == _NO_TEAM_MARK:
        raise _team_mark("data.tenant_ctx")
    return owner


def viewer(ctx: TenantCtx | None) -> Owner | None:
    """Return the owner whose sessions the caller sees, or None for the host, which sees all."""
    return None if ctx is None else owner_of(ctx)


def check_new_session(ctx: TenantCtx, data: SessionData) -> Owner:
    """Return the owner of a new session, if the caller may create it (F1)."""
    calling, owner = owner_of(ctx), owner_of_data(data)
    if owner == calling:
        return owner
    if calling[:3] != owner[:3]:
        raise _mismatch("ctx must have the env, tenant and team of the data (F1)", calling)
    if owner.user is not None:
        raise _mismatch("ctx must have the user of the data (F1)", calling)
    return owner


def check_new_wait(ctx: TenantCtx, user_id: UserId | str, data: SessionData) -> Owner:
    """Return the owner of a new wait, if the caller may register it (F1, F3)."""
    user = user_id if type(user_id) is UserId else _text(UserId, "user_id", user_id)
    calling, owner = owner_of(ctx), owner_of_data(data)
    if owner == calling and owner.user == user:
        return owner  # the common case
    check_new_session(ctx, data)
    if owner.user is None:
        raise _mismatch("the data of a wait must have a user (F3)", owner)
    raise _mismatch("user_id must be the user of the data (F3)", owner)


def check_following_wait(claimant: Owner, data: SessionData) -> Owner:
    """Return the owner of the wait that follows a claim, if it is the claim's owner (N1)."""
    owner = owner_of_data(data)
    if owner == claimant:
        return owner
    raise _mismatch("the next wait must belong to the user whose wait was claimed (N1)", owner)


def owner_for_read(ctx: TenantCtx, user_id: UserId | str) -> Owner | None:
    """Return the owner whose waits the caller may read; None if it must find nothing (F4)."""
    user = user_id if type(user_id) is UserId else _text(UserId, "user_id", user_id)
    calling = owner_of(ctx)
    if calling.user == user:
        return calling
    if calling.user is not None:
        return None
    return Owner(calling.env, calling.tenant, calling.team, user)


def with_and_without_team(owner: Owner) -> tuple[Owner, ...]:
    """Return the owner, and if it has a team, also the same owner without one.

    A caller may read both.
    """
    return (owner,) if owner.team is None else (owner, owner._replace(team=None))


def owner_for_write(ctx: TenantCtx, user_id: UserId | str) -> Owner:
    """Return the owner whose waits the caller may change (F4)."""
    owner = owner_for_read(ctx, user_id)
    if owner is not None:
        return owner
    raise _other_user(ctx)


def owners_for_read(
    ctx: TenantCtx, users: UserId | str | Sequence[UserId | str]
) -> tuple[Owner, ...]:
    """Return the owners whose waits the caller may read, in the order of the users (F4)."""
    owners = [owner_for_read(ctx, user) for user in user_ids(users)]
    return tuple([owner for owner in owners if owner is not None])


def owners_for_write(
    ctx: TenantCtx, users: UserId | str | Sequence[UserId | str]
) -> tuple[Owner, ...]:
    """Return the owners whose waits the caller may change; there is one at least (F4)."""
    if isinstance(users, str):
        return (owner_for_write(ctx, users),)
    owners = owners_for_read(ctx, users)
    if owners:
        return owners
    raise _other_user(ctx)


def _other_user(ctx: TenantCtx) -> TenantMismatchError:
    rule = "ctx has another user than user_id; give that user's ctx, or one without a user (F4)"
    return _mismatch(rule, owner_of(ctx))


def check_operator(ctx: TenantCtx) -> Owner:
    """Return the owner that an operator's context names. Refuse one with a user (O1)."""
    calling = owner_of(ctx)
    if calling.user is None:
        return calling
    raise _mismatch("ctx has a user; operators pass one without a user (O1)", calling)


def check_tenant_operator(ctx: TenantCtx) -> Owner:
    """Return the owner that an operator's context names for a whole tenant. Refuse a team (O1)."""
    calling = check_operator(ctx)
    if calling.team is None:
        return calling
    rule = "ctx has a team, but this acts in all teams; pass one without a team (O1)"
    raise _mismatch(rule, calling)


def owner_for_operator(ctx: TenantCtx, user_id: UserId | str) -> Owner:
    """Return the owner whose waits an operator acts on, in the team of the context (O1)."""
    check_operator(ctx)
    return owner_for_write(ctx, user_id)


def operators_fence(ctx: TenantCtx) -> Fence:
    """Return whose sessions an operator acts on: a tenant's, or those of one of its teams (O1)."""
    calling = check_operator(ctx)
    return Fence(calling.env, calling.tenant, calling.team)


def fence(ctx: TenantCtx | None) -> Fence | None:
    """Return whose sessions an operator may list; None, for the host itself, lists all (O1)."""
    return None if ctx is None else operators_fence(ctx)


def refusal(outcome: Outcome, key: str, data: SessionData | None = None) -> SessionStoreError:
    """Return the error for a write that was not carried out."""
    if outcome is Outcome.UNREADABLE:
        return CorruptSessionError(key, "its fields cannot be determined")
    if outcome is Outcome.FOREIGN and data is not None:
        return _owner_change(data)
    if outcome is Outcome.CHANGED:
        return ConflictError("the session was changed since it was read; read it and try again")
    return SessionNotFoundError(key)


def _owner_change(data: SessionData) -> TenantMismatchError:
    """Return the error for a write that would change a stored session's owner (F2, F8)."""
    return _mismatch(
        "a session of another owner is stored under this key (F2)", owner_of_data(data)
    )


def _team_mark(argument: str) -> InvalidInputError:
    rule = "the team '-' is the mark for no team; leave team_id out (F6)"
    return InvalidInputError(f"{argument}: {rule}")


def _bypassed_validation(argument: str) -> InvalidInputError:
    return InvalidInputError(
        f"{argument}: was built bypassing validation; use its constructor (M7)"
    )


def _mismatch(rule: str, owner: Owner) -> TenantMismatchError:
    user = "missing" if owner.user is None else "present"
    return TenantMismatchError(
        f"{rule}; called with env={owner.env}, tenant={owner.tenant}, "
        f"team={owner.team or _NO_TEAM_MARK}, user {user}"
    )
