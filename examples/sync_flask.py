"""A Flask webhook with a store that its worker threads share: not a line of it is async.

Run it from the root of the repository, in an environment with Flask, and write to it:

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
import json
import os
from datetime import timedelta
from uuid import uuid4

from flask import Flask, request
from pydantic import BaseModel, Field, ValidationError

from async_session_store import (
    ClaimLostError,
    DuplicateDeliveryError,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionStore,
    StoreTimeoutError,
    StoreUnavailableError,
    TenantCtx,
    UserId,
    WaitClaimedError,
)

app = Flask(__name__)

# One for all threads. It is opened by the process that serves, below, and not by the import: a
# server that forks its workers opens it in each of them.
store = SessionStore.from_url(os.environ.get("SESSION_STORE_URL", "sqlite:///pizza.db"))


class Message(BaseModel):
    """What the platform posts; ``event`` is the same when it delivers a message again."""

    event: str = Field(min_length=1, max_length=200)
    chat: str
    user: str
    text: str


# --- The flow: each node gives the answer, and the node that takes the reply to it ------------


def start(order: dict[str, str], text: str) -> tuple[str, str | None]:
    return "What is your name?", "take_name"


def take_name(order: dict[str, str], text: str) -> tuple[str, str | None]:
    order["name"] = text
    return f"Hello {text}. A small pizza, or a large one?", "take_size"


def take_size(order: dict[str, str], text: str) -> tuple[str, str | None]:
    if text not in {"small", "large"}:
        return "Small or large?", "take_size"
    order["size"] = text
    return f"One {text} pizza for {order['name']}: yes or no?", "confirm"


def confirm(order: dict[str, str], text: str) -> tuple[str, str | None]:
    if text != "yes":
        return "Then not.", None
    return f"One {order['size']} pizza for {order['name']} is on its way.", None


NODES = {"start": start, "take_name": take_name, "take_size": take_size, "confirm": confirm}


# --- The webhook ------------------------------------------------------------------------------


@app.post("/messages")
def on_message() -> dict[str, str]:
    """Resume the flow that waits for this user in this chat, once for each event."""
    message = Message.model_validate_json(request.get_data())
    ctx = TenantCtx(env="demo", tenant_id="sync-flask", user_id=UserId.encode(message.user))
    chat = ReplyScope(conversation=message.chat)
    while True:
        # Each flow begins with a wait, so that its first message is handled once too.
        new = paused(ctx, "start", {})
        store.register_wait_if_absent(ctx, ctx.user_id, chat, uuid4().hex, new, ttl=60)
        with store.resume_wait(ctx, ctx.user_id, chat, wait=2, delivery_id=message.event) as wait:
            if wait is None:
                continue  # the flow ended while this message waited for its turn: begin one
            order = json.loads(wait.data.context_json)
            answer, next_node = NODES[wait.data.cursor.node_pointer](order, message.text)
            if next_node is not None:
                data = paused(ctx, next_node, order)
                store.register_wait(
                    ctx, ctx.user_id, chat, wait.key, data, ttl=timedelta(minutes=30)
                )
        return {"answer": answer}


def paused(ctx: TenantCtx, node: str, order: dict[str, str]) -> SessionData:
    return SessionData(
        tenant_ctx=ctx,
        flow_id="order-pizza",
        cursor=SessionCursor(node_pointer=node),
        context_json=json.dumps(order),
    )


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
