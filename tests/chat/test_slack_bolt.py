from __future__ import annotations

import json
import runpy
import time
from pathlib import Path

import pytest
from platform_server import Call, Platform
from scenarios import Scenarios
from slack_bolt.async_app import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from async_session_store import AsyncSessionStore

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
        client = AsyncWebClient("xoxb-1-2-3", base_url=f"{self.platform.url}/api/")
        app = EXAMPLE["new_app"](client, SECRET, store)
        return await app.async_dispatch(signed_request(payload))

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
    """Give the event of a message to the app, as Slack sends it."""
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
