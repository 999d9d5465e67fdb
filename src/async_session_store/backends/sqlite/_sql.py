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


def stored_owner(columns: OwnerColumns) -> Owner:
    env, tenant, team, user = columns
    # Compared, and never given away: so not validated.
    return Owner(
        cast("EnvId", env),
        cast("TenantId", tenant),
        cast("TeamId | None", team or None),
        cast("UserId | None", user or None),
    )
