"""The wire types: what a session holds and who owns it.

Their JSON is what the Rust crates ``greentic-types`` and ``greentic-session`` write with serde:
an absent optional field is left out, unknown fields are kept. All models are immutable, and all
are validated at construction; constructors raise pydantic's ``ValidationError``.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    NamedTuple,
    NoReturn,
    TypeVar,
    cast,
    overload,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema
from typing_extensions import Self, override

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

_V = TypeVar("_V")


# --- Identifiers and keys ---------------------------------------------------------------------


class _ValidatedText(str):
    """A ``str`` that can only be built from text that its class accepts."""

    __slots__ = ()
    _rule: ClassVar[str]

    def __new__(cls, value: str) -> Self:
        if type(value) is cls:
            return value
        if not isinstance(value, str) or not cls._accepts(value):
            cls._refuse(value)
        return super().__new__(cls, value)

    @classmethod
    def _accepts(cls, value: str) -> bool:
        raise NotImplementedError

    @classmethod
    def _refuse(cls, value: object) -> NoReturn:
        raise ValidationError.from_exception_data(
            cls.__name__,
            [InitErrorDetails(type=cls._error(), input=value)],
            hide_input=True,
        )

    @classmethod
    def _error(cls) -> PydanticCustomError:
        return PydanticCustomError("text_refused", "{rule}", {"rule": cls._rule})

    @classmethod
    def _from_text(cls, value: str) -> Self:
        if not cls._accepts(value):
            raise cls._error()
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        source: object,
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._from_text, core_schema.str_schema()
        )


class _Identifier(_ValidatedText):
    __slots__ = ()
    _rule = "must not be empty, and only hold ASCII letters, digits, '.', '_' and '-'"

    @classmethod
    def _accepts(cls, value: str) -> bool:
        return _IDENTIFIER.fullmatch(value) is not None


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


class _Encoder:
    """``UserId.encode(raw)`` makes a user id; on a user id, ``encode`` is still ``str.encode``."""

    @overload
    def __get__(self, instance: None, owner: type[UserId]) -> Callable[[str], UserId]: ...
    @overload
    def __get__(self, instance: UserId, owner: type[UserId]) -> Callable[..., bytes]: ...
    def __get__(
        self, instance: UserId | None, owner: type[UserId]
    ) -> Callable[[str], UserId] | Callable[..., bytes]:
        if instance is None:
            return owner.from_platform_id
        return partial(str.encode, instance)


class UserId(_Identifier):
    """A user of a tenant. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()

    encode = _Encoder()  # pyright: ignore[reportAssignmentType]  # on an instance it is str's
    """``UserId.encode(raw)`` is :meth:`from_platform_id`."""

    @classmethod
    def from_platform_id(cls, raw: str) -> Self:
        """Make a user id from any platform id, such as Teams' ``29:1abc``.

        A valid id that does not look like a digest form is returned as it is; any other becomes
        ``sha256-`` and the SHA-256 of its UTF-8 in hex. Two raw ids give one user id only if
        SHA-256 collides. Encode once, at the edge: encoding the result of an encoding gives a
        third id.
        """
        if cls._accepts(raw) and not _DIGEST_FORM.fullmatch(raw):
            return cls(raw)
        digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(f"sha256-{digest}")


class FlowId(_Identifier):
    """A flow. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class PackId(_Identifier):
    """A pack of flows. ASCII letters, digits, ``.``, ``_`` and ``-``."""

    __slots__ = ()


class SessionKey(_ValidatedText):
    """The key of a session: any non-empty text of at most 1024 bytes in UTF-8."""

    __slots__ = ()
    _rule = f"must not be empty, and at most {MAX_KEY_BYTES} bytes of UTF-8"

    @classmethod
    def _accepts(cls, value: str) -> bool:
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


# --- Models -----------------------------------------------------------------------------------


class _FrozenDict(dict[str, _V]):
    """A dict that cannot be changed; a dict all the same, so that JSON needs no conversion."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping is part of an immutable model; build a new model instead")

    __setitem__ = __delitem__ = __ior__ = cast("Any", _refuse)
    clear = pop = popitem = setdefault = update = cast("Any", _refuse)

    def __hash__(self) -> int:  # type: ignore[override]  # a dict's is None, as it can change
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, _V]]]:
        return type(self), (dict(self),)


