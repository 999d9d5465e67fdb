"""Every rule about tenants, arguments and time: pure functions, no I/O.

The letters and numbers in parentheses are the ids of the guarantees in the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import Final, Literal, TypeAlias, TypeVar

from pydantic import ValidationError

from async_session_store.errors import InvalidInputError, TenantMismatchError
from async_session_store.models import (
    Owner,
    ReplyScope,
    SessionData,
    SessionKey,
    TenantCtx,
    UserId,
)

_MAX_SECONDS: Final = 36_525 * 86_400  # 100 years with their leap days
_NO_TEAM_MARK: Final = "-"

_T = TypeVar("_T")


class Never(Enum):
    """The type of :data:`NEVER`."""

    NEVER = "never"


NEVER: Final = Never.NEVER
"""A time to live without end."""

TimeToLive: TypeAlias = "timedelta | float | Literal[Never.NEVER]"


# --- Arguments --------------------------------------------------------------------------------


def session_key(value: SessionKey | str) -> SessionKey:
    return value if type(value) is SessionKey else _text(SessionKey, "session_key", value)


def user_id(value: UserId | str) -> UserId:
    return value if type(value) is UserId else _text(UserId, "user_id", value)


def scope_hash(scope: ReplyScope) -> str:
    if not isinstance(scope, ReplyScope):
        raise _wrong_type("scope", "a ReplyScope", scope)
    return scope.scope_hash()


def scope_hashes(scopes: ReplyScope | Sequence[ReplyScope]) -> tuple[str, ...]:
    """The hashes of one scope or of a sequence of them, most specific first."""
    if isinstance(scopes, ReplyScope):
        return (scopes.scope_hash(),)
    if not isinstance(scopes, Sequence) or isinstance(scopes, (str, bytes)) or not scopes:
        raise InvalidInputError("scope: give a ReplyScope, or a sequence of at least one")
    return tuple(map(scope_hash, scopes))


def limit(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError("limit: give a whole number of at least 1")
    return value


def max_document_bytes(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError("max_document_bytes: give a whole number of at least 1")
    return value


def _text(kind: type[_T], argument: str, value: object) -> _T:
    try:
        return kind(value)  # type: ignore[call-arg]  # both kinds are built from one text
    except ValidationError as error:
        rule = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise InvalidInputError(f"{argument}: {rule}") from error


def _wrong_type(argument: str, wanted: str, value: object) -> InvalidInputError:
    given = type(value).__name__
    return InvalidInputError(f"{argument}: give {wanted}, not a value of type {given}")


# --- Time -------------------------------------------------------------------------------------


def time_to_live(ttl: TimeToLive | None, default: TimeToLive | None) -> int | None:
    """Whole milliseconds, at least one, or None for no deadline (T1, T2)."""
    return milliseconds("ttl", default if ttl is None else ttl)


def deadline_change(ttl: TimeToLive) -> int | None:
    """Like :func:`time_to_live` where no default makes sense (T3)."""
    if ttl is None:
        raise InvalidInputError("ttl: give a timedelta, seconds, or NEVER")
    return milliseconds("ttl", ttl)


def milliseconds(argument: str, ttl: TimeToLive | None) -> int | None:
    if ttl is None or ttl is NEVER:
        return None
    seconds = _seconds(argument, ttl)
    if not 0 < seconds < math.inf:
        raise InvalidInputError(f"{argument}: must be positive and finite, or NEVER (T1)")
    if seconds > _MAX_SECONDS:
        raise InvalidInputError(f"{argument}: must be at most 100 years, or NEVER (T1)")
    return max(1, round(seconds * 1000))


def _seconds(argument: str, ttl: object) -> float:
    if isinstance(ttl, timedelta):
        return ttl.total_seconds()
    if isinstance(ttl, (int, float)) and not isinstance(ttl, bool):
        return ttl
    raise _wrong_type(argument, "a timedelta, seconds, or NEVER", ttl)


# --- Owners -----------------------------------------------------------------------------------


def caller(ctx: TenantCtx) -> Owner:
    """The owner that the caller's context names."""
    if not isinstance(ctx, TenantCtx):
        raise _wrong_type("ctx", "a TenantCtx", ctx)
    return _owner("ctx", ctx)


def viewer(ctx: TenantCtx | None) -> Owner | None:
    """The owner that an optional ``ctx=`` names (F5)."""
    return None if ctx is None else caller(ctx)


def data_owner(data: SessionData) -> Owner:
    """The owner that a session has once ``data`` is stored."""
    if not isinstance(data, SessionData):
        raise _wrong_type("data", "a SessionData", data)
    if not data.is_validated:
        raise InvalidInputError("data: was built around validation; use its constructor (M7)")
    return _owner("data.tenant_ctx", data.tenant_ctx)


def new_session(ctx: TenantCtx, data: SessionData) -> Owner:
    """The owner of a session that the caller may create (F1)."""
    calling, owner = caller(ctx), data_owner(data)
    if calling[:3] != owner[:3]:
        raise _mismatch("ctx must have the env, tenant and team of the data (F1)", calling)
    if owner.user is not None and calling.user != owner.user:
        raise _mismatch("ctx must have the user of the data (F1)", calling)
    return owner


def new_wait(ctx: TenantCtx, user: UserId, data: SessionData) -> Owner:
    """The owner of a wait that the caller may register (F1, F3)."""
    owner = new_session(ctx, data)
    if owner.user is None:
        raise _mismatch("the data of a wait must have a user (F3)", owner)
    if owner.user != user:
        raise _mismatch("user_id must be the user of the data (F3)", owner)
    return owner


def readable(ctx: TenantCtx, user: UserId) -> Owner | None:
    """The owner whose waits the caller may read, or None if it would find nothing (F4)."""
    calling = caller(ctx)
    if calling.user is None:
        return Owner(calling.env, calling.tenant, calling.team, user)
    return calling if calling.user == user else None


def writable(ctx: TenantCtx, user: UserId) -> Owner:
    """The owner whose waits the caller may change (F4)."""
    owner = readable(ctx, user)
    if owner is None:
        raise _mismatch("user_id must be the user of ctx, or ctx must have none (F4)", caller(ctx))
    return owner


def owner_change(owner: Owner) -> TenantMismatchError:
    """The refusal of a write that would change a stored session's owner (F2, F8)."""
    return _mismatch("a session of another owner is stored under this key (F2)", owner)


def _owner(argument: str, ctx: TenantCtx) -> Owner:
    try:
        owner = ctx.owner
    except ValidationError as error:
        raise InvalidInputError(f"{argument}: holds an id that is not valid (M7)") from error
    if owner.team == _NO_TEAM_MARK:
        raise InvalidInputError(
            f"{argument}: the team '-' is the mark for no team; leave team_id out (F6)"
        )
    return owner


def _mismatch(rule: str, owner: Owner) -> TenantMismatchError:
    user = "missing" if owner.user is None else "present"
    return TenantMismatchError(
        f"{rule}; called with env={owner.env}, tenant={owner.tenant}, "
        f"team={owner.team or _NO_TEAM_MARK}, user {user}"
    )
