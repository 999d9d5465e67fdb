from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest
from pydantic import BaseModel

import async_session_store
from async_session_store import (
    AsyncSessionStore,
    ExpiredWaits,
    ResumedWait,
    SessionStore,
    SyncExpiredWaits,
    SyncWaitClaim,
    Turn,
    WaitClaim,
    abc,
    bridge,
    channels,
    greentic,
    testing,
)
from async_session_store.backends import memory, redis, sqlite


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", async_session_store.__version__)


def test_the_public_names() -> None:
    assert async_session_store.__all__ == [
        "KEEP",
        "NEVER",
        "AsyncSessionStore",
        "ClaimLostError",
        "ConflictError",
        "CopiedStore",
        "CopyOutdatedError",
        "CorruptSessionError",
        "DuplicateDeliveryError",
        "EnvId",
        "ErasedUser",
        "ErrorCode",
        "ExpiredWaits",
        "Explanation",
        "FlowId",
        "FlowMemoryError",
        "Impersonation",
        "Incoming",
        "InvalidInputError",
        "InvocationDeadline",
        "Keep",
        "MovedWaits",
        "Never",
        "NewWait",
        "PackId",
        "ReplyScope",
        "ResumedWait",
        "ScopeReport",
        "SessionCursor",
        "SessionData",
        "SessionKey",
        "SessionNotFoundError",
        "SessionRecord",
        "SessionStore",
        "SessionStoreError",
        "StoreTimeoutError",
        "StoreUnavailableError",
        "StoreUsageError",
        "SyncExpiredWaits",
        "SyncWaitClaim",
        "TeamId",
        "TenantCtx",
        "TenantId",
        "TenantMismatchError",
        "TimeToLive",
        "Turn",
        "UserId",
        "WaitClaim",
        "WaitClaimedError",
        "WaitStatus",
        "canonical_session_key",
        "derive_session_key",
        "telegram_update_to_session_key",
        "webhook_to_session_key",
    ]


def test_names_that_are_imported_on_first_use() -> None:
    program = (
        "import async_session_store as package, pickle;"
        "assert {*package.__all__} <= {*dir(package)};"
        "assert package.SessionStore is package.SessionStore is package.sync.SessionStore;"
        "assert pickle.loads(pickle.dumps(package.SyncWaitClaim)) is package.SyncWaitClaim;"
        "from async_session_store import *;"
        "assert SyncWaitClaim is package.SyncWaitClaim"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'SessionStor'"):
        _ = async_session_store.SessionStor  # type: ignore[attr-defined]


def test_the_public_names_of_channels() -> None:
    assert channels.__all__ == [
        *("TELEGRAM_GENERAL_TOPIC", "Inbound", "Move", "Place", "discord", "google_chat", "line"),
        *("matrix", "mattermost", "messenger", "place", "scope_from_text", "scope_to_text"),
        *("slack", "slack_moves", "split_line", "split_messenger", "split_whatsapp", "teams"),
        *("telegram", "telegram_moves", "twilio", "webchat", "webex", "whatsapp", "whatsapp_moves"),
    ]
    members = {name for name in dir(channels.Inbound) if not name.startswith("_")}
    fields = {field.name for field in dataclasses.fields(channels.Inbound)}
    assert members - fields == {"scope", "scopes", "expecting", "user_ids"}


def test_the_public_names_of_greentic() -> None:
    assert greentic.__all__ == [
        *("FlowSnapshot", "IngressEnvelope", "ParkedFlow", "RunnerSettings", "is_welcome_mark")
    ]
    members = {name for name in vars(greentic.IngressEnvelope) if not name.startswith("_")}
    assert members - {"model_config"} - vars(BaseModel).keys() == {
        *("ctx", "endpoint", "hint", "scope", "scopes", "session_data", "session_key", "user_id")
    }


def test_the_methods_of_a_store() -> None:
    assert set(public_names(AsyncSessionStore)) == {
        *("from_url", "from_env", "open", "aclose", "ping", "purge_expired"),
        *("create_session", "get_session", "get_record", "update_session", "remove_session"),
        *("touch_session", "register_wait", "register_wait_if_absent", "find_wait_by_scope"),
        *("get_wait", "list_waits_for_user", "list_wait_records", "clear_wait"),
        *("clear_waits_for_user", "find_by_user", "claim_wait", "resume_wait", "edit_session"),
        *("explain", "turn", "claim_expired", "expired_waits", "expired_turn"),
        *("erase_user", "break_claim", "iter_waits", "iter_sessions", "count_waits", "copy_to"),
        *("move_waits", "compact"),
    }


def test_the_methods_of_a_claim() -> None:
    assert {name for name in vars(WaitClaim) if not name.startswith("_")} == {
        *("record", "token", "lease", "lease_ends_at", "complete", "release", "renew"),
        *("lost", "seconds_left", "is_new", "is_expired", "is_overtaken", "check", "user_id"),
    }


def in_async(annotation: str) -> str:
    return annotation.replace("SyncWaitClaim", "WaitClaim")


def parameters_of(owner: type, name: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(owner, name)).parameters.values())


def public_names(owner: type) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_")]  # base classes included


def test_the_sync_store_has_the_methods_of_the_async_one() -> None:
    in_sync = {"aclose": "close"}
    for name in ["__init__", *public_names(AsyncSessionStore)]:
        asked = parameters_of(AsyncSessionStore, name)
        given = parameters_of(SessionStore, in_sync.get(name, name))
        if name in ("__init__", "from_url", "from_env"):
            assert given.pop().name == "portal"
        if name == "expired_turn":
            given[1] = given[1].replace(annotation=in_async(given[1].annotation))
        assert given == asked, name
    assert len(public_names(SessionStore)) == len(public_names(AsyncSessionStore))


def test_the_sync_claim_has_the_methods_of_the_async_one() -> None:
    assert sorted(public_names(SyncWaitClaim)) == sorted(public_names(WaitClaim))
    for name in ("complete", "check", "release", "renew"):
        assert parameters_of(SyncWaitClaim, name) == parameters_of(WaitClaim, name)


def test_the_loops_over_expired_waits_have_the_same_methods() -> None:
    assert public_names(ExpiredWaits) == public_names(SyncExpiredWaits) == ["stop"]
    assert parameters_of(SyncExpiredWaits, "stop") == parameters_of(ExpiredWaits, "stop")


@pytest.mark.parametrize("module", [memory, sqlite, redis], ids=lambda module: module.__name__)
def test_a_backend_is_found_in_its_module(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    (name,) = (name for name in names if name.endswith("Backend"))
    assert issubclass(getattr(module, name), abc.Backend)


@pytest.mark.parametrize(
    "module",
    [async_session_store, abc, bridge, channels, greentic, memory, sqlite, redis, testing],
    ids=lambda m: m.__name__,
)
def test_every_public_name_is_there_and_documented(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name


@pytest.mark.parametrize(
    "owner",
    [
        *(AsyncSessionStore, WaitClaim, SessionStore, SyncWaitClaim, ResumedWait, Turn),
        *(ExpiredWaits, SyncExpiredWaits),
        *(abc.Backend, channels.Inbound, greentic.IngressEnvelope, greentic.RunnerSettings),
    ],
    ids=lambda owner: owner.__name__,
)
def test_every_public_method_is_documented(owner: type) -> None:
    ours = [base for base in owner.__mro__ if base.__module__.startswith("async_session_store")]
    for name, value in (item for base in ours for item in vars(base).items()):
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            assert inspect.getdoc(value), name
