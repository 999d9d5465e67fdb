"""What the SQL of all tables shares: how an owner is stored, and who executes a statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias, cast

from async_session_store.models import EnvId, Owner, TeamId, TenantId, UserId

_REMEMBERED_OWNERS: Final = 1024

Execute: TypeAlias = "Callable[[str, tuple[object, ...]], sqlite3.Cursor]"
OwnerColumns: TypeAlias = "tuple[str, str, str, str]"

OWNER: Final = "env = ? AND tenant = ? AND team = ? AND user = ?"


@lru_cache(_REMEMBERED_OWNERS)
def owner_columns(owner: Owner) -> OwnerColumns:
    """An owner as it is stored: as plain texts, which the driver binds faster than ids."""
    return str(owner.env), str(owner.tenant), str(owner.team or ""), str(owner.user or "")


def text(value: str, column: str) -> str:
    """Select a text as a blob, and what is no text as NULL.

    For a text that is not UTF-8 the driver raises, and then one row would spoil the whole call.
    """
    return f"CASE typeof(sessions.{column}) WHEN 'text' THEN CAST({value} AS BLOB) END"


def decoded(stored: bytes | None) -> str | None:
    """Return a selected text, or None if it is not valid."""
    try:
        return None if stored is None else stored.decode()
    except UnicodeDecodeError:
        return None


OWNER_TEXTS: Final = ", ".join(
    text(f"sessions.{column}", column) for column in ("env", "tenant", "team", "user")
)


def stored_owner(columns: OwnerColumns) -> Owner:
    env, tenant, team, user = columns
    # Compared, and never given away: so not validated.
    return Owner(
        cast("EnvId", env),
        cast("TenantId", tenant),
        cast("TeamId | None", team or None),
        cast("UserId | None", user or None),
    )
