"""The contract for backend authors: the :class:`Backend` interface and its value types.

A backend stores documents, compares owners, routes scopes and keeps deadlines, each operation in
one atomic step. It knows no rule about tenants or arguments: the store above it has checked them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from typing_extensions import override

from async_session_store._wire import Hidden
from async_session_store.models import (
    EnvId,
    Owner,
    ReplyScope,
    SessionData,
    SessionKey,
    SessionRecord,
    TeamId,
    TenantId,
    UserId,
)

__all__ = [
    "KEEP",
    "PLACE_TTL",
    "Backend",
    "ClaimKey",
    "Claimed",
    "CopyName",
    "CopyPage",
    "Delivery",
    "DeliveryCopy",
    "DeliveryName",
    "ErasedUser",
    "Fence",
    "Keep",
    "Listing",
    "MovedWaits",
    "Outcome",
    "Owner",
    "PlacedPage",
    "PlacedSession",
    "Queued",
    "Registration",
    "SessionCopy",
    "SessionMove",
    "SessionName",
    "SessionPage",
    "StoredSession",
    "StoredWait",
    "Unreadable",
    "WaitState",
]

_T = TypeVar("_T")

PLACE_TTL: Final = 1000
"""How long a place in a queue is kept without being renewed, in milliseconds."""


class Keep(Enum):
    """The type of :data:`KEEP`."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
"""Passed to ``complete``: leave the wait as it is."""


class Outcome(Enum):
    """The result of a write."""

    DONE = auto()
    """The write was done."""
    MISSING = auto()
    """No live session, or none that the viewer sees."""
    FOREIGN = auto()
    """The stored session has another owner than the data."""
    TAKEN = auto()
    """A live wait is at the scope."""
    UNREADABLE = auto()
    """The stored document cannot be read."""
    CHANGED = auto()
    """The stored document is not the one that the caller read."""
    CLAIMED = auto()
    """Another claim is held on the scope."""
    DUPLICATE = auto()
    """The delivery was handled before."""
    LOST = auto()
    """The claim is no longer held."""


class StoredWait(NamedTuple):
    """A wait as a backend stores it."""

    owner: Owner
    """The owner of the data. Its ``user`` is not None."""
    scope_hash: str
    """The hash of the scope, which routes to the session."""
    scope: ReplyScope
    """The scope itself. It is stored only to be returned in records.

    A wrapper may replace it, for example by one with an encrypted ``conversation``.
    """
    key: SessionKey
    """The key of the session."""
    data: SessionData
    """The data of the session."""
    ttl: int | None
    """The time to live in milliseconds, or None for no deadline."""
    expired_ttl: int | None = None
    """For how many milliseconds the wait is kept for a worker after its deadline (Q1).

    None if it is not kept.
    """


@dataclass(frozen=True, slots=True)
class Registration:
    """The result of :meth:`Backend.put_wait`."""

    outcome: Outcome
    """DONE, FOREIGN, UNREADABLE or TAKEN."""
    detached: SessionKey | None = None
    """The key of the live session that waited there before, or None."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A live session whose document cannot be read."""

    key: SessionKey
    """The key of the session."""
    owner: Owner | None
    """Its owner, or None if that cannot be determined either."""
    reason: str
    """Why the document cannot be read. The text quotes nothing from the document."""


class ClaimKey(NamedTuple):
    """A claim: the owner and the scope that it is held on, and the secret of its holder."""

    owner: Owner
    """The owner of the wait."""
    scope_hash: str
    """The hash of the scope."""
    token: str
    """The unique token of this claim, which only its holder knows."""
    session_key: SessionKey | None = None
    """The key of the session that was claimed, or None if the scope was empty."""
    is_expired: bool = False
    """Whether it was claimed as an expired wait, by :meth:`Backend.claim_expired`."""

    @override
    def __repr__(self) -> str:
        return (
            f"ClaimKey(owner={self.owner!r}, scope_hash={self.scope_hash!r}, "
            f"token={Hidden(self.token)!r}, session_key={self.session_key!r}, "
            f"is_expired={self.is_expired!r})"
        )


