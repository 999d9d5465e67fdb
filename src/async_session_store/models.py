"""The wire types: the content of a session, and its owner.

Their JSON is the same that the Rust crates ``greentic-types`` and ``greentic-session`` write: an
absent optional field is left out, unknown fields are kept. All models are immutable, and all are
validated at construction; constructors raise pydantic's ``ValidationError``.
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
    ErrorText,
    Hidden,
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
    rule: ClassVar[str] = "must be one or more ASCII letters, digits, '.', '_' or '-'"

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
    """An environment, such as ``prod``. Only ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class TenantId(_Identifier):
    """A tenant. Only ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class TeamId(_Identifier):
    """A team of a tenant. Only ASCII letters, digits, ``.``, ``_`` and ``-``.

    The store refuses the team ``-``: in the Redis layout it is the mark for "no team" (F6).
    """

    __slots__ = ()


class _Encode:
    """``UserId.encode(raw)`` makes a user id; on a user id, ``encode`` is still ``str.encode``."""

    def __get__(self, instance: UserId | None, owner: type[UserId]) -> Callable[..., object]:
        return owner.from_platform_id if instance is None else partial(str.encode, instance)


class UserId(_Identifier):
    """A user of a tenant. Only ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()
    rule: ClassVar[str] = f"{_Identifier.rule}; UserId.encode turns any text into a user id"

    if TYPE_CHECKING:

        @classmethod
        def encode(cls, raw: str) -> Self:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # on an instance it is still str's
            """Make a user id from any platform id, as :meth:`from_platform_id` does."""
            ...
    else:
        encode = _Encode()

    @classmethod
    def from_platform_id(cls, raw: str) -> Self:
        """Make a user id from any platform id, such as Teams' ``29:1abc`` (M6).

        A valid id stays as it is, unless it looks like a digest form. Anything else becomes
        ``sha256-`` and the SHA-256 of its UTF-8 in hex. Two raw ids give one user id only if
        SHA-256 collides. Encode once, where the message comes in: encoding an encoded id gives
        another one.
        """
        if cls.accepts(raw) and not _DIGEST_FORM.fullmatch(raw):
            return cls(raw)
        digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(f"sha256-{digest}")


class FlowId(_Identifier):
    """A flow. Only ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class PackId(_Identifier):
    """A pack of flows. Only ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class SessionKey(ValidatedText):
    """The key of a session: any text of 1 to 1024 bytes in UTF-8."""

    __slots__ = ()
    rule: ClassVar[str] = f"must not be empty, nor exceed {MAX_KEY_BYTES} bytes in UTF-8"

    @classmethod
    @override
    def accepts(cls, value: str) -> bool:
        try:
            return 0 < len(value.encode()) <= MAX_KEY_BYTES
        except UnicodeEncodeError:
            return False


class Owner(NamedTuple):
    """The owner of a session: the effective ids of its stored tenant context."""

    env: EnvId
    """The environment."""
    tenant: TenantId
    """The tenant."""
    team: TeamId | None
    """The team, or None for no team."""
    user: UserId | None
    """The user, or None for no user."""

    @override
    def __repr__(self) -> str:
        user = None if self.user is None else Hidden(self.user)
        return f"Owner(env={self.env!r}, tenant={self.tenant!r}, team={self.team!r}, user={user})"

    def sees(self, other: Owner) -> bool:
        """Return whether a session of ``other`` exists for this owner (F5).

        Environment, tenant and team must be the same, and so must the user where both have one.
        """
        return self[:3] == other[:3] and (
            self.user is None or other.user is None or self.user == other.user
        )


def _no_newline(value: str) -> str:
    if "\n" in value:
        raise PydanticCustomError("newline", "must not contain a newline")
    return value


_ScopeText = Annotated[
    Text,
    ErrorText("give valid Unicode text; convert a number with str(...)"),
    AfterValidator(_no_newline),
]
_Context = Annotated[Text, ErrorText("give valid Unicode text; encode a dict with json.dumps(...)")]


