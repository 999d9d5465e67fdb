"""The flow itself, without a framework; and what a framework cannot easily show."""

from __future__ import annotations

import pytest
from scenarios import Scenarios

import booking
from async_session_store import AsyncSessionStore, UserId
from async_session_store.channels import Inbound


def inbound(text: str | None, number: int) -> Inbound:
    return Inbound(
        provider="test",
        bot_id="booking",
        conversation="chat-42",
        user_id=UserId("alice"),
        delivery_id=str(number),
        text=text,
    )


class PlainBot:
    def __init__(self) -> None:
        self._sent: list[str] = []

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await booking.handle(store, inbound(text, number), self.send)

    async def send(self, text: str) -> None:
        self._sent.append(text)

    def sent(self) -> list[str]:
        return list(self._sent)


@pytest.fixture
def bot() -> PlainBot:
    return PlainBot()


class TestBooking(Scenarios):
    pass
