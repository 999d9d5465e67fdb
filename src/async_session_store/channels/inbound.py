"""A user's turn in a chat, and the scopes where a flow may wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from typing_extensions import override

from async_session_store._unicode import encoded
from async_session_store._wire import give_text, repr_of_fields
from async_session_store.channels._payload import identifier
from async_session_store.errors import InvalidInputError
from async_session_store.models import ReplyScope, UserId

__all__ = ["Inbound", "Place", "place"]

_PARTS: Final = 3  # provider, bot and conversation; a fourth part is the account
_UNQUOTED: Final = ":;@=+,"  # in addition to ASCII letters, digits, '_', '.', '-' and '~'


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A user's turn: a message, a button that was pressed, a form that was sent.

    The functions of this package make one from a payload. For a platform that has no function, make
    one yourself: the ids are text of 1 to 1024 bytes in UTF-8. Raises ``InvalidInputError``.
    """

    provider: str
    """The platform, such as ``telegram``."""
    bot_id: str
    """The bot that the user wrote to, as the platform names it."""
    user_id: UserId
    """Who wrote, as a valid user id."""
    conversation: str
    """The conversation, as the platform names it. Answer there."""
    delivery_id: str
    """Names this turn in its conversation. It is the same when the turn is delivered again."""
    account: str | None = None
    """The account that the bot serves, if one ``bot_id`` serves several."""
    tenant_hint: str | None = None
    """What the platform says about the tenant. It is a hint, and the host decides."""
    thread: str | None = None
    """The thread within the conversation."""
    reply_to: str | None = None
    """The message that this one replies to, or that the button belongs to."""
    correlation: str | None = None
    """The id that the bot gave to the button or form."""
    message_id: str | None = None
    """The user's own message. None for a button or form."""
    text: str | None = None
    """What the user wrote, or the value of what they chose."""

    def __post_init__(self) -> None:
        for name in ("provider", "bot_id", "conversation", "delivery_id"):
            _check_id(name, getattr(self, name))
        for name in ("account", "tenant_hint", "thread", "reply_to", "correlation", "message_id"):
            if getattr(self, name) is not None:
                _check_id(name, getattr(self, name))
        if not isinstance(self.user_id, UserId):
            raise InvalidInputError("user_id: give a UserId; UserId.encode makes one of any text")
        if self.text is not None:
            _check_text("text", self.text)

    @override
    def __repr__(self) -> str:
        return repr_of_fields(self, shown=("provider", "bot_id"))

    @property
    def scope(self) -> ReplyScope:
        """The scope of this user's next message: this thread, or else the conversation."""
        if self.thread is not None:
            return self.expecting(thread=self.thread)
        return ReplyScope(conversation=self._place())

    def expecting(
        self,
        *,
        thread: str | int | None = None,
        reply_to: str | int | None = None,
        correlation: str | int | None = None,
    ) -> ReplyScope:
        """Return the scope of one particular answer in this conversation.

        Give at most one argument: ``thread``, if the bot opened a thread or answers in one;
        ``reply_to``, the bot's message that must be replied to or whose buttons must be pressed;
        or ``correlation``, the id of a button or form. Without an argument, return :attr:`scope`.
        Raises ``InvalidInputError`` for more than one argument, and for an invalid id.
        """
        given = {"thread": thread, "reply_to": reply_to, "correlation": correlation}
        parts = {
            name: _quoted(identifier(name, value))
            for name, value in given.items()
            if value is not None
        }
        if not parts:
            return self.scope
        if len(parts) > 1:
            raise InvalidInputError(f"{' and '.join(parts)}: give only one of them")
        return ReplyScope(
            conversation=self._place(),
            thread=parts.get("thread"),
            reply_to=parts.get("reply_to"),
            correlation=parts.get("correlation"),
        )

    def scopes(self) -> tuple[ReplyScope, ...]:
        """Return the scopes where this turn's wait may be registered, most specific first (X3).

        These are the correlation, the message replied to, the thread and the conversation, as far
        as the turn has them. Pass them to ``resume_wait`` or any look-up.
        """
        return tuple(self._ladder())

    def _ladder(self) -> Iterator[ReplyScope]:
        if self.correlation is not None:
            yield self.expecting(correlation=self.correlation)
        if self.reply_to is not None:
            yield self.expecting(reply_to=self.reply_to)
        if self.thread is not None:
            yield self.expecting(thread=self.thread)
        yield ReplyScope(conversation=self._place())

    def _place(self) -> str:
        """Return provider, bot, account and conversation, joined unambiguously."""
        parts = (self.provider, self.bot_id, self.account, self.conversation)
        return "/".join(_quoted(part) for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class Place:
    """The place that a scope from an ``Inbound`` names, in the platform's own ids."""

    provider: str
    """The platform."""
    bot_id: str
    """The bot."""
    account: str | None
    """The account that the bot serves, or None."""
    conversation: str
    """The conversation. Send there."""
    thread: str | None = None
    """The thread where the reply is expected, or None."""
    reply_to: str | None = None
    """The message that the reply has to answer, or None."""
    correlation: str | None = None
    """The id of the button or form that the reply has to carry, or None."""

    @override
    def __repr__(self) -> str:
        return repr_of_fields(self, shown=("provider", "bot_id"))


def place(scope: ReplyScope) -> Place:
    """Return the place that a scope names, so that any process knows where to send a message.

    Raises ``InvalidInputError`` for a scope that does not come from an ``Inbound``.
    """
    if not isinstance(scope, ReplyScope):
        given = type(scope).__name__
        raise InvalidInputError(
            f"scope: give a ReplyScope, not a value of type {given}; record.scope is None if the "
            "session's scope is unknown"
        )
    parts = tuple(map(_unquoted, scope.conversation.split("/")))
    rest = tuple(
        None if part is None else _unquoted(part)
        for part in (scope.thread, scope.reply_to, scope.correlation)
    )
    if len(parts) == _PARTS:
        provider, bot_id, conversation = parts
        return Place(provider, bot_id, None, conversation, *rest)
    if len(parts) == _PARTS + 1:
        provider, bot_id, account, conversation = parts
        return Place(provider, bot_id, account, conversation, *rest)
    raise _not_a_place()


def _unquoted(quoted: str) -> str:
    part = unquote(quoted)
    if not part or _quoted(part) != quoted:
        raise _not_a_place()
    return part


def _not_a_place() -> InvalidInputError:
    return InvalidInputError("scope: does not come from an Inbound, so it names no place")


def _quoted(part: str) -> str:
    """Percent-encode newlines, which a scope cannot hold, and the separator of its parts."""
    return quote(part, safe=_UNQUOTED)


def _check_id(name: str, value: object) -> None:
    _check_text(name, value)
    identifier(name, value)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name}: {give_text(value)}")
    encoded(name, value)
