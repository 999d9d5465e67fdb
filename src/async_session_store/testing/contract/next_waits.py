"""Waits that may follow a claim: values that ``complete`` accepts or refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from async_session_store import (
    KEEP,
    InvalidInputError,
    NewWait,
    ReplyScope,
    SessionKey,
    TenantMismatchError,
    TimeToLive,
)
from async_session_store.testing.contract.builders import SERVICE, A, B, ctx, data


def ask(
    at: ReplyScope = A,
    context: str = "next",
    *,
    ttl: TimeToLive | None = None,
    key: SessionKey | str | None = None,
) -> NewWait:
    """Return the wait for the answer to the next question."""
    return NewWait(at, data(context), ttl, key)


THENS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "keep": lambda: KEEP,
    "next": ask,
    "next elsewhere": lambda: ask(B),
    "next under another key": lambda: ask(key="k9"),
}

thens: pytest.MarkDecorator = pytest.mark.parametrize("then", THENS.values(), ids=THENS.keys())

REFUSED_WAITS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "another user's": (lambda: NewWait(A, data(of=ctx("u2"))), TenantMismatchError, "N1"),
    "another tenant's": (
        lambda: NewWait(A, data(of=ctx(tenant="other"))),
        TenantMismatchError,
        "N1",
    ),
    "nobody's": (lambda: NewWait(A, data(of=SERVICE)), TenantMismatchError, "N1"),
    "a ttl of 0": (lambda: ask(ttl=0), InvalidInputError, "T1"),
    "an empty key": (lambda: ask(key=""), InvalidInputError, "session_key"),
    "no scope": (lambda: NewWait("a", data()), InvalidInputError, "scope"),  # type: ignore[arg-type]
    "no data": (lambda: NewWait(A, "{}"), InvalidInputError, "data"),  # type: ignore[arg-type]
    "no wait": (lambda: "keep", InvalidInputError, "NewWait"),
}

refused_waits: pytest.MarkDecorator = pytest.mark.parametrize(
    ("then", "error", "match"), REFUSED_WAITS.values(), ids=REFUSED_WAITS.keys()
)
