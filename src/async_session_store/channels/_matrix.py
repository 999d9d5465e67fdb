"""Matrix: events of the client-server API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_WITHOUT_TEXT: Final = ("m.sticker", "m.poll.start", "org.matrix.msc3381.poll.start")
_MESSAGES: Final = ("m.room.message", *_WITHOUT_TEXT)
_VOTES: Final = ("m.poll.response", "org.matrix.msc3381.poll.response")
_ENCRYPTED: Final = "m.room.encrypted"
_NO_TURN: Final = ("m.notice", "m.server_notice", "m.key.verification.request")
_MEDIA: Final = ("m.audio", "m.file", "m.image", "m.video")
_LOCATION: Final = "m.location"
_RELATION: Final = "m.relates_to"
_EDITED: Final = "m.new_content"
_QUOTES: Final = ("> <@", "> * <@")  # the second is of an emote


def matrix(
    event: Mapping[str, object], *, bot_id: str, room_id: str | int | None = None
) -> Inbound:
    """Read a Matrix event: a message, a sticker, a new poll, or a vote in one.

    ``bot_id`` is the bot's full user id, such as ``@bot:example.org``. ``room_id`` is needed for an
    event from ``/sync``, which names the room beside the event. Decrypt an encrypted event first.

    Raises ``InvalidInputError`` for the bot's own message, for a notice, which bots send, for an
    edit, a reaction, a redaction and what it left, a change of the room's state, and for an
    encrypted event.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("event", event)
    kind, content = fields.id("type"), fields.part("content")
    _check_is_turn(bot, fields, kind)
    is_vote = kind in _VOTES
    relation = content.optional_part(_RELATION)
    _check_is_no_edit(content, relation)
    thread = _thread(relation)
    replied = _poll(content.part(_RELATION)) if is_vote else _replied(relation)
    values = _answers(content) if is_vote else ()
    return Inbound(
        provider="matrix",
        bot_id=bot,
        user_id=UserId.encode(fields.id("sender")),
        conversation=fields.id("room_id") if room_id is None else identifier("room_id", room_id),
        thread=thread,
        reply_to=replied or thread,
        message_id=None if is_vote else fields.id("event_id"),
        delivery_id=fields.id("event_id"),
        text=next(iter(values), None) if is_vote else _text(kind, content, replied),
        values=values,
    )


def _check_is_turn(bot: str, event: Payload, kind: str) -> None:
    if kind == _ENCRYPTED:
        raise event.refusal("type", "is m.room.encrypted; decrypt the event first")
    if kind not in (*_MESSAGES, *_VOTES):
        raise event.refusal("type", "is not the type of a user's turn")
    if event.id("sender") == bot:
        raise event.refusal("sender", "is the bot, so the bot sent the event")
    unsigned = event.optional_part("unsigned")
    if unsigned is not None and unsigned.has("redacted_because"):
        raise unsigned.refusal("redacted_because", "is present, so the event was redacted")


def _check_is_no_edit(content: Payload, relation: Payload | None) -> None:
    """Refuse an edit. Once decrypted, it may have lost its relation, which is not encrypted."""
    if relation is not None and relation.optional_id("rel_type") == "m.replace":
        raise relation.refusal("rel_type", "is m.replace, so a message was edited")
    if content.has(_EDITED):
        raise content.refusal(_EDITED, "is present, so a message was edited")


def _thread(relation: Payload | None) -> str | None:
    if relation is None or relation.optional_id("rel_type") != "m.thread":
        return None
    return relation.id("event_id")


def _poll(relation: Payload) -> str:
    if relation.id("rel_type") != "m.reference":
        raise relation.refusal("rel_type", "is not m.reference, so the vote names no poll")
    return relation.id("event_id")


def _replied(relation: Payload | None) -> str | None:
    """Return the message that was replied to.

    A client that only continues a thread names its last message, for clients without threads.
    """
    replied = None if relation is None else relation.optional_part("m.in_reply_to")
    if relation is None or replied is None or relation.flag("is_falling_back"):
        return None
    return replied.optional_id("event_id")


def _text(kind: str, content: Payload, replied: str | None) -> str | None:
    """Return what the user wrote, or the caption of a file. A file's ``body`` may be its name."""
    if kind in _WITHOUT_TEXT:
        return None
    message_type = content.id("msgtype")
    if message_type in _NO_TURN:
        raise content.refusal("msgtype", "is not the type of a user's message")
    if message_type == _LOCATION:
        return None
    body = content.text("body")
    if replied is not None and body is not None:
        body = _without_quote(body)
    if message_type in _MEDIA:
        name = content.text("filename")
        return None if name in (None, body) else body
    return body


def _without_quote(body: str) -> str | None:
    """Drop the quote of the message that was replied to, which older clients put first.

    It begins with who wrote that message. Any other quote is the user's own.
    """
    if not body.startswith(_QUOTES):
        return body
    lines = body.split("\n")
    end = next((index for index, one in enumerate(lines) if not one.startswith("> ")), len(lines))
    if end == len(lines) or lines[end]:  # the quote ends with an empty line
        return body
    return "\n".join(lines[end + 1 :]) or None


def _answers(content: Payload) -> tuple[str, ...]:
    """Return the ids of the answers that the user chose: none, if the vote was withdrawn."""
    older = content.optional_part(_VOTES[1])
    return content.ids("m.selections") if older is None else older.ids("answers")
