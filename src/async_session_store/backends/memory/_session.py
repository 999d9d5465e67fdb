"""One session in memory."""

from __future__ import annotations

from datetime import datetime

from async_session_store.models import Owner, ReplyScope, SessionData, SessionKey


class Session:
    """A stored session. Registering its key again replaces the object; updates change it."""

    __slots__ = (
        *("data", "deadline", "due", "expires_at", "kept", "key", "owner", "scope", "scope_hash"),
        *("version", "wait_id"),
    )

    due: float
    """The time at which a worker may get it: its deadline, or when it was last given back.

    Set only if the session is kept.
    """

    def __init__(
        self,
        key: SessionKey,
        owner: Owner,
        data: SessionData,
        version: int,
        deadline: float,
        scope_hash: str | None = None,
        scope: ReplyScope | None = None,
    ) -> None:
        self.key = key
        self.owner = owner
        self.data = data
        self.version = self.wait_id = version
        self.deadline = deadline
        self.expires_at: datetime | None = None
        self.scope_hash = scope_hash
        self.scope = scope
        self.kept = 0.0
        """For how many seconds after its deadline the session is an expired wait."""

    def is_expired_wait(self, now: float) -> bool:
        return self.deadline <= now < self.deadline + self.kept
