"""Google Chat: interaction events of Chat apps and of Google Workspace add-ons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from async_session_store.channels._google_chat_forms import Form, read_form
from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_Kind = Literal["message", "click", "command"]
_KINDS: Final[dict[str, _Kind]] = {
    "MESSAGE": "message",
    "CARD_CLICKED": "click",
    "SUBMIT_FORM": "click",
    "APP_COMMAND": "command",
}
_ADD_ON_KINDS: Final[dict[str, _Kind]] = {
    "messagePayload": "message",
    "buttonClickedPayload": "click",
    "appCommandPayload": "command",
}
_ADDED: Final = "ADDED_TO_SPACE"


def google_chat(event: Mapping[str, object], *, bot_id: str | int) -> Inbound:
    """Read a Google Chat event: a message, a command, a button, or a card or dialog that was sent.

    The event is one of a Chat app, or of an add-on, which has ``chat``. No event names the app:
    ``bot_id`` is an id of yours, such as the number of its Google Cloud project. If a button has a
    parameter ``correlation``, that is the correlation. Otherwise it is the button's function.

    A message outside a thread has the thread that a reply would open as its ``reply_chain``. Raises
    ``InvalidInputError`` for any other event, for a dialog that was closed, and for a message of a
    bot.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("event", event)
    found = _of_add_on(fields) if fields.has("chat") else _of_app(fields)
    user = found.root.part("user")
    if user.optional_id("type") == "BOT":
        raise user.refusal("type", "is BOT, so a bot sent the message")
    if found.kind == "click":
        return _click(bot, found, user)
    if _is_message_action(found.details):
        return _message_action(bot, found, user)
    return _message(bot, found, user)


@dataclass(frozen=True)
class _Event:
    """What the events of Chat apps and those of add-ons have in common."""

    kind: _Kind
    root: Payload
    """Holds the user and the time."""
    details: Payload
    """Holds the message, the space, and what is known of a dialog or command."""
    common: Payload | None
    """Holds the parameters of a button, and what was entered."""

    def space(self) -> Payload:
        return self.details.optional_part("space") or self.root.part("space")

    def message(self) -> Payload | None:
        if self.kind == "message":
            return self.details.part("message")
        return self.details.optional_part("message")


def _message(bot: str, event: _Event, user: Payload) -> Inbound:
    """Read a message or a command. A quick command comes without a message."""
    message = event.message()
    command = _command(event.details, message)
    name = None if message is None else message.id("name")
    return _inbound(
        *(bot, event, user),
        reply_to=None if message is None else _quoted(message),
        message_id=name,
        delivery_id=name or _moment(event.root, user),
        form=Form(text=None if message is None else _text(message, is_command=command is not None)),
        command=command,
    )


def _message_action(bot: str, event: _Event, user: Payload) -> Inbound:
    """Read a command from the menu of a message. That message may be anyone's."""
    chosen = event.message()
    return _inbound(
        *(bot, event, user),
        reply_to=None if chosen is None else chosen.id("name"),
        delivery_id=_moment(event.root, user),
        form=Form(),
        command=_command(event.details, None),
    )


def _click(bot: str, event: _Event, user: Payload) -> Inbound:
    card = event.message()
    return _inbound(
        *(bot, event, user),
        reply_to=None if card is None else card.optional_id("name"),
        delivery_id=_moment(event.root, user),
        form=read_form(event.details, event.common),
    )


def _inbound(
    bot: str,
    event: _Event,
    user: Payload,
    *,
    reply_to: str | None,
    delivery_id: str,
    form: Form,
    message_id: str | None = None,
    command: str | None = None,
) -> Inbound:
    space, message = event.space(), event.message()
    thread = _thread(event.details if message is None else message)
    continues = _continues_thread(space, message)
    return Inbound(
        provider="google_chat",
        bot_id=bot,
        tenant_hint=user.optional_id("domainId"),
        user_id=UserId.encode(user.id("name")),
        conversation=space.id("name"),
        thread=thread if continues else None,
        reply_chain=None if continues else thread,
        reply_to=reply_to,
        correlation=form.correlation,
        message_id=message_id,
        delivery_id=delivery_id,
        text=form.text,
        values=form.values,
        command=command,
        options=form.options,
        is_ephemeral=message is not None and message.has("privateMessageViewer"),
    )


def _of_app(event: Payload) -> _Event:
    kind = _KINDS.get(event.id("type"))
    if event.id("type") == _ADDED and event.has("message"):  # a mention can add the app to a space
        kind = "message"
    if kind is None:
        raise event.refusal("type", "is not the type of a user's turn")
    _check_is_not_closed(event)
    return _Event(kind, event, event, event.optional_part("common"))


def _of_add_on(event: Payload) -> _Event:
    chat = event.part("chat")
    for name, kind in _ADD_ON_KINDS.items():
        details = chat.optional_part(name)
        if details is not None:
            _check_is_not_closed(details)
            return _Event(kind, chat, details, event.optional_part("commonEventObject"))
    raise chat.refusal("messagePayload", "is missing, and so is every other kind of a user's turn")


def _check_is_not_closed(details: Payload) -> None:
    if details.optional_id("dialogEventType") == "CANCEL_DIALOG":
        raise details.refusal("dialogEventType", "is CANCEL_DIALOG, so the user closed a dialog")


def _is_message_action(details: Payload) -> bool:
    metadata = details.optional_part("appCommandMetadata")
    return metadata is not None and metadata.optional_id("appCommandType") == "MESSAGE_ACTION"


def _thread(holder: Payload) -> str | None:
    thread = holder.optional_part("thread")
    return None if thread is None else thread.optional_id("name")


def _continues_thread(space: Payload, message: Payload | None) -> bool:
    """Return whether a message continues a thread.

    Every message names a thread. One outside of threads names a thread that holds only itself, so
    the user's next message is in another.
    """
    if space.optional_id("spaceThreadingState") == "GROUPED_MESSAGES":
        return True
    return message is not None and message.flag("threadReply")


def _quoted(message: Payload) -> str | None:
    """Return the message that was quoted in a reply. A forwarded one may be from anywhere."""
    quoted = message.optional_part("quotedMessageMetadata")
    if quoted is None or quoted.optional_id("quoteType") == "FORWARD":
        return None
    return quoted.optional_id("name")


def _moment(root: Payload, user: Payload) -> str:
    """Name a button or command by its time and user: Google Chat gives it no id."""
    return f"{root.id('eventTime')}/{user.id('name')}"


def _command(details: Payload, message: Payload | None) -> str | None:
    """Return the name of a command. Only a message has it; otherwise the id stands for the name."""
    for annotation in [] if message is None else message.parts("annotations"):
        slash = annotation.optional_part("slashCommand")
        name = None if slash is None else slash.optional_id("commandName")
        if name is not None:
            return name.removeprefix("/") or None
    slash = None if message is None else message.optional_part("slashCommand")
    if slash is not None:
        return slash.id("commandId")
    metadata = details.optional_part("appCommandMetadata")
    return None if metadata is None else metadata.id("appCommandId")


def _text(message: Payload, *, is_command: bool) -> str | None:
    """Return the text without the mention of the app, or the command, that begins it."""
    argument = (message.text("argumentText") or "").lstrip()
    return argument or (None if is_command else message.text("text"))
