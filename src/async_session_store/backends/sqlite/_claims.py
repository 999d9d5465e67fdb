"""The SQL of claims and deliveries. The caller has begun a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain, product
from typing import Any, Final, NamedTuple

from async_session_store.abc import (
    Claimed,
    ClaimKey,
    Delivery,
    Keep,
    Outcome,
    Queued,
    Unreadable,
    WaitState,
)
from async_session_store.backends._time import utc_from_ms
from async_session_store.backends.sqlite._clock import Clock, SweepPause
from async_session_store.backends.sqlite._kept import KeptRows
from async_session_store.backends.sqlite._queues import QueueTable
from async_session_store.backends.sqlite._rows import COLUMNS, KEY, Row, Wait, as_row, session_key
from async_session_store.backends.sqlite._sql import OWNER, Execute, owner_columns
from async_session_store.backends.sqlite._table import SessionTable
from async_session_store.models import Owner, SessionKey

_SWEEP: Final = 4  # expired claims and deliveries deleted with a claim
_HELD: Final = f"{OWNER} AND scope_hash = ? AND deadline > ?"
_CLAIM: Final = f"{_HELD} AND token = ?"
# A deadline that is not an integer was written by another program. Such a row is not a claim.
_DEADLINE: Final = "CASE typeof(deadline) WHEN 'integer' THEN deadline END"
_CLAIMED_UNTIL: Final = f"SELECT {_DEADLINE} FROM claims WHERE {_HELD}"
# Python 3.12 warns about numbered placeholders, so a value that is used twice is bound twice.
_LIVE_WAIT: Final = (
    "sessions.env = ? AND sessions.tenant = ? AND sessions.team = ? AND sessions.user = ?"
    " AND sessions.scope_hash = ? AND (sessions.deadline IS NULL OR sessions.deadline > ?)"
)
# One statement costs less than one for each table. It returns a row even if the scope is empty.
_CANDIDATE: Final = (
    f"SELECT EXISTS (SELECT 1 FROM queue), ({_CLAIMED_UNTIL}), {COLUMNS}"
    f" FROM (SELECT 1) LEFT JOIN sessions ON {_LIVE_WAIT}"
)
_CLAIMED_WAIT: Final = (
    "SELECT CAST(claims.wait_id AS BLOB), claims.superseded <> 0, {} FROM claims"
    f" LEFT JOIN sessions ON {_LIVE_WAIT}"
    " WHERE claims.env = ? AND claims.tenant = ? AND claims.team = ? AND claims.user = ?"
    " AND claims.scope_hash = ? AND claims.deadline > ? AND claims.token = ?"
)
_CLAIMED_KEY: Final = _CLAIMED_WAIT.format(f"{KEY}, CAST(sessions.wait_id AS BLOB)")
_CLAIMED_ROW: Final = _CLAIMED_WAIT.format(COLUMNS)
_INSERT: Final = (
    "INSERT OR REPLACE INTO claims"
    " (env, tenant, team, user, scope_hash, token, wait_id, deadline, is_expired)"
    " VALUES (?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?)"
)
_END: Final = f"DELETE FROM claims WHERE {_CLAIM}"
_BREAK: Final = f"DELETE FROM claims WHERE {_HELD}"
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


class _Candidate(NamedTuple):
    """A scope that may be claimed, and its state."""

    owner: Owner
    scope_hash: str
    row: Row | None = None
    claim_ends_at: int | None = None
    is_behind: bool = False
    """Whether someone is ahead of the caller in the queue."""

    @property
    def is_free(self) -> bool:
        return self.claim_ends_at is None and not self.is_behind


class _Held(NamedTuple):
    """A claim that is held: the wait that was claimed, and the live one at its scope now."""

    claimed_wait: bytes | None
    is_superseded: bool
    key: SessionKey | None
    wait: bytes | None
    row: Row | None = None

    @property
    def is_as_claimed(self) -> bool:
        if self.is_superseded or (self.key is None) != (self.claimed_wait is None):
            return False
        return self.key is None or self.wait == self.claimed_wait


class ClaimTable:
    """The claims on scopes, and the deliveries that completed claims have handled."""

    def __init__(
        self, execute: Execute, clock: Clock, sessions: SessionTable, queues: QueueTable
    ) -> None:
        self._execute = execute
        self._clock = clock
        self._sessions = sessions
        self._queues = queues
        self._kept = KeptRows(execute, clock)
        self._pause = SweepPause(clock)

    def claim(
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
        self.sweep_a_few()
        if any(map(self._was_delivered, deliveries)):
            self._queues.leave(token)
            return Outcome.DUPLICATE
        found, queues_are_used = self._find(owners, scope_hashes, token, begin_at)
        if found is not None and not found.is_free:
            return self._wait_turn(found, token, queue=queue)
        if queues_are_used:
            self._queues.leave(token)
        return Outcome.MISSING if found is None else self._grant(found, token, lease)

    def _find(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str], token: str, begin_at: str | None
    ) -> tuple[_Candidate | None, bool]:
        """Return the scope to claim or to wait at, and whether any queue is used."""
        places = product(owners, scope_hashes)
        first, queues_are_used = self._candidate(*next(places))
        candidates: Iterable[_Candidate] = chain(
            [first], (self._candidate(*place)[0] for place in places)
        )
        if queues_are_used:
            candidates = [self._with_rank(one, token) for one in candidates]
            # If it is another caller's turn, its wait may be at any of the scopes by now, and it
            # may claim any of them.
            due = (one for one in candidates if one.is_behind and one.claim_ends_at is None)
            candidates = [*due, *candidates]
        claimed: _Candidate | None = None
        for candidate in candidates:
            if candidate.is_behind or candidate.row is not None:
                return candidate, queues_are_used
            if claimed is None and not candidate.is_free:
                claimed = candidate
        if begin_at is None:
            return None, queues_are_used
        return claimed or _Candidate(owners[0], begin_at), queues_are_used

    def _with_rank(self, candidate: _Candidate, token: str) -> _Candidate:
        is_behind = self._queues.is_behind(token, candidate.owner, candidate.scope_hash)
        return candidate._replace(is_behind=is_behind)

    def _candidate(self, owner: Owner, scope_hash: str) -> tuple[_Candidate, bool]:
        """Return the state of a scope, and whether any queue is used.

        Usually none is, and then the queues need no statement of their own.
        """
        columns = (*owner_columns(owner), scope_hash, self._clock.now())
        queues_are_used, claim_ends_at, *rest = self._execute(_CANDIDATE, columns * 2).fetchone()
        candidate = _Candidate(owner, scope_hash, as_row(rest), claim_ends_at)
        return candidate, bool(queues_are_used)

    def _wait_turn(self, found: _Candidate, token: str, *, queue: bool) -> Queued | Outcome:
        if not queue:
            self._queues.leave(token)
            return Outcome.CLAIMED
        self._queues.keep(token, found.owner, found.scope_hash)
        ends_at = found.claim_ends_at
        free_in = None if ends_at is None else max(0, ends_at - self._clock.now())
        return Queued(ClaimKey(found.owner, found.scope_hash, token), free_in)

    def _grant(self, found: _Candidate, token: str, lease: int) -> Claimed | Unreadable:
        row = found.row
        record = None if row is None else self._sessions.reader.record(row)
        if isinstance(record, Unreadable):
            return record
        if row is not None and row.wait_id is None:
            return Unreadable(row.key, found.owner, "its wait has no identity")
        key, wait_id = (None, None) if row is None else (row.key, row.wait_id)
        claim = ClaimKey(found.owner, found.scope_hash, token, key)
        return Claimed(claim, record, self.hold(claim, wait_id, lease))

    def hold(self, claim: ClaimKey, wait_id: bytes | None, lease: int) -> datetime:
        """Hold a claim on a wait, or on an empty scope. Return when its lease ends."""
        deadline = self._clock.after(lease)
        place = (*owner_columns(claim.owner), claim.scope_hash)
        self._execute(_INSERT, (*place, claim.token, wait_id, deadline, claim.is_expired or None))
        return utc_from_ms(deadline)

    def complete(
        self, claim: ClaimKey, deliveries: Sequence[Delivery], then: Wait | Keep | None
    ) -> Outcome:
        if isinstance(then, Wait):
            return self._complete_with(claim, deliveries, then)
        held = self._held(claim)
        if held is None:
            return Outcome.LOST
        if not held.is_as_claimed:
            was_expired = self._settle_expired(claim, then)
            self._end(claim, deliveries)
            return Outcome.DONE if was_expired else Outcome.MISSING
        self._end(claim, deliveries)
        if then is None and held.key is not None:
            self._sessions.remove(held.key)
        return Outcome.DONE

    def _settle_expired(self, claim: ClaimKey, then: Keep | None) -> bool:
        """Remove or keep the claimed wait if it is now an expired wait. Return whether it is.

        This comes before the claim ends, since only its row says which wait was claimed.
        """
        if then is None:
            return self._kept.remove(claim)
        return self._kept.give_back(claim) if claim.is_expired else self._kept.is_claimed(claim)

    def _complete_with(
        self, claim: ClaimKey, deliveries: Sequence[Delivery], then: Wait
    ) -> Outcome:
        """Complete a claim, and register a wait in place of the claimed one."""
        self._sessions.sweep_a_few()  # first, as it may delete rows that are read below
        held = self._held_row(claim)
        if held is None:
            return Outcome.LOST
        has_key = held.row is not None and held.row.key == then.key
        before = held.row if has_key else self._sessions.live(then.key)
        refusal = before and self._sessions.reader.refusal(before, then.document.owner)
        if refusal is not None:
            return refusal
        is_replaceable = held.is_as_claimed or self._has_expired(claim, held)
        if not held.is_as_claimed:
            self._kept.remove(claim)  # before the claim ends, as its row says which wait it is
        self._end(claim, deliveries)
        if not is_replaceable:
            return Outcome.MISSING
        if has_key and claim.scope_hash == then.scope_hash:
            self._sessions.replace_wait(then)
            return Outcome.DONE
        if held.key is not None:
            self._sessions.remove(held.key)
        self._sessions.put(then, None if has_key else before)
        return Outcome.DONE

    def _end(self, claim: ClaimKey, deliveries: Iterable[Delivery]) -> None:
        self._execute(_END, self._columns(claim))
        for delivery in deliveries:
            self._remember(delivery)

    def _held(self, claim: ClaimKey) -> _Held | None:
        found = self._claimed(_CLAIMED_KEY, claim)
        if found is None:
            return None
        claimed_wait, is_superseded, stored_key, wait = found
        return _Held(claimed_wait, bool(is_superseded), session_key(stored_key), wait)

    def _held_row(self, claim: ClaimKey) -> _Held | None:
        """Return a held claim with the whole row, which a following wait may replace."""
        found = self._claimed(_CLAIMED_ROW, claim)
        if found is None:
            return None
        claimed_wait, is_superseded, *columns = found
        row = as_row(columns)
        if row is None:
            return _Held(claimed_wait, bool(is_superseded), None, None)
        return _Held(claimed_wait, bool(is_superseded), row.key, row.wait_id, row)

    def _claimed(self, statement: str, claim: ClaimKey) -> tuple[Any, ...] | None:
        *live_wait, _ = columns = self._columns(claim)
        found: tuple[Any, ...] | None = self._execute(statement, (*live_wait, *columns)).fetchone()
        return found

    def _has_expired(self, claim: ClaimKey, held: _Held) -> bool:
        """Return whether the claimed wait has expired, and nothing else happened to it."""
        if held.is_superseded or held.key is not None:
            return False
        return claim.session_key is None or not self._sessions.is_live(claim.session_key)

    def release(self, claim: ClaimKey) -> Outcome:
        """End a claim, or give up a place in a queue."""
        if claim.is_expired:
            self._kept.give_back(claim)
        if self._execute(_END, self._columns(claim)).rowcount or self._queues.leave(claim.token):
            return Outcome.DONE
        return Outcome.LOST

    def break_claim(self, owner: Owner, scope_hash: str) -> bool:
        """End the claim that is held on a scope, whoever holds it. Return whether one was."""
        columns = (*owner_columns(owner), scope_hash, self._clock.now())
        return self._execute(_BREAK, columns).rowcount > 0

    def is_held(self, owner: Owner, scope_hash: str) -> bool:
        """Return whether a claim is held on a scope."""
        return self._claimed_until(owner, scope_hash) is not None

    def renew(self, claim: ClaimKey, lease: int) -> datetime | None:
        deadline = self._clock.after(lease)
        renewed = self._execute(_RENEW, (deadline, *self._columns(claim))).rowcount
        return utc_from_ms(deadline) if renewed else None

    def inspect(
        self, owners: Sequence[Owner], scope_hashes: Sequence[str]
    ) -> tuple[WaitState, ...]:
        return tuple(self._state(owner, one) for owner in owners for one in scope_hashes)

    def _state(self, owner: Owner, scope_hash: str) -> WaitState:
        claimed_until = self._claimed_until(owner, scope_hash)
        row = self._sessions.first_waiting(owner, [scope_hash])
        if row is None:
            return WaitState(claimed_until=claimed_until)
        readable = not isinstance(self._sessions.reader.record(row), Unreadable)
        return WaitState(row.key, readable, self._sessions.reader.expires_at(row), claimed_until)

    def _claimed_until(self, owner: Owner, scope_hash: str) -> datetime | None:
        place = (*owner_columns(owner), scope_hash, self._clock.now())
        row = self._execute(_CLAIMED_UNTIL, place).fetchone()
        return None if row is None or row[0] is None else utc_from_ms(row[0])

    def _columns(self, claim: ClaimKey) -> tuple[object, ...]:
        return *owner_columns(claim.owner), claim.scope_hash, self._clock.now(), claim.token

    def _was_delivered(self, delivery: Delivery) -> bool:
        columns = (*owner_columns(delivery.owner), delivery.digest, self._clock.now())
        return self._execute(_DELIVERED, columns).fetchone() is not None

    def _remember(self, delivery: Delivery) -> None:
        columns = (*owner_columns(delivery.owner), delivery.digest, self._clock.after(delivery.ttl))
        self._execute(_REMEMBER, columns)

    def sweep_a_few(self) -> None:
        if self._pause.is_over() and self.sweep(_SWEEP) < _SWEEP:
            self._pause.begin()

    def sweep(self, limit: int) -> int:
        """Delete at most ``limit`` expired claims and deliveries. Return how many were deleted.

        Lost places in queues are deleted as well, and not counted.
        """
        self._queues.sweep()
        deleted = 0
        for statement in _DELETE_EXPIRED:
            columns = (self._clock.now(), limit - deleted)
            deleted += self._execute(statement, columns).rowcount
        return deleted
