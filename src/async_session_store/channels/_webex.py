"""Webex: webhooks, and the messages and card actions that they announce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_RESOURCES: Final = ("messages", "attachmentActions")


def webex(webhook: Mapping[str, object], fetched: Mapping[str, object] | None = None) -> Inbound:
    """Read a Webex webhook for a new message or card action.

    The webhook carries only ids. ``fetched`` is the API's response for ``data.id``: the message
    (``GET /messages/{id}``) with its text and thread, or the action
    (``GET /attachment/actions/{id}``). The bot is the creator of the webhook. Raises
    ``InvalidInputError`` for any other webhook, for the bot's own message, and if the id of
    ``fetched`` differs.
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
        raise data.refusal("personId", "is the bot, so a bot sent the message")
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
        options=() if is_message else _inputs(details),
    )


def _details(data: Payload, fetched: Mapping[str, object]) -> Payload:
    details = Payload("fetched", fetched)
    if details.id("id") != data.id("id"):
        raise details.refusal("id", "differs from the id in the webhook")
    return details


def _inputs(action: Payload) -> tuple[tuple[str, str], ...]:
    """Return the fields of a card that was submitted. Only the fetched action has them."""
    inputs = action.optional_part("inputs")
    return () if inputs is None else inputs.named_values()
