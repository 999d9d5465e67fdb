"""WhatsApp Cloud API: webhooks of a WhatsApp Business account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_TYPES: Final = (
    *("audio", "button", "contacts", "document", "image", "interactive", "location", "order"),
    *("sticker", "text", "video"),
)
_USERS: Final = ("from_user_id", "from_parent_user_id", "from")
_TOKEN: Final = "flow_token"  # noqa: S105 - a field's name
_WRITTEN: Final = {"text": "body", "document": "caption", "image": "caption", "video": "caption"}


def whatsapp(payload: Mapping[str, object]) -> Inbound:
    """Read a WhatsApp webhook with one message. Use :func:`split_whatsapp` first.

    The user is ``from_user_id``, WhatsApp's id of the user for this business, or else ``from``, the
    phone number. If a message has both, the number is one of the ``user_aliases``, and so is the id
    that the user has for a group of businesses. A chat with a user has the same ids as the user.

    Raises ``InvalidInputError`` for a receipt, a reaction, a system message, a message that the
    business only watches, and for several messages at once.
    """
    entry = _only(Payload("payload", payload), "entry")
    change = _only(entry, "changes")
    if not _is_for_messages(change):
        raise change.refusal("field", "is not messages")
    value = change.part("value")
    message = _only(value, "messages")
    if message.id("type") not in _TYPES:
        raise message.refusal("type", "is not the type of a user's message")
    user, *others = _users(message)
    group = message.optional_id("group_id")
    context = message.optional_part("context")
    answer = _answer(message)
    return Inbound(
        provider="whatsapp",
        threads="none",
        bot_id=value.part("metadata").id("phone_number_id"),
        tenant_hint=entry.optional_id("id"),
        user_id=UserId.encode(user),
        user_aliases=tuple(map(UserId.encode, others)),
        conversation=group or user,
        conversation_aliases=() if group else tuple(others),
        reply_to=None if context is None else context.optional_id("id"),
        correlation=answer.correlation,
        message_id=message.id("id"),
        delivery_id=message.id("id"),
        text=answer.text,
        options=answer.fields,
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
        if _is_for_messages(change)
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


def _is_for_messages(change: Payload) -> bool:
    """Return whether a change is meant for this app to answer, rather than to watch."""
    return change.optional_id("field") in {None, "messages"}


def _users(message: Payload) -> list[str]:
    """Return the ids of the user: for this business, for a group of businesses, and the number."""
    named = (message.optional_id(name) for name in _USERS)
    found = list(dict.fromkeys(user for user in named if user is not None))
    return found or [message.id("from")]


@dataclass(frozen=True)
class _Answer:
    """What a user wrote, chose or filled in."""

    correlation: str | None = None
    text: str | None = None
    fields: tuple[tuple[str, str], ...] = ()


def _answer(message: Payload) -> _Answer:
    kind = message.id("type")
    if kind == "button":
        button = message.part("button")
        return _Answer(button.optional_id("payload"), button.text("text"))
    if kind == "interactive":
        return _reply(message.part("interactive"))
    written = _WRITTEN.get(kind)
    return _Answer() if written is None else _Answer(text=message.part(kind).text(written))


def _reply(interactive: Payload) -> _Answer:
    for kind in ("button_reply", "list_reply"):
        reply = interactive.optional_part(kind)
        if reply is not None:
            return _Answer(reply.optional_id("id"), reply.text("title"))
    permission = interactive.optional_part("call_permission_reply")
    if permission is not None:
        return _Answer(text=permission.text("response"))
    form = interactive.optional_part("nfm_reply")
    if form is None or not form.has("response_json"):
        return _Answer()
    response = form.embedded_part("response_json")
    fields = tuple(pair for pair in response.named_values() if pair[0] != _TOKEN)
    return _Answer(response.optional_id(_TOKEN), fields=fields)
