"""The exceptions of the library.

::

    SessionStoreError
    ├── InvalidInputError        (also ValueError)    an argument cannot be used
    │   └── TenantMismatchError                       ctx does not permit the call
    ├── SessionNotFoundError     (also LookupError)   no live session under the key
    ├── ConflictError                                 someone else's write came first
    │   ├── WaitClaimedError                          another worker resumes this wait
    │   ├── ClaimLostError                            the claim's lease ran out, or it was ended
    │   └── DuplicateDeliveryError                    this delivery was handled before
    ├── StoreTimeoutError        (also TimeoutError)  no answer in time
    ├── StoreUnavailableError                         the storage is unreachable or refuses
    ├── StoreUsageError                               the program uses the store wrongly
    ├── CopyOutdatedError                             the source changed while it was copied
    ├── CorruptSessionError                           the stored document cannot be read
    └── FlowMemoryError                               a flow's memory does not fit its type

Every exception has a ``code``, one of the ten codes of the Rust crate ``greentic-types``.
No text holds a payload, a user id or a password.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

__all__ = [
    "ClaimLostError",
    "ConflictError",
    "CopyOutdatedError",
    "CorruptSessionError",
    "DuplicateDeliveryError",
    "ErrorCode",
    "FlowMemoryError",
    "InvalidInputError",
    "SessionNotFoundError",
    "SessionStoreError",
    "StoreTimeoutError",
    "StoreUnavailableError",
    "StoreUsageError",
    "TenantMismatchError",
    "WaitClaimedError",
]


class ErrorCode(str, Enum):
    """The error codes of ``greentic-types``, by their wire names."""

    UNKNOWN = "unknown"
    INVALID_INPUT = "invalid_input"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TIMEOUT = "timeout"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class SessionStoreError(Exception):
    """Base of every exception that a store raises.

    The exception of a driver is its ``__cause__``. The text holds no payload, no user id and no
    password. Exceptions can be pickled.
    """

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN
    """The kind of the error. It is the same for all exceptions of a class."""


class InvalidInputError(SessionStoreError, ValueError):
    """An argument cannot be used. Nothing was written."""

    code = ErrorCode.INVALID_INPUT


class TenantMismatchError(InvalidInputError):
    """The caller's ``ctx`` does not permit the call. Nothing was written."""


class SessionNotFoundError(SessionStoreError, LookupError):
    """No live session is stored under :attr:`key`."""

    code = ErrorCode.NOT_FOUND
    key: str
    """The key that was asked for."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"no live session is stored under {key!r}: it was removed, it expired, "
            "or it was never created"
        )
        self.key = key

    def __reduce__(self) -> tuple[type[SessionNotFoundError], tuple[str]]:
        return type(self), (self.key,)


class ConflictError(SessionStoreError):
    """Someone else's write came first. Nothing was written."""

    code = ErrorCode.CONFLICT


class WaitClaimedError(ConflictError):
    """Another worker holds the claim on this wait. Try again later, or wait for a turn."""


class ClaimLostError(ConflictError):
    """The claim is no longer held: its lease ran out, or it was ended. Nothing was changed."""


class DuplicateDeliveryError(ConflictError):
    """This delivery was handled before, so there is nothing to do. Acknowledge it."""


class StoreTimeoutError(SessionStoreError, TimeoutError):
    """The storage did not answer in time, so whether a write happened is unknown."""

    code = ErrorCode.TIMEOUT


class StoreUnavailableError(SessionStoreError):
    """The storage is unreachable, or refuses the call."""

    code = ErrorCode.UNAVAILABLE


class StoreUsageError(SessionStoreError):
    """The program uses the store wrongly: change the program.

    The store is not open or is closed, or it is called in another event loop or in a forked
    process, or a call would block a thread that runs an event loop. Nothing was written. It is not
    an outage, so do not catch it to try again.
    """

    code = ErrorCode.INTERNAL


class CopyOutdatedError(SessionStoreError):
    """A copy of a store could not be brought up to date, because the source kept changing.

    The copy was changed, and can be brought up to date by another call.
    """

    code = ErrorCode.CONFLICT
    differences: int
    """How many differences the second comparison found."""

    def __init__(self, differences: int) -> None:
        super().__init__(
            f"the source changed while it was being copied: {differences} differences were left "
            "after the first comparison; stop all that use either store, and call "
            "copy_to(other, again=True) once more (O5)"
        )
        self.differences = differences

    def __reduce__(self) -> tuple[type[CopyOutdatedError], tuple[int]]:
        return type(self), (self.differences,)


class CorruptSessionError(SessionStoreError):
    """The document stored under :attr:`key` cannot be read.

    ``clear_wait`` stops routing to it, and ``remove_session`` removes it.
    """

    code = ErrorCode.INTERNAL
    key: str
    """The key of the session."""
    reason: str
    """Why the document cannot be read. The text quotes nothing from the document."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(
            f"the document stored under {key!r} cannot be read: {reason}; "
            "remove_session(key) removes it"
        )
        self.key = key
        self.reason = reason

    def __reduce__(self) -> tuple[type[CorruptSessionError], tuple[str, str]]:
        return type(self), (self.key, self.reason)


class FlowMemoryError(SessionStoreError):
    """A flow's memory does not fit its type when a turn reads or saves it.

    The wait stays as it was. None of the attributes shows a value of the memory.
    """

    code = ErrorCode.INTERNAL
    flow: str
    """The flow whose memory it is."""
    field: str | None
    """The field at fault, or None if it is not known."""
    reason: str
    """Why the memory does not fit."""

    def __init__(self, flow: str, field: str | None, reason: str) -> None:
        where = "" if field is None else f", field {field!r}"
        super().__init__(f"the memory of the flow {flow!r}{where}: {reason}")
        self.flow = flow
        self.field = field
        self.reason = reason

    def __reduce__(self) -> tuple[type[FlowMemoryError], tuple[str, str | None, str]]:
        return type(self), (self.flow, self.field, self.reason)


def cut_off() -> StoreUnavailableError:
    """Return the error for a call that was in flight when its store was closed."""
    return StoreUnavailableError(
        "the store was closed before the answer came; the outcome is unknown"
    )


def closed_before_begun() -> StoreUsageError:
    """Return the error for a call that had not begun when its store was closed."""
    return StoreUsageError("this store was closed before the call began; nothing was done")