class Claimed(NamedTuple):
    """A claim that was granted, with the wait as it was found."""

    claim: ClaimKey
    """The claim."""
    record: SessionRecord | None
    """The wait, or None if an empty scope was claimed, so that a flow begins there."""
    lease_ends_at: datetime
    """When the lease ends, in UTC."""
    is_overtaken: bool = False
    """Whether another session now waits at the scope of the expired wait."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A place in the queue at a scope."""

    place: ClaimKey
    """The claim that the caller will get."""
    free_in: int | None
    """For how many milliseconds the present claim's lease still lasts.
    None if no claim is held and others are ahead in the queue.
    """


class Delivery(NamedTuple):
    """A delivery at a scope of an owner, and how long to remember that it was handled."""

    owner: Owner
    """The owner whose wait it may answer."""
    digest: bytes
    """Stands for the scope and the delivery's id.

    It is short, and its length is fixed, so a backend stores it as it is, with the owner and a
    deadline.
    """
    ttl: int
    """For how many milliseconds to remember it."""


@dataclass(frozen=True, slots=True)
class WaitState:
    """The state of a scope: the live session that waits there, and until when a claim is held."""

    key: SessionKey | None = None
    """The key of the session, or None if nothing waits."""
    readable: bool = True
    """Whether the document of the session can be read."""
    expires_at: datetime | None = None
    """The deadline, in UTC, or None if there is none."""
    claimed_until: datetime | None = None
    """When the lease of the claim ends, in UTC, or None if no claim is held.

    A claim may outlive the wait that was claimed.
    """


@dataclass(frozen=True, slots=True)
class ErasedUser:
    """How much was erased of a user, by kind. ``erase_user`` returns it.

    What had expired before, and was only waiting to be reclaimed, is erased too but not counted.
    """

    waits: int = 0
    """Live waits, with their sessions."""
    sessions: int = 0
    """Live sessions that waited nowhere, because they were detached or never registered."""
    expired_waits: int = 0
    """Waits past their deadlines that were kept for a worker."""
    claims: int = 0
    """Claims that were held."""
    places: int = 0
    """Places of callers that waited for a turn."""
    deliveries: int = 0
    """Deliveries that were remembered."""

    def __add__(self, other: ErasedUser) -> ErasedUser:
        return ErasedUser(
            self.waits + other.waits,
            self.sessions + other.sessions,
            self.expired_waits + other.expired_waits,
            self.claims + other.claims,
            self.places + other.places,
            self.deliveries + other.deliveries,
        )

    def __bool__(self) -> bool:
        """Return whether anything was erased that counts."""
        return self != ErasedUser()


@dataclass(frozen=True, slots=True)
class MovedWaits:
    """How much was moved, by kind, and what could not be. ``move_waits`` returns it.

    What could not be moved is as it was. It is named by the keys of the sessions.
    """

    waits: int = 0
    """Live waits, with their sessions."""
    sessions: int = 0
    """Live sessions that waited nowhere, because they were detached or never registered."""
    expired_waits: int = 0
    """Waits past their deadlines that were kept for a worker."""
    taken: tuple[SessionKey, ...] = ()
    """Waits at whose new place another live wait is already."""
    in_use: tuple[SessionKey, ...] = ()
    """Waits that somebody was using throughout.

    A claim is held at the old place or the new one, callers wait for a turn at the old one, or the
    session was changed again and again.
    """
    unknown_scope: tuple[SessionKey, ...] = ()
    """Waits that a Rust process or an old version registered, so that their scope is not known."""
    unreadable: tuple[SessionKey, ...] = ()
    """Sessions whose documents cannot be read, or would be too large with the new user id."""

    @property
    def is_complete(self) -> bool:
        """Whether everything was moved that was found."""
        return not (self.taken or self.in_use or self.unknown_scope or self.unreadable)


@dataclass(frozen=True, slots=True)
class Listing(Generic[_T]):
    """The items that a listing found, and the keys that it left out."""

    items: tuple[_T, ...]
    """The items, in the order of the session keys."""
    unreadable: tuple[SessionKey, ...] = ()
    """The keys of the sessions that cannot be read."""


