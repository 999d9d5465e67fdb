"""The webhook of examples/sync_flask.py as a platform sees it: a real server, real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from async_session_store import ReplyScope, SessionStore, TenantCtx
from redis_server import RedisServer

EXAMPLE = Path(__file__).parents[1] / "examples" / "sync_flask.py"


class Answer(NamedTuple):
    status: int
    retry_after: str | None
    body: dict[str, str]

    @property
    def text(self) -> str:
        assert self.status == 200, self
        return self.body.get("answer", "")


class Webhook:
    """The example, served by werkzeug in its own process, and the platform that posts to it."""

    def __init__(self, url: str, log: Path) -> None:
        self._environ = {**os.environ, "SESSION_STORE_URL": url}
        self._log = log
        self.chat = f"chat-{uuid4().hex}"
        self.start()

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, EXAMPLE, "--port", "0"],
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        give_up_at = time.monotonic() + 30
        while not (address := re.search(r"http://127\.0\.0\.1:(\d+)", self._log.read_text())):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < give_up_at, self._log.read_text()
            time.sleep(0.02)
        self._port = int(address[1])

    def stop(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        code = self._process.wait(30)
        assert code == (0 if how is signal.SIGINT else -how), self._log.read_text()
        assert "Traceback" not in self._log.read_text()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def post(self, event: str, text: str, *, user: str = "alice") -> Answer:
        return self.send({"event": event, "chat": self.chat, "user": user, "text": text})

    def send(self, message: object) -> Answer:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", "/messages", json.dumps(message))
            response = connection.getresponse()
            return Answer(response.status, response.getheader("Retry-After"), json.load(response))
        finally:
            connection.close()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> str:
    return redis_server.url if request.param == "redis" else f"sqlite:///{tmp_path}/pizza.db"


@pytest.fixture
def webhook(url: str, tmp_path: Path) -> Iterator[Webhook]:
    webhook = Webhook(url, tmp_path / "log")
    try:
        yield webhook
    finally:
        webhook.close()


def test_a_flow_continues_after_the_server_was_stopped_or_killed(webhook: Webhook) -> None:
    assert webhook.post("1", "hi").text == "What is your name?"
    webhook.stop(signal.SIGINT)
    webhook.start()
    assert webhook.post("2", "Al").text == "Hello Al. Would you like a small pizza or a large one?"
    webhook.stop(signal.SIGKILL)
    webhook.start()
    assert webhook.post("3", "huge").text == "Small or large?"
    assert webhook.post("4", "large").text == (
        "One large pizza for Al. Is that right? Please answer yes or no."
    )
    assert webhook.post("5", "yes").text == "One large pizza for Al is on its way."
    assert webhook.post("6", "hi").text == "What is your name?"
    webhook.stop(signal.SIGINT)


def test_an_event_that_is_delivered_again_is_handled_once(webhook: Webhook) -> None:
    duplicate = Answer(200, None, {"note": "this event was already handled"})
    for event, text in (("1", "hi"), ("2", "Al"), ("3", "small"), ("4", "no")):
        assert webhook.post(event, text).text
        assert webhook.post(event, text) == duplicate
    assert webhook.post("1", "hi") == duplicate


def test_only_one_of_two_simultaneous_posts_of_an_event_is_handled(webhook: Webhook) -> None:
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(webhook.post, ["1", "1"], ["hi", "hi"]))
    assert sorted(answer.text for answer in answers) == ["", "What is your name?"]
    assert webhook.post("2", "Al").text == "Hello Al. Would you like a small pizza or a large one?"


def test_two_messages_at_once_are_handled_one_after_the_other(webhook: Webhook) -> None:
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(webhook.post, ["1", "2"], ["Al", "Al"]))
    assert sorted(answer.text for answer in answers) == [
        "Hello Al. Would you like a small pizza or a large one?",
        "What is your name?",
    ]


def test_r7_the_threads_of_a_server_share_one_store(webhook: Webhook) -> None:
    def order(user: str) -> str:
        for number, text in enumerate(("hi", user, "large")):
            assert webhook.post(f"{number}", text, user=user).text
        return webhook.post("yes", "yes", user=user).text

    users = [f"user-{number}" for number in range(8)]
    with ThreadPoolExecutor(len(users)) as threads:
        answers = list(threads.map(order, users))
    assert answers == [f"One large pizza for {user} is on its way." for user in users]


def test_a_message_is_refused_while_another_process_resumes_the_flow(
    webhook: Webhook, url: str
) -> None:
    assert webhook.post("1", "hi").text
    ctx = TenantCtx(env="demo", tenant_id="sync-flask", user_id="alice")
    with SessionStore.from_url(url) as store:
        claim = store.claim_wait(ctx, "alice", ReplyScope(conversation=webhook.chat))
        assert claim is not None
        refused = webhook.post("2", "Al")
        claim.release()
    assert (refused.status, refused.retry_after) == (503, "1")
    assert webhook.post("2", "Al").text == "Hello Al. Would you like a small pizza or a large one?"


@pytest.mark.parametrize("url", ["memory://"])
def test_a_post_that_is_not_a_message_is_refused(webhook: Webhook) -> None:
    message = {"event": "1", "chat": "chat", "user": "alice", "text": "hi"}
    for other in ({"event": ""}, {"chat": "a\nb"}, {"user": "\ud800"}, {"text": None}):
        assert webhook.send({**message, **other}).status == 400
    assert webhook.send("hi").status == 400
    assert webhook.send(message).text == "What is your name?"
