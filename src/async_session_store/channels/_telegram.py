"""Telegram: updates of the Bot API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels._telegram_content import check_is_content, plain_text
from async_session_store.channels._telegram_queries import read_query
from async_session_store.channels._telegram_threads import Thread
from async_session_store.channels.inbound import Inbound
from async_session_store.errors import InvalidInputError
from async_session_store.models import UserId

_MESSAGES: Final = ("message", "business_message", "channel_post", "guest_message")
_GUEST: Final = "guest"
_COMMAND: Final = re.compile(r"/([A-Za-z0-9_]+)")


def telegram(
    update: Mapping[str, object], *, bot_id: str | int, discussion_group: bool = False
) -> Inbound:
    """Read a Telegram update in which a user sent or chose something.

    That is a message, a business or guest message, a channel post, a callback query, a vote in a
    poll, a request to join, a shipping or pre-checkout query, or a purchase of paid media. An
    update without a chat is read as one in the user's private chat with the bot.

    ``bot_id`` is the number before the colon of the bot's token. Pass ``discussion_group=True`` for
    an update from the discussion group of a channel: each post's comments are then one thread.
    Otherwise only a direct comment is known to be one (see :attr:`Inbound.reply_chain`).

    Raises ``InvalidInputError`` for any other kind of update, for a message about an event in the
    chat, for a post that Telegram copied into the discussion group, for a message of a bot, and for
    one that the owner of a business account wrote to a customer.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("update", update)
    if ":" in bot:  # the whole token, which would be stored with each scope
        raise InvalidInputError("bot_id: give only the number before the colon of the token")
    for kind in _MESSAGES:
        message = fields.optional_part(kind)
        if message is not None:
            return _message(bot, fields, message, kind, discussion_group=discussion_group)
    query = fields.optional_part("callback_query")
    if query is not None and query.has("message"):
        return _callback(bot, fields, query, discussion_group=discussion_group)
    return read_query(bot, fields)


def _message(
    bot: str, update: Payload, message: Payload, kind: str, *, discussion_group: bool
) -> Inbound:
    check_is_content(message)
    _check_is_from_user(message, is_business=kind == "business_message")
    replied = message.optional_part("reply_to_message")
    thread = Thread.read(message, discussion_group=discussion_group)
    business = message.optional_id("business_connection_id")
    return Inbound(
        provider="telegram",
        bot_id=bot,
        # The same chat may also be a chat of the bot itself, with the same id.
        account=_GUEST if kind == "guest_message" else business,
        tenant_hint=business,
        user_id=UserId.encode(_sender(message)),
        conversation=message.part("chat").id("id"),
        thread=thread.topic,
        reply_chain=thread.chain,
        reply_to=None if replied is None else _message_id(replied),
        message_id=_message_id(message),
        delivery_id=update.id("update_id"),
        text=message.text("text") or message.text("caption") or plain_text(message),
        command=_command(message),
        group_id=message.optional_id("media_group_id"),
        is_ephemeral=message.has("ephemeral_message_id"),
    )


def _callback(bot: str, update: Payload, query: Payload, *, discussion_group: bool) -> Inbound:
    message = query.part("message")
    thread = Thread.read(message, discussion_group=discussion_group)
    business = message.optional_id("business_connection_id")
    return Inbound(
        provider="telegram",
        bot_id=bot,
        account=business,
        tenant_hint=business,
        user_id=UserId.encode(query.part("from").id("id")),
        conversation=message.part("chat").id("id"),
        thread=thread.topic,
        reply_chain=thread.chain,
        reply_to=_message_id(message),
        correlation=query.optional_id("data"),
        delivery_id=update.id("update_id"),
        text=query.text("data"),
        is_ephemeral=message.has("ephemeral_message_id"),
    )


def _check_is_from_user(message: Payload, *, is_business: bool) -> None:
    if message.flag("is_automatic_forward"):
        raise message.refusal("is_automatic_forward", "is true, so Telegram copied a post")
    if message.has("sender_business_bot"):
        raise message.refusal("sender_business_bot", "is present, so a bot sent the message")
    chat = message.part("chat")
    if is_business and chat.optional_id("type") == "private":
        sender = message.part("from")
        if sender.id("id") != chat.id("id"):
            raise sender.refusal("id", "differs from chat.id, so the account's owner wrote this")


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


def _message_id(message: Payload) -> str:
    """Return a message's id. Ephemeral ones all have the message id 0, and ids of their own."""
    ephemeral = message.optional_id("ephemeral_message_id")
    return message.id("message_id") if ephemeral is None else f"ephemeral:{ephemeral}"


def _command(message: Payload) -> str | None:
    """Return the command that opens the text, without the name of the bot that may follow it."""
    for entity in message.parts("entities"):
        if entity.optional_id("type") == "bot_command" and entity.optional_id("offset") == "0":
            found = _COMMAND.match(message.text("text") or "")
            return None if found is None else found[1]
    return None
