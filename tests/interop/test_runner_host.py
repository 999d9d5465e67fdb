"""A Greentic runner and a Python process that work on one Redis: ``nox -s runner_host``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sides import PythonStore

from async_session_store import AsyncSessionStore
from async_session_store.greentic import (
    FlowSnapshot,
    IngressEnvelope,
    ParkedFlow,
    RunnerSettings,
    is_welcome_mark,
)
from redis_server import RedisServer
from runner_process import Runner

pytestmark = pytest.mark.runner_host

VECTORS: Final = Path(__file__).parents[1] / "runner_vectors.json"
PARKED: Final = json.loads(VECTORS.read_text())["parked"]
ENV: Final = "test"  # else a runner wants secrets from elsewhere than its environment
GREETING: Final = {"pack_id": "tables", "flow_id": "greeting"}


@pytest.fixture(scope="module")
def runner(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    with Runner.start(redis_server, folder, GREENTIC_ENV=ENV) as runner:
        yield runner


@pytest.fixture
def settings(redis_server: RedisServer) -> RunnerSettings:
    return RunnerSettings.from_env(
        {"GREENTIC_SESSION_REDIS_URL": redis_server.url, "GREENTIC_ENV": ENV}
    )


@pytest.fixture
def python(settings: RunnerSettings) -> Iterator[PythonStore]:
    store = AsyncSessionStore.from_url(
        settings.url, namespace=settings.namespace, default_wait_ttl=settings.wait_ttl
    )
    with PythonStore.opened(store) as side:
        yield side


class Chat:
    """A conversation of one user, from both sides."""

    def __init__(self, runner: Runner, python: PythonStore, *, endpoint: str | None = None) -> None:
        self.runner, self.python, self.endpoint = runner, python, endpoint
        self.name = uuid.uuid4().hex
        self.envelope = IngressEnvelope(
            tenant="acme",
            env=ENV,
            pack_id="tables",
            flow_id="booking",
            provider="telegram",
            channel="bot-7",
            conversation=self.name,
            user="9001",
            messaging_endpoint_id=endpoint,
        )
        self.place = self.envelope.ctx, self.envelope.user_id

    def tell_runner(self, text: str, **more: object) -> str:
        """Send the runner a message, and return its replies as JSON."""
        replies = self.runner.turn(
            "acme",
            pack_id="tables",
            flow_id="booking",
            provider_id="telegram",
            channel_id="bot-7",
            conversation_id=self.name,
            user_id="9001",
            messaging_endpoint_id=self.endpoint,
            payload={"text": text},
            **more,
        )
        return json.dumps(replies)

    def park(self, flow: ParkedFlow) -> None:
        data = self.envelope.session_data(flow)
        self.python.register_wait(*self.place, self.envelope.scope, self.envelope.session_key, data)

    def resume(self, next_node: str | None = None) -> ParkedFlow | None:
        """Resume in Python, and park the flow again at ``next_node``, or end it."""

        async def resume() -> ParkedFlow | None:
            store = self.python.store
            async with store.resume_wait(*self.place, self.envelope.scopes()) as record:
                flow = None if record is None else ParkedFlow.from_session(record.data)
                if flow is not None and next_node is not None:
                    await store.register_wait(
                        *self.place,
                        self.envelope.scope,
                        self.envelope.session_key,
                        self.envelope.session_data(moved(flow, next_node)),
                    )
                return flow

        return self.python.run(resume())


def moved(flow: ParkedFlow, next_node: str) -> ParkedFlow:
    state = {**flow.snapshot.state, "vars": {"day": "May 1"}}
    snapshot = flow.snapshot.model_copy(update={"next_node": next_node, "state": state})
    return flow.model_copy(update={"snapshot": snapshot})


@pytest.fixture
def chat(runner: Runner, python: PythonStore) -> Chat:
    return Chat(runner, python)


def test_python_resumes_and_ends_a_flow_that_the_runner_parked(chat: Chat) -> None:
    chat.tell_runner("a table")
    flow = chat.resume()
    assert flow is not None
    assert flow.reason == "which day"
    assert flow.snapshot.next_node == "ask_people"
    assert chat.resume() is None
    chat.tell_runner("a table")  # begins anew
    flow = chat.resume()
    assert flow is not None
    assert flow.snapshot.next_node == "ask_people"


def test_the_runner_goes_on_with_what_python_resumed_and_parked_again(chat: Chat) -> None:
    chat.tell_runner("a table")
    assert chat.resume("book") is not None
    assert "booked May 1 for 4" in chat.tell_runner("4")
    assert chat.resume() is None


def test_the_runner_resumes_a_flow_that_python_parked(chat: Chat) -> None:
    snapshot = FlowSnapshot(pack_id="tables", flow_id="booking", next_node="ask_people", state={})
    run = {"run_id": "01JZ", "started_at": "2026-01-01T00:00:00Z", "agentic": False, "seq": 1}
    chat.park(ParkedFlow(snapshot=snapshot, reason="which day", run=run))
    chat.tell_runner("May 1")
    flow = chat.resume("book")
    assert flow is not None
    assert flow.reason == "how many"
    assert "booked May 1 for 4" in chat.tell_runner("4")


def test_a_welcome_mark_outlives_a_clear_that_leaves_it_out(
    runner: Runner, python: PythonStore
) -> None:
    chat = Chat(runner, python, endpoint="legal")
    assert "welcome" in chat.tell_runner("hello", welcome_flow_hint=GREETING)
    assert "welcome" not in chat.tell_runner("hello", welcome_flow_hint=GREETING)
    keys = python.list_waits_for_user(*chat.place)
    assert [is_welcome_mark(key) for key in keys].count(True) == 1
    assert [key for key in keys if not is_welcome_mark(key)] == [chat.envelope.session_key]

    python.remove_session(chat.envelope.session_key, ctx=chat.envelope.ctx)
    assert "welcome" not in chat.tell_runner("hello", welcome_flow_hint=GREETING)
    assert python.clear_waits_for_user(*chat.place) == 2
    assert "welcome" in chat.tell_runner("hello", welcome_flow_hint=GREETING)


@pytest.mark.parametrize("vector", PARKED)
def test_every_envelope_leads_both_to_one_place(
    runner: Runner, python: PythonStore, settings: RunnerSettings, vector: dict[str, Any]
) -> None:
    envelope = IngressEnvelope.model_validate_json(json.dumps(vector["envelope"]))
    flow = ParkedFlow.model_validate_json(json.dumps(vector["wait"]))
    place = envelope.ctx, envelope.user_id

    sent_out = runner.save(settings.namespace, envelope, vector["wait"])
    record = python.get_wait(*place, envelope.scopes())
    assert record.key == envelope.session_key
    assert sent_out["correlation"]
    found = ParkedFlow.from_session(record.data)
    assert json.loads(found.snapshot.model_dump_json()) == vector["found"]

    data = envelope.session_data(flow)
    python.register_wait(*place, envelope.scope, envelope.session_key, data)
    assert runner.fetch(settings.namespace, envelope) == vector["found"]
    runner.clear(settings.namespace, envelope)
    assert python.get_wait(*place, envelope.scopes()) is None
