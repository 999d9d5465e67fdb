"""The handled deliveries, of which there may be millions."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable
from typing import Final

from async_session_store.abc import Delivery, DeliveryName
from async_session_store.models import EnvId, Owner, TeamId, TenantId, UserId

_DROPPED: Final = 4  # expired entries dropped with each one that is added


class Deliveries:
    """The digests of deliveries and their owners, each until its deadline.

    An entry is one bytes object. Entries that expire in the same second share a list, since a heap
    of them would double the memory.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, float] = {}
        self._expiring: dict[int, list[bytes]] = {}  # by the second when all have expired
        self._seconds: list[int] = []  # a heap

    def holds(self, delivery: Delivery, now: float) -> bool:
        return self._entries.get(_entry(delivery.owner, delivery.digest), -math.inf) > now

    def add(self, delivery: Delivery, now: float) -> None:
        self.put(delivery.owner, delivery.digest, now + delivery.ttl / 1000, now)

    def put(self, owner: Owner, digest: bytes, deadline: float, now: float) -> None:
        self.drop_expired(now, _DROPPED)
        entry = _entry(owner, digest)
        self._entries[entry] = deadline
        second = math.ceil(deadline)
        if second not in self._expiring:
            self._expiring[second] = []
            heapq.heappush(self._seconds, second)
        self._expiring[second].append(entry)

    def entries(self) -> list[bytes]:
        """Return all entries, including expired ones."""
        return list(self._entries)

    def deadline(self, owner: Owner, digest: bytes) -> float:
        return self._entries.get(_entry(owner, digest), -math.inf)

    def drop(self, owner: Owner, digest: bytes) -> None:
        self._entries.pop(_entry(owner, digest), None)

    @property
    def next_check(self) -> float:
        """The time before which no entry can be dropped."""
        return self._seconds[0] if self._seconds else math.inf

    def drop_expired(self, now: float, limit: int) -> int:
        """Drop at most ``limit`` expired entries. Return how many were dropped."""
        dropped = 0
        while dropped < limit and self.next_check <= now:
            entries = self._expiring[self._seconds[0]]
            if not entries:
                del self._expiring[heapq.heappop(self._seconds)]
                continue
            entry = entries.pop()
            # An entry that was added again after it had expired is in two lists.
            if self._entries.get(entry, math.inf) <= now:
                del self._entries[entry]
                dropped += 1
        return dropped

    def seconds(self) -> list[tuple[int, int]]:
        """Return the seconds in which entries expire, with their numbers, for :meth:`erase`."""
        return [(second, len(entries)) for second, entries in self._expiring.items()]

    def erase(self, second: int, is_theirs: Callable[[bytes], object], now: float) -> int:
        """Drop some owners' entries that expire in a second. Return how many had not expired."""
        entries = self._expiring.get(second, [])
        theirs = list(filter(is_theirs, entries))
        if theirs:
            entries[:] = [entry for entry in entries if not is_theirs(entry)]
        # An entry that was added again after it had expired is in two lists.
        return sum(self._entries.pop(entry, -math.inf) > now for entry in theirs)

    def clear(self) -> None:
        self._entries.clear()
        self._expiring.clear()
        self._seconds.clear()


def _entry(owner: Owner, digest: bytes) -> bytes:
    # No id contains a colon, so two owners never give the same entry.
    env, tenant, team, user = owner
    return f"{env}:{tenant}:{team or ''}:{user or ''}:".encode() + digest


def delivery_name(entry: bytes) -> DeliveryName:
    """Return the name of the delivery that an entry stands for."""
    *ids, digest = entry.split(b":", 4)
    env, tenant, team, user = [text.decode() for text in ids]
    owner = Owner(EnvId(env), TenantId(tenant), TeamId(team) if team else None, UserId(user))
    return DeliveryName(owner, digest)


def entry_matcher(env: EnvId, tenant: TenantId, user: UserId) -> Callable[[bytes], object]:
    """Return a function that tells a user's entries in all teams of a tenant from all others."""
    pattern = f"{re.escape(env)}:{re.escape(tenant)}:[^:]*:{re.escape(user)}:"
    return re.compile(pattern.encode()).match
