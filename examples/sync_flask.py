"""A Flask webhook whose worker threads share a store, without a line of async code.

Run it from the root of the repository, and send it a message from another terminal:

    pip install . flask
    python examples/sync_flask.py
    curl localhost:5000/messages --json '{"event": "1", "chat": "42", "user": "al", "text": "hi"}'

curl prints the bot's answer. The bot asks for your name, then for the size of your pizza, and then
whether the order is right. Give each new message a new "event". Stop the server with Ctrl-C between
two messages and start it again: the flow continues, because it is stored in pizza.db, or in the
store that SESSION_STORE_URL names. Send the same event again: the server acknowledges it with a
note, and the flow stays where it is.

A platform delivers a message again until it is acknowledged with 200. So the server answers 503
with Retry-After if another thread or process keeps the flow busy for more than two seconds, or if
the storage is unavailable.
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

# All threads share this store. Importing the module does not open it; the serving process does,
# below. A server that forks its workers must open it in each worker.
store = SessionStore.from_url(os.environ.get("SESSION_STORE_URL", "sqlite:///pizza.db"))

CTX = TenantCtx(env="demo", tenant_id="sync-flask")


class Message(BaseModel):
    """A message as the platform posts it, with the attributes that a turn needs."""

    event: str = Field(min_length=1, max_length=200)
    chat: str
    user: str
    text: str

    @property
    def delivery_id(self) -> str:  # stays the same if the platform delivers a message again
        return self.event

    @property
    def user_id(self) -> UserId:
        return UserId.encode(self.user)

    @property
    def scope(self) -> ReplyScope:
        return ReplyScope(conversation=self.chat)

    def scopes(self) -> list[ReplyScope]:
        return [self.scope]


# --- The flow: each node takes a turn, decides what comes next, and returns the answer ---------


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
    return f"Hello {turn.text}. Would you like a small pizza or a large one?"


def take_size(turn: PizzaTurn) -> str:
    if turn.text not in {"small", "large"}:
        turn.keep()
        return "Small or large?"
    turn.memory.size = turn.text
    turn.ask("confirm")
    return f"One {turn.text} pizza for {turn.memory.name}. Is that right? Please answer yes or no."


def confirm(turn: PizzaTurn) -> str:
    turn.end()
    if turn.text != "yes":
        return "OK, no pizza then."
    return f"One {turn.memory.size} pizza for {turn.memory.name} is on its way."


NODES = {None: start, "take_name": take_name, "take_size": take_size, "confirm": confirm}


# --- The webhook ------------------------------------------------------------------------------


@app.post("/messages")
def on_message() -> dict[str, str]:
    """Resume the flow that waits for this message, or start one."""
    message = Message.model_validate_json(request.get_data())
    with store.turn(
        CTX, message, flow="order-pizza", memory=Order, ttl=timedelta(minutes=30), wait=2
    ) as turn:
        answer = NODES[turn.node](turn)
    return {"answer": answer}


@app.errorhandler(DuplicateDeliveryError)
def acknowledge(error: DuplicateDeliveryError) -> dict[str, str]:
    return {"note": "this event was already handled"}


@app.errorhandler(WaitClaimedError)
@app.errorhandler(ClaimLostError)
@app.errorhandler(StoreTimeoutError)
@app.errorhandler(StoreUnavailableError)
def deliver_again(error: Exception) -> tuple[dict[str, str], int, dict[str, str]]:
    return {"note": "not handled yet; deliver it again"}, 503, {"Retry-After": "1"}


@app.errorhandler(ValidationError)
def refuse(error: ValidationError) -> tuple[dict[str, str], int]:
    return {"note": "a message needs an event, a chat, a user and a text"}, 400


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--port", type=int, default=5000, help="0 picks a free port (default: %(default)s)"
    )
    options = parser.parse_args()
    with store:
        app.run(port=options.port, threaded=True)
