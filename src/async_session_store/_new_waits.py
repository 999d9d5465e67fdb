"""A wait to be registered, and the checks that it has to pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from async_session_store import _codec, _random, _rules
from async_session_store._rules import TimeToLive
from async_session_store.abc import ClaimKey, StoredWait
from async_session_store.errors import InvalidInputError
from async_session_store.models import Owner, ReplyScope, SessionData, SessionKey

__all__ = ["NewWait"]


@dataclass(frozen=True, slots=True)
class NewWait:
    """The wait that follows a claim: the next question."""

    scope: ReplyScope
    """Where the reply is expected."""
    data: SessionData = field(repr=False)
    """The session. It must belong to the user whose wait was claimed."""
    ttl: TimeToLive | None = None
    """How long to wait for the reply, as in ``register_wait``. None uses the store's default."""
    session_key: SessionKey | str | None = None
    """The key of the session.

    The default is the key of the claimed session, or a fresh one if a flow begins.
    """
    expired_ttl: timedelta | float | None = None
    """How long to keep the wait for a worker after its deadline, as in ``register_wait``.

    None uses the store's default; with 0 the wait is not kept.
    """


@dataclass(frozen=True, slots=True)
class WaitDefaults:
    """A store's settings for the waits that it registers."""

    ttl: int | None
    """Default time to live, in milliseconds."""
    expired_ttl: int | None
    """Default time for which an expired wait is kept for a worker, in milliseconds."""
    max_document_bytes: int

    def check_wait(
        self,
        owner: Owner,
        scope: ReplyScope,
        key: SessionKey | str,
        data: SessionData,
        ttl: TimeToLive | None,
        expired_ttl: timedelta | float | None,
    ) -> StoredWait:
        """Check a wait and return it as a backend stores it. ``owner`` is the owner of ``data``."""
        scope_hash = _rules.scope_hash(scope)
        key = _rules.session_key(key)
        milliseconds = self.ttl if ttl is None else _rules.milliseconds("ttl", ttl)
        kept = self.expired_ttl
        if expired_ttl is not None:
            kept = _rules.expired_ttl("expired_ttl", expired_ttl)
        check_size(data, self.max_document_bytes)
        # The constructor of a NamedTuple takes 0.2 µs more than this, a 20th of register_wait.
        return tuple.__new__(StoredWait, (owner, scope_hash, scope, key, data, milliseconds, kept))

    def check_following_wait(self, claim: ClaimKey, wait: NewWait) -> StoredWait:
        """Check the wait that follows a claim and return it as a backend stores it (N1)."""
        if not isinstance(wait, NewWait):
            raise InvalidInputError("then: give a NewWait, KEEP or None")
        owner = _rules.check_following_wait(claim.owner, wait.data)
        key = claim.session_key if wait.session_key is None else wait.session_key
        if key is None:
            key = _random.unique_id()
        return self.check_wait(owner, wait.scope, key, wait.data, wait.ttl, wait.expired_ttl)


def check_size(data: SessionData, maximum: int) -> None:
    """Raise ``InvalidInputError`` if the document of ``data`` exceeds ``maximum`` bytes (S6)."""
    # The ceiling is cheap and enough for the common case; `exceeds` has to encode the document.
    if data.size_ceiling > maximum and _codec.exceeds(data, maximum):
        raise InvalidInputError(
            f"data: its JSON exceeds max_document_bytes ({maximum}); store less, or raise the "
            "limit (S6)"
        )
