"""Erase all that is stored of a user, in steps of bounded size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import fields
from typing import Final, TypeAlias, cast

from async_session_store.abc import ErasedUser
from async_session_store.backends.redis._keys import Keys
from async_session_store.backends.redis._protocol import Argument
from async_session_store.models import EnvId, TenantId, UserId

_SCAN_STEP: Final = 256
_SCAN_START: Final = b"0"

Call: TypeAlias = Callable[..., Awaitable[object]]


class UserErasure:
    """One pass over a namespace, which erases a user of a tenant, in all teams.

    The names of most keys say whose they are. Sessions and what is known of them are found by
    their owners. So each key of the namespace is looked at once.

    Args:
        keys: The names of the keys in the namespace.
        call: Runs a command.
        run: Runs a script, given its name, its keys and its arguments.
    """

    def __init__(
        self, keys: Keys, call: Call, run: Call, env: EnvId, tenant: TenantId, user: UserId
    ) -> None:
        self._keys = keys
        self._call = call
        self._run = run
        self._tenancy = f"{env}:{tenant}"
        self._user = str(user)
        self._counted: Counter[str] = Counter()
        self._kind_of = _kinds(self._tenancy, self._user).match

    async def run(self) -> ErasedUser:
        """Erase the user. Return how much was erased."""
        sets: list[Argument] = []
        async with aclosing(self._scan()) as scan:  # trio complains of one that is left open
            async for names in scan:
                found = self._by_kind(names)
                for kind in ("claims", "places", "deliveries", "queues"):
                    self._counted[kind] += await self._delete(found.get(kind, []))
                await self._examine(found.get("examined", []))
                for name in found.get("indexes", []):
                    await self._erase_entries(name)
                sets += found.get("sets", [])
        # The sets go last, as they say which sessions of Rust processes wait somewhere.
        for name in sets:
            await self._erase_members(name)
        return ErasedUser(**{field.name: self._counted[field.name] for field in fields(ErasedUser)})

    def _by_kind(self, names: Sequence[bytes]) -> dict[str, list[Argument]]:
        """Return the keys that may be the user's, by kind."""
        found: dict[str, list[Argument]] = {}
        for name in names:
            kind = self._kind_of(name, self._keys.prefix_length)
            if kind is not None:
                found.setdefault(cast("str", kind.lastgroup), []).append(name)
        return found

    async def _delete(self, names: Sequence[Argument]) -> int:
        return cast("int", await self._call("DEL", *names)) if names else 0

    async def _examine(self, names: Sequence[Argument]) -> None:
        while names:
            reply = await self._run("erase_sessions", names, self._tenancy, self._user)
            looked_at, *erased = cast("list[int]", reply)
            self._count(erased)
            names = names[looked_at:]

    async def _erase_members(self, name: Argument) -> None:
        cursor, whose = None, (self._tenancy, self._user)
        while cursor != _SCAN_START:
            step = (cursor or _SCAN_START, _SCAN_STEP)
            reply = await self._run("erase_members", [name], *whose, *step)
            cursor, *erased = cast("tuple[bytes, int, int, int]", reply)
            self._count(erased)

    def _count(self, erased: Sequence[int]) -> None:
        waits, sessions, expired_waits = erased
        self._counted.update(waits=waits, sessions=sessions, expired_waits=expired_waits)

    async def _erase_entries(self, name: Argument) -> None:
        cursor = None
        while cursor != _SCAN_START:
            step = (cursor or _SCAN_START, _SCAN_STEP)
            cursor = cast("bytes", await self._run("erase_expiring", [name], self._user, *step))

    async def _scan(self) -> AsyncGenerator[list[bytes], None]:
        cursor = _SCAN_START
        while True:
            reply = await self._call(
                "SCAN", cursor, "MATCH", self._keys.pattern, "COUNT", _SCAN_STEP
            )
            cursor, found = cast("tuple[bytes, list[bytes]]", reply)
            yield found
            if cursor == _SCAN_START:
                return


def _kinds(tenancy: str, user: str) -> re.Pattern[bytes]:
    """Return a pattern of what follows the namespace in a key, with a group for each kind.

    ``examined`` are keys that do not say whose they are, and those that lead to a session.
    """
    owner = f"{re.escape(tenancy)}:[^:]*:{re.escape(user)}"
    kinds = {
        "claims": f"claim:{owner}:[^:]+",
        "queues": f"queue:{owner}:[^:]+",
        "places": f"queue:{owner}:[^:]+:[^:]+",
        "deliveries": f"delivery:{owner}:[^:]+",
        "sets": f"(?:waits:user|expiring):{owner}",
        "indexes": f"expiring:{re.escape(tenancy)}:[^:]+",
        "examined": f"(?:session|meta):.*|claim:[^:]{{32}}|waits:scope:{owner}:[^:]+",
    }
    groups = (f"(?P<{kind}>{names})" for kind, names in kinds.items())
    return re.compile(rf":(?:{'|'.join(groups)})\Z".encode(), re.DOTALL)
