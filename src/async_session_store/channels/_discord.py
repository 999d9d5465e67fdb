"""Discord: messages from the gateway, and interactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_DEFAULT, _REPLY = "0", "19"  # types of messages
_INTERACTIONS: Final = ("2", "3", "5")  # a command, a component, a modal


def discord(payload: Mapping[str, object], *, bot_id: str | int) -> Inbound:
    """Read a Discord message or interaction.

    The payload is the ``d`` of a ``MESSAGE_CREATE`` or ``INTERACTION_CREATE`` event, or the body
    of an interaction sent over HTTP. ``bot_id`` is the application id. A thread is a channel of its
    own. Raises ``InvalidInputError`` for the message of a bot or webhook, for a join, a pin and the
    like, and for an interaction with another application.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("payload", payload)
    return _message(bot, fields) if fields.has("author") else _interaction(bot, fields)


def _message(bot: str, message: Payload) -> Inbound:
    kind, author = message.id("type"), message.part("author")
    if kind not in (_DEFAULT, _REPLY):
        raise message.refusal("type", "is not the type of a user's message")
    if message.has("webhook_id"):
        raise message.refusal("webhook_id", "is present, so no user sent the message")
    if author.flag("bot"):
        raise author.refusal("bot", "is true, so a bot sent the message")
    reference = message.optional_part("message_reference") if kind == _REPLY else None
    return Inbound(
        provider="discord",
        bot_id=bot,
        tenant_hint=message.optional_id("guild_id"),
        user_id=UserId.encode(author.id("id")),
        conversation=message.id("channel_id"),
        reply_to=None if reference is None else reference.optional_id("message_id"),
        message_id=message.id("id"),
        delivery_id=message.id("id"),
        text=message.text("content"),
    )


def _interaction(bot: str, interaction: Payload) -> Inbound:
    if interaction.id("type") not in _INTERACTIONS:
        raise interaction.refusal("type", "is not the type of a command, component or modal")
    if interaction.id("application_id") != bot:
        raise interaction.refusal("application_id", "differs from bot_id")
    data, message = interaction.part("data"), interaction.optional_part("message")
    return Inbound(
        provider="discord",
        bot_id=bot,
        tenant_hint=interaction.optional_id("guild_id"),
        user_id=UserId.encode(_user(interaction)),
        conversation=interaction.id("channel_id"),
        reply_to=None if message is None else message.id("id"),
        correlation=data.optional_id("custom_id"),
        delivery_id=interaction.id("id"),
        text=data.first_id("values"),
    )


def _user(interaction: Payload) -> str:
    """Return the id of the user: the member of a server, or the user of a direct message."""
    member = interaction.optional_part("member")
    return (interaction if member is None else member).part("user").id("id")
