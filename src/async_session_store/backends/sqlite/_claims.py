"""The SQL of claims and deliveries, inside a transaction begun elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from async_session_store.abc import Claimed, ClaimKey, Delivery, Outcome, Unreadable, WaitState
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._table import (
    OWNER,
    Execute,
    SessionTable,
    owner_columns,
)
from async_session_store.models import Owner

_SWEEP: Final = 4  # expired claims and deliveries deleted with each claim
_HELD: Final = f"{OWNER} AND scope_hash = ? AND deadline > ?"
_CLAIM: Final = f"{_HELD} AND token = ?"
_CLAIMED_UNTIL: Final = f"SELECT deadline FROM claims WHERE {_HELD}"
_CLAIMED_WAIT: Final = f"SELECT wait_id FROM claims WHERE {_CLAIM}"
_INSERT: Final = (
    "INSERT OR REPLACE INTO claims"
    " (env, tenant, team, user, scope_hash, token, wait_id, deadline)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_END: Final = f"DELETE FROM claims WHERE {_CLAIM}"
_RENEW: Final = f"UPDATE claims SET deadline = ? WHERE {_CLAIM}"
_DELIVERED: Final = f"SELECT 1 FROM deliveries WHERE {OWNER} AND digest = ? AND deadline > ?"
_REMEMBER: Final = (
    "INSERT OR REPLACE INTO deliveries (env, tenant, team, user, digest, deadline)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_DELETE_EXPIRED: Final = tuple(
    f"DELETE FROM {table} WHERE ({key}) IN"
    f" (SELECT {key} FROM {table} WHERE deadline <= ? ORDER BY deadline LIMIT ?)"
    for table, key in (
        ("claims", "env, tenant, team, user, scope_hash"),
        ("deliveries", "env, tenant, team, user, digest"),
    )
)


class ClaimTable:
    """The claims on scopes, and the deliveries that completed claims have handled."""

    def __init__(self, execute: Execute, clock: Clock, sessions: SessionTable) -> None:
        self._execute = execute
        self._clock = clock
        self._sessions = sessions

    def claim(
        self,
        owner: Owner,
        scope_hashes: Sequence[str],
        *,
        token: str,
        lease: int,
        deliveries: Sequence[Delivery],
    ) -> Claimed | Unreadable | Outcome:
        self.sweep(_SWEEP)
        if any(self._was_delivered(owner, delivery) for delivery in deliveries):
            return Outcome.DUPLICATE
        row = self._sessions.first_waiting(owner, scope_hashes)
        if row is None or row.scope_hash is None:
            return Outcome.MISSING
        record = self._sessions.record(row)
        if isinstance(record, Unreadable):
            return record
        if row.wait_id is None:
            return Unreadable(row.key, owner, "its wait has no identity")
        if self._claimed_until(owner, row.scope_hash) is not None:
            return Outcome.CLAIMED
        deadline = self._clock.after(lease)
        place = (*owner_columns(owner), row.scope_hash)
        self._execute(_INSERT, (*place, token, row.wait_id, deadline))
        claim = ClaimKey(owner, row.scope_hash, token)
        return Claimed(claim, record, self._clock.utc(deadline))

    def complete(self, claim: ClaimKey, delivery: Delivery | None) -> Outcome:
        columns = self._columns(claim)
        held = self._execute(_CLAIMED_WAIT, columns).fetchone()
        if held is None:
            return Outcome.LOST
        self._execute(_END, columns)
        if delivery is not None:
            self._remember(claim.owner, delivery)
        row = self._sessions.first_waiting(claim.owner, [claim.scope_hash])
        if row is None or row.wait_id != held[0]:
            return Outcome.MISSING
        return self._sessions.delete(row.key, viewer=None)

    def release(self, claim: ClaimKey) -> Outcome:
        ended = self._execute(_END, self._columns(claim)).rowcount
        return Outcome.DONE if ended else Outcome.LOST

    def renew(self, claim: ClaimKey, lease: int) -> datetime | None:
        deadline = self._clock.after(lease)
        renewed = self._execute(_RENEW, (deadline, *self._columns(claim))).rowcount
        return self._clock.utc(deadline) if renewed else None

    def inspect(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        return tuple(self._state(owner, one) for owner in owners for one in scope_hashes)

    def _state(self, owner: Owner, scope_hash: str) -> WaitState:
        claimed_until = self._claimed_until(owner, scope_hash)
        row = self._sessions.first_waiting(owner, [scope_hash])
        if row is None:
            return WaitState(claimed_until=claimed_until)
        readable = not isinstance(self._sessions.record(row), Unreadable)
        return WaitState(row.key, readable, self._sessions.expires_at(row), claimed_until)

    def _claimed_until(self, owner: Owner, scope_hash: str) -> datetime | None:
        place = (*owner_columns(owner), scope_hash, self._clock.now())
        row = self._execute(_CLAIMED_UNTIL, place).fetchone()
        if row is None or not isinstance(row[0], int):
            return None  # a deadline that is not a number is not ours, and holds no claim
        return self._clock.utc(row[0])

    def _columns(self, claim: ClaimKey) -> tuple[object, ...]:
        return *owner_columns(claim.owner), claim.scope_hash, self._clock.now(), claim.token

    def _was_delivered(self, owner: Owner, delivery: Delivery) -> bool:
        columns = (*owner_columns(owner), delivery.digest, self._clock.now())
        return self._execute(_DELIVERED, columns).fetchone() is not None

    def _remember(self, owner: Owner, delivery: Delivery) -> None:
        columns = (*owner_columns(owner), delivery.digest, self._clock.after(delivery.ttl))
        self._execute(_REMEMBER, columns)

    def sweep(self, limit: int) -> int:
        """Delete at most ``limit`` expired claims and deliveries. Return how many."""
        deleted = 0
        for statement in _DELETE_EXPIRED:
            columns = (self._clock.now(), limit - deleted)
            deleted += self._execute(statement, columns).rowcount
        return deleted
