"""The part of Telegram's Bot API that a bot needs to receive and send messages."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from platform_server import Call, Platform

from async_session_store import AsyncSessionStore

TOKEN = "4242:AAF-a-token-that-looks-like-one"
ANN = {"id": 5551, "is_bot": False, "first_name": "Ann"}
CHAT = {"id": 5551, "type": "private", "first_name": "Ann"}
BOT = {"id": 4242, "is_bot": True, "first_name": "Booking", "username": "booking_bot"}


def message(number: int, **fields: object) -> dict[str, object]:
    return {"message_id": number, "date": 1767225600, "from": ANN, "chat": CHAT, **fields}


def message_update(number: int, **fields: object) -> dict[str, object]:
    return {"update_id": 700_000_000 + number, "message": message(number, **fields)}


NOT_ANSWERED = {
    "a join": message_update(2, new_chat_members=[ANN]),
    "an edit": {
        "update_id": 700_000_003,
        "edited_message": message(1, text="Anna", edit_date=1767225601),
    },
}
TOPIC = {
    "chat": {"id": -1001234, "type": "supergroup", "title": "Trattoria", "is_forum": True},
    "message_thread_id": 77,
    "is_topic_message": True,
}


class TelegramPlatform(ABC):
    """A local Telegram server, and the messages that the bot sends. A subclass provides the bot."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        platform.answers["/getMe"] = lambda _: ok(BOT)
        platform.answers["/sendMessage"] = self._send_message

    @abstractmethod
    async def feed(self, store: AsyncSessionStore, update: dict[str, object]) -> None:
        """Create new bot objects, and feed a raw update to them."""

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await self.feed(store, message_update(number, text=text))

    def keep(self, *updates: dict[str, object]) -> asyncio.Event:
        """Serve updates to a bot that polls. The event is set when it has acknowledged all."""
        acknowledged = asyncio.Event()

        def get_updates(call: Call) -> object:
            offset = int(str(call.fields.get("offset", 0)))
            left = [update for update in updates if update["update_id"] >= offset]
            if not left:
                acknowledged.set()
            return ok(left)

        self.platform.answers["/deleteWebhook"] = lambda _: ok(result=True)
        self.platform.answers["/getUpdates"] = get_updates
        return acknowledged

    def sent(self) -> list[str]:
        return [str(call.fields["text"]) for call in self.messages()]

    def messages(self) -> list[Call]:
        return self.platform.calls_to("/sendMessage")

    def _send_message(self, call: Call) -> object:
        chat = {**CHAT, "id": int(str(call.fields["chat_id"]))}
        number = 5000 + len(self.platform.calls)
        return ok({**message(number), "from": BOT, "chat": chat, "text": call.fields["text"]})


def ok(result: object) -> object:
    return {"ok": True, "result": result}
