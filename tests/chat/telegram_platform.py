"""Telegram, as far as a bot that writes messages meets it."""

from __future__ import annotations

from platform_server import Call, Platform

TOKEN = "4242:AAF-a-token-that-looks-like-one"
ANN = {"id": 5551, "is_bot": False, "first_name": "Ann"}
CHAT = {"id": 5551, "type": "private", "first_name": "Ann"}
BOT = {"id": 4242, "is_bot": True, "first_name": "Booking", "username": "booking_bot"}


def message_update(number: int, **message: object) -> dict[str, object]:
    message = {"message_id": number, "date": 1767225600, "from": ANN, "chat": CHAT, **message}
    return {"update_id": 700_000_000 + number, "message": message}


class TelegramPlatform:
    """What the local server answers, and what it was told to send."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        platform.answers["/getMe"] = lambda _: ok(BOT)
        platform.answers["/sendMessage"] = self._send_message

    def sent(self) -> list[str]:
        return [str(call.fields["text"]) for call in self.platform.calls_to("/sendMessage")]

    def _send_message(self, call: Call) -> object:
        chat = {**CHAT, "id": int(str(call.fields["chat_id"]))}
        number = 100 + len(self.platform.calls)
        text = call.fields["text"]
        return ok(
            {"message_id": number, "date": 1767225601, "from": BOT, "chat": chat, "text": text}
        )


def ok(result: object) -> object:
    return {"ok": True, "result": result}