def _freeze(value: object) -> object:
    """JSON as it was parsed, with nothing in it that can be changed."""
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return _FrozenDict({name: _freeze(item) for name, item in items})
    if isinstance(value, list):
        return tuple(map(_freeze, cast("list[object]", value)))
    return value


_is_none = partial(operator.is_, None)

# A length constraint makes pydantic check that the text is valid Unicode (no lone surrogates).
Text = Annotated[str, StringConstraints(min_length=0)]
_Attributes = Annotated[Mapping[Text, Text], AfterValidator(_FrozenDict)]


def _no_newline(value: str) -> str:
    if "\n" in value:
        raise PydanticCustomError("newline", "must not contain a newline")
    return value


_ScopeText = Annotated[Text, AfterValidator(_no_newline)]


def _optional() -> Any:
    """A field that is left out of the JSON when it is None."""
    return Field(default=None, exclude_if=_is_none)


def _filled_in() -> Any:
    """A field that its twin fills in; never None once the model is built."""
    return Field(default=None)


class _WireModel(BaseModel):
    """Immutable; keeps unknown fields that were read from JSON, refuses them from Python."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    @model_validator(mode="after")
    def _guard_unknown_fields(self, info: ValidationInfo) -> Self:
        unknown = self.__pydantic_extra__
        if not unknown:
            return self
        if info.mode == "python":
            raise PydanticCustomError(
                "unknown_field",
                "has no field {names}",
                {"names": ", ".join(map(repr, sorted(unknown)))},
            )
        object.__setattr__(self, "__pydantic_extra__", _freeze(unknown))
        return self

    @override
    def model_copy(self, *, update: Mapping[str, object] | None = None, deep: bool = False) -> Self:
        """A copy with ``update`` applied, validated like a constructor's arguments.

        Raises pydantic's ``ValidationError``. Unknown fields that came from storage are kept.
        """
        if not update:
            return super().model_copy(deep=deep)
        kept = self._kept_fields(update)
        copied = type(self).model_validate({**kept, **update})
        object.__setattr__(copied, "__pydantic_extra__", self.__pydantic_extra__)
        return copied

    def _kept_fields(self, update: Mapping[str, object]) -> dict[str, object]:
        """The fields of this model that ``update`` leaves as they are."""
        known = self.model_fields_set & set(type(self).model_fields) - update.keys()
        return {name: getattr(self, name) for name in known}

    if not TYPE_CHECKING:

        def copy(self, *, update=None, deep=False):
            """Pydantic's deprecated ``copy`` would skip validation; this is ``model_copy``."""
            return self.model_copy(update=update, deep=deep)


class Impersonation(_WireModel):
    """Who acts in another user's name, and why."""

    actor_id: UserId
    reason: Text | None = _optional()

    if TYPE_CHECKING:

        def __init__(self, *, actor_id: UserId | str, reason: str | None = None) -> None: ...


class InvocationDeadline(_WireModel):
    """When an invocation should be finished: milliseconds since the Unix epoch (an i128)."""

    unix_millis: int = Field(strict=True, ge=-_I128, lt=_I128)

    if TYPE_CHECKING:

        def __init__(self, *, unix_millis: int) -> None: ...


