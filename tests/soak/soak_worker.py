"""A process of the soak tests. Run as ``python soak_worker.py TASK URL NAMESPACE NUMBER``."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from model import Result

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ReplyScope,
    SessionNotFoundError,
    WaitClaim,
    WaitClaimedError,
)
from async_session_store.testing.contract.builders import ctx, data

LONG = 300.0
CALLERS = 2
CALLS = 4
SCOPES = ("a", "b")
KEYS = ("k1", "k2", "k3")


class Caller:
    """A caller that makes random calls for one user, and records their results."""

    def __init__(self, store: AsyncSessionStore, history: str, name: str) -> None:
        self._store = store
        self._history = history
        self._user = f"user-{history}"
        self._ctx = ctx(self._user)
        self._name = name
        self._random = random.Random(f"{history} {name}")
        self._claims: list[tuple[str, WaitClaim]] = []
        self._seen: list[tuple[object, ...]] = []

    async def run(self) -> list[tuple[object, ...]]:
        calls = [self.register, self.register, self.register_if_absent, self.find, self.get]
        calls += [self.update, self.remove, self.clear, self.list, self.claim, self.claim]
        for number in range(CALLS):
            end_claim = self._claims and self._random.random() < 0.7
            method = self._random.choice([self.complete, self.release] if end_claim else calls)
            await self._call(f"{self._name}.{number}", method)
        return self._seen

    async def _call(self, call_id: str, method: Callable[..., Awaitable[Result]]) -> None:
        scope, key = self._random.choice(SCOPES), self._random.choice(KEYS)
        name = method.__name__
        if name in ("complete", "release"):
            scope, claim = self._claims.pop()
            key = claim.token
            began = time.monotonic_ns()
            result = await method(claim)
        else:
            began = time.monotonic_ns()
            result = await method(call_id, scope, key)
        ended = time.monotonic_ns()
        if name == "claim":
            key = self._claims[-1][1].token if result not in (None, "claimed") else ""
        self._seen.append((call_id, name, scope, key, result, began, ended))

    def _stored(self, key: str) -> str:
        return f"{self._history}-{key}"

    def _named(self, stored: str | None) -> str | None:
        return None if stored is None else stored.removeprefix(f"{self._history}-")

    async def register(self, call_id: str, scope: str, key: str) -> Result:
        at = ReplyScope(conversation=scope)
        stored = self._stored(key)
        document = data(call_id, of=self._ctx)
        return self._named(
            await self._store.register_wait(self._ctx, self._user, at, stored, document, LONG)
        )

    async def register_if_absent(self, call_id: str, scope: str, key: str) -> Result:
        at = ReplyScope(conversation=scope)
        stored = self._stored(key)
        document = data(call_id, of=self._ctx)
        return await self._store.register_wait_if_absent(
            self._ctx, self._user, at, stored, document, LONG
        )

    async def find(self, _id: str, scope: str, _key: str) -> Result:
        at = ReplyScope(conversation=scope)
        return self._named(await self._store.find_wait_by_scope(self._ctx, self._user, at))

    async def get(self, _id: str, _scope: str, key: str) -> Result:
        found = await self._store.get_session(self._stored(key))
        return None if found is None else found.context_json

    async def update(self, call_id: str, _scope: str, key: str) -> Result:
        try:
            await self._store.update_session(self._stored(key), data(call_id, of=self._ctx))
        except SessionNotFoundError:
            return False
        return True

    async def remove(self, _id: str, _scope: str, key: str) -> Result:
        try:
            await self._store.remove_session(self._stored(key))
        except SessionNotFoundError:
            return False
        return True

    async def clear(self, _id: str, scope: str, _key: str) -> Result:
        return await self._store.clear_wait(self._ctx, self._user, ReplyScope(conversation=scope))

    async def list(self, _id: str, _scope: str, _key: str) -> Result:
        keys = await self._store.list_waits_for_user(self._ctx, self._user)
        return " ".join(name for name in map(self._named, keys) if name is not None)

    async def claim(self, _id: str, scope: str, _key: str) -> Result:
        at = ReplyScope(conversation=scope)
        try:
            claim = await self._store.claim_wait(self._ctx, self._user, at, lease=LONG)
        except WaitClaimedError:
            return "claimed"
        if claim is None:
            return None
        self._claims.append((scope, claim))
        return claim.record.data.context_json

    async def complete(self, claim: WaitClaim) -> Result:
        try:
            return await claim.complete()
        except ClaimLostError:
            return "lost"

    async def release(self, claim: WaitClaim) -> Result:
        try:
            await claim.release()
        except ClaimLostError:
            return "lost"
        return None


async def histories(store: AsyncSessionStore, number: int) -> None:
    """Play this process's part in each history. Each line from the parent names a history."""
    while history := (await asyncio.to_thread(sys.stdin.readline)).strip():
        callers = [Caller(store, history, f"{number}{which}") for which in "ab"[:CALLERS]]
        seen = await asyncio.gather(*(caller.run() for caller in callers))
        print(json.dumps([call for calls in seen for call in calls]), flush=True)


async def write_until_killed(store: AsyncSessionStore, number: int) -> None:
    """Write ever newer values of one key, and print each value that was acknowledged.

    Each line is a single write to the pipe, so a kill tears none apart.
    """
    user, at = f"user-{number}", ReplyScope(conversation="chat")
    for value in range(int(sys.stdin.readline()), sys.maxsize):
        key, document = f"key-{number}", data(str(value), of=ctx(user))
        if value % 3 == 0:
            await store.register_wait(ctx(user), user, at, key, document, LONG)
        elif value % 3 == 1:
            await store.update_session(key, document)
        else:
            with suppress(WaitClaimedError):  # a killed process may still hold it
                claim = await store.claim_wait(ctx(user), user, at, lease=0.05)
                if claim is not None:
                    await claim.release()
            await store.update_session(key, document)
        os.write(sys.stdout.fileno(), f"{value}\n".encode())


TASKS = {"histories": histories, "write_until_killed": write_until_killed}


async def run(task: str, url: str, namespace: str, number: int) -> None:
    async with AsyncSessionStore.from_url(url, namespace=namespace or None) as store:
        print("ready", flush=True)
        await TASKS[task](store, number)


if __name__ == "__main__":
    task, url, namespace, number = sys.argv[1:]
    asyncio.run(run(task, url, namespace, int(number)))
