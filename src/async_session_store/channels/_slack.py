"""Slack: events (Events API and Socket Mode) and block actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_EVENTS: Final = ("message", "app_mention")
_SUBTYPES: Final = (None, "file_share", "me_message", "thread_broadcast")


def slack(payload: Mapping[str, object]) -> Inbound:
    """Read a Slack payload: ``event_callback`` with a message or mention, or ``block_actions``.

    The delivery id is the message's ``ts``. Retries have the same ``ts``, and so do the
    ``message`` and the ``app_mention`` that Slack sends for one message. Raises
    ``InvalidInputError`` for a bot's message, an edit, a join and the like, and for a modal, which
    has no channel.
    """
    fields = Payload("payload", payload)
    kind = fields.id("type")
    if kind == "event_callback":
        return _message(fields)
    if kind == "block_actions":
        return _action(fields)
    raise fields.refusal("type", "is neither event_callback nor block_actions")


def _message(payload: Payload) -> Inbound:
    event = payload.part("event")
    if event.id("type") not in _EVENTS:
        raise event.refusal("type", "is neither message nor app_mention")
    if event.optional_id("subtype") not in _SUBTYPES:
        raise event.refusal("subtype", "is not the subtype of a user's message")
    if event.has("bot_id"):
        raise event.refusal("bot_id", "is present, so a bot sent the message")
    thread = event.optional_id("thread_ts")
    return Inbound(
        provider="slack",
        bot_id=payload.id("api_app_id"),
        tenant_hint=payload.optional_id("team_id") or payload.optional_id("enterprise_id"),
        user_id=UserId.encode(event.id("user")),
        conversation=event.id("channel"),
        thread=thread,
        reply_to=thread,
        message_id=event.id("ts"),
        delivery_id=event.id("ts"),
        text=event.text("text"),
    )


def _action(payload: Payload) -> Inbound:
    actions = payload.parts("actions")
    if not actions:
        raise payload.refusal("actions", "is missing or empty")
    action, container = actions[0], payload.part("container")
    return Inbound(
        provider="slack",
        bot_id=payload.id("api_app_id"),
        tenant_hint=_id_in(payload, "team") or _id_in(payload, "enterprise"),
        user_id=UserId.encode(payload.part("user").id("id")),
        conversation=payload.part("channel").id("id"),
        thread=_thread(payload, container),
        reply_to=container.id("message_ts"),
        correlation=action.optional_id("action_id"),
        delivery_id=action.id("action_ts"),
        text=_chosen(action),
    )


def _thread(payload: Payload, container: Payload) -> str | None:
    """Return the thread of the message with the button. Only the container has an ephemeral one."""
    message = payload.optional_part("message")
    found = container.optional_id("thread_ts")
    return found if found or message is None else message.optional_id("thread_ts")


def _chosen(action: Payload) -> str | None:
    option = action.optional_part("selected_option")
    return action.text("value") if option is None else option.text("value")


def _id_in(payload: Payload, name: str) -> str | None:
    inner = payload.optional_part(name)
    return None if inner is None else inner.optional_id("id")