class Impersonation(WireModel, frozen=True):
    """Who acts in another user's name, and why. The store keeps it, but does not use it."""

    actor_id: UserId
    """The user who acts."""
    reason: Text | None = optional()
    """Why they act in the other user's name."""

    if TYPE_CHECKING:

        def __init__(self, *, actor_id: UserId | str, reason: str | None = None) -> None: ...


class InvocationDeadline(WireModel, frozen=True):
    """When an invocation should be finished. It is not a time to live: no session expires by it."""

    _shown: ClassVar[frozenset[str]] = frozenset({"unix_millis"})

    unix_millis: int = Field(strict=True, ge=-_I128, lt=_I128)
    """Milliseconds since the Unix epoch, as a signed integer of 128 bits."""

    if TYPE_CHECKING:

        def __init__(self, *, unix_millis: int) -> None: ...


def _filled_by_twin() -> Any:
    """Declare a field that is never None once the model is built."""
    return Field(default=None)


class TenantCtx(WireModel, frozen=True):
    """The tenant context of a call: environment, tenant and, optionally, team and user.

    These four make up the owner of a session. The other fields describe the call that stored it:
    the store keeps them and does not use them.

    ``tenant`` and ``tenant_id`` are twins; so are ``team`` and ``team_id``, ``user`` and
    ``user_id``. Give one, and the other is filled in. Twins that differ are refused. A stored
    document that has only one of a pair is written back with that one, and has the same effective
    value (M2).
    """

    _shown: ClassVar[frozenset[str]] = frozenset(
        {"env", "tenant", "tenant_id", "team", "team_id", "flow_id", "attempt"}
    )

    env: EnvId
    """The environment, such as ``prod``. Part of the owner."""
    tenant: TenantId = _filled_by_twin()
    """Twin of :attr:`tenant_id`."""
    tenant_id: TenantId = _filled_by_twin()
    """The tenant, whose bot this is. Required, under either name. Part of the owner."""
    team: TeamId | None = optional()
    """Twin of :attr:`team_id`."""
    team_id: TeamId | None = optional()
    """The team of the tenant, if sessions are kept apart by team. Part of the owner."""
    user: UserId | None = optional()
    """Twin of :attr:`user_id`."""
    user_id: UserId | None = optional()
    """The user, or None for a call that acts for any user of the tenant. Part of the owner."""
    session_id: Text | None = optional()
    """The conversation's name in the program that made the call."""
    flow_id: Text | None = optional()
    """The flow that made the call. The flow of a session is :attr:`SessionData.flow_id`."""
    node_id: Text | None = optional()
    """The node of that flow."""
    provider_id: Text | None = optional()
    """The messaging provider that the call came through."""
    trace_id: Text | None = optional()
    """The trace that the call belongs to, for distributed tracing."""
    i18n_id: Text | None = optional()
    """The language to answer in."""
    correlation_id: Text | None = optional()
    """Links related calls, such as a request and its reply."""
    attributes: TextMapping = optional_mapping()
    """Text by name, for whatever else the program wants to keep. Empty by default."""
    deadline: InvocationDeadline | None = optional()
    """When the call should be finished."""
    attempt: int = Field(default=0, strict=True, ge=0, lt=2**32)
    """How often the call was tried before, from 0 to 2**32 - 1."""
    idempotency_key: Text | None = optional()
    """The same for each attempt of one call."""
    impersonation: Impersonation | None = optional()
    """Who acts in the user's name, if it is not the user."""

    if TYPE_CHECKING:
        owner: ClassVar[Owner]
        """The effective ids, which decide who may touch a session. Only validation sets it."""

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
                # A stored document may hold one of an optional pair, and is written back like that.
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

    @override
    def _kept_fields(self, update: Mapping[str, object]) -> dict[str, object]:
        changed = {name for pair in _TWINS if not update.keys().isdisjoint(pair) for name in pair}
        kept = super()._kept_fields(update)
        return {name: value for name, value in kept.items() if name not in changed}


_TWINS: Final = (("tenant", "tenant_id"), ("team", "team_id"), ("user", "user_id"))


