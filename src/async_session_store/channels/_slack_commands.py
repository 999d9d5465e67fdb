"""Slack: slash commands."""

from __future__ import annotations

from async_session_store.channels._payload import Payload
from async_session_store.channels._slack_app import app_id, tenant
from async_session_store.channels.inbound import Inbound
from async_session_store.models import UserId


def read_command(app: str | None, payload: Payload) -> Inbound:
    """Read a slash command. Its trigger id is unique, and Slack sends a command only once."""
    return Inbound(
        provider="slack",
        bot_id=app_id(app, payload),
        tenant_hint=tenant(payload),
        user_id=UserId.encode(payload.id("user_id")),
        conversation=payload.id("channel_id"),
        delivery_id=payload.id("trigger_id"),
        text=payload.text("text"),
        command=payload.id("command").removeprefix("/") or None,
    )