class Fence(NamedTuple):
    """The sessions of a tenant, or of one of its teams."""

    env: EnvId
    """The environment."""
    tenant: TenantId
    """The tenant."""
    team: TeamId | None
    """The team, or None for all teams, and for sessions without a team."""

    def includes(self, owner: Owner) -> bool:
        """Return whether the sessions of an owner are within the fence."""
        return self[:2] == owner[:2] and self.team in (None, owner.team)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A live session as :meth:`Backend.read_page` finds it."""

    record: SessionRecord
    """The session."""
    waits: bool
    """Whether it waits at a scope. The ``scope`` of the record may be missing all the same."""


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of the sessions in a storage."""

    sessions: tuple[StoredSession, ...]
    """The readable ones."""
    unreadable: tuple[SessionKey, ...]
    """The keys of those that cannot be read."""
    cursor: object | None = field(repr=False)
    """Where the next page begins, which only the backend understands. None after the last page."""


@dataclass(frozen=True, slots=True)
class PlacedSession:
    """A session as :meth:`Backend.read_places` finds it: live, or an expired wait."""

    record: SessionRecord
    """The session. The ``scope`` of an expired wait is where it waited."""
    scope_hash: str | None
    """The hash of the scope where it waits or waited, or None if that is nowhere, or not known."""
    waits: bool
    """Whether it waits or waited somewhere."""
    is_expired: bool
    """Whether it is an expired wait."""


@dataclass(frozen=True, slots=True)
class PlacedPage:
    """A page of the sessions in a storage, with the places where they wait."""

    sessions: tuple[PlacedSession, ...]
    """The readable ones."""
    unreadable: tuple[Unreadable, ...]
    """Those that cannot be read."""
    cursor: object | None = field(repr=False)
    """Where the next page begins, which only the backend understands. None after the last page."""


class SessionName(NamedTuple):
    """Names a session, or an expired wait, that can be copied."""

    key: SessionKey
    """Its key."""
    scope_hash: str | None = None
    """Where it waits, if the storage finds that only when it goes through everything."""


class DeliveryName(NamedTuple):
    """Names a remembered delivery."""

    owner: Owner
    """The owner whose claim handled it."""
    digest: bytes
    """As in :class:`Delivery`."""


CopyName: TypeAlias = SessionName | DeliveryName
"""Names something that can be copied to another storage."""


class SessionCopy(NamedTuple):
    """A session or an expired wait, with all that another storage needs to hold the same."""

    key: SessionKey
    """Its key."""
    data: SessionData
    """Its data."""
    scope_hash: str | None
    """The hash of the scope where it waits, or waited until it expired.

    None if it waits nowhere.
    """
    scope: ReplyScope | None
    """That scope, if it is known."""
    deadline: int | None
    """Its deadline in milliseconds, by :meth:`Backend.read_clock`, or None if there is none.

    That of an expired wait has passed.
    """
    expired_ttl: int | None
    """As in :class:`StoredWait`."""


class DeliveryCopy(NamedTuple):
    """A remembered delivery."""

    name: DeliveryName
    """Its name."""
    deadline: int
    """Until when it is remembered, in milliseconds, by :meth:`Backend.read_clock`."""


@dataclass(frozen=True, slots=True)
class CopyPage:
    """A page of the names of everything that can be copied."""

    names: tuple[CopyName, ...] = field(repr=False)
    """The names. What they name may have ended."""
    cursor: object | None = field(repr=False)
    """Where the next page begins, which only the backend understands. None after the last page."""


class SessionMove(NamedTuple):
    """A session that gets another owner, another scope, or both."""

    key: SessionKey
    """The key of the session."""
    owner: Owner
    """Its owner as it was read."""
    scope_hash: str | None
    """The hash of the scope where it waited as it was read, or None for nowhere."""
    etag: str
    """Its etag as it was read."""
    data: SessionData
    """Its data from now on, whose owner differs from ``owner`` in the user at most."""
    new_scope_hash: str | None
    """The hash of the scope where it waits from now on. None for nowhere, if it waited nowhere."""
    new_scope: ReplyScope | None
    """That scope, or None if only its hash is known."""


