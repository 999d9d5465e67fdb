"""Twilio: incoming messages over SMS, MMS, RCS and WhatsApp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_RECEIVED: Final = ("received", "receiving")
_STATUSES: Final = ("MessageStatus", "SmsStatus")
_USERS: Final = ("ExternalUserId", "ParentExternalUserId", "From")


def twilio(form: Mapping[str, object]) -> Inbound:
    """Read the fields of a Twilio webhook for an incoming message.

    ``form`` is the form-encoded body as a mapping. The bot is ``To``: a phone number, or an address
    such as ``whatsapp:+15550001``. The user is ``From``. On WhatsApp, the user is the
    ``ExternalUserId``, which lasts longer than a number, and the others are ``user_aliases``. A
    chat has the same ids as its user.

    Raises ``InvalidInputError`` for the status of a message that the bot sent.
    """
    fields = Payload("form", form)
    for name in _STATUSES:
        if fields.optional_id(name) not in (None, *_RECEIVED):
            raise fields.refusal(name, "is the status of a message that the bot sent")
    named = (fields.optional_id(name) for name in _USERS)
    user, *others = dict.fromkeys(one for one in (*named, fields.id("From")) if one is not None)
    return Inbound(
        provider="twilio",
        threads="none",
        bot_id=fields.id("To"),
        tenant_hint=fields.optional_id("AccountSid"),
        user_id=UserId.encode(user),
        user_aliases=tuple(map(UserId.encode, others)),
        conversation=user,
        conversation_aliases=tuple(others),
        reply_to=fields.optional_id("OriginalRepliedMessageSid"),
        correlation=fields.correlation("ButtonPayload") or fields.correlation("ListId"),
        message_id=fields.id("MessageSid"),
        delivery_id=fields.id("MessageSid"),
        text=fields.text("Body") or fields.text("ButtonText"),
    )
