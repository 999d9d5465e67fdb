"""Webex: a webhook, and the message or card action that it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_RESOURCES: Final = ("messages", "attachmentActions")


def webex(webhook: Mapping[str, object], fetched: Mapping[str, object] | None = None) -> Inbound:
    """Read a Webex webhook for a new message or card action.

    The webhook carries ids only. ``fetched`` is what the API gives for ``data.id``: the message
    (``GET /messages/{id}``) with its text and thread, or the action
    (``GET /attachment/actions/{id}``). The bot is who created the webhook. Raises
    ``InvalidInputError`` for any other webhook, for the bot's own message, and for a ``fetched``
    of another id.
    """
    fields = Payload("webhook", webhook)
    resource = fields.id("resource")
    if resource not in _RESOURCES:
        raise fields.refusal("resource", "is neither messages nor attachmentActions")
    if fields.id("event") != "created":
        raise fields.refusal("event", "is not created")
    data, bot_id = fields.part("data"), fields.id("createdBy")
    person = data.id("personId")
    if person == bot_id:
        raise data.refusal("personId", "is the bot, which sent the message")
    details = data if fetched is None else _details(data, fetched)
    is_message = resource == "messages"
    thread = details.optional_id("parentId") if is_message else None
    return Inbound(
        provider="webex",
        bot_id=bot_id,
        tenant_hint=fields.optional_id("orgId"),
        user_id=UserId.encode(person),
        conversation=data.id("roomId"),
        thread=thread,
        reply_to=thread if is_message else details.id("messageId"),
        message_id=data.id("id") if is_message else None,
        delivery_id=data.id("id"),
        text=details.text("text") if is_message else None,
    )


def _details(data: Payload, fetched: Mapping[str, object]) -> Payload:
    details = Payload("fetched", fetched)
    if details.id("id") != data.id("id"):
        raise details.refusal("id", "is not the id in the webhook")
    return details
