"""A process that takes turns on a storage that it shares with others.

It receives messages, takes the turn of each, and reports the outcome.
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
    """The memory of the flow: its messages, in the order in which it handled them."""

    taken: list[int] = []


@dataclass(frozen=True)
class Message:
    """A numbered message of a user. The first begins the flow; each other answers a question."""

    user_id: str
    number: int
    lease: float = 30.0
    pause: float = 0.0
    """Seconds that the bot takes to answer."""
    dies_after: float | None = None
    """Seconds after which the process is killed, wherever it is then."""
    other_ids: tuple[str, ...] = ()
    """Ids of the user that are tried before ``user_id``."""

    @property
    def user_ids(self) -> tuple[str, ...]:
        return (*self.other_ids, self.user_id)

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
    """An event of a message, or "ready"."""

    what: str
    user: str = ""
    number: int = 0


@dataclass(frozen=True)
class Parent:
    """The process that started this one."""

    messages: Connection
    events: Connection

    def say(self, what: str, message: Message) -> None:
        # One write, so that neither a thread nor a kill tears it apart.
        self.events.send(Event(what, message.user_id, message.number))

    def say_ready(self) -> None:
        self.events.send(Event("ready"))

    def next_message(self) -> Message:
        """Wait for a message. If it says so, arm the timer that kills this process.

        SIGALRM, which nobody handles here, ends a process wherever it is.
        """
        message: Message = self.messages.recv()
        if message.dies_after is not None:
            signal.setitimer(signal.ITIMER_REAL, message.dies_after)
        return message


def take(turn: Turn[Message, Answers]) -> None:
    """Check that the message answers its own question, and ask the next one."""
    number = turn.inbound.number
    asked = 0 if turn.node is None else int(turn.node)
    if asked != number:
        raise AssertionError(f"message {number} answers question {asked}")
    turn.memory.taken.append(number)
    turn.ask(str(number + 1))


def take_any(turn: Turn[Message, Answers]) -> None:
    """Accept a message wherever the flow is."""
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
    """Messages for which no claim was requested yet, by user and in their order."""

    def __init__(self, backend: Backend, parent: Parent) -> None:
        self._messages: dict[str, list[Message]] = {}
        self._parent = parent
        self._claim_wait = backend.claim_wait
        backend.claim_wait = self._announced  # type: ignore[method-assign]

    def add(self, message: Message) -> None:
        self._messages.setdefault(message.user_id, []).append(message)

    async def _announced(self, owners: Any, *args: Any, **kwargs: Any) -> Any:
        """Report "has" as soon as the storage has given a message a claim or a place."""
        found = await self._claim_wait(owners, *args, **kwargs)
        if self._messages.get(owners[-1].user):
            self._parent.say("has", self._messages[owners[-1].user].pop(0))
        return found


async def take_turns(parent: Parent, url: str, namespace: str, take: Callable[[Any], None]) -> None:
    """Take the turn of each message in a task of its own."""
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
        except Exception as error:  # noqa: BLE001  # the parent judges the outcome
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
    """Take the turn of each message in a thread of a pool."""
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
        except Exception as error:  # noqa: BLE001  # the parent judges the outcome
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
