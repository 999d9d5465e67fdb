"""Explanations of look-ups, for logs and support."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import cast

from async_session_store.abc import WaitState
from async_session_store.models import Owner, ReplyScope, SessionKey, TeamId, UserId

__all__ = ["Explanation", "ScopeReport", "WaitStatus"]


class WaitStatus(str, Enum):
    """The result of a look-up at a scope."""

    NOTHING = "nothing"
    """No live wait. It was never registered, or it expired, moved, was resumed or was cleared."""
    LIVE = "live"
    """A live wait that nobody has claimed."""
    CLAIMED = "claimed"
    """A live wait that a worker has claimed."""
    UNREADABLE = "unreadable"
    """A live wait whose document cannot be read."""


@dataclass(frozen=True, slots=True)
class ScopeReport:
    """The state of one scope, for one team or without a team."""

    scope: ReplyScope
    """The scope."""
    user_id: UserId = field(repr=False)
    """The user whose waits were looked up."""
    team: TeamId | None
    """The team, or None for no team."""
    status: WaitStatus
    """The result of a look-up there."""
    session_key: SessionKey | None
    """The key of the session that waits there, or None if no session waits."""
    expires_at: datetime | None
    """The deadline of the wait, an aware ``datetime`` in UTC, or None if there is none."""
    claimed_until: datetime | None
    """When the lease of the claim on the scope ends, in UTC, or None if no claim is held.

    A claim may still be held after its wait is gone.
    """

    def __str__(self) -> str:
        """Return one line without a payload, a user, a conversation or a session key."""
        parts = [f"{_field_names(self.scope)}, team {self.team or '-'}: {self.status.value}"]
        if self.claimed_until is not None:
            parts.append(f"claim held until {self.claimed_until.isoformat()}")
        if self.expires_at is not None:
            parts.append(f"expires {self.expires_at.isoformat()}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The state of each scope that a look-up tries. ``explain`` returns it.

    ``str()`` of it is one line for a log, without a user, conversation, session key or payload.
    """

    reports: tuple[ScopeReport, ...]
    """All scopes in the given order, for the team of the ``ctx``.

    If the ``ctx`` has a team, all scopes follow again, without a team. If several users were given,
    all of that follows for the next user.
    """
    same_user: bool = True
    """False if the ``ctx`` names another user than ``user_id``.

    Such a look-up finds nothing, and the storage was not asked (F4).
    """

    def __str__(self) -> str:
        """Return one line for a log, without a payload, a user, a conversation or a session key."""
        if not self.same_user:
            return "ctx has another user than user_id, so it finds nothing (F4)"
        users = list(dict.fromkeys(report.user_id for report in self.reports))
        if len(users) == 1:
            return "; ".join(map(str, self.reports))
        numbered = ((users.index(report.user_id) + 1, report) for report in self.reports)
        return "; ".join(f"user {number}, {report}" for number, report in numbered)


def explain_states(
    owners: Iterable[Owner], scopes: Sequence[ReplyScope], states: Iterable[WaitState]
) -> Explanation:
    """Explain the states of scopes, which are in order: owner by owner, and scope by scope."""
    places = [(owner, scope) for owner in owners for scope in scopes]
    reports = (
        _report(owner, scope, state) for (owner, scope), state in zip(places, states, strict=True)
    )
    return Explanation(tuple(reports))


def explain_other_user(calling: Owner, scopes: Iterable[ReplyScope]) -> Explanation:
    """Explain a look-up of another user's waits, which finds nothing (F4)."""
    reports = (_report(calling, scope, WaitState()) for scope in scopes)
    return Explanation(tuple(reports), same_user=False)


def _report(owner: Owner, scope: ReplyScope, state: WaitState) -> ScopeReport:
    return ScopeReport(
        scope=scope,
        user_id=cast("UserId", owner.user),
        team=owner.team,
        status=_status(state),
        session_key=state.key,
        expires_at=state.expires_at,
        claimed_until=state.claimed_until,
    )


def _status(state: WaitState) -> WaitStatus:
    if state.key is None:
        return WaitStatus.NOTHING
    if not state.readable:
        return WaitStatus.UNREADABLE
    return WaitStatus.LIVE if state.claimed_until is None else WaitStatus.CLAIMED


def _field_names(scope: ReplyScope) -> str:
    """Name the fields that a scope has, but not their values, which may be private."""
    fields = {"thread": scope.thread, "reply_to": scope.reply_to, "correlation": scope.correlation}
    return " + ".join(["conversation", *(name for name, value in fields.items() if value)])
