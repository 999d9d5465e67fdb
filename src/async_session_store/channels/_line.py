"""LINE: webhooks of the Messaging API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_CHATS: Final = {"user": "userId", "group": "groupId", "room": "roomId"}
_PICKED: Final = ("datetime", "date", "time")
_MENU_SWITCH: Final = "newRichMenuAliasId"


def line(payload: Mapping[str, object]) -> Inbound:
    """Read a LINE webhook with one event. Use :func:`split_line` first.

    The event is a message, a postback, or the result of linking an account. The bot is the
    ``destination``.

    Raises ``InvalidInputError`` for any other event, such as a follow, a join, or a message that
    was unsent, for a switch between tabs of a rich menu, for an event that another channel answers
    (``standby``), for one of a group member whose id LINE withholds, and for several events at
    once.
    """
    fields = Payload("payload", payload)
    events = fields.parts("events")
    if len(events) != 1:
        raise fields.refusal("events", "must hold one event; use split_line to split a webhook")
    event = events[0]
    read = _READERS.get(event.id("type"))
    if read is None:
        raise event.refusal("type", "is not the type of a user's turn")
    if event.optional_id("mode") == "standby":
        raise event.refusal("mode", "is standby, so another channel answers")
    turn, source = read(event), event.part("source")
    return Inbound(
        provider="line",
        threads="none",
        bot_id=fields.id("destination"),
        user_id=UserId.encode(source.id("userId")),
        conversation=_conversation(source),
        reply_to=turn.reply_to,
        correlation=turn.correlation,
        message_id=turn.message_id,
        delivery_id=event.id("webhookEventId"),
        text=turn.text,
        options=turn.options,
        group_id=turn.group_id,
    )


def split_line(payload: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """Split a LINE webhook into ones with one event, for :func:`line`.

    Events of a kind that is no user's turn are left out, so the result may be empty. LINE also
    sends a webhook without events, to verify the URL. Raises ``InvalidInputError`` for anything but
    a LINE webhook.
    """
    fields = Payload("payload", payload)
    return tuple(
        {**fields.values, "events": [event.values]}
        for event in fields.parts("events")
        if event.optional_id("type") in _READERS
    )


@dataclass(frozen=True)
class _Turn:
    """What a user wrote or chose."""

    message_id: str | None = None
    reply_to: str | None = None
    correlation: str | None = None
    text: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    group_id: str | None = None


def _conversation(source: Payload) -> str:
    name = _CHATS.get(source.id("type"))
    if name is None:
        raise source.refusal("type", "is neither user, group nor room")
    return source.id(name)


def _message(event: Payload) -> _Turn:
    message = event.part("message")
    album = message.optional_part("imageSet")
    return _Turn(
        message_id=message.id("id"),
        reply_to=message.optional_id("quotedMessageId"),
        text=message.text("text"),
        group_id=None if album is None else album.id("id"),
    )


def _postback(event: Payload) -> _Turn:
    postback = event.part("postback")
    params = postback.optional_part("params")
    if params is None:
        return _Turn(correlation=postback.correlation("data"), text=postback.text("data"))
    if params.has(_MENU_SWITCH):
        raise params.refusal(_MENU_SWITCH, "is present, so the user only switched the menu")
    picked = next((params.text(name) for name in _PICKED if params.has(name)), None)
    return _Turn(
        correlation=postback.correlation("data"),
        text=picked or postback.text("data"),
        options=params.named_values(),
    )


def _account_link(event: Payload) -> _Turn:
    """Read whether an account was linked. The nonce is the one that the bot's server chose."""
    link = event.part("link")
    return _Turn(correlation=link.correlation("nonce"), text=link.text("result"))


_READERS: Final[dict[str, Callable[[Payload], _Turn]]] = {
    "message": _message,
    "postback": _postback,
    "accountLink": _account_link,
}
"""How an event of each type is read."""