class TenantCtx(_WireModel):
    """Whose call this is: environment, tenant, and maybe team and user.

    ``tenant``/``tenant_id``, ``team``/``team_id`` and ``user``/``user_id`` are twins: give one
    and the other is filled in; twins that differ are refused. A document read from storage that
    has only one of a pair keeps it that way and has the same effective value.
    """

    env: EnvId
    tenant: TenantId = _filled_in()
    tenant_id: TenantId = _filled_in()
    team: TeamId | None = _optional()
    team_id: TeamId | None = _optional()
    user: UserId | None = _optional()
    user_id: UserId | None = _optional()
    session_id: Text | None = _optional()
    flow_id: Text | None = _optional()
    node_id: Text | None = _optional()
    provider_id: Text | None = _optional()
    trace_id: Text | None = _optional()
    i18n_id: Text | None = _optional()
    correlation_id: Text | None = _optional()
    attributes: _Attributes = Field(default=_FrozenDict(), exclude_if=operator.not_)
    deadline: InvocationDeadline | None = _optional()
    attempt: int = Field(default=0, strict=True, ge=0, lt=2**32)
    idempotency_key: Text | None = _optional()
    impersonation: Impersonation | None = _optional()

    if TYPE_CHECKING:

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

    @model_validator(mode="after")
    def _match_twins(self, info: ValidationInfo) -> Self:
        fields = vars(self)
        for name, twin in _TWINS:
            one, other = fields[name], fields[twin]
            if one == other:
                continue
            if one is not None and other is not None:
                raise PydanticCustomError(
                    "twins_differ",
                    "{name} and {twin} must be the same; give one of them",
                    {"name": name, "twin": twin},
                )
            # Storage may hold one of an optional pair, and gets back what it held.
            if info.mode == "python" or name == "tenant":
                fields[name] = fields[twin] = other if one is None else one
        if fields["tenant"] is None:
            raise PydanticCustomError("missing", "needs tenant_id (or tenant)")
        return self

    @override
    def _kept_fields(self, update: Mapping[str, object]) -> dict[str, object]:
        changed = {name for pair in _TWINS if not update.keys().isdisjoint(pair) for name in pair}
        kept = super()._kept_fields(update)
        return {name: value for name, value in kept.items() if name not in changed}

    @cached_property
    def owner(self) -> Owner:
        """The ids that decide who may touch a session of this context.

        Raises ``ValidationError`` if one is no valid id (the context was built around validation).
        """
        team, user = self.team_id or self.team, self.user_id or self.user
        return Owner(
            EnvId(self.env),
            TenantId(self.tenant_id),
            None if team is None else TeamId(team),
            None if user is None else UserId(user),
        )


_TWINS: Final = (("tenant", "tenant_id"), ("team", "team_id"), ("user", "user_id"))


class SessionCursor(_WireModel):
    """Where in the flow execution paused."""

    node_pointer: Text
    wait_reason: Text | None = _optional()
    outbox_marker: Text | None = _optional()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            node_pointer: str,
            wait_reason: str | None = None,
            outbox_marker: str | None = None,
        ) -> None: ...


class SessionData(_WireModel):
    """A paused flow: whose it is, which flow, where it paused, and its state.

    ``context_json`` is text that the store never looks into.
    """

    tenant_ctx: TenantCtx
    flow_id: FlowId
    pack_id: PackId | None = _optional()
    cursor: SessionCursor
    context_json: Text

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            tenant_ctx: TenantCtx,
            flow_id: FlowId | str,
            pack_id: PackId | str | None = None,
            cursor: SessionCursor,
            context_json: str,
        ) -> None: ...


class ReplyScope(_WireModel):
    """Where a reply is expected: a conversation, and maybe a thread, a message, a correlation.

    No field may contain a newline: the hash joins them with newlines.
    """

    conversation: _ScopeText
    thread: _ScopeText | None = _optional()
    reply_to: _ScopeText | None = _optional()
    correlation: _ScopeText | None = _optional()

    if TYPE_CHECKING:

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
        return self._scope_hash

    @cached_property
    def _scope_hash(self) -> str:
        parts = (self.conversation, self.thread, self.reply_to, self.correlation)
        return hashlib.sha256("\n".join(part or "" for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A stored session.

    ``etag`` is opaque text that differs whenever the stored document differs. ``expires_at`` is
    an aware datetime in UTC, or None if the session never expires.
    """

    key: SessionKey
    data: SessionData
    etag: str
    expires_at: datetime | None
