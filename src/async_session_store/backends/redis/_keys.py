"""The names of the keys, in the layout of the Rust crate ``greentic-session``."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from async_session_store.abc import Delivery, Fence
from async_session_store.models import EnvId, Owner, SessionKey, TeamId, TenantId, UserId

_REMEMBERED_OWNERS: Final = 1024
_KINDS: Final = re.compile(rb":(session|meta|claim|queue|delivery|waits|expiring):")
_ROUTE: Final = rb"%b:waits:scope:(?:[^:]*:){4}[^:]*\Z"


class Keys:
    """The keys under a namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.is_route = re.compile(_ROUTE % re.escape(namespace.encode())).match
        """Tells whether a key is that of a scope. Its owner may be a word that keys are made of."""
        self.prefix_length = len(namespace.encode())
        """How many bytes of a key are its namespace, without the colon."""

    def session(self, key: SessionKey) -> str:
        return f"{self._namespace}:session:{key}"

    def meta(self, key: SessionKey) -> str:
        return f"{self._namespace}:meta:{key}"

    def user(self, owner: Owner) -> str:
        return f"{self._namespace}:waits:user:{owner_text(owner)}"

    def scope(self, owner: Owner, scope_hash: str) -> str:
        return f"{self._namespace}:waits:scope:{owner_text(owner)}:{scope_hash}"

    def claim(self, owner: Owner, scope_hash: str) -> str:
        return f"{self._namespace}:claim:{owner_text(owner)}:{scope_hash}"

    def queue(self, owner: Owner, scope_hash: str) -> str:
        return f"{self._namespace}:queue:{owner_text(owner)}:{scope_hash}"

    def delivery(self, delivery: Delivery) -> str:
        digest = urlsafe_b64encode(delivery.digest).decode()
        return f"{self._namespace}:delivery:{owner_text(delivery.owner)}:{digest}"

    def claim_of_token(self, token: str) -> str:
        """Return the key that names the session that a token claimed as an expired wait."""
        return f"{self._namespace}:claim:{token}"

    def expiring(self, fence: Owner | None) -> str:
        """Return the key of the index of due times of the waits within a fence."""
        return f"{self._namespace}:expiring:{fence_text(fence) or 'all'}"

    def channel(self, name: str) -> str:
        """Return the full name of a channel. The namespace is in it for access control."""
        return f"{self._namespace}:turns:{name}"

    @property
    def pattern(self) -> str:
        """A pattern that matches all keys of the namespace."""
        return f"{self._escaped}:*"

    @property
    def sessions(self) -> str:
        """A pattern that matches all session keys."""
        return f"{self._escaped}:session:*"

    @property
    def channels(self) -> str:
        """A pattern that matches all channels of the namespace."""
        return f"{self._escaped}:turns:*"

    @property
    def users(self) -> str:
        """A pattern that matches the sets of waits of all users."""
        return f"{self._escaped}:waits:user:*"

    @property
    def all_expiring(self) -> str:
        """A pattern that matches all indexes of due times."""
        return f"{self._escaped}:expiring:*"

    @property
    def routes(self) -> tuple[str, str]:
        """Patterns that match all other keys that point to a session."""
        return f"{self._escaped}:waits:scope:*", f"{self._escaped}:meta:*"

    def is_surely_ours(self, name: bytes) -> bool:
        """Return whether a key can only belong to this namespace, not to one nested in it.

        ``a:meta:session:k`` is a session in the namespace ``a:meta``, but looks like a meta key in
        ``a``. Every key contains one word for its kind. If it contains a second such word, the key
        may be that of a nested namespace.
        """
        kind = _KINDS.match(name, self.prefix_length)
        return kind is not None and _KINDS.search(name, kind.end() - 1) is None

    @property
    def _escaped(self) -> str:
        return re.sub(r"([*?\[\]\\])", r"\\\1", self._namespace)


@lru_cache(_REMEMBERED_OWNERS)
def owner_text(owner: Owner) -> str:
    """Return an owner as it is written in keys: ``-`` for no team, and nothing for no user."""
    return f"{owner.env}:{owner.tenant}:{owner.team or '-'}:{owner.user or ''}"


def fence_text(fence: Owner | None) -> str:
    """Return a fence as scripts expect it: empty for None, without the last part for no user."""
    if fence is None:
        return ""
    text = owner_text(fence)
    return text.removesuffix(":") if fence.user is None else text


def page_fence_text(fence: Fence) -> str:
    """Return how the owners within a fence of a page begin in keys."""
    text = f"{fence.env}:{fence.tenant}:"
    return text if fence.team is None else f"{text}{fence.team}:"


def leads_to_sessions(keys: Keys, fence: Fence) -> Callable[[bytes], object]:
    """Return a function that tells the keys that lead to sessions within a fence from others."""
    owners = re.escape(page_fence_text(fence))
    kinds = rf":(?:session:|meta:|waits:scope:{owners}[^:]*(?::[^:]*)?:[^:]*\Z)"
    match = re.compile(kinds.encode()).match
    return lambda name: match(name, keys.prefix_length)


def parse_owner(text: str) -> Owner:
    """Return the owner that :func:`owner_text` wrote. Ids contain no colon."""
    env, tenant, team, user = text.split(":")
    team_id = None if team == "-" else TeamId(team)
    return Owner(EnvId(env), TenantId(tenant), team_id, UserId(user))


@lru_cache(_REMEMBERED_OWNERS)
def owner_in_reply(owner: Owner) -> str:
    """Return an owner as scripts reply it. They quote a team named ``-``, which Rust allows."""
    team = '"-"' if owner.team == "-" else owner.team or "-"
    return f"{owner.env}:{owner.tenant}:{team}:{owner.user or ''}"
