"""What a Greentic runner derives, calls and stores, recorded: checked where there is no cargo too.

``nox -s runner_vectors`` records it anew, with the crate ``greentic-runner-host``.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from async_session_store import (
    NEVER,
    AsyncSessionStore,
    InvalidInputError,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
)
from async_session_store.greentic import (
    FlowSnapshot,
    IngressEnvelope,
    ParkedFlow,
    RunnerSettings,
    is_welcome_mark,
)
from redis_server import RedisServer
from stored_keys import documents, stored_keys

HERE: Final = Path(__file__).parent
RECORDED: Final = json.loads((HERE / "runner_vectors.json").read_text())
LOCK: Final = (HERE / "interop" / "runner_parts" / "Cargo.lock").read_text()
STORED: Final = RECORDED["stored"]

ENVELOPE: Final = IngressEnvelope(
    tenant="acme",
    env="prod",
    pack_id="tables",
    flow_id="booking",
    provider="telegram",
    channel="bot-7",
    conversation="-100:5",
    user="9001",
)
"""The message that led to the stored flow."""


def envelope_of(fields: dict[str, Any]) -> IngressEnvelope:
    return IngressEnvelope.model_validate_json(json.dumps(fields))


def flow_of(wait: dict[str, Any]) -> ParkedFlow:
    return ParkedFlow.model_validate_json(json.dumps(wait))


def scope_of(call: dict[str, Any]) -> ReplyScope:
    return ReplyScope.model_validate_json(json.dumps(call["args"]["scope"]))


def test_the_vectors_are_of_the_versions_that_are_tested() -> None:
    locked = dict(re.findall(r'name = "(greentic-[a-z]+)"\nversion = "(.+)"', LOCK))
    storage = json.loads((HERE / "rust_vectors.json").read_text())["versions"]
    assert RECORDED["versions"] == {"greentic-runner-host": "1.2.2", **locked}
    assert locked.items() <= storage.items()


# --- Settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", RECORDED["settings"])
def test_settings_are_those_of_a_runner(vector: dict[str, Any]) -> None:
    answers = [vector["unasked"], vector["asked"]]
    durable = {json.dumps(answer): answer for answer in answers if answer != "memory"}
    if len(durable) != 1 or "refused" in answers:
        with pytest.raises(InvalidInputError, match="GREENTIC_"):
            RunnerSettings.from_env(vector["variables"])
        return
    (answer,) = durable.values()
    settings = RunnerSettings.from_env(vector["variables"])
    seconds = answer["wait_ttl_secs"]
    assert settings.url == answer["url"]
    assert settings.namespace == answer["namespace"]
    assert settings.wait_ttl == (NEVER if seconds is None else timedelta(seconds=seconds))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RECORDED["settings"][-1]["variables"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GREENTIC_SESSION_REDIS_URL", "redis://:secret@cache/1")
    monkeypatch.setenv("GREENTIC_RUNNER_SESSION_NAMESPACE", "mine")
    settings = RunnerSettings.from_env()
    assert settings == RunnerSettings(
        "redis://:secret@cache/1", "mine", timedelta(hours=24), "local"
    )
    assert "secret" not in repr(settings)
    monkeypatch.setenv("GREENTIC_ENV", "prod")
    assert RunnerSettings.from_env().env == "prod"


@pytest.mark.parametrize("digits", ["9" * 5000, "0" * 5000 + "1x"])
def test_a_time_to_live_that_a_runner_cannot_parse_is_its_default(digits: str) -> None:
    variables = {
        "GREENTIC_SESSION_REDIS_URL": "redis://cache",
        "GREENTIC_RUNNER_SESSION_NAMESPACE": "mine",
        "GREENTIC_RUNNER_SESSION_WAIT_TTL_SECS": digits,
    }
    assert RunnerSettings.from_env(variables).wait_ttl == timedelta(hours=24)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GREENTIC_ENV", "not an id"),
        ("GREENTIC_RUNNER_SESSION_WAIT_TTL_SECS", str(101 * 366 * 86_400)),
        ("GREENTIC_RUNNER_SESSION_BACKEND", "disk"),
    ],
)
def test_an_invalid_setting_is_named(variable: str, value: str) -> None:
    given = {
        "GREENTIC_SESSION_REDIS_URL": "redis://cache",
        "GREENTIC_RUNNER_SESSION_NAMESPACE": "mine",
    }
    with pytest.raises(InvalidInputError, match=f"^{variable}: "):
        RunnerSettings.from_env({**given, variable: value})


# --- Where a flow is parked -------------------------------------------------------------------


@pytest.mark.parametrize("vector", RECORDED["parked"])
def test_a_flow_is_parked_as_a_runner_parks_it(vector: dict[str, Any]) -> None:
    envelope = envelope_of(vector["envelope"])
    (call,) = vector["save"]
    expected = call["args"]
    assert call["op"] == "register_wait"
    assert envelope.ctx == TenantCtx.model_validate_json(json.dumps(expected["ctx"]))
    assert envelope.user_id == expected["user_id"]
    assert envelope.scope == scope_of(call)
    assert envelope.session_key == expected["session_key"]
    assert expected["ttl"] is None

    flow = flow_of(vector["wait"])
    written = as_values(envelope.session_data(flow).model_dump_json())
    stored = as_values(json.dumps(expected["data"]))
    for values in (written, stored):
        values["context_json"]["snapshot"].pop("state")  # the runner writes empty fields too
    assert written == stored


@pytest.mark.parametrize("vector", RECORDED["parked"])
def test_a_flow_is_looked_up_as_a_runner_looks_it_up(vector: dict[str, Any]) -> None:
    envelope = envelope_of(vector["envelope"])
    looked_up = [call for call in vector["fetch"] if call["op"] == "find_wait_by_scope"]
    scopes = list(envelope.scopes())
    assert scopes == list(map(scope_of, vector["clear"]))
    assert scopes[: len(looked_up)] == list(map(scope_of, looked_up))  # it ends where it finds
    for call in [*looked_up, *vector["clear"]]:
        assert call["args"]["user_id"] == envelope.user_id
        assert TenantCtx.model_validate_json(json.dumps(call["args"]["ctx"])) == envelope.ctx


@pytest.mark.parametrize("vector", RECORDED["parked"])
def test_a_canonical_envelope_leads_to_the_same_place(vector: dict[str, Any]) -> None:
    given, canonical = envelope_of(vector["envelope"]), envelope_of(vector["canonical"])
    assert given.hint == canonical.hint
    assert given.session_key == canonical.session_key
    assert given.ctx == canonical.ctx
    assert given.scopes() == canonical.scopes()


@pytest.mark.parametrize("vector", RECORDED["parked"])
def test_a_document_is_read_and_written_as_a_runner_writes_it(vector: dict[str, Any]) -> None:
    (call,) = vector["save"]
    data = SessionData.model_validate_json(json.dumps(call["args"]["data"]))
    flow = ParkedFlow.from_session(data)
    assert flow.reason == vector["wait"]["reason"]
    assert json.loads(flow.snapshot.model_dump_json()) == vector["found"]
    assert json.loads(flow.model_dump_json()) == json.loads(data.context_json)
    assert (
        envelope_of(vector["envelope"])
        .session_data(flow)
        .model_copy(update={"context_json": data.context_json})
        == data
    )


def test_the_rest_of_an_envelope_survives() -> None:
    fields = {"tenant": "acme", "flow_id": "booking", "payload": {"text": "4"}, "entry_node": "n"}
    assert json.loads(envelope_of(fields).model_dump_json()) == fields


@pytest.mark.parametrize("field", ["tenant", "env", "pack_id"])
def test_an_id_that_a_runner_would_refuse_is_refused(field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ENVELOPE.model_copy(update={field: "not-an-id:"})
    assert "not-an-id:" not in str(refused.value)


def test_a_flow_of_another_pack_is_refused() -> None:
    snapshot = FlowSnapshot(pack_id="chairs", flow_id="booking", next_node="n", state={})
    with pytest.raises(InvalidInputError, match=r"^flow: its pack_id differs"):
        ENVELOPE.session_data(ParkedFlow(snapshot=snapshot))


# --- What is parked ---------------------------------------------------------------------------

FLOW: Final = ParkedFlow(
    snapshot=FlowSnapshot(
        pack_id="tables", flow_id="booking", next_node="ask_people", state={"vars": {"l": [1]}}
    )
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(state=st.dictionaries(st.text(), json_values, max_size=3))
def test_any_state_comes_back_as_it_was(state: dict[str, Any]) -> None:
    snapshot = FLOW.snapshot.model_copy(update={"state": state})
    flow = FLOW.model_copy(update={"snapshot": snapshot})
    found = ParkedFlow.from_session(ENVELOPE.session_data(flow))
    assert found == flow
    assert json.loads(found.snapshot.model_dump_json())["state"] == state


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), b"bytes", "\ud800", {1: 2}, {"\ud800": 1}, object(), {1}]
)
def test_a_value_that_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="holds a"):
        FLOW.snapshot.model_copy(update={"state": {"a": [value]}})


def test_a_state_cannot_be_changed() -> None:
    given: dict[str, Any] = {"vars": {"l": [1]}}
    snapshot = FLOW.snapshot.model_copy(update={"state": given})
    given["vars"]["l"].append(2)
    assert snapshot == FLOW.snapshot
    with pytest.raises(TypeError):
        snapshot.state["vars"]["new"] = 1  # type: ignore[index]


def test_m3_fields_of_a_newer_runner_survive() -> None:
    text = json.dumps(
        {
            "snapshot": {**json.loads(FLOW.snapshot.model_dump_json()), "newer": [1]},
            "reason": None,
            "run": {"run_id": "01", "started_at": "t", "agentic": False, "seq": 3},
            "newer": {"a": 1},
        }
    )
    flow = ParkedFlow.model_validate_json(text)
    moved = flow.model_copy(
        update={"snapshot": flow.snapshot.model_copy(update={"next_node": "book"})}
    )
    expected = json.loads(text)
    expected["snapshot"]["next_node"] = "book"
    assert json.loads(moved.model_dump_json()) == expected


@pytest.mark.parametrize("text", ["{}", "[]", "", "secret", '{"snapshot": {"secret": 1}}'])
def test_r2_a_session_that_is_not_a_parked_flow_is_refused(text: str) -> None:
    data = ENVELOPE.session_data(FLOW).model_copy(update={"context_json": text})
    with pytest.raises(InvalidInputError, match=r"^data: its context_json is not") as refused:
        ParkedFlow.from_session(data)
    assert "secret" not in f"{refused.value} {refused.value.__cause__}"


# --- On Redis ---------------------------------------------------------------------------------


def put(client: redis.Redis, namespace: str, stored: dict[str, Any]) -> None:
    """Store what a runner stored."""
    for name, (value, minutes) in stored.items():
        key = f"{namespace}:{name}"
        if isinstance(value, list):
            client.sadd(key, *value)
        else:
            client.set(key, value)
        if minutes >= 0:
            client.expire(key, minutes * 60)


@pytest.fixture(params=[pytest.param(("asyncio", {}), id="asyncio")])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture
def store(redis_server: RedisServer, namespace: str) -> AsyncSessionStore:
    settings = RunnerSettings.from_env(
        {
            "GREENTIC_SESSION_REDIS_URL": redis_server.unix_url,
            "GREENTIC_RUNNER_SESSION_NAMESPACE": namespace,
        }
    )
    return AsyncSessionStore.from_url(
        settings.url, namespace=settings.namespace, default_wait_ttl=settings.wait_ttl
    )


def expires_in(expires_at: datetime | None) -> timedelta:
    assert expires_at is not None
    return expires_at - datetime.now(timezone.utc)


@pytest.mark.anyio
async def test_python_resumes_what_a_runner_parked(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    put(redis_client, namespace, STORED["parked"])
    place = ENVELOPE.ctx, ENVELOPE.user_id
    async with store:
        async with store.resume_wait(*place, ENVELOPE.scopes()) as record:
            assert record is not None
            assert record.key == ENVELOPE.session_key
            assert timedelta(hours=23) < expires_in(record.expires_at) <= timedelta(hours=24)
            flow = ParkedFlow.from_session(record.data)
            assert flow.snapshot.next_node == "ask_people"
        assert await store.list_waits_for_user(*place) == []
        assert stored_keys(redis_client, namespace) == {}


@pytest.mark.anyio
async def test_python_parks_as_a_runner_does(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    stored = {name: value for name, (value, _) in STORED["parked"].items()}
    key = f"session:{ENVELOPE.session_key}"
    data = SessionData.model_validate_json(stored[key])
    flow = ParkedFlow.from_session(data)
    async with store:
        await store.register_wait(
            ENVELOPE.ctx,
            ENVELOPE.user_id,
            ENVELOPE.scope,
            ENVELOPE.session_key,
            ENVELOPE.session_data(flow),
        )
    found = documents(stored_keys(redis_client, namespace))
    shared = {name: found[name] for name in found if not name.startswith("meta:")}
    assert shared.keys() == stored.keys()
    for name, (value, expires) in shared.items():
        assert expires == (STORED["parked"][name][1] >= 0)
        if name == key:
            assert as_values(value) == as_values(stored[name])
        elif isinstance(value, set):
            assert sorted(item.decode() for item in value) == stored[name]
        else:
            assert value.decode() == stored[name]


def as_values(document: str | bytes) -> dict[str, Any]:
    values = json.loads(document)
    return {**values, "context_json": json.loads(values["context_json"])}


@pytest.mark.anyio
async def test_a_welcome_mark_is_listed_and_can_be_left_out(
    store: AsyncSessionStore, redis_client: redis.Redis, namespace: str
) -> None:
    put(redis_client, namespace, STORED["greeted"])
    greeted = ENVELOPE.model_copy(update={"messaging_endpoint_id": "legal"})
    place = greeted.ctx, greeted.user_id
    async with store:
        await store.register_wait(
            *place, greeted.scope, greeted.session_key, greeted.session_data(FLOW)
        )
        keys = await store.list_waits_for_user(*place)
        assert [key for key in keys if not is_welcome_mark(key)] == [greeted.session_key]
        (mark,) = filter(is_welcome_mark, keys)
        record = await store.get_wait(*place, ReplyScope(conversation="welcome-seen::ep=legal"))
        assert record is not None
        assert record.key == mark == mark_key(greeted)
        assert record.data.flow_id == record.data.pack_id == "welcome-marker"
        assert record.data.cursor == SessionCursor(node_pointer="marker")
        assert timedelta(days=364) < expires_in(record.expires_at) <= timedelta(days=365)
        with pytest.raises(InvalidInputError, match="welcome marks"):
            ParkedFlow.from_session(record.data)
        assert await store.clear_waits_for_user(*place) == 2


def mark_key(envelope: IngressEnvelope) -> str:
    """Return the key as the wire format documents it."""
    owner = envelope.ctx.owner
    parts = "welcome-marker:v1", owner.env, owner.tenant, "team=<none>", owner.user or ""
    text = "\0".join([*parts, f"welcome-seen::ep={envelope.endpoint}"])
    return f"welcome-marker::{hashlib.sha256(text.encode()).hexdigest()}"


@pytest.mark.parametrize("vector", RECORDED["parked"])
def test_a_parked_flow_is_not_taken_for_a_welcome_mark(vector: dict[str, Any]) -> None:
    assert not is_welcome_mark(vector["save"][0]["args"]["session_key"])
