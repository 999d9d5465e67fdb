"""Microsoft Teams and other channels of the Bot Framework: activities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels._teams_answers import read_answer
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_THREAD_MARK: Final = ";messageid="
_NO_MESSAGE: Final = "-1"


def teams(activity: Mapping[str, object]) -> Inbound:
    """Read a Bot Framework activity: a message, or an invoke that answers the bot.

    Such an invoke is the action of a card, a dialog that was submitted, a file that was accepted or
    declined, or a sign-in. If the data of an action has a ``correlation``, that is the
    correlation: dialogs, and cards in some clients, do not name the message they belong to.

    The provider is the activity's ``channelId``: ``msteams`` for Teams. Raises
    ``InvalidInputError`` for any other activity, for the automatic refresh of a card, and for a
    bot's message.
    """
    fields = Payload("activity", activity)
    answer = read_answer(fields)
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
        reply_to=_replied(fields) or thread,
        correlation=answer.correlation,
        message_id=None if fields.has("value") else fields.id("id"),
        delivery_id=answer.repeated_id or fields.id("id"),
        text=answer.text,
        options=answer.fields,
    )


def _replied(activity: Payload) -> str | None:
    """Return the message that was replied to, wherever a client names it."""
    found = activity.optional_id("replyToId")
    if found is not None and found != _NO_MESSAGE:
        return found
    reference = activity.optional_part("relatesTo")
    named = None if reference is None else reference.optional_id("activityId")
    data = activity.optional_part("channelData")
    legacy = None if data is None else data.optional_part("legacy")
    return named or (None if legacy is None else legacy.optional_id("replyToId"))


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
