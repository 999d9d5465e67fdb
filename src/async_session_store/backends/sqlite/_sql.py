"""The SQL that all tables share: the columns of an owner, and texts that may be invalid."""

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
    """Return the columns of an owner, as plain texts: the driver binds them faster than ids."""
    return str(owner.env), str(owner.tenant), str(owner.team or ""), str(owner.user or "")


def text(value: str, column: str) -> str:
    """Return SQL that selects a text as a blob, and a value of another type as NULL.

    The driver raises for a text that is not UTF-8, so one such row would fail the whole call.
    """
    return f"CASE typeof(sessions.{column}) WHEN 'text' THEN CAST({value} AS BLOB) END"


def decoded(stored: bytes | None) -> str | None:
    """Return a text that was selected as a blob, or None if it is not valid."""
    try:
        return None if stored is None else stored.decode()
    except UnicodeDecodeError:
        return None


OWNER_TEXTS: Final = ", ".join(
    text(f"sessions.{column}", column) for column in ("env", "tenant", "team", "user")
)


def stored_owner(columns: OwnerColumns) -> Owner:
    env, tenant, team, user = columns
    # Not validated, since it is only compared and never returned to a caller.
    return Owner(
        cast("EnvId", env),
        cast("TenantId", tenant),
        cast("TeamId | None", team or None),
        cast("UserId | None", user or None),
    )
