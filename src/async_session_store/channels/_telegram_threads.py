"""Telegram: the topic of a message, or the chain of replies it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from typing_extensions import Self

from async_session_store.channels._payload import Payload

GENERAL_TOPIC: Final[str] = "1"
"""The thread of messages in a forum's General topic, which carry no topic.

To send a message there, leave out ``message_thread_id``: Telegram refuses this id.
"""


@dataclass(frozen=True, slots=True)
class Thread:
    """Where a message is within its chat."""

    topic: str | None = None
    """The topic of a forum or of direct messages, or the post that was commented on."""
    chain: str | None = None
    """The first message of a chain of replies, which may be a post that was commented on."""

    @classmethod
    def read(cls, message: Payload, *, discussion_group: bool) -> Self:
        """Return the thread. Outside of topics, ``message_thread_id`` denotes a chain of replies.

        A message does not say whether its group is a channel's discussion group. A direct comment
        replies to the post that Telegram copied, but a reply to a comment looks like any reply.
        """
        topic = message.optional_part("direct_messages_topic")
        if topic is not None:
            return cls(topic=topic.id("topic_id"))
        if message.flag("is_topic_message"):
            return cls(topic=message.id("message_thread_id"))
        if message.part("chat").flag("is_forum"):
            return cls(topic=None if _is_inaccessible(message) else GENERAL_TOPIC)
        chain = message.optional_id("message_thread_id")
        if discussion_group:
            return cls(topic=chain)
        replied = message.optional_part("reply_to_message")
        if replied is not None and replied.flag("is_automatic_forward"):
            return cls(topic=chain or replied.id("message_id"))
        return cls(chain=chain)


def _is_inaccessible(message: Payload) -> bool:
    """Return whether the message is too old: Telegram then gives only its chat and id, undated."""
    return message.values.get("date") in (None, 0)  # a framework may give a datetime
