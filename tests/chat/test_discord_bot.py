"""Test the Discord example against a local gateway and REST API."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from scenarios import ASK_DATE, ASK_NAME, Scenarios
from yarl import URL

from async_session_store import AsyncSessionStore
from booking import HELP

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # discord.py imports audioop
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

    from discord_bot import BookingBot

DISPATCH, IDENTIFY, HELLO = 0, 2, 10  # opcodes of the gateway

BOT = {"id": "4242", "username": "booking", "discriminator": "0", "avatar": None, "bot": True}
ANN = {"id": "5551", "username": "ann", "discriminator": "0", "avatar": None}
APPLICATION = {
    "id": "4242",
    "name": "Booking",
    "description": "",
    "icon": None,
    "flags": 0,
    "owner": BOT,
    "verify_key": "",
    "bot_public": True,
    "bot_require_code_grant": False,
}


def message(text: str, number: int, **more: object) -> dict[str, object]:
    return {
        "id": str(number),
        "channel_id": "77",
        "type": 0,
        "author": ANN,
        "content": text,
        "timestamp": "2030-01-01T12:00:00+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "pinned": False,
        "attachments": [],
        "embeds": [],
        **more,
    }


class BriefBot(BookingBot):
    """The example bot, which logs out after a given number of messages."""

    def __init__(self, store: AsyncSessionStore, messages: int) -> None:
        super().__init__(store)
        self._left = messages

    async def on_raw_message(self, message: dict[str, object]) -> None:
        try:
            await super().on_raw_message(message)
        finally:
            self._left -= 1
            if self._left == 0:
                await self.close()


class Discord:
    """The platform. A bot gets the messages of its token when it logs in."""

    def __init__(self) -> None:
        self._messages: dict[str, list[dict[str, object]]] = {}
        self._sent: list[str] = []

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        await self.deliver(store, message(text, number))

    async def deliver(self, store: AsyncSessionStore, *messages: dict[str, object]) -> None:
        token = f"token-{len(self._messages)}"
        self._messages[token] = list(messages)
        async with BriefBot(store, len(messages)) as bot:
            await bot.start(token)

    def sent(self) -> list[str]:
        return list(self._sent)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[URL]:
        app = web.Application()
        app.router.add_get("/users/@me", self._on_get)
        app.router.add_get("/oauth2/applications/@me", self._on_get)
        app.router.add_post("/channels/77/messages", self._on_post)
        app.router.add_get("/gateway", self._on_gateway)
        async with TestServer(app) as server:
            yield server.make_url("")

    async def _on_get(self, request: web.Request) -> web.Response:
        return json_response(BOT if request.path == "/users/@me" else APPLICATION)

    async def _on_post(self, request: web.Request) -> web.Response:
        text = (await request.json())["content"]
        self._sent.append(text)
        return json_response(message(text, 9000 + len(self._sent), author=BOT))

    async def _on_gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(
            {"op": HELLO, "t": None, "s": None, "d": {"heartbeat_interval": 60_000}}
        )
        async for received in socket:
            event = received.json()
            if event["op"] == IDENTIFY:
                await self._hand_out(socket, str(request.url), event["d"]["token"])
        return socket

    async def _hand_out(self, socket: web.WebSocketResponse, url: str, token: str) -> None:
        ready = {"session_id": token, "resume_gateway_url": url, "user": BOT, "guilds": []}
        events = [("READY", ready), *(("MESSAGE_CREATE", each) for each in self._messages[token])]
        for sequence, (kind, data) in enumerate(events, 1):
            await socket.send_json({"op": DISPATCH, "t": kind, "s": sequence, "d": data})


def json_response(value: object) -> web.Response:
    """Answer as Discord does, without a charset: discord.py reads only that as JSON."""
    return web.Response(body=json.dumps(value).encode(), content_type="application/json")


@pytest.fixture
async def bot(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Discord]:
    discord = Discord()
    async with discord.served() as url:
        monkeypatch.setattr(Route, "BASE", str(url).rstrip("/"))
        monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", url / "gateway")
        yield discord


class TestDiscordBot(Scenarios):
    pass


@pytest.mark.anyio
async def test_messages_that_arrive_at_once_take_turns(bot: Discord) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.deliver(store, message("Ann", 1), message("Ann", 2), message("/help", 3))
    assert [answer for answer in bot.sent() if answer != HELP] == [ASK_NAME, ASK_DATE]


@pytest.mark.anyio
async def test_it_ignores_everything_but_users_messages(
    bot: Discord, caplog: pytest.LogCaptureFixture
) -> None:
    joined, of_a_webhook = message("", 2, type=7), message("hi", 3, webhook_id="88")
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.deliver(store, message(ASK_NAME, 1, author=BOT), joined, of_a_webhook)
    assert bot.sent() == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
