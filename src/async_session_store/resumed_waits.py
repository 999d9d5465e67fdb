"""The target of a ``resume_wait`` block, async or not."""

from __future__ import annotations

from datetime import datetime

from typing_extensions import override

from async_session_store._new_waits import NewWait
from async_session_store._plans import RequestedPlan
from async_session_store.abc import KEEP
from async_session_store.claims import WaitClaim
from async_session_store.errors import InvalidInputError
from async_session_store.models import (
    ReplyScope,
    SessionData,
    SessionKey,
    SessionRecord,
    UserId,
)

__all__ = ["ResumedWait"]


class ResumedWait:
    """The wait that a block of ``resume_wait`` resumes.

    It has the attributes of its record, and compares equal to it. When the block ends without an
    exception, the wait and its session are removed, unless the block called :meth:`next` or
    :meth:`keep`.
    """

    __slots__ = ("_claim", "_plan")

    def __init__(self, claim: WaitClaim, plan: RequestedPlan) -> None:
        self._claim = claim
        self._plan = plan

    @override
    def __repr__(self) -> str:
        record = self._claim.record
        what = "which begins" if record is None else f"of session {str(record.key)!r}"
        return f"<ResumedWait{',' * self.is_new} {what}>"

    @property
    def user_id(self) -> UserId:
        """The user whose wait is resumed or, if :attr:`is_new`, for whom a flow begins (K7).

        The data of the wait that :meth:`next` registers must have this user.
        """
        return self._claim.user_id

    @property
    def record(self) -> SessionRecord | None:
        """The waiting session, as it was when it was claimed. None if :attr:`is_new`."""
        return self._claim.record

    @property
    def is_new(self) -> bool:
        """Whether no session waits, so that a flow begins at ``begin_at``."""
        return self._claim.is_new

    @property
    def key(self) -> SessionKey:
        """The key of the session.

        If :attr:`is_new`, there is no record. Then this raises ``InvalidInputError``, and so do
        :attr:`data`, :attr:`etag`, :attr:`expires_at` and :attr:`scope`.
        """
        return self._existing().key

    @property
    def data(self) -> SessionData:
        """The session's data."""
        return self._existing().data

    @property
    def etag(self) -> str:
        """The etag of the stored document."""
        return self._existing().etag

    @property
    def expires_at(self) -> datetime | None:
        """The deadline, an aware ``datetime`` in UTC. None if the session never expires."""
        return self._existing().expires_at

    @property
    def scope(self) -> ReplyScope | None:
        """The scope where the session waits, or None if it is unknown."""
        return self._existing().scope

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended, so that another worker may resume the wait.

        This makes no call, so check it often.
        """
        return self._claim.lost

    @property
    def superseded(self) -> bool:
        """Whether the block had no effect, because the wait was no longer the claimed one.

        Set when the block ends (N2). See :meth:`WaitClaim.complete`.
        """
        return self._plan.superseded

    def next(self, wait: NewWait) -> None:
        """Register another wait, the next question, when the block ends.

        Raises the errors of ``register_wait`` immediately, but for one: the owner of a session that
        is stored under another ``session_key`` is checked when the block ends.
        """
        self._plan.check_unsettled()
        self._claim.check(wait)
        self._plan.requested = wait

    def keep(self) -> None:
        """Leave the wait as it is when the block ends, so that the user may answer again."""
        self._plan.check_unsettled()
        self._plan.requested = KEEP

    @override
    def __eq__(self, other: object) -> bool:
        """Compare with a record."""
        return self is other or (other is not None and self._claim.record == other)

    @override
    def __hash__(self) -> int:
        return hash(self._claim.record)

    def _existing(self) -> SessionRecord:
        record = self._claim.record
        if record is None:
            raise InvalidInputError(
                "no session waits here, so there is no record: check is_new first"
            )
        return record


def resumed_wait(claim: WaitClaim) -> tuple[ResumedWait, RequestedPlan]:
    """Return a block's target for a claim, and the plan that the two share."""
    plan = RequestedPlan()
    return ResumedWait(claim, plan), plan
