from __future__ import annotations

import json
import runpy
import time
from pathlib import Path

import pytest
from aiohttp import web
from platform_server import Call, Platform
from scenarios import ASK_DATE, ASK_NAME, REMINDER, Scenarios, miss_deadline, until
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from async_session_store import AsyncSessionStore, StoreUsageError
from async_session_store.backends.memory import MemoryBackend
from booking import RELEASED
from clock import Clock

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "slack_bolt.py"))
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class SlackBot:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        platform.answers["/auth.test"] = lambda _: AUTHORIZED
        platform.answers["/chat.postMessage"] = lambda _: {"ok": True, "ts": "1.2"}

    async def receive(self, store: AsyncSessionStore, text: str, number: int) -> None:
        response = await self.feed(store, message_event(number, text=text))
        assert response.status == 200

    async def feed(self, store: AsyncSessionStore, payload: dict[str, object]) -> BoltResponse:
        return await self.app(store).async_dispatch(signed_request(payload))

    def app(self, store: AsyncSessionStore) -> AsyncApp:
        client = AsyncWebClient("xoxb-1-2-3", base_url=f"{self.platform.url}/api/")
        return EXAMPLE["new_app"](store, client=client, signing_secret=SECRET)

    def sent(self) -> list[str]:
        return [str(call.fields["text"]) for call in self.messages()]

    def messages(self) -> list[Call]:
        return self.platform.calls_to("/chat.postMessage")


AUTHORIZED = {
    "ok": True,
    "url": "https://trattoria.slack.com/",
    "team_id": "T0TRATT",
    "user_id": "U0BOT",
    "bot_id": "B0BOT",
}


def message_event(number: int, **event: object) -> dict[str, object]:
    """Return a message event as Slack sends it."""
    ts = f"1767225600.{number:06}"
    return {
        "type": "event_callback",
        "event_id": f"Ev{number}",
        "event_time": 1767225600,
        "api_app_id": "A0BOOK",
        "team_id": "T0TRATT",
        "authorizations": [{"team_id": "T0TRATT", "user_id": "U0BOT", "is_bot": True}],
        "event": {
            "type": "message",
            "user": "U0ANN",
            "channel": "D0ANN",
            "channel_type": "im",
            "ts": ts,
            "event_ts": ts,
            **event,
        },
    }


def signed_request(payload: dict[str, object]) -> AsyncBoltRequest:
    body, now = json.dumps(payload), str(int(time.time()))
    headers = {
        "content-type": "application/json",
        "x-slack-request-timestamp": now,
        "x-slack-signature": SignatureVerifier(SECRET).generate_signature(timestamp=now, body=body),
    }
    return AsyncBoltRequest(body=body, headers=headers)


@pytest.fixture
def bot(platform: Platform) -> SlackBot:
    return SlackBot(platform)


class TestSlackBolt(Scenarios):
    pass


NOT_ANSWERED = {
    "an edit": message_event(2, subtype="message_changed", message={"text": "Anna"}),
    "a bot": message_event(3, text="I am a bot", user="U0OTHER", bot_id="B0OTHER"),
    "itself": message_event(4, text=ASK_NAME, user="U0BOT", bot_id="B0BOT"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("payload", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
async def test_updates_that_are_not_a_users_turn_are_not_answered(
    bot: SlackBot, payload: dict[str, object]
) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.receive(store, "hi", 1)
        response = await bot.feed(store, payload)
        assert (response.status, bot.sent()) == (200, [ASK_NAME])
        await bot.receive(store, "Ann", 5)
        assert bot.sent() == [ASK_NAME, ASK_DATE]


@pytest.mark.anyio
async def test_it_answers_in_the_thread(bot: SlackBot) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        await bot.feed(store, message_event(2, text="hi", thread_ts="1767225600.000001"))
    (call,) = bot.messages()
    assert (call.fields["channel"], call.fields["thread_ts"]) == ("D0ANN", "1767225600.000001")


@pytest.mark.anyio
async def test_a_message_that_could_not_be_answered_is_not_acknowledged(bot: SlackBot) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        posted = bot.platform.answers["/chat.postMessage"]
        bot.platform.answers["/chat.postMessage"] = lambda _: {"ok": False, "error": "fatal_error"}
        response = await bot.feed(store, message_event(1, text="hi"))
        assert response.status == 500
        bot.platform.answers["/chat.postMessage"] = posted
        response = await bot.feed(store, message_event(1, text="hi"))
        assert response.status == 200
        await bot.receive(store, "Ann", 2)
    assert bot.sent() == [ASK_NAME, ASK_NAME, ASK_DATE]


@pytest.mark.anyio
async def test_a_request_that_slack_did_not_sign_is_refused(bot: SlackBot) -> None:
    request = signed_request(message_event(1, text="hi"))
    request.headers["x-slack-signature"] = ["v0=0"]
    async with AsyncSessionStore.from_url("memory://") as store:
        response = await bot.app(store).async_dispatch(request)
    assert (response.status, bot.sent()) == (401, [])


@pytest.mark.anyio
async def test_it_reminds_where_it_asked_and_then_releases_the_table(bot: SlackBot) -> None:
    clock = Clock()
    store = AsyncSessionStore(MemoryBackend(clock=clock))
    app = bot.app(store)
    server = web.AppRunner(EXAMPLE["new_server"](app, store))
    await server.setup()
    thread = message_event(2, text="hi", thread_ts="1767225600.000001")
    await app.async_dispatch(signed_request(thread))
    await until(lambda: bot.sent() == [ASK_NAME])
    await miss_deadline(store, "slack", "U0ANN", clock)
    await until(lambda: bot.sent() == [ASK_NAME, REMINDER])
    await miss_deadline(store, "slack", "U0ANN", clock)
    await until(lambda: bot.sent() == [ASK_NAME, REMINDER, RELEASED])
    await server.cleanup()
    places = [(call.fields["channel"], call.fields["thread_ts"]) for call in bot.messages()]
    assert places == [("D0ANN", "1767225600.000001")] * 3
    with pytest.raises(StoreUsageError, match="closed"):
        await store.ping()
