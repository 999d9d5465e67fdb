"""Conversations and people whose id changes, as far as a platform reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from async_session_store._wire import repr_of_fields
from async_session_store.channels._payload import Payload, identifier
from async_session_store.channels._slack_app import app_id
from async_session_store.channels.inbound import place_name
from async_session_store.models import ReplyScope, UserId

__all__ = ["Move", "slack_moves", "telegram_moves", "whatsapp_moves"]

_NUMBER_CHANGES: Final = ("user_changed_number", "customer_changed_number")
_SYSTEM_CHANGES: Final = (*_NUMBER_CHANGES, "user_changed_user_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A conversation that has a new id. On WhatsApp the id of its user changes along with it."""

    provider: str
    """The platform, such as ``telegram``."""
    bot_id: str
    """The bot."""
    old_conversation: str
    """The id that the conversation had."""
    new_conversation: str
    """The id that it has now."""
    old_user_id: UserId | None = None
    """The id that the user had, or None if only the conversation has a new id."""
    new_user_id: UserId | None = None
    """The id that the user has now, or None."""

    def __repr__(self) -> str:
        return repr_of_fields(self, shown=("provider", "bot_id"))

    @property
    def conversation(self) -> tuple[str, str]:
        """The old and the new ``conversation`` of scopes, for ``move_waits``."""
        return (
            place_name(self.provider, self.bot_id, self.old_conversation),
            place_name(self.provider, self.bot_id, self.new_conversation),
        )

    @property
    def user(self) -> tuple[UserId, UserId] | None:
        """The old and the new user id, for ``move_waits``, or None."""
        if self.old_user_id is None or self.new_user_id is None:
            return None
        return self.old_user_id, self.new_user_id

    def scope(self, scope: ReplyScope) -> ReplyScope:
        """Return where a wait at ``scope`` belongs after the move.

        A scope in any other conversation is returned as it is.
        """
        old, new = self.conversation
        if scope.conversation != old:
            return scope
        return ReplyScope(
            conversation=new,
            thread=scope.thread,
            reply_to=scope.reply_to,
            correlation=scope.correlation,
        )


def telegram_moves(update: Mapping[str, object], *, bot_id: str | int) -> tuple[Move, ...]:
    """Return the move of a Telegram group that became a supergroup, or an empty tuple.

    Telegram reports it twice, once in each chat. Messages have other ids in the supergroup, so a
    wait for a reply to one of the group's messages cannot be met there. Raises
    ``InvalidInputError`` for a malformed update.
    """
    bot, message = identifier("bot_id", bot_id), Payload("update", update).optional_part("message")
    if message is None:
        return ()
    new, old = (
        message.optional_id("migrate_to_chat_id"),
        message.optional_id("migrate_from_chat_id"),
    )
    if new is None and old is None:
        return ()
    chat = message.part("chat").id("id")
    return _moves("telegram", bot, [(old or chat, new or chat)])


def slack_moves(payload: Mapping[str, object], *, bot_id: str | None = None) -> tuple[Move, ...]:
    """Return the move that a Slack event ``channel_id_changed`` reports, or an empty tuple.

    ``bot_id`` is the app id, if the payload lacks it. Raises ``InvalidInputError`` for a malformed
    payload.
    """
    fields = Payload("payload", payload)
    event = fields.optional_part("event")
    if event is None or event.optional_id("type") != "channel_id_changed":
        return ()
    channels = (event.id("old_channel_id"), event.id("new_channel_id"))
    return _moves("slack", app_id(bot_id, fields), [channels])


def whatsapp_moves(payload: Mapping[str, object]) -> tuple[Move, ...]:
    """Return the changes of number or id that a WhatsApp webhook reports.

    One webhook may report several: whoever changes the phone number gets a new user id as well.
    Raises ``InvalidInputError`` for a malformed webhook.
    """
    values = [
        change.part("value")
        for entry in Payload("payload", payload).parts("entry")
        for change in entry.parts("changes")
    ]
    return tuple(
        move
        for value in values
        for message in value.parts("messages")
        if message.optional_id("type") == "system"
        for move in _moves_of_user(value, message)
    )


def _moves_of_user(value: Payload, message: Payload) -> tuple[Move, ...]:
    system = message.part("system")
    kind = system.optional_id("type")
    if kind not in _SYSTEM_CHANGES:
        return ()
    pairs = [
        (system.optional_id(f"previous_{name}"), system.optional_id(name))
        for name in ("user_id", "parent_user_id")
    ]
    if kind in _NUMBER_CHANGES:
        old = system.optional_id("customer") or message.optional_id("from")
        pairs.append((old, system.optional_id("wa_id") or system.optional_id("new_wa_id")))
    known = [(old, new) for old, new in pairs if old is not None and new is not None]
    bot = value.part("metadata").id("phone_number_id")
    return _moves("whatsapp", bot, known, users=True)


def _moves(
    provider: str, bot: str, pairs: list[tuple[str, str]], *, users: bool = False
) -> tuple[Move, ...]:
    return tuple(
        Move(
            provider=provider,
            bot_id=bot,
            old_conversation=old,
            new_conversation=new,
            old_user_id=UserId.encode(old) if users else None,
            new_user_id=UserId.encode(new) if users else None,
        )
        for old, new in pairs
        if old != new
    )
