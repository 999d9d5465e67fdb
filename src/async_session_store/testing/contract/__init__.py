"""The test classes, one for each theme of the guarantees, and the two suites that combine them.

Each module's docstring opens with the ids of the guarantees that it checks. Modules of tests import
only the hooks and the builders, never each other.
"""

from async_session_store.testing.contract.bad_input import BadInput
from async_session_store.testing.contract.beginning import Beginning
from async_session_store.testing.contract.breaking_claims import (
    BreakingClaims,
    BreakingSharedClaims,
)
from async_session_store.testing.contract.cancellation import Cancellation
from async_session_store.testing.contract.cancelled_blocks import CancelledBlocks
from async_session_store.testing.contract.claimed_waits import ClaimedWaits
from async_session_store.testing.contract.claiming_expired import ClaimingExpired
from async_session_store.testing.contract.claims import Claims
from async_session_store.testing.contract.compacting import Compacting
from async_session_store.testing.contract.concurrency import Concurrency
from async_session_store.testing.contract.conditional_writes import ConditionalWrites
from async_session_store.testing.contract.copying import Copying, CopyingUnreadable
from async_session_store.testing.contract.deadlines import Deadlines
from async_session_store.testing.contract.deliveries import Deliveries
from async_session_store.testing.contract.editing import Editing
from async_session_store.testing.contract.ending_claims import EndingClaims
from async_session_store.testing.contract.ending_expired import EndingExpired
from async_session_store.testing.contract.erasing import (
    CancelledErasing,
    Erasing,
    ErasingUnreadable,
)
from async_session_store.testing.contract.expired_turns import ExpiredTurns
from async_session_store.testing.contract.expiring import Expiring
from async_session_store.testing.contract.explaining import Explaining
from async_session_store.testing.contract.flow_memory import FlowMemory
from async_session_store.testing.contract.following import Following
from async_session_store.testing.contract.following_blocks import FollowingBlocks
from async_session_store.testing.contract.forged_data import ForgedData
from async_session_store.testing.contract.handing_out import HandingOut
from async_session_store.testing.contract.lifecycle import Lifecycle
from async_session_store.testing.contract.listing_sessions import (
    ListingSessions,
    ListingUnreadable,
)
from async_session_store.testing.contract.lookup import Lookup
from async_session_store.testing.contract.moving import (
    CancelledMoving,
    Moving,
    MovingUnreadable,
)
from async_session_store.testing.contract.moving_blocks import MovingBlocks
from async_session_store.testing.contract.not_as_in_rust import NotAsInRust
from async_session_store.testing.contract.owners import Owners
from async_session_store.testing.contract.records import Records
from async_session_store.testing.contract.reply_or_expiry import ReplyOrExpiry
from async_session_store.testing.contract.resuming import Resuming
from async_session_store.testing.contract.sessions import Sessions
from async_session_store.testing.contract.several_users import SeveralUsers
from async_session_store.testing.contract.shared_claims import SharedClaims
from async_session_store.testing.contract.shared_storage import SharedStorage
from async_session_store.testing.contract.stored_data import StoredData
from async_session_store.testing.contract.strangers import Strangers
from async_session_store.testing.contract.superseding import Superseding
from async_session_store.testing.contract.taking_turns import TakingTurns
from async_session_store.testing.contract.times_to_live import TimesToLive
from async_session_store.testing.contract.turns_in_order import (
    CancelledTurns,
    SharedTurns,
    TurnsInOrder,
)
from async_session_store.testing.contract.unreadable import Unreadable
from async_session_store.testing.contract.waits import Waits

__all__ = ["AnyFormSharedStorageSuite", "AnyFormSuite", "BackendSuite", "SharedStorageSuite"]


class AnyFormSuite(
    StoredData,
    ForgedData,
    Owners,
    Strangers,
    Sessions,
    Waits,
    Lookup,
    Explaining,
    Records,
    TimesToLive,
    Deadlines,
    Claims,
    EndingClaims,
    ClaimedWaits,
    Deliveries,
    Resuming,
    Following,
    FollowingBlocks,
    Superseding,
    Beginning,
    TurnsInOrder,
    TakingTurns,
    SeveralUsers,
    FlowMemory,
    Expiring,
    ClaimingExpired,
    ReplyOrExpiry,
    EndingExpired,
    HandingOut,
    ExpiredTurns,
    Erasing,
    Moving,
    BreakingClaims,
    ListingSessions,
    Copying,
    Compacting,
    ConditionalWrites,
    Editing,
    Concurrency,
    Lifecycle,
    BadInput,
    NotAsInRust,
):
    """The duties of every backend in each form of the store, async or not."""


class BackendSuite(
    AnyFormSuite,
    Cancellation,
    CancelledBlocks,
    CancelledTurns,
    CancelledErasing,
    CancelledMoving,
    MovingBlocks,
):
    """The duties of every backend.

    A subclass provides a fixture ``backend``, :meth:`advance` and :meth:`leftovers`.
    """


class AnyFormSharedStorageSuite(
    AnyFormSuite,
    SharedStorage,
    SharedClaims,
    SharedTurns,
    Unreadable,
    ErasingUnreadable,
    MovingUnreadable,
    BreakingSharedClaims,
    ListingUnreadable,
    CopyingUnreadable,
):
    """The duties of a backend with shared storage in each form of the store, async or not."""


class SharedStorageSuite(BackendSuite, AnyFormSharedStorageSuite):
    """The duties of a backend whose storage outlives its store objects and is shared by them.

    A subclass provides :meth:`peer` and :meth:`overwrite` as well.
    """
