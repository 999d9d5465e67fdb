"""The wire types: what a session holds and who owns it.

Their JSON is what the Rust crates ``greentic-types`` and ``greentic-session`` write with serde:
an absent optional field is left out, unknown fields are kept. All models are immutable, and all
are validated at construction; constructors raise pydantic's ``ValidationError``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import Self, override

from async_session_store._wire import (
    Text,
    TextMapping,
    ValidatedText,
    WireModel,
    optional,
    optional_mapping,
)

__all__ = [
    "EnvId",
    "FlowId",
    "Impersonation",
    "InvocationDeadline",
    "Owner",
    "PackId",
    "ReplyScope",
    "SessionCursor",
    "SessionData",
    "SessionKey",
    "SessionRecord",
    "TeamId",
    "TenantCtx",
    "TenantId",
    "UserId",
]

MAX_KEY_BYTES: Final = 1024

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._-]+")
_DIGEST_FORM: Final = re.compile(r"sha256-[0-9a-f]{64}")
_I128: Final = 2**127
_REMEMBERED_IDS: Final = 1024  # of each kind


class _Identifier(ValidatedText):
    __slots__ = ()
    rule: ClassVar[str] = "must not be empty, and only hold ASCII letters, digits, '.', '_' and '-'"

    @classmethod
    @override
    def accepts(cls, value: str) -> bool:
        return _IDENTIFIER.fullmatch(value) is not None

    @classmethod
    @override
    def _validator(cls) -> Callable[[str], Self]:
        # The same few ids are in most documents; checking them was half the cost of reading one.
        return lru_cache(_REMEMBERED_IDS)(cls._from_text)


class EnvId(_Identifier):
    """An environment, such as ``prod``. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class TenantId(_Identifier):
    """A tenant. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class TeamId(_Identifier):
    """A team of a tenant. ASCII letters, digits, ``.``, ``_`` and ``-``.

    The store refuses the team ``-``: on the wire it is the mark for "no team".
    """

    __slots__ = ()


class _Encode:
    """``UserId.encode(raw)`` makes a user id; on a user id, ``encode`` is still ``str.encode``."""

    def __get__(self, instance: UserId | None, owner: type[UserId]) -> Callable[..., object]:
        return owner.from_platform_id if instance is None else partial(str.encode, instance)


class UserId(_Identifier):
    """A user of a tenant. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()

    if TYPE_CHECKING:

        @classmethod
        def encode(cls, raw: str) -> Self:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # on an instance it is still str's
            """Make a user id from any platform id: :meth:`from_platform_id`."""
            ...
    else:
        encode = _Encode()

    @classmethod
    def from_platform_id(cls, raw: str) -> Self:
        """Make a user id from any platform id, such as Teams' ``29:1abc``.

        A valid id that does not look like a digest form is returned as it is; any other becomes
        ``sha256-`` and the SHA-256 of its UTF-8 in hex. Two raw ids give one user id only if
        SHA-256 collides. Encode once, at the edge: encoding the result of an encoding gives a
        third id.
        """
        if cls.accepts(raw) and not _DIGEST_FORM.fullmatch(raw):
            return cls(raw)
        digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(f"sha256-{digest}")


class FlowId(_Identifier):
    """A flow. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class PackId(_Identifier):
    """A pack of flows. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class SessionKey(ValidatedText):
    """The key of a session: any non-empty text of at most 1024 bytes in UTF-8."""

    __slots__ = ()
    rule: ClassVar[str] = f"must not be empty, and at most {MAX_KEY_BYTES} bytes of UTF-8"

    @classmethod
    @override
    def accepts(cls, value: str) -> bool:
        try:
            return 0 < len(value.encode()) <= MAX_KEY_BYTES
        except UnicodeEncodeError:
            return False


class Owner(NamedTuple):
    """Who a session belongs to: the effective ids of its stored tenant context."""

    env: EnvId
    tenant: TenantId
    team: TeamId | None
    user: UserId | None

    def sees(self, other: Owner) -> bool:
        """Whether a session of ``other`` exists for this owner.

        Environment, tenant and team are the same, and so is the user where both have one.
        """
        return self[:3] == other[:3] and (
            self.user is None or other.user is None or self.user == other.user
        )


def _no_newline(value: str) -> str:
    if "\n" in value:
        raise PydanticCustomError("newline", "must not contain a newline")
    return value


_ScopeText = Annotated[Text, AfterValidator(_no_newline)]


class Impersonation(WireModel, frozen=True):
    """Who acts in another user's name, and why."""

    actor_id: UserId
    reason: Text | None = optional()

    if TYPE_CHECKING:

        def __init__(self, *, actor_id: UserId | str, reason: str | None = None) -> None: ...


class InvocationDeadline(WireModel, frozen=True):
    """When an invocation should be finished: milliseconds since the Unix epoch (an i128)."""

    unix_millis: int = Field(strict=True, ge=-_I128, lt=_I128)

    if TYPE_CHECKING:

        def __init__(self, *, unix_millis: int) -> None: ...


def _filled_by_twin() -> Any:
    """A field that is never None once the model is built."""
    return Field(default=None)


