"""What is kept in memory of a session, and of a claim."""

from __future__ import annotations

from datetime import datetime

from async_session_store.models import ReplyScope, SessionData, SessionKey


class Session:
    """A stored session. Another one under its key replaces it; updates change it in place."""

    __slots__ = (
        *("data", "deadline", "due", "expires_at", "kept", "key", "owner", "scope", "scope_hash"),
        *("version", "wait_id"),
    )

    due: float
    """When a worker should get it: since its deadline, or since it was given back. Only if kept."""

    def __init__(self, key: SessionKey, data: SessionData, version: int, deadline: float) -> None:
        self.key = key
        self.owner = data.owner
        self.data = data
        self.version = self.wait_id = version
        self.deadline = deadline
        self.expires_at: datetime | None = None
        self.scope_hash: str | None = None
        self.scope: ReplyScope | None = None
        self.kept = 0.0
        """For how many seconds after its deadline it is an expired wait."""

    def is_expired_wait(self, now: float) -> bool:
        return self.deadline <= now < self.deadline + self.kept


class Claim:
    """The holder of a claim on a scope, and the wait that was there, if any."""

    __slots__ = ("is_superseded", "token", "wait_id")

    def __init__(self, token: str, wait_id: int | None) -> None:
        self.token = token
        self.wait_id = wait_id
        self.is_superseded = False
