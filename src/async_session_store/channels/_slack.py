"""Slack: events (Events API and Socket Mode), interactions and slash commands."""

from __future__ import annotations

from collections.abc import Mapping

from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels._slack_commands import read_command
from async_session_store.channels._slack_events import read_event
from async_session_store.channels._slack_interactions import INTERACTIONS
from async_session_store.channels.inbound import Inbound


def slack(
    payload: Mapping[str, object],
    *,
    bot_id: str | None = None,
    allow_user_tokens: bool = False,
) -> Inbound:
    """Read a Slack payload in which a user wrote, chose or started something.

    That is an ``event_callback`` with a message, a mention or a step of a workflow; an interaction:
    ``block_actions``, ``view_submission``, ``message_action``, ``shortcut``, and the older
    ``interactive_message`` and ``dialog_submission``; or a slash command. A form-encoded body is
    passed as a mapping of its fields, and an interaction in its field ``payload`` is parsed.

    ``bot_id`` is the app id. Slack leaves it out of shortcuts, so pass it if the app has any.
    ``allow_user_tokens=True`` accepts messages with both a user and a ``bot_id``, which an app may
    have sent in a person's name. That lets messages of other bots through as well, but not those of
    this app's bot user.

    The delivery id of a message is its ``ts``. Retries have the same ``ts``, and so do the
    ``message`` and the ``app_mention`` that Slack sends for one message. Raises
    ``InvalidInputError`` for a bot's message, an edit, a join and the like, for a modal that was
    closed, and for a modal with a damaged scope in its ``private_metadata``.
    """
    app = None if bot_id is None else identifier("bot_id", bot_id)
    fields = _decoded(Payload("payload", payload))
    if fields.has("command"):
        return read_command(app, fields)
    kind = fields.id("type")
    if kind == "event_callback":
        return read_event(app, fields, allow_user_tokens=allow_user_tokens)
    read = INTERACTIONS.get(kind)
    if read is None:
        raise fields.refusal("type", "is not the type of a user's turn")
    return read(app, fields)


def _decoded(fields: Payload) -> Payload:
    """Return the interaction that a form holds as JSON, or the payload itself."""
    if fields.has("type") or not fields.has("payload"):
        return fields
    return fields.embedded_part("payload")
