"""Slack: messages, mentions, and the steps of workflows that an app runs."""

from __future__ import annotations

from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels._slack_app import app_id, tenant
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_MESSAGES: Final = ("message", "app_mention")
_SUBTYPES: Final = (None, "file_share", "me_message", "thread_broadcast")
_STEP: Final = "function_executed"
_SLACKBOT: Final = "USLACKBOT"
_USER_INPUT: Final = "slack#/types/user_id"
_CHANNEL_INPUT: Final = "slack#/types/channel_id"


def read_event(app: str | None, payload: Payload, *, allow_user_tokens: bool) -> Inbound:
    event = payload.part("event")
    kind = event.id("type")
    if kind == _STEP:
        return _step(app, payload, event)
    if kind not in _MESSAGES:
        raise event.refusal("type", "is not message, app_mention or function_executed")
    _check_is_from_user(payload, event, allow_user_tokens=allow_user_tokens)
    thread = event.optional_id("thread_ts")
    return Inbound(
        provider="slack",
        bot_id=app_id(app, payload),
        tenant_hint=tenant(payload),
        user_id=UserId.encode(event.id("user")),
        conversation=event.id("channel"),
        thread=thread,
        reply_to=thread,
        message_id=event.id("ts"),
        delivery_id=event.id("ts"),
        text=event.text("text"),
    )


def _check_is_from_user(payload: Payload, event: Payload, *, allow_user_tokens: bool) -> None:
    if event.optional_id("subtype") not in _SUBTYPES:
        raise event.refusal("subtype", "is not the subtype of a user's message")
    if event.has("edited"):
        raise event.refusal("edited", "is present, so a message was edited")
    user = event.optional_id("user")
    if user == _SLACKBOT:
        raise event.refusal("user", "is Slackbot, so a bot sent the message")
    if not event.has("bot_id"):
        return
    if user is None or not allow_user_tokens:
        raise event.refusal("bot_id", "is present, so a bot sent the message")
    if any(one.optional_id("user_id") == user for one in payload.parts("authorizations")):
        raise event.refusal("user", "is this app's bot")


def _step(app: str | None, payload: Payload, event: Payload) -> Inbound:
    """Read a step of a workflow as the turn of the user who is one of its inputs."""
    function, inputs = event.part("function"), event.part("inputs")
    user = _input(function, inputs, _USER_INPUT)
    if user is None:
        raise event.refusal("inputs", "names no user, so the step is no user's turn")
    return Inbound(
        provider="slack",
        bot_id=app_id(app, payload),
        tenant_hint=tenant(payload),
        user_id=UserId.encode(user),
        conversation=_input(function, inputs, _CHANNEL_INPUT) or user,
        correlation=function.id("callback_id"),
        delivery_id=event.id("function_execution_id"),
        options=inputs.named_values(),
    )


def _input(function: Payload, inputs: Payload, kind: str) -> str | None:
    """Return the first input of a type."""
    for parameter in function.parts("input_parameters"):
        if parameter.optional_id("type") == kind:
            found = inputs.named_id(parameter.id("name"))
            if found is not None:
                return found
    return None
