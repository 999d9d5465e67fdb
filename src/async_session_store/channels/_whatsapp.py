"""WhatsApp Cloud API: webhooks of a WhatsApp Business account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_TYPES: Final = (
    *("audio", "button", "contacts", "document", "image", "interactive", "location", "order"),
    *("sticker", "text", "video"),
)
_WRITTEN: Final = {"text": "body", "document": "caption", "image": "caption", "video": "caption"}


def whatsapp(payload: Mapping[str, object]) -> Inbound:
    """Read a WhatsApp webhook with one message. Use :func:`split_whatsapp` first.

    The user is ``from_user_id``, WhatsApp's id of the user for this business. If a payload has
    none, the user is ``from``, the phone number. Raises ``InvalidInputError`` for a receipt, a
    reaction, a system message, and for several messages at once.
    """
    entry = _only(Payload("payload", payload), "entry")
    value = _only(entry, "changes").part("value")
    message = _only(value, "messages")
    if message.id("type") not in _TYPES:
        raise message.refusal("type", "is not the type of a user's message")
    user = message.optional_id("from_user_id") or message.id("from")
    context = message.optional_part("context")
    correlation, text = _content(message)
    return Inbound(
        provider="whatsapp",
        bot_id=value.part("metadata").id("phone_number_id"),
        tenant_hint=entry.optional_id("id"),
        user_id=UserId.encode(user),
        conversation=message.optional_id("group_id") or user,
        reply_to=None if context is None else context.optional_id("id"),
        correlation=correlation,
        message_id=message.id("id"),
        delivery_id=message.id("id"),
        text=text,
    )


def split_whatsapp(payload: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """Split a WhatsApp webhook into payloads with one message each, for :func:`whatsapp`.

    WhatsApp sends several messages in one webhook when it is busy, and after failed deliveries.
    Receipts are left out, so the result may be empty. Raises ``InvalidInputError`` for anything but
    a WhatsApp webhook.
    """
    fields = Payload("payload", payload)
    return tuple(
        _with_one_message(fields, entry, change, message)
        for entry in fields.parts("entry")
        for change in entry.parts("changes")
        for message in change.part("value").parts("messages")
    )


def _with_one_message(
    fields: Payload, entry: Payload, change: Payload, message: Payload
) -> Mapping[str, object]:
    value = {**change.part("value").values, "messages": [message.values]}
    changed = {**entry.values, "changes": [{**change.values, "value": value}]}
    return {**fields.values, "entry": [changed]}


def _only(fields: Payload, name: str) -> Payload:
    items = fields.parts(name)
    if len(items) != 1:
        raise fields.refusal(name, "must hold one item; use split_whatsapp to split a webhook")
    return items[0]


def _content(message: Payload) -> tuple[str | None, str | None]:
    """Return the id of the button or row, and the user's text or the button's title."""
    kind = message.id("type")
    if kind == "button":
        button = message.part("button")
        return button.optional_id("payload"), button.text("text")
    if kind == "interactive":
        return _reply(message.part("interactive"))
    written = _WRITTEN.get(kind)
    return None, None if written is None else message.part(kind).text(written)


def _reply(interactive: Payload) -> tuple[str | None, str | None]:
    for kind in ("button_reply", "list_reply"):
        reply = interactive.optional_part(kind)
        if reply is not None:
            return reply.optional_id("id"), reply.text("title")
    return None, None
