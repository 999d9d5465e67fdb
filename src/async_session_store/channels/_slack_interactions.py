"""Slack: buttons and menus, modals, shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from async_session_store.channels._payload import Payload
from async_session_store.channels._slack_app import app_id, tenant
from async_session_store.channels._slack_elements import chosen_values, form_fields
from async_session_store.channels.inbound import Inbound, Place, place
from async_session_store.channels.scope_text import is_scope_text, scope_from_text
from async_session_store.errors import InvalidInputError
from async_session_store.models import UserId


def _action(app: str | None, payload: Payload) -> Inbound:
    action = _first_action(payload)
    container = payload.part("container")
    values, several = chosen_values(action)
    if payload.has("view") and not payload.has("channel"):
        where = _opened_at(app, payload)
    else:
        where = Place(
            *("slack", app_id(app, payload), None, payload.part("channel").id("id")),
            thread=_thread(payload, container),
            reply_to=container.id("message_ts"),
        )
    return _inbound(
        *(payload, where),
        correlation=where.correlation or action.optional_id("action_id"),
        delivery_id=action.id("action_ts"),
        text=values[0] if values else None,
        values=values if several else (),
        is_ephemeral=container.flag("is_ephemeral"),
    )


def _submission(app: str | None, payload: Payload) -> Inbound:
    """Read a modal that was submitted.

    Its trigger id is unique. The id of the view is not: it stays the same if the app answers with
    errors, and the user submits again.
    """
    view, where = payload.part("view"), _opened_at(app, payload)
    fields = form_fields(view)
    only = fields[0][1] if len(fields) == 1 else ()
    return _inbound(
        *(payload, where),
        correlation=where.correlation or view.optional_id("callback_id"),
        delivery_id=payload.id("trigger_id"),
        text=only[0] if only else None,
        values=only if len(only) > 1 else (),
        options=tuple((name, value) for name, values in fields for value in values),
    )


def _message_shortcut(app: str | None, payload: Payload) -> Inbound:
    message = payload.part("message")
    where = Place(
        *("slack", app_id(app, payload), None, payload.part("channel").id("id")),
        thread=message.optional_id("thread_ts"),
        reply_to=message.id("ts"),
    )
    return _inbound(
        *(payload, where),
        correlation=payload.id("callback_id"),
        delivery_id=payload.optional_id("action_ts") or payload.id("trigger_id"),
    )


def _global_shortcut(app: str | None, payload: Payload) -> Inbound:
    return _inbound(
        *(payload, _with_user(app, payload)),
        correlation=payload.id("callback_id"),
        delivery_id=payload.optional_id("action_ts") or payload.id("trigger_id"),
    )


def _attachment_action(app: str | None, payload: Payload) -> Inbound:
    """Read a button or menu of an attachment, which came before Block Kit."""
    values, several = chosen_values(_first_action(payload))
    original = payload.optional_part("original_message")
    where = Place(
        *("slack", app_id(app, payload), None, payload.part("channel").id("id")),
        thread=None if original is None else original.optional_id("thread_ts"),
        reply_to=payload.id("message_ts"),
    )
    return _inbound(
        *(payload, where),
        correlation=payload.optional_id("callback_id"),
        delivery_id=payload.id("action_ts"),
        text=values[0] if values else None,
        values=values if several and len(values) > 1 else (),
    )


def _dialog(app: str | None, payload: Payload) -> Inbound:
    """Read a dialog that was submitted. Dialogs came before modals."""
    options = payload.part("submission").named_values()
    where = Place("slack", app_id(app, payload), None, payload.part("channel").id("id"))
    return _inbound(
        *(payload, where),
        correlation=payload.id("callback_id"),
        delivery_id=payload.id("action_ts"),
        text=options[0][1] if len(options) == 1 else None,
        options=options,
    )


INTERACTIONS: Final[dict[str, Callable[[str | None, Payload], Inbound]]] = {
    "block_actions": _action,
    "dialog_submission": _dialog,
    "interactive_message": _attachment_action,
    "message_action": _message_shortcut,
    "shortcut": _global_shortcut,
    "view_submission": _submission,
}
"""How an interaction of each type is read."""


def _inbound(
    payload: Payload,
    where: Place,
    *,
    correlation: str | None,
    delivery_id: str,
    text: str | None = None,
    values: tuple[str, ...] = (),
    options: tuple[tuple[str, str], ...] = (),
    is_ephemeral: bool = False,
) -> Inbound:
    return Inbound(
        provider="slack",
        bot_id=where.bot_id,
        tenant_hint=tenant(payload),
        user_id=UserId.encode(payload.part("user").id("id")),
        conversation=where.conversation,
        thread=where.thread,
        reply_to=where.reply_to,
        correlation=correlation,
        delivery_id=delivery_id,
        text=text,
        values=values,
        options=options,
        is_ephemeral=is_ephemeral,
    )


def _opened_at(app: str | None, payload: Payload) -> Place:
    """Return the place that the app put into a view, or else the user's own conversation."""
    view = payload.part("view")
    metadata = view.text("private_metadata")
    if metadata is None or not is_scope_text(metadata):
        return _with_user(app, payload)
    where = _place_in(view, metadata)
    if (where.provider, where.bot_id, where.account) != ("slack", app_id(app, payload), None):
        raise view.refusal("private_metadata", "holds the scope of another bot")
    return where


def _place_in(view: Payload, metadata: str) -> Place:
    try:
        return place(scope_from_text(metadata))
    except InvalidInputError as error:
        reason = str(error).removeprefix("text: ")
    raise view.refusal("private_metadata", reason)


def _with_user(app: str | None, payload: Payload) -> Place:
    """Return the user's direct message with the app, which Slack opens for the user's id."""
    return Place("slack", app_id(app, payload), None, payload.part("user").id("id"))


def _first_action(payload: Payload) -> Payload:
    actions = payload.parts("actions")
    if not actions:
        raise payload.refusal("actions", "is missing or empty")
    return actions[0]


def _thread(payload: Payload, container: Payload) -> str | None:
    """Return the thread of the message with the button. Only the container has an ephemeral one."""
    message = payload.optional_part("message")
    found = container.optional_id("thread_ts")
    return found if found or message is None else message.optional_id("thread_ts")
