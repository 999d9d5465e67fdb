"""Pause a bot's flow in one process and resume it in another.

A session store for memory, SQLite and Redis, usable from asyncio, trio and synchronous programs. It
follows the Rust trait ``SessionStore`` of ``greentic-session``.
"""

from typing import TYPE_CHECKING

from async_session_store._copying import CopiedStore
from async_session_store._new_waits import NewWait
from async_session_store._rules import NEVER, Never, TimeToLive
from async_session_store._store import AsyncSessionStore
from async_session_store.abc import KEEP, ErasedUser, Keep, MovedWaits
from async_session_store.claims import WaitClaim
from async_session_store.errors import (
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
)
from async_session_store.expired_waits import ExpiredWaits
from async_session_store.explanations import Explanation, ScopeReport, WaitStatus
from async_session_store.keys import (
    canonical_session_key,
    derive_session_key,
    telegram_update_to_session_key,
    webhook_to_session_key,
)
from async_session_store.models import (
    EnvId,
    FlowId,
    Impersonation,
    InvocationDeadline,
    PackId,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionKey,
    SessionRecord,
    TeamId,
    TenantCtx,
    TenantId,
    UserId,
)
from async_session_store.resumed_waits import ResumedWait
from async_session_store.turns import Incoming, Turn

if TYPE_CHECKING:
    from async_session_store.sync import SessionStore, SyncExpiredWaits, SyncWaitClaim
else:

    def __getattr__(name):
        """Import a name of the synchronous API when it is first used."""
        if name not in ("SessionStore", "SyncExpiredWaits", "SyncWaitClaim"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from async_session_store import sync

        value = globals()[name] = getattr(sync, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"  # the build reads it here: a zipped or frozen program has no metadata

__all__ = [
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