class Backend(ABC):
    """Storage for sessions and their waits.

    Every implementation promises:

    * Each method is one atomic step: other callers, processes and machines see all of it or none
      of it, even if the caller is cancelled or killed half way (W1). A cancelled call leaves
      the backend usable, and later calls on it see the result of the cancelled one (R3).
    * A session past its deadline does not exist for any method (T4), except as an expired wait.
      Deadlines are exact to the millisecond on the backend's own clock (T6). A time to live is a
      positive whole number of milliseconds, or None for no deadline.
    * A wait with an ``expired_ttl`` is an **expired wait** from its deadline on, for that long
      (Q1). It remains one until somebody removes it, ends it by completing a claim, or registers
      its key again; meanwhile another session may wait at its scope. A session that was detached
      before its deadline waits nowhere, and so never becomes one. A method that removes sessions
      also ends the expired waits that it would have removed before their deadline, but reports as
      if they did not exist (Q4); a claim that is held on one of them is superseded (N2).
    * A wait is addressed by its owner, whose ``user`` is never None, and the hash of its scope. No
      call for one owner hides, changes or deletes anything of another (F7).
    * The only errors it raises are faults of its driver, as ``StoreTimeoutError`` or
      ``StoreUnavailableError``, each with the driver's exception as its cause (R1). Every wait on a
      network or a lock is bounded (R4).
    * A method that reads, finds, inspects or lists changes nothing, whatever it finds (F9).
    * A stored object cannot be changed through a reference that a caller holds.

    If a method takes a ``viewer``, a session that ``viewer.sees`` refuses counts as missing, and
    that is decided before anything else (F5). A viewer of None sees every session.
    """

    asyncio_only: bool = False
    """Whether it needs asyncio. If so, a store under trio runs it in an asyncio loop of its own."""

    @property
    def location(self) -> str:
        """The kind and place of the storage, for the repr of a store. It never shows a password."""
        return type(self).__name__

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.location}>"

    @abstractmethod
    async def open(self, *, max_document_bytes: int) -> None:
        """Connect, and check that the storage answers.

        A stored document of more than ``max_document_bytes`` as JSON is unreadable (S6). A failed
        open leaves nothing behind.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Finish the calls in flight and release everything that :meth:`open` made (R5, R6).

        This takes bounded time, and cancellation does not interrupt it.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Check that the storage answers."""

    @abstractmethod
    async def insert(self, key: SessionKey, data: SessionData, ttl: int | None) -> None:
        """Store a session that waits nowhere, under an unused key (S1)."""

    @abstractmethod
    async def read(self, key: SessionKey) -> SessionData | Unreadable | None:
        """Return the data of a live session (S2)."""

    @abstractmethod
    async def read_record(self, key: SessionKey) -> SessionRecord | Unreadable | None:
        """Return a live session with its etag, deadline and scope (W8, E1)."""

    @abstractmethod
    async def replace(
        self, key: SessionKey, data: SessionData, *, viewer: Owner | None, if_match: str | None
    ) -> Outcome:
        """Replace the data of a live session. Its wait and its deadline stay (S3).

        Return MISSING, UNREADABLE, FOREIGN if the stored owner is not the data's (F2), CHANGED if
        there is an ``if_match`` that is not the session's etag (E2), or else DONE.
        A deleted session stays deleted, whatever runs concurrently (S5).
        """

    @abstractmethod
    async def delete(self, key: SessionKey, *, viewer: Owner | None) -> Outcome:
        """Remove a live session, readable or not, and all its routing (S4).

        Return MISSING or DONE; or UNREADABLE, with nothing changed, if there is a viewer and the
        owner cannot be determined. A claim that is held where it waited is superseded (N2).
        """

    @abstractmethod
    async def touch(self, key: SessionKey, ttl: int | None, *, viewer: Owner | None) -> Outcome:
        """Move the deadline of a live session and of its wait (T3).

        Return MISSING or DONE, or UNREADABLE as in :meth:`delete`. An ``expired_ttl`` stays as it
        is.
        """

    @abstractmethod
    async def put_wait(self, wait: StoredWait, *, only_if_absent: bool) -> Registration:
        """Store a session (creating or replacing it) and route the scope to it (W1).

        Return FOREIGN if a live session of another owner is under the key (F2), UNREADABLE if its
        document cannot be read, TAKEN if ``only_if_absent`` and a live wait is at the scope (W7).
        None of these changes anything. Otherwise return DONE, and then: the session waits here and
        nowhere else (W2); another live session that waited here waits nowhere, keeps its data and
        deadline, and is returned as ``detached`` (W3); deadline and data are the new ones (T2); the
        wait has an identity that no wait had before (K3). A claim that is held at the scope, or at
        the one that the session leaves, is superseded (N2).
        """

    @abstractmethod
    async def find_wait(self, owner: Owner, scope_hashes: Sequence[str]) -> SessionKey | None:
        """Return the key of the live session at the first of the scopes where one waits (W4).

        A session whose document cannot be read still waits, unless it is known to have another
        owner.
        """

    @abstractmethod
    async def read_wait(
        self, owner: Owner, scope_hashes: Sequence[str]
    ) -> SessionRecord | Unreadable | None:
        """Return the record of the session that :meth:`find_wait` finds (W8)."""

    @abstractmethod
    async def inspect_waits(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        """Return the state of each scope of each owner (X4): owner by owner, scope by scope."""

    @abstractmethod
    async def list_waits(self, owner: Owner) -> Listing[SessionKey]:
        """Return the keys of all live waits of the owner (W5).

        A session whose owner cannot be determined is left out and named in ``unreadable`` (R2).
        """

    @abstractmethod
    async def list_wait_records(self, owner: Owner) -> Listing[SessionRecord]:
        """Return the records of all live waits of the owner (W8a).

        Unreadable ones are left out, and named in ``unreadable`` (R2).
        """

    @abstractmethod
    async def delete_wait(
        self, owner: Owner, scope_hash: str, *, session_key: SessionKey | None
    ) -> bool:
        """Remove the live wait at the scope and its session (W6). Return whether there was one.

        With a ``session_key``, only if that session waits there. If its document cannot be read, at
        least the routing to it is removed. A claim that is held at the scope is superseded (N2).
        """

    @abstractmethod
    async def delete_waits(self, owner: Owner) -> int:
        """Remove all live waits of the owner and their sessions (W8a). Return their number.

        Claims that are held where they waited are superseded (N2).
        """

    @abstractmethod
    async def claim_wait(
        self,
        owners: Sequence[Owner],
        scope_hashes: Sequence[str],
        *,
        token: str,
        lease: int,
        deliveries: Sequence[Delivery],
        begin_at: str | None,
        queue: bool,
    ) -> Claimed | Queued | Unreadable | Outcome:
        """Claim the first live wait of the owners at the scopes, for ``lease`` ms (K1, K7).

        Nearly always there is one owner. The scopes below are those of each owner: all of the first
        owner, in their order, then all of the second one, and so on.

        Return DUPLICATE if any of the ``deliveries`` is remembered for its owner (K6). There is one
        for each of the scopes, or none.

        If an earlier caller is queued at one of the scopes, and no claim is held there, that caller
        is next. Its wait may be at any of the scopes by now, so this caller waits its turn in that
        queue (N4). Otherwise look at the scopes, in their order:

        1. If an earlier caller is queued at the scope, this caller waits its turn there.
        2. If a wait is live there, look no further. If a claim is held on the scope, the caller
           waits its turn there; if the wait's document cannot be read, it stays unclaimed.

        If no wait is live, return MISSING; or with ``begin_at``, the hash of one of the scopes,
        claim that empty scope of the first owner (N3). If a claim is held at any of the scopes, the
        caller waits its turn at the first of those instead.

        To wait its turn, with ``queue``: take the last place in the queue of the scope, or keep
        the place that this token has, for another ``PLACE_TTL``, and return ``Queued``. A token has
        only one place. If the caller now waits at another scope, its place moves there, ahead of
        all later callers. Any result but ``Queued`` gives the place up. Without ``queue``, return
        CLAIMED instead. A caller that has a place names the same owners and scopes again, in any
        order. A place that it renews too late may be lost, or may still be valid if nobody has
        needed it in the meantime.

        A claim holds the scope, whatever waits there later. It does not keep a wait alive, and does
        not block any other method (K2, K5).
        """

    @abstractmethod
    async def claim_expired(
        self, fence: Owner | None, tokens: Sequence[str], lease: int
    ) -> tuple[Claimed | Unreadable, ...]:
        """Claim expired waits, at most as many as there are tokens, for ``lease`` ms (Q2).

        ``fence`` is the owner of the waits. Without a user, it stands for all users of its
        environment, tenant and team; None stands for the whole storage (Q4). The longest overdue
        come first. One that was given back with :meth:`release_claim`, or completed with KEEP, has
        been due since then, so it comes after those that were due before.

        Leave out a wait if a claim is held on its scope or a caller is queued there. But if one of
        the ``tokens`` holds that claim, return the claim as it is. So a caller that was cancelled
        can ask again, and give back the waits that it got.

        An expired wait whose document cannot be read is not claimed. Return it once, as
        ``Unreadable``, and leave it out from then on.

        If nothing is due, this takes one step, whose cost does not grow with the number of waits.
        """

    @abstractmethod
    async def wait_for_turn(self, place: ClaimKey, seconds: float) -> None:
        """Wait until it may be the turn of a place in a queue, for at most ``seconds`` (N4).

        May return early. If the storage cannot wake callers, sleep.
        """

    @abstractmethod
    async def complete_claim(
        self, claim: ClaimKey, *, deliveries: Sequence[Delivery], then: StoredWait | Keep | None
    ) -> Outcome:
        """End a claim, remember its deliveries, and do what ``then`` says (K3, K6, N1).

        Return LOST, and change nothing, if the claim is no longer held. Return FOREIGN or
        UNREADABLE, and change nothing, if :meth:`put_wait` would refuse ``then`` with that outcome.
        Otherwise the claim ends and each delivery is remembered for its owner, all for the same
        time, and:

        * If the scope still holds the very wait that was claimed, or is as empty as it was when
          it was claimed: DONE. Without ``then`` that wait is removed, with its session; KEEP
          leaves it; a ``StoredWait`` is registered in its place, as by :meth:`put_wait`.
        * If the wait has expired and nothing else happened to it, a ``StoredWait`` is registered
          all the same: DONE. Without one: MISSING.
        * If the claim is superseded (N2): MISSING, and the scope is left as it is. A claim is
          superseded if another session now waits at the scope, if a call marked the claim, or if
          the wait has expired and its session's key is in use again.

        If the claimed wait is an expired wait by now, whether or not it was one when it was claimed
        (Q2, Q3): KEEP leaves it, DONE. Without ``then`` it is removed: DONE, also if something else
        waits at the scope. A ``StoredWait`` is registered as above, or not, and the expired wait is
        removed in either case.
        """

    @abstractmethod
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        """End a claim and leave the wait as it is (K3), or give up a place in the queue.

        Return DONE, or LOST if there was neither. If the claim ``is_expired``, the wait counts as
        due from now on (:meth:`claim_expired`).
        """

    @abstractmethod
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        """Move the end of the lease to ``lease`` ms from now (K2).

        Return that time in UTC, or None if the claim is no longer held.
        """

    @abstractmethod
    async def purge(self, limit: int) -> int:
        """Reclaim the storage of at most ``limit`` expired entries, and return their number (T5).

        The entries are sessions, claims and deliveries or, if the storage drops those itself, stale
        index entries. An expired wait is kept until its ``expired_ttl`` has passed.
        """

    @abstractmethod
    async def erase_user(self, env: EnvId, tenant: TenantId, user: UserId) -> ErasedUser:
        """Erase all that is stored of a user in all teams of a tenant (O2). Return how much.

        These are sessions, live and expired, readable or not, and whatever routes to them; claims,
        places in queues, and deliveries. A session counts as the user's if its owner does, as
        :meth:`delete` determines it with a viewer.

        This is no single step: it is a series of small atomic ones, and other callers go on in
        between. What was stored of the user when the call began, and still is, is gone when it
        ends. It is one pass: the store above repeats it at least once, and until it finds nothing,
        so what is written during the pass need not be found. It may be cancelled or killed at any
        point, and repeated. Overwrite what you delete, if your storage can.
        """

    @abstractmethod
    async def break_claim(self, owner: Owner, scope_hash: str) -> bool:
        """End the claim that is held on the scope, whoever holds it (O3). Return whether one was.

        What waits at the scope stays as it is; an expired wait can be claimed again at once. The
        next caller in the queue gets its turn, as after :meth:`release_claim`.
        """

    @abstractmethod
    async def compact(self, max_pause: int) -> int:
        """Give space that nothing uses back to the disk (O7). Return how many bytes.

        What is stored stays as it is. Others may have to wait meanwhile, but for no longer than
        about ``max_pause`` milliseconds. If it would take longer, change nothing and raise
        ``StoreUnavailableError``. Return 0 if your storage does this by itself.
        """

    @abstractmethod
    async def read_page(
        self, fence: Fence | None, cursor: object | None, limit: int
    ) -> SessionPage:
        """Return the live sessions within the fence among the next ``limit`` or so (O4).

        A ``fence`` of None includes everything. A ``cursor`` of None begins; otherwise it is that
        of the page before, which the same backend returned. A page may have fewer sessions than
        ``limit``, and even none, while others follow: bound what one step reads, counts and
        returns, also in bytes. Hold nothing in the storage between two pages.

        A session that is live from the first page to the last is on one of them at least, whatever
        others store, change and remove in between; and on one only, if the storage can do that.
        An unreadable session whose owner cannot be determined is within no fence.
        """

    @abstractmethod
    async def read_places(self, fence: Fence, cursor: object | None, limit: int) -> PlacedPage:
        """Return the sessions within the fence among the next ``limit`` or so, and their places.

        Like :meth:`read_page`, with two differences: expired waits are returned too, and so is the
        hash of the scope where each session waits or waited. If another program wrote the session,
        that hash may not be known; but if a look-up finds the session, it is returned with the hash
        on one of the pages, too.
        """

    @abstractmethod
    async def move_session(self, move: SessionMove) -> Outcome:
        """Give a session another owner and another scope in one step, if it is as it was read (O6).

        Return MISSING if the session is neither live nor an expired wait; CHANGED if its owner, its
        scope or its etag is another by now; CLAIMED if a claim is held on its scope, or a caller
        waits for its turn there; or if the session is live, TAKEN if another live wait is at the
        new scope, and CLAIMED if a claim is held there. None of these changes anything.

        Otherwise return DONE, and then: the session has the new data, and so the new owner, for
        every method; it waits at the new scope and nowhere else; its etag is a new one; its
        deadline, its ``expired_ttl`` and the order of expired waits are as they were. An expired
        wait stays one, whatever waits at the new scope. What is remembered of deliveries stays.
        """

    @abstractmethod
    async def read_clock(self) -> int:
        """Return the time in milliseconds by the clock that decides about deadlines (T6).

        The store above finds out how far the clocks of two storages are apart, so it does not
        matter when they begin to count.
        """

    @abstractmethod
    async def list_copies(self, cursor: object | None, limit: int) -> CopyPage:
        """Return the next ``limit`` or so names of sessions, expired waits and deliveries (O5).

        Cursors and pages are like those of :meth:`read_page`. What exists from the first page to
        the last is on one of them at least. Claims and places in queues are not copied.
        """

    @abstractmethod
    async def read_copies(
        self, names: Sequence[CopyName]
    ) -> tuple[SessionCopy | DeliveryCopy | Unreadable | None, ...]:
        """Return what the first of these names name, or None for each that names nothing (O5).

        Return at least one item, and fewer than there are names if the rest would make the step
        too large. The names may be those of another backend.
        """

    @abstractmethod
    async def put_copies(self, copies: Sequence[SessionCopy | DeliveryCopy]) -> None:
        """Store copies, each in one step, whatever is stored under the same names (O5).

        Afterwards a session has the deadline, the scope and the ``expired_ttl`` of its copy. A
        session that waited at its scope is displaced, as by :meth:`put_wait`. A wait whose deadline
        has passed displaces none.
        """

    @abstractmethod
    async def drop_copies(self, names: Sequence[CopyName]) -> None:
        """Remove what these names name, each in one step, readable or not (O5)."""