class TenantCtx(WireModel, frozen=True):
    """Whose call this is: environment, tenant, and maybe team and user.

    ``tenant``/``tenant_id``, ``team``/``team_id`` and ``user``/``user_id`` are twins: give one
    and the other is filled in; twins that differ are refused. A document read from storage that
    has only one of a pair keeps it that way and has the same effective value.
    """

    env: EnvId
    tenant: TenantId = _filled_by_twin()
    tenant_id: TenantId = _filled_by_twin()
    team: TeamId | None = optional()
    team_id: TeamId | None = optional()
    user: UserId | None = optional()
    user_id: UserId | None = optional()
    session_id: Text | None = optional()
    flow_id: Text | None = optional()
    node_id: Text | None = optional()
    provider_id: Text | None = optional()
    trace_id: Text | None = optional()
    i18n_id: Text | None = optional()
    correlation_id: Text | None = optional()
    attributes: TextMapping = optional_mapping()
    deadline: InvocationDeadline | None = optional()
    attempt: int = Field(default=0, strict=True, ge=0, lt=2**32)
    idempotency_key: Text | None = optional()
    impersonation: Impersonation | None = optional()

    if TYPE_CHECKING:
        owner: ClassVar[Owner]
        """The ids that decide who may touch a session of this context. Set by validation alone."""

        def __init__(
            self,
            *,
            env: EnvId | str,
            tenant: TenantId | str = ...,
            tenant_id: TenantId | str = ...,
            team: TeamId | str | None = None,
            team_id: TeamId | str | None = None,
            user: UserId | str | None = None,
            user_id: UserId | str | None = None,
            session_id: str | None = None,
            flow_id: str | None = None,
            node_id: str | None = None,
            provider_id: str | None = None,
            trace_id: str | None = None,
            i18n_id: str | None = None,
            correlation_id: str | None = None,
            attributes: Mapping[str, str] = ...,
            deadline: InvocationDeadline | None = None,
            attempt: int = 0,
            idempotency_key: str | None = None,
            impersonation: Impersonation | None = None,
        ) -> None: ...

    @override
    def _finish(self, *, from_python: bool) -> None:
        super()._finish(from_python=from_python)
        values = vars(self)
        for name, twin in _TWINS:
            one, other = values[name], values[twin]
            if one is None or other is None:
                # Storage may hold one of an optional pair, and gets back what it held.
                if from_python or name == "tenant":
                    values[name] = values[twin] = other if one is None else one
            elif one != other:
                raise PydanticCustomError(
                    "twins_differ",
                    "{name} and {twin} must be the same; give one of them",
                    {"name": name, "twin": twin},
                )
        if values["tenant"] is None:
            raise PydanticCustomError("missing", "needs tenant_id (or tenant)")
        team, user = self.team_id or self.team, self.user_id or self.user
        values["owner"] = Owner(self.env, self.tenant_id, team, user)
        self._find_foreign_part(deadline=InvocationDeadline, impersonation=Impersonation)

    @override
    def _kept_fields(self, update: Mapping[str, object]) -> dict[str, object]:
        changed = {name for pair in _TWINS if not update.keys().isdisjoint(pair) for name in pair}
        kept = super()._kept_fields(update)
        return {name: value for name, value in kept.items() if name not in changed}


_TWINS: Final = (("tenant", "tenant_id"), ("team", "team_id"), ("user", "user_id"))


class SessionCursor(WireModel, frozen=True):
    """Where in the flow execution paused."""

    node_pointer: Text
    wait_reason: Text | None = optional()
    outbox_marker: Text | None = optional()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            node_pointer: str,
            wait_reason: str | None = None,
            outbox_marker: str | None = None,
        ) -> None: ...


class SessionData(WireModel, frozen=True):
    """A paused flow: whose it is, which flow, where it paused, and its state.

    ``context_json`` is text that the store never looks into.
    """

    tenant_ctx: TenantCtx
    flow_id: FlowId
    pack_id: PackId | None = optional()
    cursor: SessionCursor
    context_json: Text

    if TYPE_CHECKING:
        owner: ClassVar[Owner]
        """The owner that ``tenant_ctx`` names. Set by validation alone."""

        def __init__(
            self,
            *,
            tenant_ctx: TenantCtx,
            flow_id: FlowId | str,
            pack_id: PackId | str | None = None,
            cursor: SessionCursor,
            context_json: str,
        ) -> None: ...

    @override
    def _finish(self, *, from_python: bool) -> None:
        super()._finish(from_python=from_python)
        vars(self)["owner"] = self.tenant_ctx.owner
        self._find_foreign_part(tenant_ctx=TenantCtx, cursor=SessionCursor)


class ReplyScope(WireModel, frozen=True):
    """Where a reply is expected: a conversation, and maybe a thread, a message, a correlation.

    No field may contain a newline: the hash joins them with newlines.
    """

    conversation: _ScopeText
    thread: _ScopeText | None = optional()
    reply_to: _ScopeText | None = optional()
    correlation: _ScopeText | None = optional()

    if TYPE_CHECKING:
        digest: ClassVar[str]
        """What :meth:`scope_hash` returns. Set by validation alone."""

        def __init__(
            self,
            *,
            conversation: str,
            thread: str | None = None,
            reply_to: str | None = None,
            correlation: str | None = None,
        ) -> None: ...

    def scope_hash(self) -> str:
        """Lower-case hex SHA-256 of the four fields joined by newlines, None as empty text.

        The same as ``ReplyScope::scope_hash`` of the Rust crate ``greentic-types``.
        """
        return self.digest

    @override
    def _finish(self, *, from_python: bool) -> None:
        super()._finish(from_python=from_python)
        parts = (self.conversation, self.thread, self.reply_to, self.correlation)
        text = "\n".join(part or "" for part in parts)
        vars(self)["digest"] = hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A stored session.

    ``etag`` is opaque text that differs whenever the stored document differs. ``expires_at`` is
    an aware datetime in UTC, or None if the session never expires. ``scope`` is where the session
    waits: None if it waits nowhere, or was registered by an older version or a Rust process.
    """

    key: SessionKey
    data: SessionData
    etag: str
    expires_at: datetime | None
    scope: ReplyScope | None = None
