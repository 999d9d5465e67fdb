"""Telegram: what a message holds, and what tells a user's content from an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from async_session_store.channels._payload import Payload

_CONTENT: Final = frozenset({
    *("animation", "audio", "chat_shared", "checklist", "contact", "dice", "document", "game"),
    *("invoice", "live_photo", "location", "managed_bot_created", "paid_media", "passport_data"),
    *("photo", "poll", "rich_message", "sticker", "story", "successful_payment", "text"),
    *("user_shared", "users_shared", "venue", "video", "video_note", "voice", "web_app_data"),
})  # fmt: skip
"""Content that a user sends or chooses."""
_EVENTS: Final = frozenset({
    *("boost_added", "channel_chat_created", "chat_background_set", "chat_owner_changed"),
    *("chat_owner_left", "checklist_tasks_added", "checklist_tasks_done", "community_chat_added"),
    *("community_chat_joined", "community_chat_removed", "connected_website"),
    *("delete_chat_photo", "direct_message_price_changed", "forum_topic_closed"),
    *("forum_topic_created", "forum_topic_edited", "forum_topic_reopened"),
    *("general_forum_topic_hidden", "general_forum_topic_unhidden", "gift", "gift_upgrade_sent"),
    *("giveaway", "giveaway_completed", "giveaway_created", "giveaway_winners"),
    *("group_chat_created", "left_chat_member", "message_auto_delete_timer_changed"),
    *("migrate_from_chat_id", "migrate_to_chat_id", "new_chat_members", "new_chat_photo"),
    *("new_chat_title", "paid_message_price_changed", "pinned_message", "poll_option_added"),
    *("poll_option_deleted", "proximity_alert_triggered", "refunded_payment"),
    *("suggested_post_approval_failed", "suggested_post_approved", "suggested_post_declined"),
    *("suggested_post_paid", "suggested_post_refunded", "supergroup_chat_created"),
    *("unique_gift", "video_chat_ended", "video_chat_participants_invited"),
    *("video_chat_scheduled", "video_chat_started", "write_access_allowed"),
    # Under names that Telegram no longer documents:
    *("left_chat_participant", "new_chat_member", "new_chat_participant", "voice_chat_ended"),
    *("voice_chat_participants_invited", "voice_chat_scheduled", "voice_chat_started"),
})  # fmt: skip
"""What happened in a chat, and Telegram reports as a message."""
_ENVELOPE: Final = frozenset({
    *("author_signature", "business_connection_id", "caption", "caption_entities", "chat", "date"),
    *("direct_messages_topic", "edit_date", "effect_id", "entities", "ephemeral_message_id"),
    *("external_reply", "forward_date", "forward_from", "forward_from_chat"),
    *("forward_from_message_id", "forward_origin", "forward_sender_name", "forward_signature"),
    *("from", "guest_bot_caller_chat", "guest_bot_caller_user", "guest_query_id"),
    *("has_media_spoiler", "has_protected_content", "is_automatic_forward", "is_from_offline"),
    *("is_paid_post", "is_topic_message", "link_preview_options", "media_group_id", "message_id"),
    *("message_thread_id", "paid_star_count", "quote", "receiver_user", "reply_markup"),
    *("reply_to_checklist_task_id", "reply_to_message", "reply_to_poll_option_id"),
    *("reply_to_story", "sender_boost_count", "sender_business_bot", "sender_chat", "sender_tag"),
    *("show_caption_above_media", "suggested_post_info", "via_bot"),
})  # fmt: skip
"""What accompanies any message."""
_BLOCK_LISTS: Final = ("blocks", "items", "cells")
_PARTS: Final = (
    *("summary", "text", "expression", "alternative_text", *_BLOCK_LISTS, "caption", "credit"),
)
"""What a block or a piece of a rich message holds that is read aloud, in the order of reading."""


def check_is_content(message: Payload) -> None:
    """Raise ``InvalidInputError`` for a message without a user's content.

    A field that this library does not know counts as content, unless the message reports an event:
    Telegram adds kinds of content more often than it adds events.
    """
    # A framework may say False of each event that did not happen.
    present = {name for name in message.values if message.values[name] not in (None, False)}
    if present & _CONTENT:
        return
    if present & _EVENTS or not present - _ENVELOPE:
        raise message.refusal("text", "is missing, and so is any other content of a user")


def plain_text(message: Payload) -> str | None:
    """Return the text of a rich message without its format, one line for each block."""
    rich = message.optional_part("rich_message")
    if rich is None:
        return None
    pieces: list[str] = []
    # A stack, because a client may nest blocks deeper than Python allows calls.
    waiting: list[object] = [rich.values]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            pieces.append(item)
        elif isinstance(item, Mapping):
            waiting.extend(reversed(_parts_of(cast("Mapping[str, object]", item))))
        elif isinstance(item, list):
            waiting.extend(reversed(cast("list[object]", item)))
    lines = (line.strip() for line in "".join(pieces).split("\n"))
    return message.checked_text("rich_message", "\n".join(line for line in lines if line))


def _parts_of(item: Mapping[str, object]) -> list[object]:
    parts: list[object] = []
    for name in _PARTS:
        value = item.get(name)
        if name in _BLOCK_LISTS and isinstance(value, list):
            for block in cast("list[object]", value):
                parts += ["\n", block]
        elif value is not None:
            parts.append(value)
    return parts
