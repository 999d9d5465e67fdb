"""A Flask webhook with a store that its worker threads share: not a line of it is async.

Run it from the root of the repository, and write to it:

    pip install . flask
    python examples/sync_flask.py
    curl localhost:5000/messages --json '{"event": "1", "chat": "42", "user": "al", "text": "hi"}'

You will see the bot's answer: it asks for the name, then for the size, then whether that is right.
Stop it with Ctrl-C and start it again between two messages: the flow goes on, as it waits in
pizza.db, or in the store that SESSION_STORE_URL names. Send the same event again: it is
acknowledged with a note, and the flow stays where it is.

A platform delivers a message again until it is acknowledged with 200. So the answer is 503, with
Retry-After, when another thread or process has this flow for longer than a moment, or when the
storage is away.
"""

import argparse
import os
import sys
from datetime import timedelta

from pydantic import BaseModel, Field, ValidationError

from async_session_store import (
    ClaimLostError,
    DuplicateDeliveryError,
    ReplyScope,
    SessionStore,
    StoreTimeoutError,
    StoreUnavailableError,
    TenantCtx,
    Turn,
    UserId,
    WaitClaimedError,
)

try:
    from flask import Flask, request
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install . flask")

app = Flask(__name__)

# One for all threads. It is opened by the process that serves, below, and not by the import: a
# server that forks its workers opens it in each of them.
store = SessionStore.from_url(os.environ.get("SESSION_STORE_URL", "sqlite:///pizza.db"))

CTX = TenantCtx(env="demo", tenant_id="sync-flask")


class Message(BaseModel):
    """A message as the platform posts it, with the members that a turn needs."""

    event: str = Field(min_length=1, max_length=200)
    chat: str
    user: str
    text: str

    @property
    def delivery_id(self) -> str:  # the same when the platform delivers a message again
        return self.event

    @property
    def user_id(self) -> UserId:
        return UserId.encode(self.user)

    @property
    def scope(self) -> ReplyScope:
        return ReplyScope(conversation=self.chat)

    def scopes(self) -> list[ReplyScope]:
        return [self.scope]


# --- The flow: each node takes a turn, says what comes next, and gives the answer --------------


class Order(BaseModel):
    """What the flow remembers."""

    name: str = ""
    size: str = ""


PizzaTurn = Turn[Message, Order]


def start(turn: PizzaTurn) -> str:
    turn.ask("take_name")
    return "What is your name?"


def take_name(turn: PizzaTurn) -> str:
    turn.memory.name = turn.text
    turn.ask("take_size")
    return f"Hello {turn.text}. A small pizza, or a large one?"


def take_size(turn: PizzaTurn) -> str:
    if turn.text not in {"small", "large"}:
        turn.keep()
        return "Small or large?"
    turn.memory.size = turn.text
    turn.ask("confirm")
    return f"One {turn.text} pizza for {turn.memory.name}: yes or no?"


def confirm(turn: PizzaTurn) -> str:
    turn.end()
    if turn.text != "yes":
        return "Then not."
    return f"One {turn.memory.size} pizza for {turn.memory.name} is on its way."


NODES = {None: start, "take_name": take_name, "take_size": take_size, "confirm": confirm}


# --- The webhook ------------------------------------------------------------------------------


@app.post("/messages")
def on_message() -> dict[str, str]:
    """Resume the flow that waits for this message, or begin one."""
    message = Message.model_validate_json(request.get_data())
    with store.turn(
        CTX, message, flow="order-pizza", memory=Order, ttl=timedelta(minutes=30), wait=2
    ) as turn:
        answer = NODES[turn.node](turn)
    return {"answer": answer}


@app.errorhandler(DuplicateDeliveryError)
def acknowledge(error: DuplicateDeliveryError) -> dict[str, str]:
    return {"note": "this event was handled before"}


@app.errorhandler(WaitClaimedError)
@app.errorhandler(ClaimLostError)
@app.errorhandler(StoreTimeoutError)
@app.errorhandler(StoreUnavailableError)
def deliver_again(error: Exception) -> tuple[dict[str, str], int, dict[str, str]]:
    return {"note": "not handled yet: deliver it again"}, 503, {"Retry-After": "1"}


@app.errorhandler(ValidationError)
def refuse(error: ValidationError) -> tuple[dict[str, str], int]:
    return {"note": "a message has an event, a chat, a user and a text"}, 400


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=5000, help="0 takes a free one")
    options = parser.parse_args()
    with store:
        app.run(port=options.port, threaded=True)
