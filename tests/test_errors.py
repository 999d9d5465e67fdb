from __future__ import annotations

import copy
import pickle

import pytest

import async_session_store
from async_session_store import (
    ClaimLostError,
    ConflictError,
    CopyOutdatedError,
    CorruptSessionError,
    DuplicateDeliveryError,
    ErrorCode,
    FlowMemoryError,
    InvalidInputError,
    SessionNotFoundError,
    SessionStoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    StoreUsageError,
    TenantMismatchError,
    WaitClaimedError,
    errors,
)

TREE = {
    SessionStoreError: (Exception, ErrorCode.UNKNOWN),
    InvalidInputError: (SessionStoreError, ErrorCode.INVALID_INPUT),
    TenantMismatchError: (InvalidInputError, ErrorCode.INVALID_INPUT),
    SessionNotFoundError: (SessionStoreError, ErrorCode.NOT_FOUND),
    ConflictError: (SessionStoreError, ErrorCode.CONFLICT),
    WaitClaimedError: (ConflictError, ErrorCode.CONFLICT),
    ClaimLostError: (ConflictError, ErrorCode.CONFLICT),
    DuplicateDeliveryError: (ConflictError, ErrorCode.CONFLICT),
    StoreTimeoutError: (SessionStoreError, ErrorCode.TIMEOUT),
    StoreUnavailableError: (SessionStoreError, ErrorCode.UNAVAILABLE),
    StoreUsageError: (SessionStoreError, ErrorCode.INTERNAL),
    CopyOutdatedError: (SessionStoreError, ErrorCode.CONFLICT),
    CorruptSessionError: (SessionStoreError, ErrorCode.INTERNAL),
    FlowMemoryError: (SessionStoreError, ErrorCode.INTERNAL),
}

ERRORS = [
    SessionStoreError("text"),
    InvalidInputError("ttl: text"),
    TenantMismatchError("text"),
    SessionNotFoundError("k"),
    ConflictError("text"),
    WaitClaimedError("text"),
    ClaimLostError("text"),
    DuplicateDeliveryError("text"),
    StoreTimeoutError("text"),
    StoreUnavailableError("text"),
    StoreUsageError("text"),
    CopyOutdatedError(3),
    CorruptSessionError("k", "reason"),
    FlowMemoryError("order", "pizza", "reason"),
]


@pytest.mark.parametrize("error", TREE)
def test_the_tree(error: type[SessionStoreError]) -> None:
    assert error.__bases__[0] is TREE[error][0]
    assert error.code is TREE[error][1]


def test_every_error_is_public_and_in_the_tree() -> None:
    found = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert found == set(TREE)
    assert {error.__name__ for error in TREE} <= set(async_session_store.__all__)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (InvalidInputError, ValueError),
        (TenantMismatchError, ValueError),
        (SessionNotFoundError, LookupError),
        (StoreTimeoutError, TimeoutError),
    ],
)
def test_some_are_builtin_errors_too(
    error: type[SessionStoreError], builtin: type[Exception]
) -> None:
    assert issubclass(error, builtin)


def test_the_codes_are_the_ten_of_the_wire() -> None:
    assert [code.value for code in ErrorCode] == [
        "unknown",
        "invalid_input",
        "not_found",
        "conflict",
        "timeout",
        "unauthenticated",
        "permission_denied",
        "rate_limited",
        "unavailable",
        "internal",
    ]
    assert ErrorCode("not_found") is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_copying(error: SessionStoreError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_errors_name_the_key() -> None:
    missing, corrupt = SessionNotFoundError("a\nb"), CorruptSessionError("k", "it is no valid JSON")
    assert missing.key == "a\nb"
    assert r"'a\nb'" in str(missing)
    assert (corrupt.key, corrupt.reason) == ("k", "it is no valid JSON")
    assert "'k'" in str(corrupt)
    assert "it is no valid JSON" in str(corrupt)
