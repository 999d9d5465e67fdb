"""Looking up a wait of several users, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from async_session_store.abc import Backend, Unreadable
from async_session_store.models import Owner, SessionKey, SessionRecord


class FoundWait(NamedTuple):
    """A live wait, and whose it is."""

    owner: Owner
    key: SessionKey


async def find_first(
    storage: Callable[[], Backend], owners: Sequence[Owner], scope_hashes: Sequence[str]
) -> FoundWait | None:
    """Find the wait of the first owner who has one at any of the scopes, in one step."""
    if not owners:
        return None
    places = product(owners, scope_hashes)
    states = await storage().inspect_waits(owners, scope_hashes)
    for (owner, _), state in zip(places, states, strict=True):
        if state.key is not None:
            return FoundWait(owner, state.key)
    return None


async def read_first(
    storage: Callable[[], Backend], owners: Sequence[Owner], scope_hashes: Sequence[str]
) -> SessionRecord | Unreadable | None:
    """Read the wait that :func:`find_first` finds."""
    if len(owners) == 1:
        return await storage().read_wait(owners[0], scope_hashes)
    while (found := await find_first(storage, owners, scope_hashes)) is not None:
        wait = await storage().read_wait(found.owner, scope_hashes)
        if wait is not None:
            return wait
        # It ended between the two steps, and another user's wait may be the first one now.
    return None
