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

_SWEEP: Final = 4  # expired claims, and expired deliveries, deleted with each claim
_HELD: Final = f"{OWNER} AND scope_hash = :scope_hash AND deadline > :now"
_CLAIM: Final = f"{_HELD} AND token = :token"


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
        delivery_id: str | None,
    ) -> Claimed | Unreadable | Outcome:
        self._sweep()
        if delivery_id and self._was_delivered(owner, scope_hashes, delivery_id):
            return Outcome.DUPLICATE
        row = self._sessions.first_waiting(owner, scope_hashes)
        if row is None or row.scope_hash is None:
            return Outcome.MISSING
        record = self._sessions.record(row)
        if isinstance(record, Unreadable):
            return record
        place = owner_columns(owner) | {"scope_hash": row.scope_hash, "now": self._clock.now()}
        if self._execute(f"SELECT 1 FROM claims WHERE {_HELD}", place).fetchone():
            return Outcome.CLAIMED
        deadline = self._clock.after(lease)
        self._execute(
            "INSERT OR REPLACE INTO claims"
            " (env, tenant, team, user, scope_hash, token, wait_id, deadline)"
            " VALUES (:env, :tenant, :team, :user, :scope_hash, :token, :wait_id, :deadline)",
            place | {"token": token, "wait_id": row.wait_id, "deadline": deadline},
        )
        claim = ClaimKey(owner, row.scope_hash, token)
        return Claimed(claim, record, self._clock.utc(deadline))

    def complete(self, claim: ClaimKey, delivery: Delivery | None) -> Outcome:
        columns = self._columns(claim)
        held = self._execute(f"SELECT wait_id FROM claims WHERE {_CLAIM}", columns).fetchone()
        if held is None:
            return Outcome.LOST
        self._execute(f"DELETE FROM claims WHERE {_CLAIM}", columns)
        if delivery is not None:
            self._remember(columns, delivery)
        row = self._sessions.first_waiting(claim.owner, [claim.scope_hash])
        if row is None or row.wait_id != held[0]:
            return Outcome.MISSING
        return self._sessions.delete(row.key, viewer=None)

    def release(self, claim: ClaimKey) -> Outcome:
        columns = self._columns(claim)
        ended = self._execute(f"DELETE FROM claims WHERE {_CLAIM}", columns).rowcount
        return Outcome.DONE if ended else Outcome.LOST

    def renew(self, claim: ClaimKey, lease: int) -> datetime | None:
        deadline = self._clock.after(lease)
        renewed = self._execute(
            f"UPDATE claims SET deadline = :deadline WHERE {_CLAIM}",
            self._columns(claim) | {"deadline": deadline},
        ).rowcount
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
        expires_at = None if row.deadline is None else self._clock.utc(row.deadline)
        return WaitState(row.key, readable, expires_at, claimed_until)

    def _claimed_until(self, owner: Owner, scope_hash: str) -> datetime | None:
        place = owner_columns(owner) | {"scope_hash": scope_hash, "now": self._clock.now()}
        row = self._execute(f"SELECT deadline FROM claims WHERE {_HELD}", place).fetchone()
        return None if row is None else self._clock.utc(row[0])

    def _columns(self, claim: ClaimKey) -> dict[str, object]:
        return owner_columns(claim.owner) | {
            "scope_hash": claim.scope_hash,
            "token": claim.token,
            "now": self._clock.now(),
        }

    def _was_delivered(self, owner: Owner, scope_hashes: Sequence[str], delivery_id: str) -> bool:
        columns = owner_columns(owner) | {"delivery_id": delivery_id, "now": self._clock.now()}
        statement = (
            f"SELECT 1 FROM deliveries WHERE {OWNER} AND scope_hash = :scope_hash"
            " AND delivery_id = :delivery_id AND deadline > :now"
        )
        return any(
            self._execute(statement, columns | {"scope_hash": scope_hash}).fetchone()
            for scope_hash in scope_hashes
        )

    def _remember(self, columns: dict[str, object], delivery: Delivery) -> None:
        self._execute(
            "INSERT OR REPLACE INTO deliveries"
            " (env, tenant, team, user, scope_hash, delivery_id, deadline)"
            " VALUES (:env, :tenant, :team, :user, :scope_hash, :delivery_id, :deadline)",
            columns | {"delivery_id": delivery.id, "deadline": self._clock.after(delivery.ttl)},
        )

    def _sweep(self) -> None:
        for table, key in (
            ("claims", "(env, tenant, team, user, scope_hash)"),
            ("deliveries", "(env, tenant, team, user, scope_hash, delivery_id)"),
        ):
            self._execute(
                f"DELETE FROM {table} WHERE {key} IN (SELECT {key[1:-1]} FROM {table}"
                " WHERE deadline <= :now ORDER BY deadline LIMIT :limit)",
                {"now": self._clock.now(), "limit": _SWEEP},
            )
