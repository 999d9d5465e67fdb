"""A process that takes turns of a storage that it shares with others.

It takes a message, takes its turn, and says what became of it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
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
    """What a worker says, of a message unless it is "ready"."""

    what: str
    user: str = ""
    number: int = 0


@dataclass(frozen=True)
class Parent:
    """The process that started this one."""

    messages: Connection
    events: Connection

    def say(self, what: str, message: Message) -> None:
        # In one write, so that neither a thread nor a kill tears it apart.
        self.events.send(Event(what, message.user_id, message.number))

    def say_ready(self) -> None:
        self.events.send(Event("ready"))

    def next_message(self) -> Message:
        """Wait for a message, and let this process be killed when that is due.

        The kernel does so: SIGALRM ends a process wherever it is, unless it is handled.
        """
        message: Message = self.messages.recv()
        if message.dies_after is not None:
            signal.setitimer(signal.ITIMER_REAL, message.dies_after)
        return message


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


class Waiting:
    """The messages that the storage has not been asked about yet, of each user in their order."""

    def __init__(self, backend: Backend, parent: Parent) -> None:
        self._messages: dict[str, list[Message]] = {}
        self._parent = parent
        self._claim_wait = backend.claim_wait
        backend.claim_wait = self._announced  # type: ignore[method-assign]

    def add(self, message: Message) -> None:
        self._messages.setdefault(message.user_id, []).append(message)

    async def _announced(self, owner: Any, *args: Any, **kwargs: Any) -> Any:
        """Say "has" of a message as soon as the storage has given it a claim or a place."""
        found = await self._claim_wait(owner, *args, **kwargs)
        if self._messages.get(owner.user):
            self._parent.say("has", self._messages[owner.user].pop(0))
        return found


async def take_turns(parent: Parent, url: str, namespace: str, take: Callable[[Any], None]) -> None:
    """Take the turns of messages in tasks of their own."""
    store = AsyncSessionStore.from_url(url, namespace=namespace or None)
    waiting = Waiting(store._storage, parent)

    async def take_turn(message: Message) -> None:
        waiting.add(message)
        try:
            async with store.turn(
                CTX, message, flow="flow", memory=Answers, lease=message.lease, wait=WAIT
            ) as turn:
                await anyio.sleep(message.pause)
                take(turn)
        except Exception as error:  # noqa: BLE001  # the parent decides what may come
            parent.say(outcome(error), message)
        else:
            parent.say("superseded" if turn.superseded else "done", message)

    async with store, anyio.create_task_group() as tasks:
        parent.say_ready()
        while True:
            tasks.start_soon(take_turn, await anyio.to_thread.run_sync(parent.next_message))


def take_turns_in_threads(
    parent: Parent, url: str, namespace: str, take: Callable[[Any], None]
) -> None:
    """Take the turns of messages in threads."""
    store = SessionStore.from_url(url, namespace=namespace or None)
    waiting = Waiting(store._store._storage, parent)

    def take_turn(message: Message) -> None:
        waiting.add(message)
        try:
            with store.turn(
                CTX, message, flow="flow", memory=Answers, lease=message.lease, wait=WAIT
            ) as turn:
                time.sleep(message.pause)
                take(turn)
        except Exception as error:  # noqa: BLE001  # the parent decides what may come
            parent.say(outcome(error), message)
        else:
            parent.say("superseded" if turn.superseded else "done", message)

    with store, ThreadPoolExecutor(THREADS) as pool:
        parent.say_ready()
        while True:
            pool.submit(take_turn, parent.next_message())


def work(parent: Parent, form: str, which: str, url: str, namespace: str) -> None:
    """Take turns until this process is killed. The form is asyncio, trio or threads."""
    if form == "threads":
        take_turns_in_threads(parent, url, namespace, TAKES[which])
    else:
        anyio.run(take_turns, parent, url, namespace, TAKES[which], backend=form)
