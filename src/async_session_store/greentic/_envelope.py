"""The place where a runner parks a conversation's flow, derived from a message to the runner."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, ClassVar, Final

from async_session_store._wire import Text, WireModel, optional
from async_session_store.errors import InvalidInputError
from async_session_store.greentic._records import ParkedFlow
from async_session_store.models import (
    EnvId,
    PackId,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    TenantCtx,
    TenantId,
    UserId,
)

_DEFAULT_ENV: Final = EnvId("local")
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ENDPOINT_ATTRIBUTE: Final = "gt.messaging_endpoint_id"


class IngressEnvelope(WireModel, frozen=True):
    """A message on its way into a runner: ``engine::runtime::IngressEnvelope``.

    Give it the fields of the runner's own envelope. They decide where the flow of this conversation
    is parked, as ``IngressEnvelope::canonicalize`` and ``FlowResumeStore`` derive it. If you leave
    out a field that the runner sets, you look in another place. The other fields of a runner's
    envelope decide nothing here; an envelope that was read from JSON keeps them.

    The constructor raises pydantic's ``ValidationError`` for an invalid id. So do ``scope`` for a
    conversation that contains a newline, and ``session_key`` for a key of over 1024 bytes.
    """

    _shown: ClassVar[frozenset[str]] = frozenset(
        {"tenant", "env", "pack_id", "flow_id", "provider"}
    )

    tenant: TenantId
    """The tenant."""
    env: EnvId | None = optional()
    """The runner's ``GREENTIC_ENV``. None means ``local``."""
    pack_id: PackId | None = optional()
    """The pack that the message was routed to."""
    flow_id: Text
    """The flow that the message was routed to."""
    session_hint: Text | None = optional()
    """The conversation's name. Without it, :attr:`hint` is made from the fields below."""
    provider: Text | None = optional()
    """The messaging provider. None means ``provider``."""
    messaging_endpoint_id: Text | None = optional()
    """The endpoint that received the message, if the provider has several."""
    channel: Text | None = optional()
    """The channel. None means the flow."""
    conversation: Text | None = optional()
    """The conversation. None means the channel."""
    user: Text | None = optional()
    """The platform's id of the user. None means :attr:`activity_id`, or else ``user``."""
    activity_id: Text | None = optional()
    """The id of the message."""
    reply_scope: ReplyScope | None = optional()
    """Where a reply is expected. None means the conversation."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            tenant: TenantId | str,
            env: EnvId | str | None = None,
            pack_id: PackId | str | None = None,
            flow_id: str,
            session_hint: str | None = None,
            provider: str | None = None,
            messaging_endpoint_id: str | None = None,
            channel: str | None = None,
            conversation: str | None = None,
            user: str | None = None,
            activity_id: str | None = None,
            reply_scope: ReplyScope | None = None,
        ) -> None: ...

    @property
    def endpoint(self) -> str | None:
        """The messaging endpoint, or None if a runner drops it because its id is invalid.

        A valid id has 1 to 128 ASCII letters, digits, ``.``, ``_`` or ``-``.
        """
        endpoint = self.messaging_endpoint_id
        return endpoint if endpoint is not None and _ENDPOINT.fullmatch(endpoint) else None

    @property
    def hint(self) -> str:
        """The text that names the conversation. User id and session key are derived from it.

        ``{session_hint}::pack={pack_id}``, with ``ep={endpoint}::`` in front if there is an
        endpoint. Without a session hint: ``{tenant}:{provider}:{channel}:{conversation}:{user}``.
        """
        hint = self._conversation_hint()
        if self.endpoint is not None and not hint.startswith(f"ep={self.endpoint}::"):
            hint = f"ep={self.endpoint}::{hint}"
        return hint if self.pack_id is None else f"{hint}::pack={self.pack_id}"

    @property
    def user_id(self) -> UserId:
        """The user that the runner stores, ``sess`` and 16 hex digits of the hint's digest.

        Follows ``derive_user_id``. The platform's user is part of the hint.
        """
        return UserId(f"sess{hashlib.sha256(self.hint.encode()).hexdigest()[:16]}")

    @property
    def ctx(self) -> TenantCtx:
        """The runner's context for this conversation, its user included."""
        endpoint = self.endpoint
        return TenantCtx(
            env=_DEFAULT_ENV if self.env is None else self.env,
            tenant_id=self.tenant,
            user_id=self.user_id,
            session_id=self.hint,
            flow_id=self.flow_id,
            provider_id=self._provider,
            attributes={} if endpoint is None else {_ENDPOINT_ATTRIBUTE: endpoint},
        )

    @property
    def scope(self) -> ReplyScope:
        """The scope to park at, which is the envelope's scope without its correlation.

        Follows ``FlowResumeStore::save``. Without a ``reply_scope`` it is the conversation.
        """
        scope = self._reply_scope
        if scope.correlation is None:
            return scope
        return scope.model_copy(update={"correlation": None})

    def scopes(self) -> tuple[ReplyScope, ...]:
        """Return the scopes to look up, most specific first, as ``FlowResumeStore::fetch``."""
        scope = self._reply_scope
        return (scope,) if scope.correlation is None else (scope, self.scope)

    @property
    def session_key(self) -> SessionKey:
        """The key to park under, ``{hint}::{scope hash}``, as ``FlowResumeStore::save``."""
        return SessionKey(f"{self.hint}::{self.scope.scope_hash()}")

    def session_data(self, flow: ParkedFlow) -> SessionData:
        """Return the session that parks a flow here, following ``record_to_session_data``.

        Raises ``InvalidInputError`` if the flow's pack is not that of the envelope: no runner
        would resume it.
        """
        snapshot = flow.snapshot
        if self.pack_id is not None and snapshot.pack_id != self.pack_id:
            raise InvalidInputError(
                "flow: its pack_id differs from the envelope's, so no runner would resume it"
            )
        return SessionData(
            tenant_ctx=self.ctx.model_copy(update={"flow_id": snapshot.flow_id}),
            flow_id=snapshot.flow_id,
            pack_id=snapshot.pack_id,
            cursor=SessionCursor(node_pointer=snapshot.next_node, wait_reason=flow.reason),
            context_json=flow.model_dump_json(),
        )

    def _conversation_hint(self) -> str:
        if self.session_hint is not None:
            return self.session_hint
        user = _first(self.user, self.activity_id, "user")
        return f"{self.tenant}:{self._provider}:{self._channel}:{self._conversation}:{user}"

    @property
    def _provider(self) -> str:
        return _first(self.provider, "provider")

    @property
    def _channel(self) -> str:
        return _first(self.channel, self.flow_id)

    @property
    def _conversation(self) -> str:
        return _first(self.conversation, self._channel)

    @property
    def _reply_scope(self) -> ReplyScope:
        if self.reply_scope is not None:
            return self.reply_scope
        return ReplyScope(conversation=self._conversation)


def _first(*values: str | None) -> str:
    """Return the first value that is not None. Empty text counts."""
    return next(value for value in values if value is not None)
