from __future__ import annotations

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from async_session_store import (
    InvalidInputError,
    SessionKey,
    TenantCtx,
    _random,
    canonical_session_key,
    derive_session_key,
    telegram_update_to_session_key,
    webhook_to_session_key,
)

CTX = TenantCtx(env="prod", tenant_id="acme", user_id="u1")

parts = st.lists(st.text(max_size=4), min_size=1, max_size=4)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_m5_telegram() -> None:
    key = telegram_update_to_session_key("bot", "chat", "user")
    assert key == sha256("tg:bot:chat:user")
    assert type(key) is SessionKey


def test_m5_telegram_takes_numbers() -> None:
    assert telegram_update_to_session_key(7, -100, 9) == sha256("tg:7:-100:9")


def test_m5_webhook() -> None:
    assert webhook_to_session_key("github", "repo", "42") == sha256("wh:github:repo:42")
    assert webhook_to_session_key("", "", "ü") == sha256("wh:::ü")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("acme", "tg"), "acme:tg:conversation:user"),
        (("acme", "tg", "chat"), "acme:tg:chat:user"),
        (("acme", "tg", None, "u1"), "acme:tg:conversation:u1"),
        (("acme", "tg", "chat", "u1"), "acme:tg:chat:u1"),
        (("acme", "tg", "", ""), "acme:tg::"),
    ],
)
def test_m5_canonical(arguments: tuple[str, ...], key: str) -> None:
    made = canonical_session_key(*arguments)
    assert made == key
    assert type(made) is SessionKey


def test_m5_canonical_has_the_size_of_a_key() -> None:
    with pytest.raises(ValidationError, match="1024"):
        canonical_session_key("acme", "tg", "x" * 1025)


def test_m5_the_joins_are_ambiguous() -> None:
    one = telegram_update_to_session_key("a:b", "c", "d")
    assert one == telegram_update_to_session_key("a", "b:c", "d")


def test_m5_derived_keys_have_a_vector() -> None:
    key = derive_session_key(CTX, "chat", "u1")
    assert key == sha256('["prod", "acme", null, "chat", "u1"]')
    assert type(key) is SessionKey


@given(parts, parts)
def test_m5_derived_keys_are_unambiguous(one: list[str], two: list[str]) -> None:
    assert (derive_session_key(CTX, *one) == derive_session_key(CTX, *two)) is (one == two)


def test_m5_derived_keys_are_scoped_to_the_team_of_a_tenant() -> None:
    contexts = [
        CTX,
        TenantCtx(env="test", tenant_id="acme"),
        TenantCtx(env="prod", tenant_id="other"),
        TenantCtx(env="prod", tenant_id="acme", team_id="blue"),
        TenantCtx(env="prod", tenant_id="acme", team_id="null"),
        TenantCtx(env="prod", tenant_id="acme", team_id="chat"),
    ]
    assert len({derive_session_key(ctx, "chat") for ctx in contexts}) == len(contexts)


def test_m5_derived_keys_are_the_same_for_every_user() -> None:
    other_user = CTX.model_copy(update={"user_id": "u2", "attempt": 3})
    assert derive_session_key(CTX, "chat") == derive_session_key(other_user, "chat")


@pytest.mark.parametrize("bad", [(), (7,), ("a", None), (b"a",)], ids=repr)
def test_m5_parts_are_texts(bad: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="parts"):
        derive_session_key(CTX, *bad)


def test_s1_unique_ids_are_uuid4() -> None:
    keys = {_random.unique_id() for _ in range(100)}
    assert len(keys) == 100
    assert {uuid.UUID(key).version for key in keys} == {4}
