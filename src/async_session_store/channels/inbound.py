"""A user's turn in a chat, and the scopes where a flow may wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, cast
from urllib.parse import quote, unquote

from typing_extensions import override

from async_session_store._unicode import encoded
from async_session_store._wire import give_text, repr_of_fields
from async_session_store.channels._payload import identifier
from async_session_store.errors import InvalidInputError
from async_session_store.models import ReplyScope, UserId

__all__ = ["Inbound", "Place", "place"]

_PARTS: Final = 3  # provider, bot and conversation; a fourth part is the account
_THREADS: Final = ("inside", "apart", "none")
_PAIR: Final = 2  # an option's name and value
_IDS: Final = ("provider", "bot_id", "conversation", "delivery_id")
_OPTIONAL_IDS: Final = (
    *("account", "tenant_hint", "thread", "reply_to", "correlation", "message_id"),
    *("group_id", "reply_chain"),
)
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
    """Who wrote, as a valid user id. It is the first of :attr:`user_ids`."""
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
    """What the user wrote, or the value of what they chose: the first, if they chose several."""
    values: tuple[str, ...] = ()
    """Every value chosen in a menu or checkboxes that allow several. Empty for anything else."""
    command: str | None = None
    """The name of the command that the user gave, without a slash; words joined with blanks."""
    options: tuple[tuple[str, str], ...] = ()
    """A command's options or a form's fields: names and values, in the platform's order.

    A name occurs once for each of its values, so ``dict(inbound.options)`` keeps the last one.
    """
    group_id: str | None = None
    """The album: the platform sends each picture of an album as a message of its own."""
    is_ephemeral: bool = False
    """True if only this user and the bot can see the message, or the one with the button."""
    reply_chain: str | None = None
    """The first message of a chain of replies that may be a thread.

    On Google Chat, it is the thread that a reply would open. A wait at
    ``expecting(thread=inbound.reply_chain)`` is found. :attr:`scope` ignores the chain, because a
    user's next message need not be a reply.
    """
    threads: Literal["inside", "apart", "none"] = "inside"
    """Where the platform's threads are: inside a conversation, or each a conversation of its own.

    ``"none"`` if it has no threads. :meth:`expecting` depends on it.
    """
    user_aliases: tuple[UserId, ...] = ()
    """Other ids by which the platform knows this person."""
    conversation_aliases: tuple[str, ...] = ()
    """Other ids of this conversation. A wait that was registered with one of them is found."""

    def __post_init__(self) -> None:
        for name in _IDS:
            _check_id(name, getattr(self, name))
        for name in _OPTIONAL_IDS:
            if getattr(self, name) is not None:
                _check_id(name, getattr(self, name))
        for index, alias in enumerate(_tuple_of("conversation_aliases", self.conversation_aliases)):
            _check_id(f"conversation_aliases[{index}]", alias)
        self._check_users()
        self._check_content()
        if self.threads not in _THREADS:
            raise InvalidInputError(f"threads: must be one of {', '.join(_THREADS)}")
        if self.threads != "inside" and self.thread is not None:
            raise InvalidInputError(f'thread: must be None if threads is "{self.threads}"')

    @property
    def user_ids(self) -> tuple[UserId, ...]:
        """Every id by which the platform knows this person, the one that lasts longest first."""
        return (self.user_id, *self.user_aliases)

    @override
    def __repr__(self) -> str:
        return repr_of_fields(self, shown=("provider", "bot_id", "is_ephemeral", "threads"))

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
        If a thread is a conversation of its own on the platform, as on Discord, ``thread`` gives
        the scope of that conversation. Raises ``InvalidInputError`` for more than one argument, for
        an invalid id, and for a ``thread`` on a platform that has none.
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
        if thread is not None and self.threads == "none":
            raise InvalidInputError(f"thread: {self.provider} has no threads")
        if thread is not None and self.threads == "apart":
            return ReplyScope(conversation=self._place(identifier("thread", thread)))
        return ReplyScope(
            conversation=self._place(),
            thread=parts.get("thread"),
            reply_to=parts.get("reply_to"),
            correlation=parts.get("correlation"),
        )

    def scopes(self) -> tuple[ReplyScope, ...]:
        """Return the scopes where this turn's wait may be registered, most specific first (X3).

        These are the correlation, the message replied to, the thread and the conversation, as far
        as the turn has them. If the conversation has several ids, each of these is followed by the
        same one with the other ids. Pass them to ``resume_wait`` or any look-up.
        """
        conversations = dict.fromkeys((self.conversation, *self.conversation_aliases))
        places = [self._place(conversation) for conversation in conversations]
        return tuple(
            ReplyScope(conversation=place, **rung) for rung in self._rungs() for place in places
        )

    def _rungs(self) -> Iterator[dict[str, str]]:
        if self.correlation is not None:
            yield {"correlation": _quoted(self.correlation)}
        if self.reply_to is not None:
            yield {"reply_to": _quoted(self.reply_to)}
        if self.thread is not None:
            yield {"thread": _quoted(self.thread)}
        if self.reply_chain is not None and self.reply_chain != self.thread:
            yield {"thread": _quoted(self.reply_chain)}
        yield {}

    def _place(self, conversation: str | None = None) -> str:
        name = conversation or self.conversation
        return place_name(self.provider, self.bot_id, name, account=self.account)

    def _check_users(self) -> None:
        users = (self.user_id, *_tuple_of("user_aliases", self.user_aliases))
        for index, user in enumerate(users):
            if not isinstance(user, UserId):
                name = f"user_aliases[{index - 1}]" if index else "user_id"
                raise InvalidInputError(
                    f"{name}: give a UserId; UserId.encode turns any text into one"
                )

    def _check_content(self) -> None:
        for name in ("text", "command"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        for index, value in enumerate(_tuple_of("values", self.values)):
            _check_text(f"values[{index}]", value)
        for index, option in enumerate(_tuple_of("options", self.options)):
            parts = _tuple_of(f"options[{index}]", option)
            if len(parts) != _PAIR:
                raise InvalidInputError(f"options[{index}]: must be a name and a value")
            for part in parts:
                _check_text(f"options[{index}]", part)


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


def place_name(provider: str, bot_id: str, conversation: str, *, account: str | None = None) -> str:
    """Return provider, bot, account and conversation, joined unambiguously."""
    parts = (provider, bot_id, account, conversation)
    return "/".join(_quoted(part) for part in parts if part is not None)


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


def _tuple_of(name: str, value: object) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        raise InvalidInputError(f"{name}: must be a tuple")
    return cast("tuple[object, ...]", value)


def _check_id(name: str, value: object) -> None:
    _check_text(name, value)
    identifier(name, value)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name}: {give_text(value)}")
    encoded(name, value)
