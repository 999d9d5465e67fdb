"""Deterministic session keys, derived from the ids that a channel delivers.

New code should use :func:`derive_session_key`. The other three return, byte for byte, the keys of
the Rust crates ``greentic-session`` and ``greentic-types``. They join their parts ambiguously:
``"a:b", "c"`` and ``"a", "b:c"`` give the same key. And only ``canonical_session_key`` includes the
tenant.
"""

from __future__ import annotations

import hashlib
import json

from async_session_store.errors import InvalidInputError
from async_session_store.models import SessionKey, TenantCtx

__all__ = [
    "canonical_session_key",
    "derive_session_key",
    "telegram_update_to_session_key",
    "webhook_to_session_key",
]


def telegram_update_to_session_key(
    bot_id: str | int, chat_id: str | int, user_id: str | int
) -> SessionKey:
    """Return the SHA-256 of ``tg:{bot_id}:{chat_id}:{user_id}`` in hex, as ``greentic-session``."""
    return _digest(f"tg:{bot_id}:{chat_id}:{user_id}")


def webhook_to_session_key(source: str, subject: str, id_hint: str) -> SessionKey:
    """Return the SHA-256 of ``wh:{source}:{subject}:{id_hint}`` in hex, as ``greentic-session``."""
    return _digest(f"wh:{source}:{subject}:{id_hint}")


def canonical_session_key(
    tenant: str, provider: str, anchor: str | None = None, user: str | None = None
) -> SessionKey:
    """Return ``{tenant}:{provider}:{anchor}:{user}``, as ``greentic-types`` does.

    A missing anchor becomes ``conversation``, and a missing user becomes ``user``. Raises
    pydantic's ``ValidationError`` if the key exceeds 1024 bytes.
    """
    anchor = "conversation" if anchor is None else anchor
    user = "user" if user is None else user
    return SessionKey(f"{tenant}:{provider}:{anchor}:{user}")


def derive_session_key(ctx: TenantCtx, *parts: str) -> SessionKey:
    """Return a key for ``parts`` in the environment, tenant and team of ``ctx`` (M5).

    The key is the SHA-256, in hex, of a JSON array of environment, tenant, team and the parts. So
    two lists of parts, or two tenants, share a key only if SHA-256 collides. Raises
    ``InvalidInputError`` without parts, or if one is not a ``str``.
    """
    if not parts or not all(isinstance(part, str) for part in parts):
        raise InvalidInputError("parts: give at least one, each a str")
    owner = ctx.owner
    return _digest(json.dumps([owner.env, owner.tenant, owner.team, *parts]))


def _digest(text: str) -> SessionKey:
    return SessionKey(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
