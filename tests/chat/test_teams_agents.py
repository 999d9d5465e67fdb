"""Test the Teams example: it gets activities over HTTP, and posts answers to their serviceUrl."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer, unused_port
from platform_server import Call, Platform
from scenarios import ASK_DATE, ASK_NAME, FLOW, Scenarios

import teams_agents
from async_session_store import AsyncSessionStore

# The SDK stores its configuration in the aiohttp application under a plain string.
pytestmark = pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")

PERSONAL = {"id": "a:1chat", "conversationType": "personal", "tenantId": "tenant-1"}
THREAD = {
    "id": "19:general@thread.tacv2;messageid=1893456000000",
    "conversationType": "channel",
    "isGroup": True,
    "tenantId": "tenant-1",
}
BOT = {"id": "28:booking", "name": "Booking"}
MENTION = {"type": "mention", "mentioned": BOT, "text": "<at>Booking</at>"}


class TeamsBot:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        assert await self.post(store, text, number) == 202

    async def receive_in_thread(self, store: AsyncSessionStore, text: str, number: int) -> None:
        said = f"<at>Booking</at> {text}"
        assert await self.post(store, said, number, conversation=THREAD, entities=[MENTION]) == 202

    async def post(self, store: AsyncSessionStore, text: str, number: int, **more: object) -> int:
        activity = self.activity(text, number, **more)
        async with TestClient(TestServer(teams_agents.new_app(store))) as client:
            answer = await client.post("/api/messages", json=activity)
            return answer.status

    def activity(self, text: str, number: int, **more: object) -> dict[str, object]:
        self.platform.answers.setdefault(f"/activities/{number}", lambda _: {"id": "sent"})
        return {
            "type": "message",
            "id": str(number),
            "timestamp": "2030-01-01T12:00:00.123Z",
            "channelId": "msteams",
            "serviceUrl": self.platform.url,
            "from": {"id": "29:1ann", "name": "Ann", "aadObjectId": "5a3f-ann"},
            "recipient": BOT,
            "conversation": PERSONAL,
            "channelData": {"tenant": {"id": "tenant-1"}},
            "text": text,
            "textFormat": "plain",
            **more,
        }

    def sent(self) -> list[str]:
        return [str(call.fields["text"]) for call in self.messages()]

    def messages(self) -> list[Call]:
        """Return what the bot sent, without the typing indicators of slow turns."""
        return [call for call in self.platform.calls if call.fields["type"] == "message"]


@pytest.fixture
def bot(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> TeamsBot:
    monkeypatch.setenv("CONNECTIONS__SERVICE_CONNECTION__SETTINGS__ANONYMOUS_ALLOWED", "True")
    return TeamsBot(platform)


class TestTeamsAgents(Scenarios):
    pass


@pytest.mark.anyio
async def test_a_channel_thread_and_the_personal_chat_have_separate_flows(
    bot: TeamsBot,
) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        await bot.receive_in_thread(store, "hi", 2)
        await bot.receive_in_thread(store, "Ann", 3)
        await bot.receive(store, "Ann", 4)
    assert bot.sent() == [ASK_NAME, ASK_NAME, ASK_DATE, ASK_DATE]
    assert [call.path for call in bot.messages()] == [
        "/v3/conversations/a:1chat/activities/1",
        f"/v3/conversations/{THREAD['id']}/activities/2",
        f"/v3/conversations/{THREAD['id']}/activities/3",
        "/v3/conversations/a:1chat/activities/4",
    ]


@pytest.mark.anyio
async def test_it_does_not_acknowledge_a_message_that_it_could_not_answer(bot: TeamsBot) -> None:
    def fail_once(_: object) -> NoReturn:
        bot.platform.answers["/activities/2"] = lambda _: {"id": "sent"}
        raise ConnectionError

    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        bot.platform.answers["/activities/2"] = fail_once
        assert await bot.post(store, "Ann", 2) == 500
        await bot.receive(store, "Ann", 2)
    assert bot.sent() == [ASK_NAME, ASK_DATE, ASK_DATE]  # the first ASK_DATE was not accepted


@pytest.mark.anyio
async def test_it_ignores_everything_but_users_messages(bot: TeamsBot) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        of_a_bot = {"from": {"id": "28:other", "role": "bot"}}
        assert await bot.post(store, "hi", 1, **of_a_bot) == 202
        assert await bot.post(store, "hi", 2, type="messageUpdate") == 202
    assert bot.sent() == []


@pytest.mark.anyio
async def test_it_refuses_requests_that_do_not_come_from_the_platform(
    bot: TeamsBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONNECTIONS__SERVICE_CONNECTION__SETTINGS__ANONYMOUS_ALLOWED")
    monkeypatch.setenv("CONNECTIONS__SERVICE_CONNECTION__SETTINGS__CLIENTID", "app-1")
    async with AsyncSessionStore.from_url("memory://") as store:
        assert await bot.post(store, "hi", 1) == 401


@pytest.mark.anyio
async def test_it_continues_in_another_process_after_its_process_was_killed(
    bot: TeamsBot, tmp_path: Path
) -> None:
    for number, (text, answer) in enumerate(FLOW.items()):
        async with running_example(tmp_path) as url, ClientSession(url) as client:
            await client.post("/api/messages", json=bot.activity(text, number))
        assert bot.sent()[number:] == [answer]


@asynccontextmanager
async def running_example(folder: Path) -> AsyncIterator[str]:
    """Run the example as a user does, and kill it at the end."""
    port = unused_port()
    settings = {"SESSION_STORE_URL": "sqlite:///booking.db", "PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        teams_agents.__file__,
        cwd=folder,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert b"Running on" in await process.stdout.readline()
        yield f"http://localhost:{port}"
    finally:
        process.kill()
        await process.communicate()
