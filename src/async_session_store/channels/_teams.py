"""Microsoft Teams and other channels of the Bot Framework: activities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_CARD_ACTION: Final = "adaptiveCard/action"
_THREAD_MARK: Final = ";messageid="


def teams(activity: Mapping[str, object]) -> Inbound:
    """Read a Bot Framework activity: a message, or the action of an Adaptive Card.

    The provider is the activity's ``channelId``: ``msteams`` for Teams. Raises
    ``InvalidInputError`` for any other type of activity, for the automatic refresh of a card, and
    for a bot's message.
    """
    fields = Payload("activity", activity)
    correlation = _correlation(fields)
    sender = fields.part("from")
    if sender.optional_id("role") == "bot":
        raise sender.refusal("role", "is bot, so a bot sent the message")
    conversation, thread = _conversation(fields.part("conversation"))
    return Inbound(
        provider=fields.id("channelId"),
        bot_id=fields.part("recipient").id("id"),
        tenant_hint=_tenant(fields),
        user_id=UserId.encode(sender.optional_id("aadObjectId") or sender.id("id")),
        conversation=conversation,
        thread=thread,
        reply_to=fields.optional_id("replyToId") or thread,
        correlation=correlation,
        message_id=None if fields.has("value") else fields.id("id"),
        delivery_id=fields.id("id"),
        text=fields.text("text"),
    )


def _correlation(activity: Payload) -> str | None:
    """Return the verb of a card's action; None for a message."""
    kind = activity.id("type")
    if kind == "message":
        return None
    if kind != "invoke" or activity.id("name") != _CARD_ACTION:
        raise activity.refusal("type", f"is neither message nor the invoke {_CARD_ACTION}")
    value = activity.part("value")
    if value.optional_id("trigger") == "automatic":
        raise value.refusal("trigger", "is automatic, so no user acted")
    return value.part("action").optional_id("verb")


def _conversation(conversation: Payload) -> tuple[str, str | None]:
    """Return the conversation, and the thread that Teams appends to the conversation's id."""
    base, _, thread = conversation.id("id").partition(_THREAD_MARK)
    if not base:
        raise conversation.refusal("id", "names no conversation")
    return base, thread or None


def _tenant(activity: Payload) -> str | None:
    data = activity.optional_part("channelData")
    tenant = None if data is None else data.optional_part("tenant")
    found = None if tenant is None else tenant.optional_id("id")
    return found or activity.part("conversation").optional_id("tenantId")
