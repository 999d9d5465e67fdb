"""What a user's turn tells about the wait that it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from async_session_store._unicode import encoded
from async_session_store.channels._payload import identifier
from async_session_store.errors import InvalidInputError
from async_session_store.models import ReplyScope, UserId

__all__ = ["Inbound", "Place", "place"]

_PARTS: Final = 3  # provider, bot and conversation; and an account where there is one
_AS_THEY_ARE: Final = ":;@=+,"  # beside ASCII letters, digits, '_', '.', '-' and '~'


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A user's turn: a message, a button that was pressed, a form that was sent.

    The functions of this package make one from a payload. For a platform that has none, make one
    yourself: the ids are text of 1 to 1024 bytes in UTF-8. Raises ``InvalidInputError``.

    Attributes:
        provider: The platform, such as ``telegram``.
        bot_id: The bot that was written to, as the platform names it.
        account: The account that the bot serves, where it serves several for one ``bot_id``.
        tenant_hint: What the platform tells of the tenant. A hint: the host decides.
        user_id: Who wrote, as a valid user id.
        conversation: Where, as the platform names it: answer there.
        thread: The thread within the conversation.
        reply_to: The message that this one replies to, or that the button stands on.
        correlation: The id that the bot gave to the button or form.
        message_id: The user's own message; None for a button or form.
        delivery_id: Names this turn in its conversation; the same when it is delivered again.
        text: What the user wrote, or the value of what they chose.
    """

    provider: str
    bot_id: str
    user_id: UserId
    conversation: str
    delivery_id: str
    account: str | None = None
    tenant_hint: str | None = None
    thread: str | None = None
    reply_to: str | None = None
    correlation: str | None = None
    message_id: str | None = None
    text: str | None = None

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

    @property
    def scope(self) -> ReplyScope:
        """Where this user's next message is expected: in this thread, else in the conversation."""
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
        """Where to register a wait for one particular answer in this conversation.

        Give one: the thread that the bot opened or answers in; the message of the bot that must be
        replied to, or whose buttons must be pressed; or the id of a button or form. Without any,
        :attr:`scope`. Raises ``InvalidInputError`` for several, and for what is no id.
        """
        given = {"thread": thread, "reply_to": reply_to, "correlation": correlation}
        parts = {
            name: _written(identifier(name, value))
            for name, value in given.items()
            if value is not None
        }
        if not parts:
            return self.scope
        if len(parts) > 1:
            raise InvalidInputError(f"{' and '.join(parts)}: give one of them")
        return ReplyScope(
            conversation=self._place(),
            thread=parts.get("thread"),
            reply_to=parts.get("reply_to"),
            correlation=parts.get("correlation"),
        )

    def scopes(self) -> tuple[ReplyScope, ...]:
        """Where the wait that this turn answers may be, most specific first.

        The correlation, the message replied to, the thread, the conversation, as far as there are
        any: ready for ``resume_wait`` and every other look-up.
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
        """Provider, bot, account and conversation, joined so that no two lists give one text."""
        parts = (self.provider, self.bot_id, self.account, self.conversation)
        return "/".join(_written(part) for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a wait is, in the platform's own ids: what an ``Inbound``'s scope was made from."""

    provider: str
    bot_id: str
    account: str | None
    conversation: str
    thread: str | None = None
    reply_to: str | None = None
    correlation: str | None = None


def place(scope: ReplyScope) -> Place:
    """Return the ids in a scope of an ``Inbound``, so that a worker knows where to send.

    Raises ``InvalidInputError`` for a scope that no ``Inbound`` made.
    """
    if not isinstance(scope, ReplyScope):  # such as the None of a record from an older version
        raise InvalidInputError("scope: give a ReplyScope")
    parts = tuple(map(_read, scope.conversation.split("/")))
    rest = tuple(
        None if part is None else _read(part)
        for part in (scope.thread, scope.reply_to, scope.correlation)
    )
    if len(parts) == _PARTS:
        provider, bot_id, conversation = parts
        return Place(provider, bot_id, None, conversation, *rest)
    if len(parts) == _PARTS + 1:
        provider, bot_id, account, conversation = parts
        return Place(provider, bot_id, account, conversation, *rest)
    raise _no_place()


def _read(written: str) -> str:
    part = unquote(written)
    if not part or _written(part) != written:
        raise _no_place()
    return part


def _no_place() -> InvalidInputError:
    return InvalidInputError("scope: was not made by an Inbound")


def _written(part: str) -> str:
    """Percent-encode what a scope cannot hold (a newline), and what separates its parts."""
    return quote(part, safe=_AS_THEY_ARE)


def _check_id(name: str, value: object) -> None:
    _check_text(name, value)
    identifier(name, value)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name}: must be a text")
    encoded(name, value)