class SessionCursor(WireModel, frozen=True):
    """The place where a flow paused."""

    _shown: ClassVar[frozenset[str]] = frozenset({"node_pointer"})

    node_pointer: Text
    """The node that gets the reply. In a turn, the question that was passed to ``ask``."""
    wait_reason: Text | None = optional()
    """Why the flow waits. The store keeps it, but does not use it."""
    outbox_marker: Text | None = optional()
    """How far the flow's outgoing messages were sent. The store keeps it, but does not use it."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            node_pointer: str,
            wait_reason: str | None = None,
            outbox_marker: str | None = None,
        ) -> None: ...


class SessionData(WireModel, frozen=True):
    """A paused flow: its owner, its id, the place where it paused, and its state."""

    _shown: ClassVar[frozenset[str]] = frozenset({"flow_id", "pack_id"})

    tenant_ctx: TenantCtx
    """The tenant context. Its owner is the owner of the session."""
    flow_id: FlowId
    """The flow."""
    pack_id: PackId | None = optional()
    """The pack that the flow comes from, in a Greentic runner."""
    cursor: SessionCursor
    """Where the flow paused."""
    context_json: _Context
    """The flow's own state. The store never looks into it, so it may be any text."""

    if TYPE_CHECKING:
        owner: ClassVar[Owner]
        """The owner that ``tenant_ctx`` names. Only validation sets it."""
        foreign_part: ClassVar[str | None]
        """Path of the first part whose type is a subclass, or None. The store refuses such data.

        Only validation sets it.
        """

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
        values = vars(self)
        values["owner"] = self.tenant_ctx.owner
        # Each write asks for it, so it is found here, once.
        values["foreign_part"] = _foreign_part(self)


def _foreign_part(data: SessionData) -> str | None:
    """Return the path of the first part that is not exactly of its declared type (M7)."""
    ctx = data.tenant_ctx
    if type(ctx) is not TenantCtx:
        return "tenant_ctx"
    if ctx.deadline is not None and type(ctx.deadline) is not InvocationDeadline:
        return "tenant_ctx.deadline"
    if ctx.impersonation is not None and type(ctx.impersonation) is not Impersonation:
        return "tenant_ctx.impersonation"
    return None if type(data.cursor) is SessionCursor else "cursor"


class ReplyScope(WireModel, frozen=True):
    """The place where a reply is expected: a conversation, maybe a thread, message or correlation.

    No field may contain a newline: the hash joins them with newlines. None and empty text are the
    same place, and each is written back as it was given (M4).
    """

    conversation: _ScopeText
    """The conversation, by a name that no other conversation has."""
    thread: _ScopeText | None = optional()
    """The thread within the conversation."""
    reply_to: _ScopeText | None = optional()
    """The message that the reply has to answer."""
    correlation: _ScopeText | None = optional()
    """The id of a button, form or request that the reply has to carry."""

    if TYPE_CHECKING:
        digest: ClassVar[str]
        """The return value of :meth:`scope_hash`. Only validation sets it."""

        def __init__(
            self,
            *,
            conversation: str,
            thread: str | None = None,
            reply_to: str | None = None,
            correlation: str | None = None,
        ) -> None: ...

    def scope_hash(self) -> str:
        """Return the hash that routes a reply to the session that waits here (M4).

        It is the SHA-256, in lower-case hex, of the four fields joined by newlines, None as empty
        text. ``ReplyScope::scope_hash`` of the Rust crate ``greentic-types`` returns the same.
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
    """A stored session."""

    key: SessionKey
    """The key of the session."""
    data: SessionData
    """The session's data."""
    etag: str
    """Opaque text that differs whenever the stored document differs (E1)."""
    expires_at: datetime | None
    """The deadline, an aware ``datetime`` in UTC. None if the session never expires.

    A deadline after the year 9999 shows as the last day of that year (T6).
    """
    scope: ReplyScope | None = None
    """The scope where the session waits.

    None if it waits nowhere, or if an older version, or only a Rust process, registered it (W8).
    """
