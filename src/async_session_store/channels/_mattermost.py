"""Mattermost: posts, outgoing webhooks, slash commands, buttons and dialogs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from async_session_store.channels._payload import Payload, identifier, only_value
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId

_POST_TYPES: Final = (None, "me", "burn_on_read")  # None: a usual post; me: of /me
_BOTS: Final = ("from_bot", "from_oauth_app", "from_plugin", "from_webhook")
_CORRELATION: Final = "correlation"


def mattermost(payload: Mapping[str, object], *, bot_id: str) -> Inbound:
    """Read a Mattermost payload in which a user wrote, chose or started something.

    That is a ``posted`` event of the websocket, an outgoing webhook, a slash command, a button or
    menu of a message, or a dialog that was submitted. A form-encoded body is passed as a mapping of
    its fields. ``bot_id`` is the user id of the bot.

    If the context of a button has a ``correlation``, that is the correlation. That of a dialog is
    its ``state``, or else its ``callback_id``. Raises ``InvalidInputError`` for any other event,
    for a post of a bot, an app, a webhook or the system, and for a dialog that was cancelled.
    """
    bot, fields = identifier("bot_id", bot_id), Payload("payload", payload)
    if fields.has("event"):
        return _posted(bot, fields)
    _check_is_not_bot(bot, fields)
    if fields.has("callback_id"):
        return _dialog(bot, fields)
    if fields.has("command"):
        return _command(bot, fields)
    return _action(bot, fields) if fields.has("trigger_id") else _webhook(bot, fields)


def _posted(bot: str, event: Payload) -> Inbound:
    if event.id("event") != "posted":
        raise event.refusal("event", "is not posted")
    data = event.part("data")
    post = data.embedded_part("post")
    _check_is_not_bot(bot, post)
    if post.optional_id("type") not in _POST_TYPES:
        raise post.refusal("type", "is not the type of a user's post")
    props = post.optional_part("props")
    for name in () if props is None else _BOTS:
        if props is not None and props.texts(name) == ("true",):
            raise props.refusal(name, "is true, so a bot sent the post")
    root = post.optional_id("root_id")
    return Inbound(
        provider="mattermost",
        bot_id=bot,
        tenant_hint=data.optional_id("team_id"),
        user_id=UserId.encode(post.id("user_id")),
        conversation=post.id("channel_id"),
        thread=root,
        reply_to=root,
        message_id=post.id("id"),
        delivery_id=post.id("id"),
        text=post.text("message"),
    )


def _webhook(bot: str, webhook: Payload) -> Inbound:
    """Read an outgoing webhook. Mattermost does not say which thread the post is in."""
    return Inbound(
        provider="mattermost",
        bot_id=bot,
        tenant_hint=webhook.optional_id("team_id"),
        user_id=UserId.encode(webhook.id("user_id")),
        conversation=webhook.id("channel_id"),
        message_id=webhook.id("post_id"),
        delivery_id=webhook.id("post_id"),
        text=webhook.text("text"),
    )


def _command(bot: str, command: Payload) -> Inbound:
    """Read a slash command. Older servers do not say which thread it was written in."""
    root = command.optional_id("root_id")
    return Inbound(
        provider="mattermost",
        bot_id=bot,
        tenant_hint=command.optional_id("team_id"),
        user_id=UserId.encode(command.id("user_id")),
        conversation=command.id("channel_id"),
        thread=root,
        reply_to=root,
        delivery_id=command.id("trigger_id"),
        text=command.text("text"),
        command=command.id("command").removeprefix("/") or None,
    )


def _action(bot: str, action: Payload) -> Inbound:
    """Read a button or menu. The context holds what the bot put there, and what was selected."""
    if action.optional_id("type") == "dialog_lookup":
        raise action.refusal("type", "is dialog_lookup, so the user still types")
    context = action.optional_part("context")
    values = () if context is None else context.named_values()
    options = tuple(pair for pair in values if pair[0] != _CORRELATION)
    selected = None if context is None else context.text("selected_option")
    return Inbound(
        provider="mattermost",
        bot_id=bot,
        tenant_hint=action.optional_id("team_id"),
        user_id=UserId.encode(action.id("user_id")),
        conversation=action.id("channel_id"),
        reply_to=action.id("post_id"),
        correlation=None if context is None else context.correlation(_CORRELATION),
        delivery_id=action.id("trigger_id"),
        text=selected or only_value(options),
        options=options,
    )


def _dialog(bot: str, dialog: Payload) -> Inbound:
    if dialog.id("type") != "dialog_submission":
        raise dialog.refusal("type", "is not dialog_submission")
    if dialog.flag("cancelled"):
        raise dialog.refusal("cancelled", "is true, so the user cancelled the dialog")
    submission = dialog.optional_part("submission")
    options = () if submission is None else submission.named_values()
    return Inbound(
        provider="mattermost",
        bot_id=bot,
        tenant_hint=dialog.optional_id("team_id"),
        user_id=UserId.encode(dialog.id("user_id")),
        conversation=dialog.id("channel_id"),
        correlation=dialog.correlation("state") or dialog.correlation("callback_id"),
        delivery_id=_fingerprint(dialog, options),
        text=only_value(options),
        options=options,
    )


def _check_is_not_bot(bot: str, holder: Payload) -> None:
    if holder.id("user_id") == bot:
        raise holder.refusal("user_id", "is the bot")


def _fingerprint(dialog: Payload, options: tuple[tuple[str, str], ...]) -> str:
    """Name a submission by its contents: Mattermost gives it no id, and never sends it again."""
    parts = (dialog.id("user_id"), dialog.text("state"), dialog.text("callback_id"), options)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
