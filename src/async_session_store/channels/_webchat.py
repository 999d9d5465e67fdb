"""Web chat: activities of the Direct Line protocol."""

from __future__ import annotations

from collections.abc import Mapping

from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId


def webchat(
    activity: Mapping[str, object],
    *,
    bot_id: str | int,
    conversation_id: str | int | None = None,
    user_id: str | int | None = None,
) -> Inbound:
    """Read a message of a web chat, or a card that was submitted, as a Direct Line client sends it.

    ``conversation_id`` defaults to ``conversation.id``; pass it if the host has it from the URL.
    ``user_id`` is the user that the host has authenticated. It defaults to ``from.id``, which the
    client chooses: rely on that only if it comes from a token. Otherwise anyone who knows a user's
    id and conversation can answer in their place. Raises ``InvalidInputError`` for any other
    activity, and for a bot's message.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("activity", activity)
    if fields.id("type") != "message":
        raise fields.refusal("type", "is not message")
    sender = fields.optional_part("from")
    if sender is not None and sender.optional_id("role") == "bot":
        raise sender.refusal("role", "is bot, so a bot sent the message")
    delivery_id = _delivery_id(fields)
    return Inbound(
        provider="webchat",
        threads="none",
        bot_id=bot,
        user_id=UserId.encode(_given_or_sent("user_id", user_id, fields, "from")),
        conversation=_given_or_sent("conversation_id", conversation_id, fields, "conversation"),
        reply_to=fields.optional_id("replyToId"),
        message_id=fields.optional_id("id"),
        delivery_id=delivery_id,
        text=fields.text("text") or _plain_value(fields),
        options=_form(fields),
    )


def _plain_value(activity: Payload) -> str | None:
    """Return the value of a button, if the value is a text."""
    return activity.text("value") if isinstance(activity.values.get("value"), str) else None


def _form(activity: Payload) -> tuple[tuple[str, str], ...]:
    """Return the fields of a card that was submitted."""
    is_form = isinstance(activity.values.get("value"), Mapping)
    return activity.part("value").named_values() if is_form else ()


def _given_or_sent(name: str, given: str | int | None, activity: Payload, sent: str) -> str:
    return activity.part(sent).id("id") if given is None else identifier(name, given)


def _delivery_id(activity: Payload) -> str:
    """Return the activity's id. A client that posts an activity only has its own id for it."""
    found, data = activity.optional_id("id"), activity.optional_part("channelData")
    if found is None and data is not None:
        found = data.optional_id("clientActivityID")
    return found or activity.id("id")
