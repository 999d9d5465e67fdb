"""The calls that a Greentic runner makes to its store, recorded, on a store of the Rust crate.

``test_runner.py`` has the runner's own code; this needs no more than the other tests here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from sides import PythonStore

from async_session_store.greentic import IngressEnvelope, ParkedFlow
from rust_process import RustStore

VECTORS: Final = Path(__file__).parents[1] / "runner_vectors.json"
PARKED: Final = json.loads(VECTORS.read_text())["parked"]


def replay(rust: RustStore, calls: list[dict[str, Any]]) -> list[Any]:
    return [rust.process.call(call["op"], json.dumps(call["args"]), rust.name) for call in calls]


def envelope_of(vector: dict[str, Any]) -> IngressEnvelope:
    return IngressEnvelope.model_validate_json(json.dumps(vector["envelope"]))


@pytest.mark.parametrize("vector", PARKED)
def test_python_resumes_a_flow_that_a_runner_parked(
    python: PythonStore, rust: RustStore, vector: dict[str, Any]
) -> None:
    async def resume() -> ParkedFlow | None:
        where = envelope.ctx, envelope.user_id, envelope.scopes()
        async with python.store.resume_wait(*where) as record:
            return None if record is None else ParkedFlow.from_session(record.data)

    envelope = envelope_of(vector)
    replay(rust, vector["save"])
    flow = python.run(resume())
    assert flow is not None
    assert json.loads(flow.snapshot.model_dump_json()) == vector["found"]
    looks = [call for call in vector["fetch"] if call["op"] == "find_wait_by_scope"]
    assert set(replay(rust, looks)) == {None}
    assert python.run(resume()) is None


@pytest.mark.parametrize("vector", PARKED)
def test_a_runner_resumes_a_flow_that_python_parked(
    python: PythonStore, rust: RustStore, vector: dict[str, Any]
) -> None:
    envelope = envelope_of(vector)
    flow = ParkedFlow.model_validate_json(json.dumps(vector["wait"]))
    place = envelope.ctx, envelope.user_id
    data = envelope.session_data(flow)
    python.register_wait(*place, envelope.scope, envelope.session_key, data)
    *_, found, session = replay(rust, vector["fetch"])
    assert found == envelope.session_key
    assert json.loads(session["context_json"]) == json.loads(flow.model_dump_json())
    replay(rust, vector["clear"])
    assert python.list_waits_for_user(*place) == []
    assert python.get_session(envelope.session_key) is None
