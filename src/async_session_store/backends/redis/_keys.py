"""The names of the keys, as the Rust crate ``greentic-session`` writes them."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from functools import lru_cache
from typing import Final

from async_session_store.abc import Delivery
from async_session_store.models import EnvId, Owner, SessionKey, TeamId, TenantId, UserId

_REMEMBERED_OWNERS: Final = 1024
_KINDS: Final = re.compile(rb":(session|meta|claim|queue|delivery|waits|expiring):")


class Keys:
    """The keys under a namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._prefix_length = len(namespace.encode())

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

    def delivery(self, owner: Owner, delivery: Delivery) -> str:
        digest = urlsafe_b64encode(delivery.digest).decode()
        return f"{self._namespace}:delivery:{owner_text(owner)}:{digest}"

    def claim_of_token(self, token: str) -> str:
        """Return the key that says which session a token claimed as an expired wait."""
        return f"{self._namespace}:claim:{token}"

    def expiring(self, fence: Owner | None) -> str:
        """Return the key that says when the expired waits of a fence are due."""
        return f"{self._namespace}:expiring:{fence_text(fence) or 'all'}"

    def channel(self, name: str) -> str:
        """Return the name of a channel. Channels have the namespace too, for access control."""
        return f"{self._namespace}:turns:{name}"

    @property
    def pattern(self) -> str:
        """The pattern of all keys of the namespace."""
        return f"{self._escaped}:*"

    @property
    def channels(self) -> str:
        """A pattern of all channels of the namespace."""
        return f"{self._escaped}:turns:*"

    @property
    def users(self) -> str:
        """A pattern of all users' sets of waits."""
        return f"{self._escaped}:waits:user:*"

    @property
    def all_expiring(self) -> str:
        """A pattern of all keys that say when waits are due."""
        return f"{self._escaped}:expiring:*"

    @property
    def routes(self) -> tuple[str, str]:
        """Patterns of all other keys that point to a session."""
        return f"{self._escaped}:waits:scope:*", f"{self._escaped}:meta:*"

    def is_surely_ours(self, name: bytes) -> bool:
        """Return whether a key belongs to no namespace within this one.

        ``a:meta:session:k`` is a session in the namespace ``a:meta``, but looks like a meta key in
        ``a``. One word of each key says its kind; in a nested namespace it is the second such word.
        """
        kind = _KINDS.match(name, self._prefix_length)
        return kind is not None and _KINDS.search(name, kind.end() - 1) is None

    @property
    def _escaped(self) -> str:
        return re.sub(r"([*?\[\]\\])", r"\\\1", self._namespace)


@lru_cache(_REMEMBERED_OWNERS)
def owner_text(owner: Owner) -> str:
    """An owner as it stands in the keys: ``-`` for no team, and nothing for no user."""
    return f"{owner.env}:{owner.tenant}:{owner.team or '-'}:{owner.user or ''}"


def fence_text(fence: Owner | None) -> str:
    """A fence as scripts take it: nothing for none, and the user only if it has one."""
    if fence is None:
        return ""
    text = owner_text(fence)
    return text.removesuffix(":") if fence.user is None else text


def parse_owner(text: str) -> Owner:
    """Return the owner of which :func:`owner_text` made a text. Ids contain no colon."""
    env, tenant, team, user = text.split(":")
    team_id = None if team == "-" else TeamId(team)
    return Owner(EnvId(env), TenantId(tenant), team_id, UserId(user))


@lru_cache(_REMEMBERED_OWNERS)
def owner_in_reply(owner: Owner) -> str:
    """Return an owner as scripts reply it. They quote a team named ``-``, which Rust allows."""
    team = '"-"' if owner.team == "-" else owner.team or "-"
    return f"{owner.env}:{owner.tenant}:{team}:{owner.user or ''}"
