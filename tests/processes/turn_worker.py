"""A process that takes turns of a storage that it shares with others.

Run as ``python turn_worker.py FORM URL NAMESPACE``, where FORM is asyncio, trio or threads. It
reads a message a line (JSON), takes its turn, and prints what became of it, also a line each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
from pydantic import BaseModel

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    ReplyScope,
    SessionStore,
    TenantCtx,
    Turn,
    WaitClaimedError,
)
from async_session_store.abc import Backend

CTX = TenantCtx(env="test", tenant_id="acme")
SCOPE = ReplyScope(conversation="chat")
THREADS = 256
WAIT = 120.0


class Answers(BaseModel):
    """What the flow remembers: the messages that it took, in its order."""

    taken: list[int] = []


@dataclass(frozen=True)
class Message:
    """The number of a user's message. The first begins the flow, each other answers a question."""

    user_id: str
    number: int
    lease: float = 30.0
    pause: float = 0.0
    """How long the bot takes to answer, in seconds."""
    dies_after: float | None = None
    """After how many seconds the process is killed, wherever it is then."""

    @property
    def scope(self) -> ReplyScope:
        return SCOPE

    @property
    def delivery_id(self) -> str:
        return str(self.number)

    @property
    def text(self) -> str:
        return str(self.number)

    def scopes(self) -> tuple[ReplyScope, ...]:
        return (SCOPE,)


class Event(NamedTuple):
    """What a worker says of a message."""

    what: str
    user: str
    number: int


def say(what: str, message: Message) -> None:
    """Print a line in one write, so that neither a thread nor a kill tears it apart."""
    line = json.dumps([what, message.user_id, message.number])
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def take(turn: Turn[Message, Answers]) -> None:
    """Answer a question with its own message, and ask the next one."""
    number = turn.inbound.number
    asked = 0 if turn.node is None else int(turn.node)
    if asked != number:
        raise AssertionError(f"message {number} answers question {asked}")
    turn.memory.taken.append(number)
    turn.ask(str(number + 1))


def take_any(turn: Turn[Message, Answers]) -> None:
    """Take a message wherever the flow is."""
    turn.memory.taken.append(turn.inbound.number)
    turn.ask("more")


TAKES = {"in turn": take, "any": take_any}


def outcome(error: Exception) -> str:
    if isinstance(error, DuplicateDeliveryError):
        return "duplicate"
    if isinstance(error, WaitClaimedError):
        return "claimed"
    return "lost" if isinstance(error, ClaimLostError) else f"failed: {error}"


def announce_places(backend: Backend, waiting: dict[str, list[Message]]) -> None:
    """Say "has" of a message as soon as the storage has given it a claim or a place."""
    claim_wait = backend.claim_wait

    async def announced(owner: Any, *args: Any, **kwargs: Any) -> Any:
        found = await claim_wait(owner, *args, **kwargs)
        if waiting.get(owner.user):
            say("has", waiting[owner.user].pop(0))
        return found

    backend.claim_wait = announced  # type: ignore[method-assign]


async def take_turns(url: str, namespace: str, take: Callable[[Any], None]) -> None:
    """Take the turns of messages in tasks of their own."""
    waiting: dict[str, list[Message]] = {}
    store = AsyncSessionStore.from_url(url, namespace=namespace or None)
    announce_places(store._storage, waiting)

    async def take_turn(message: Message) -> None:
        waiting.setdefault(message.user_id, []).append(message)
        try:
            async with store.turn(
                CTX, message, flow="flow", memory=Answers, lease=message.lease, wait=WAIT
            ) as turn:
                await anyio.sleep(message.pause)
                take(turn)
        except Exception as error:  # noqa: BLE001  # the parent decides what may come
            say(outcome(error), message)
        else:
            say("superseded" if turn.superseded else "done", message)

    async with store, anyio.create_task_group() as tasks:
        print("ready", flush=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            message = Message(**json.loads(line))
            die_after(message.dies_after)
            tasks.start_soon(take_turn, message)


def take_turns_in_threads(url: str, namespace: str, take: Callable[[Any], None]) -> None:
    """Take the turns of messages in threads."""
    waiting: dict[str, list[Message]] = {}
    store = SessionStore.from_url(url, namespace=namespace or None)
    announce_places(store._store._storage, waiting)

    def take_turn(message: Message) -> None:
        waiting.setdefault(message.user_id, []).append(message)
        try:
            with store.turn(
                CTX, message, flow="flow", memory=Answers, lease=message.lease, wait=WAIT
            ) as turn:
                time.sleep(message.pause)
                take(turn)
        except Exception as error:  # noqa: BLE001  # the parent decides what may come
            say(outcome(error), message)
        else:
            say("superseded" if turn.superseded else "done", message)

    with store, ThreadPoolExecutor(THREADS) as pool:
        print("ready", flush=True)
        while line := sys.stdin.readline():
            message = Message(**json.loads(line))
            die_after(message.dies_after)
            pool.submit(take_turn, message)


def die_after(seconds: float | None) -> None:
    """Let the kernel end this process: SIGALRM does so wherever it is, unless it is handled."""
    if seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def main() -> None:
    form, which, url, namespace = sys.argv[1:]
    if form == "threads":
        take_turns_in_threads(url, namespace, TAKES[which])
    else:
        anyio.run(take_turns, url, namespace, TAKES[which], backend=form)


if __name__ == "__main__":
    main()
