"""Test the WhatsApp example: it gets signed webhooks over HTTP, and calls the Graph API."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer
from platform_server import Platform
from scenarios import ASK_DATE, ASK_NAME, Scenarios

import whatsapp_pywa
from async_session_store import AsyncSessionStore
from booking import HELP

ANN = {"wa_id": "491511234567", "user_id": "DE.1234567890", "profile": {"name": "Ann"}}
NUMBER = {"display_phone_number": "4930123456", "phone_number_id": "1060"}


def message(text: str, number: int, **more: object) -> dict[str, object]:
    return {
        "from": ANN["wa_id"],
        "from_user_id": ANN["user_id"],
        "id": f"wamid.{number}",
        "timestamp": "1893456000",
        "type": "text",
        "text": {"body": text},
        **more,
    }


def webhook(**parts: object) -> bytes:
    value = {"messaging_product": "whatsapp", "metadata": NUMBER, "contacts": [ANN], **parts}
    entry = {"id": "waba-1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def signature(body: bytes, secret: bytes) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()}


class WhatsAppBot:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        sent = {
            "contacts": [{"input": ANN["user_id"], "user_id": ANN["user_id"]}],
            "messages": [{"id": "wamid.sent"}],
        }
        platform.answers["/1060/messages"] = lambda _: sent

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await self.post(store, webhook(messages=[message(text, number)]))

    async def post(self, store: AsyncSessionStore, body: bytes) -> None:
        async with self.served(store) as client:
            answer = await client.post("/", data=body, headers=signature(body, b"app-secret"))
            assert answer.status == 200

    @asynccontextmanager
    async def served(self, store: AsyncSessionStore) -> AsyncIterator[TestClient]:
        bot = whatsapp_pywa.new_client(store)
        session = bot.api._session
        session.base_url = (
            self.platform.url
        )  # pywa sets it to Meta's URL, even on a session that it is given
        async with session, TestClient(TestServer(whatsapp_pywa.new_app(bot))) as client:
            yield client

    def sent(self) -> list[str]:
        calls = self.platform.calls_to("/1060/messages")
        assert all(call.fields["recipient"] == ANN["user_id"] for call in calls)
        return [call.fields["text"]["body"] for call in calls]


@pytest.fixture
def bot(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> WhatsAppBot:
    monkeypatch.setenv("WHATSAPP_TOKEN", "token")
    monkeypatch.setenv("WHATSAPP_APP_SECRET", "app-secret")
    monkeypatch.setenv("WHATSAPP_VERIFY_TOKEN", "word")
    return WhatsAppBot(platform)


class TestWhatsAppPywa(Scenarios):
    pass


@pytest.mark.anyio
async def test_it_answers_each_message_of_one_webhook(bot: WhatsAppBot) -> None:
    messages = [message("hi", 1), message("/help", 2), message("Ann", 3)]
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.post(store, webhook(messages=messages))
        await bot.post(store, webhook(messages=messages[1:]))
    assert bot.sent() == [ASK_NAME, HELP, ASK_DATE]


@pytest.mark.anyio
async def test_it_ignores_everything_but_users_messages(bot: WhatsAppBot) -> None:
    receipt = {"id": "wamid.sent", "status": "read", "timestamp": "1893456000"}
    reaction = {"type": "reaction", "reaction": {"message_id": "wamid.sent", "emoji": "+"}}
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.post(store, webhook(statuses=[receipt]))
        await bot.post(store, webhook(messages=[message("", 1, **reaction), message("hi", 2)]))
    assert bot.sent() == [ASK_NAME]


@pytest.mark.anyio
async def test_it_refuses_updates_that_the_platform_has_not_signed(bot: WhatsAppBot) -> None:
    body = webhook(messages=[message("hi", 1)])
    async with AsyncSessionStore.from_url("memory://") as store, bot.served(store) as client:
        assert (await client.post("/", data=body)).status == 401
        forged = signature(body, b"another secret")
        assert (await client.post("/", data=body, headers=forged)).status == 403
    assert bot.sent() == []


@pytest.mark.anyio
async def test_it_answers_the_platforms_challenge(bot: WhatsAppBot) -> None:
    right = {"hub.mode": "subscribe", "hub.verify_token": "word", "hub.challenge": "42"}
    wrong = right | {"hub.verify_token": "another word"}
    async with AsyncSessionStore.from_url("memory://") as store, bot.served(store) as client:
        answer = await client.get("/", params=right)
        assert (answer.status, await answer.text()) == (200, "42")
        assert (await client.get("/", params=wrong)).status == 403
