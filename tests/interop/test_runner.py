"""Python beside the code of a Greentic runner, on one Redis: ``nox -s runner_vectors``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest
from sides import PythonStore

from async_session_store import ReplyScope
from async_session_store.greentic import (
    FlowSnapshot,
    IngressEnvelope,
    ParkedFlow,
    is_welcome_mark,
)
from redis_server import RedisServer
from runner_process import Runner, RunnerPlace

pytestmark = pytest.mark.runner

VECTORS: Final = Path(__file__).parents[1] / "runner_vectors.json"
PARKED: Final = json.loads(VECTORS.read_text())["parked"]
SNAPSHOT: Final[dict[str, Any]] = {
    "pack_id": "tables",
    "flow_id": "booking",
    "next_node": "ask_people",
    "state": {"vars": {"day": "May 1"}},
}
WAIT: Final = {"reason": "how many", "snapshot": SNAPSHOT}


@pytest.fixture(scope="module")
def process() -> Iterator[Runner]:
    with Runner.start() as runner:
        yield runner


@pytest.fixture
def runner(process: Runner, redis_server: RedisServer, namespace: str) -> RunnerPlace:
    return process.place(redis_server.url, namespace)


def message(*, endpoint: str | None = None) -> IngressEnvelope:
    """Make a message of a conversation that no other test has."""
    return IngressEnvelope(
        tenant="acme",
        env="prod",
        pack_id="tables",
        flow_id="booking",
        provider="telegram",
        channel="bot-7",
        conversation=uuid.uuid4().hex,
        user="9001",
        messaging_endpoint_id=endpoint,
        reply_scope=ReplyScope(conversation="chat", thread="t", correlation="cid-7"),
    )


def park(python: PythonStore, envelope: IngressEnvelope, flow: ParkedFlow) -> None:
    data = envelope.session_data(flow)
    place = envelope.ctx, envelope.user_id, envelope.scope
    python.register_wait(*place, envelope.session_key, data)


def resume(
    python: PythonStore, envelope: IngressEnvelope, next_node: str | None = None
) -> ParkedFlow | None:
    """Resume in Python. Park the flow again at ``next_node``, or end it."""

    async def run() -> ParkedFlow | None:
        store, place = python.store, (envelope.ctx, envelope.user_id)
        async with store.resume_wait(*place, envelope.scopes()) as record:
            if record is None:
                return None
            flow = ParkedFlow.from_session(record.data)
            if next_node is not None:
                snapshot = flow.snapshot.model_copy(update={"next_node": next_node})
                data = envelope.session_data(flow.model_copy(update={"snapshot": snapshot}))
                await store.register_wait(*place, envelope.scope, envelope.session_key, data)
            return flow

    return python.run(run())


def test_python_resumes_and_ends_a_flow_that_the_runner_parked(
    python: PythonStore, runner: RunnerPlace
) -> None:
    envelope = message()
    sent_out = runner.save(envelope, WAIT)
    assert sent_out["correlation"] == "cid-7"
    record = python.get_wait(envelope.ctx, envelope.user_id, envelope.scopes())
    left = record.expires_at - datetime.now(timezone.utc)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    flow = resume(python, envelope)
    assert flow is not None
    assert flow.reason == "how many"
    assert flow.snapshot.next_node == "ask_people"
    assert flow.snapshot.state["vars"] == {"day": "May 1"}
    assert runner.fetch(envelope) is None
    assert resume(python, envelope) is None


def test_the_runner_resumes_what_python_resumed_and_parked_again(
    python: PythonStore, runner: RunnerPlace
) -> None:
    envelope = message()
    runner.save(envelope, WAIT)
    before = runner.fetch(envelope)
    assert resume(python, envelope, "book") is not None
    assert before is not None
    assert runner.fetch(envelope) == {**before, "next_node": "book"}
    runner.clear(envelope)
    assert resume(python, envelope) is None


def test_the_runner_resumes_a_flow_that_python_parked(
    python: PythonStore, runner: RunnerPlace
) -> None:
    envelope = message()
    run = {"run_id": "01JZ", "started_at": "2026-01-01T00:00:00Z", "agentic": False, "seq": 1}
    park(python, envelope, ParkedFlow(snapshot=FlowSnapshot(**SNAPSHOT), reason="r", run=run))
    found = runner.fetch(envelope)
    assert found is not None
    assert found["next_node"] == "ask_people"
    assert found["state"]["vars"] == {"day": "May 1"}
    # It parks the flow again, as after a turn that asks the next question.
    runner.save(envelope, {**WAIT, "snapshot": {**found, "next_node": "book"}})
    flow = resume(python, envelope)
    assert flow is not None
    assert flow.snapshot.next_node == "book"


def test_a_welcome_mark_outlives_a_clear_that_leaves_it_out(
    python: PythonStore, runner: RunnerPlace
) -> None:
    envelope = message(endpoint="legal")
    place = envelope.ctx, envelope.user_id
    assert runner.greet(envelope) is True
    assert runner.greet(envelope) is False
    runner.save(envelope, WAIT)
    keys = python.list_waits_for_user(*place)
    assert [key for key in keys if not is_welcome_mark(key)] == [envelope.session_key]
    assert len(keys) == 2

    python.remove_session(envelope.session_key, ctx=envelope.ctx)
    assert runner.greet(envelope) is False
    assert python.clear_waits_for_user(*place) == 1
    assert runner.greet(envelope) is True


@pytest.mark.parametrize("vector", PARKED)
def test_every_envelope_leads_both_to_one_place(
    python: PythonStore, runner: RunnerPlace, vector: dict[str, Any]
) -> None:
    envelope = IngressEnvelope.model_validate_json(json.dumps(vector["envelope"]))
    runner.save(envelope, vector["wait"])
    record = python.get_wait(envelope.ctx, envelope.user_id, envelope.scopes())
    assert record.key == envelope.session_key
    found = ParkedFlow.from_session(record.data)
    assert json.loads(found.snapshot.model_dump_json()) == vector["found"]

    runner.clear(envelope)
    park(python, envelope, ParkedFlow.model_validate_json(json.dumps(vector["wait"])))
    assert runner.fetch(envelope) == vector["found"]
