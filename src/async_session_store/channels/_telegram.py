"""Telegram: updates of the Bot API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels.inbound import Inbound
from async_session_store.errors import InvalidInputError
from async_session_store.models import UserId

_MESSAGES: Final = ("message", "business_message", "channel_post")
_SENT: Final = (
    *("text", "animation", "audio", "checklist", "contact", "dice", "document", "game"),
    *("location", "paid_media", "photo", "poll", "sticker", "story", "venue", "video"),
    *("video_note", "voice", "chat_shared", "users_shared", "successful_payment", "web_app_data"),
)
"""Content that a user sends. A message without any of it reports an event in the chat."""


def telegram(update: Mapping[str, object], *, bot_id: str | int) -> Inbound:
    """Read a Telegram update: a message, a business message, a channel post or a callback query.

    ``bot_id`` is the number before the colon of the bot's token. Raises ``InvalidInputError`` for
    any other kind of update, for a message about an event in the chat, and for a bot's message.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("update", update)
    if ":" in bot:  # the whole token, which would be stored with each scope
        raise InvalidInputError("bot_id: give only the number before the colon of the token")
    query = fields.optional_part("callback_query")
    if query is not None:
        return _callback(bot, fields, query)
    for kind in _MESSAGES:
        message = fields.optional_part(kind)
        if message is not None:
            return _message(bot, fields, message)
    raise fields.refusal("message", "is missing, and so is callback_query")


def _message(bot: str, update: Payload, message: Payload) -> Inbound:
    if not any(message.has(name) for name in _SENT):
        raise message.refusal("text", "is missing, and so is any other content of a user")
    if message.has("sender_business_bot"):
        raise message.refusal("sender_business_bot", "is present, so a bot sent the message")
    replied = message.optional_part("reply_to_message")
    return Inbound(
        provider="telegram",
        bot_id=bot,
        account=message.optional_id("business_connection_id"),
        tenant_hint=message.optional_id("business_connection_id"),
        user_id=UserId.encode(_sender(message)),
        conversation=message.part("chat").id("id"),
        thread=_thread(message),
        reply_to=None if replied is None else replied.id("message_id"),
        message_id=message.id("message_id"),
        delivery_id=update.id("update_id"),
        text=message.text("text") or message.text("caption"),
    )


def _callback(bot: str, update: Payload, query: Payload) -> Inbound:
    message = query.part("message")
    return Inbound(
        provider="telegram",
        bot_id=bot,
        account=message.optional_id("business_connection_id"),
        tenant_hint=message.optional_id("business_connection_id"),
        user_id=UserId.encode(query.part("from").id("id")),
        conversation=message.part("chat").id("id"),
        thread=_thread(message),
        reply_to=message.id("message_id"),
        correlation=query.optional_id("data"),
        delivery_id=update.id("update_id"),
        text=query.text("data"),
    )


def _sender(message: Payload) -> str:
    """Return the chat in whose name a message was sent, or else the user.

    If there is such a chat, ``from`` holds a made-up user.
    """
    chat = message.optional_part("sender_chat")
    if chat is not None:
        return chat.id("id")
    sender = message.part("from")
    if sender.flag("is_bot"):
        raise sender.refusal("is_bot", "is true, so a bot sent the message")
    return sender.id("id")


def _thread(message: Payload) -> str | None:
    """Return the topic. In a group without topics, ``message_thread_id`` denotes a reply chain."""
    topic = message.optional_part("direct_messages_topic")
    if topic is not None:
        return topic.id("topic_id")
    return message.id("message_thread_id") if message.flag("is_topic_message") else None
