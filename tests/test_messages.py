"""What a newcomer reads after a mistake: which argument is wrong, and what to write instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from async_session_store import (
    AsyncSessionStore,
    InvalidInputError,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
    UserId,
    _rules,
)
from async_session_store.channels import Inbound
from async_session_store.models import SessionKey

INBOUND: Any = Inbound(
    provider="demo",
    bot_id="pizza",
    conversation="chat-7",
    user_id=UserId("alice"),
    delivery_id="1",
)
CTX = TenantCtx(env="prod", tenant_id="acme", user_id="alice")
SCOPE = ReplyScope(conversation="chat-42")
NOW: Any = datetime(2030, 1, 1, tzinfo=timezone.utc)


def data(context: Any = "{}") -> SessionData:
    return SessionData(
        tenant_ctx=CTX,
        flow_id="order",
        cursor=SessionCursor(node_pointer="ask"),
        context_json=context,
    )


def anything(value: object) -> Any:
    return value


ARGUMENTS: dict[str, tuple[Callable[[], object], str]] = {
    "user_id=42": (
        lambda: _rules.user_id(anything(4242)),
        "user_id: give a text, not a value of type int; convert it with str(...)",
    ),
    "user_id=None": (
        lambda: _rules.user_id(anything(None)),
        "user_id: give a text, not a value of type NoneType",
    ),
    "user_id=bytes": (
        lambda: _rules.user_id(anything(b"alice")),
        "user_id: give a text, not a value of type bytes; convert it with .decode()",
    ),
    "a platform's id": (
        lambda: _rules.user_id("alice@example.com"),
        (
            "user_id: must be one or more ASCII letters, digits, '.', '_' or '-'; "
            "UserId.encode turns any text into a user id"
        ),
    ),
    "Teams' id": (
        lambda: _rules.owner_for_read(CTX, "29:1a-b"),
        "UserId.encode turns any text into a user id",
    ),
    "session_key=17": (
        lambda: _rules.session_key(anything(1717)),
        "session_key: give a text, not a value of type int; convert it with str(...)",
    ),
    "delivery_id=17": (
        lambda: _rules.deliveries((CTX.owner,), (SCOPE.scope_hash(),), anything(1717), 60),
        "delivery_id: give a text, not a value of type int; convert it with str(...)",
    ),
    "flow=7": (
        lambda: _rules.flow(anything(7)),
        "flow: give a text, not a value of type int; convert it with str(...)",
    ),
    "node=7": (
        lambda: _rules.cursor(anything(7)),
        "node: give a text, not a value of type int; convert it with str(...)",
    ),
    "lease=0": (
        lambda: _rules.duration("lease", 0),
        "lease: must be positive and finite (T1)",
    ),
    "lease=NEVER": (
        lambda: _rules.duration("lease", anything(_rules.NEVER)),
        "lease: give a timedelta or seconds, not a value of type Never",
    ),
    "ttl=text": (
        lambda: _rules.milliseconds("ttl", anything("1800")),
        (
            "ttl: give a timedelta, seconds, or NEVER, not a value of type str; convert a text "
            "with float(...)"
        ),
    ),
    "ttl=a time": (
        lambda: _rules.milliseconds("ttl", NOW),
        (
            "ttl: give a timedelta, seconds, or NEVER, not a value of type datetime; subtract "
            "datetime.now(timezone.utc) from a deadline"
        ),
    ),
    "an Inbound for scopes": (
        lambda: _rules.scope_hashes(INBOUND),
        (
            "scope: give a ReplyScope or a sequence of them, not a value of type Inbound; "
            "inbound.scopes() returns a message's scopes"
        ),
    ),
    "an Inbound for a scope": (
        lambda: _rules.scope_hash(INBOUND),
        "scope: give a ReplyScope, not a value of type Inbound; inbound.scope is a message's scope",
    ),
    "an Inbound among scopes": (
        lambda: _rules.scope_hashes([INBOUND]),
        "scope: give a ReplyScope, not a value of type Inbound; inbound.scope is",
    ),
    "a text for scopes": (
        lambda: _rules.scope_hashes(anything("chat-42")),
        "not a value of type str; build one with ReplyScope(conversation=...)",
    ),
    "a text for a scope": (
        lambda: _rules.scope_hash(anything("chat-42")),
        "scope: give a ReplyScope, not a value of type str; build one with",
    ),
    "ctx=dict": (
        lambda: _rules.viewer(anything({"env": "prod", "tenant_id": "acme"})),
        "ctx: give a TenantCtx, not a value of type dict; build one with TenantCtx(**...)",
    ),
    "data=dict": (
        lambda: _rules.owner_of_data(anything({})),
        "data: give a SessionData, not a value of type dict; build one with SessionData(**...)",
    ),
    "Inbound(user_id=text)": (
        lambda: Inbound(
            provider="demo",
            bot_id="pizza",
            conversation="chat-7",
            user_id=anything("alice"),
            delivery_id="1",
        ),
        "user_id: give a UserId; UserId.encode turns any text into one",
    ),
    "Inbound(conversation=42)": (
        lambda: Inbound(
            provider="demo",
            bot_id="pizza",
            conversation=anything(4242),
            user_id=UserId("alice"),
            delivery_id="1",
        ),
        "conversation: give a text, not a value of type int; convert it with str(...)",
    ),
    "backend=url": (
        lambda: AsyncSessionStore(anything("memory://")),
        "backend: give a Backend, or use AsyncSessionStore.from_url",
    ),
}


@pytest.mark.parametrize(("mistake", "text"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_a_wrong_argument_is_named_with_what_to_give(
    mistake: Callable[[], object], text: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        mistake()
    assert text in str(caught.value)
    for value in ("4242", "1717", "example.com", "29:", "1800", "chat-4", "chat-7", "2030"):
        assert value not in str(caught.value)


MODELS: dict[str, tuple[Callable[[], object], str]] = {
    "context_json=dict": (
        lambda: data({"pizza": "payload"}),
        "give valid Unicode text; encode a dict with json.dumps(...)",
    ),
    "conversation=42": (
        lambda: ReplyScope(conversation=anything(4242)),
        "give valid Unicode text; convert a number with str(...)",
    ),
    "user_id=42": (
        lambda: TenantCtx(env="prod", tenant_id="acme", user_id=anything(4242)),
        "give a text; convert a number with str(...)",
    ),
    "a platform's id": (
        lambda: TenantCtx(env="prod", tenant_id="acme", user_id="alice@example.com"),
        "UserId.encode turns any text into a user id",
    ),
    "UserId(...)": (lambda: UserId("29:1a-b"), "UserId.encode turns any text into a user id"),
    "UserId(42)": (lambda: UserId(anything(4242)), "give a text; convert a number with str(...)"),
    "SessionKey(42)": (
        lambda: SessionKey(anything(4242)),
        "give a text; convert a number with str(...)",
    ),
}


@pytest.mark.parametrize(("mistake", "text"), MODELS.values(), ids=MODELS.keys())
def test_a_wrong_field_is_named_with_what_to_give(mistake: Callable[[], object], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        mistake()
    assert text in str(caught.value)
    for value in ("payload", "4242", "example.com", "29:"):
        assert value not in str(caught.value)


URLS: dict[object, str] = {
    "bot.db": "url: has no scheme; for a SQLite file write sqlite:///bot.db, and sqlite:////path "
    "for an absolute path; else ",
    "/var/bot.db": "sqlite:////path for an absolute path",
    "sqlite:bot.db": "for a SQLite file write sqlite:///bot.db",
    "": "for a SQLite file write sqlite:///bot.db",
    "sqlite://bot.db": "three slashes before a relative path (sqlite:///bot.db)",
    "postgres://host": "url: its scheme must be one of memory://",
    Path("secret.db"): "url: give a text, not a path; for a SQLite file write sqlite:///bot.db",
    b"memory://": "url: give a text, not a value of type bytes; convert it with .decode()",
    None: "url: give a text, not a value of type NoneType",
}


@pytest.mark.parametrize(("url", "text"), URLS.items(), ids=map(repr, URLS))
def test_a_wrong_url_is_answered_with_a_right_one(url: Any, text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        AsyncSessionStore.from_url(url)
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("missing", ["redis", "hiredis", "orjson"])
@pytest.mark.parametrize(
    "use",
    [
        "from async_session_store import AsyncSessionStore as Store; Store.from_url('redis://h')",
        "from async_session_store import SessionStore as Store; Store.from_url('redis://h')",
        "import async_session_store.backends.redis",
    ],
    ids=["async", "sync", "backend"],
)
def test_a_missing_driver_names_the_extra(missing: str, use: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; {use}"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=50
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: the Redis backend needs redis-py, hiredis and orjson; "
        'pip install "async-session-store[redis]"'
    )
