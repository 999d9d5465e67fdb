"""A web chat: bookings side by side in one page, and a list of the questions that are open.

Run it from the root of the repository, and open http://127.0.0.1:8000 in a browser:

    pip install . starlette uvicorn websockets
    python examples/webchat/app.py

Let the bot ask a question, kill the server, start it again, and answer: the flow continues. Each
question waits in webchat.db, or in the store that SESSION_STORE_URL names, for 30 minutes, or for
SESSION_WAIT_TTL_SECS. If you do not answer in time, the bot reminds you once, and then releases the
table.

A cookie from the server identifies the user; the sender that a message names is ignored. The page
keeps the conversation so far; the store keeps where each flow paused, and the bot's last message.
"""

import argparse
import hashlib
import json
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    InvalidInputError,
    SessionRecord,
    SessionStoreError,
    TenantCtx,
    Turn,
    UserId,
    WaitClaim,
    channels,
)

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import FileResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install . starlette uvicorn websockets")

sys.path.append(str(Path(__file__).parents[1]))
import booking

HERE = Path(__file__).parent
LEASE = 3  # seconds; after a crash, a message that is sent again waits this long for its turn
OVER = "over"  # the flow has ended; its session keeps the last answer, which may be asked for again
LET_GO = "let_go"  # the flow has ended because nobody answered; its session keeps the bot's message
WAITS_FOR = {"take_name": "a name", "take_date": "a date", "confirm": "yes or no"}
CHOICES = {"confirm": ["yes", "no"]}

COOKIE = "webchat_user"
COOKIE_LENGTH = len(secrets.token_urlsafe())
COOKIE_SECONDS = 365 * 24 * 60 * 60
MAX_FRAME_BYTES = 64 * 1024
HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'self'"}

Frame = dict[str, object]

logger = logging.getLogger("uvicorn.error")


@dataclass
class Memory(booking.Booking):
    """What a flow remembers, with the message that it answered last and the answer."""

    answered: str = ""
    said: str = ""


# --- The flow ---------------------------------------------------------------------------------


async def answer(store: AsyncSessionStore, inbound: channels.Inbound) -> Frame:
    """Take a user's turn and return the bot's answer, or the same answer for a repeated message."""
    try:
        said, node = await take_turn(store, inbound)
    except DuplicateDeliveryError:
        record = await store.get_wait(ctx_of(inbound.user_id), inbound.user_id, inbound.scope)
        if record is None:
            return reply(inbound, "I have already handled that.", OVER)
        said, node = memory_of(record).said, record.data.cursor.node_pointer
    return reply(inbound, said, node)


async def take_turn(store: AsyncSessionStore, inbound: channels.Inbound) -> tuple[str, str]:
    """Take one step, and remember the bot's answer in case it does not reach the page."""
    async with store.turn(
        ctx_of(inbound.user_id),
        inbound,
        flow="booking",
        memory=Memory,
        lease=LEASE,
        wait=3 * LEASE,
    ) as turn:
        node = None if turn.node in (OVER, LET_GO) else turn.node
        said, node = booking.step(node, turn.memory, turn.text or "")
        if turn.record is not None:
            booking.hold_table(turn.record.key, node)
        turn.memory.answered, turn.memory.said = inbound.delivery_id, said
        turn.memory.is_reminded = False
        ask(turn, node or OVER)
        return said, node or OVER


async def remind(store: AsyncSessionStore) -> None:
    """Remind users who do not answer, or release the table. The page finds out when it polls."""
    async for claim in store.expired_waits(SITE):
        try:
            await take_expired_turn(store, claim)
        except Exception:
            logger.exception("could not handle an expired wait; it will be handed out again")


async def take_expired_turn(store: AsyncSessionStore, claim: WaitClaim) -> None:
    async with store.expired_turn(claim, memory=Memory) as turn:
        if turn.is_overtaken:  # the user has started over
            booking.hold_table(turn.record.key, None)
            return
        turn.memory.said, node = booking.nobody_answered(turn.node, turn.memory)
        booking.hold_table(turn.record.key, node)
        ask(turn, node or LET_GO)


def ask(turn: Turn[channels.Inbound | None, Memory], node: str) -> None:
    turn.ask(node, expired_ttl=booking.REMIND_WITHIN if node in WAITS_FOR else None)


SITE = TenantCtx(env="demo", tenant_id="webchat")


def ctx_of(user: UserId) -> TenantCtx:
    return SITE.model_copy(update={"user_id": user})


# --- What the server sends to the page --------------------------------------------------------


def reply(inbound: channels.Inbound, said: str, node: str) -> Frame:
    """Return the bot's answer as an activity of the Bot Framework."""
    return {
        "type": "message",
        "from": {"role": "bot"},
        "conversation": {"id": inbound.conversation},
        "replyToId": inbound.delivery_id,
        "text": said,
        "inputHint": "expectingInput" if node in WAITS_FOR else "acceptingInput",
        "suggestedActions": {
            "actions": [
                {"type": "imBack", "title": choice, "value": choice}
                for choice in CHOICES.get(node, [])
            ]
        },
    }


async def waits(store: AsyncSessionStore, user: UserId) -> Frame:
    """Return the questions that wait for the user, and the bookings whose table was released."""
    asked, let_go = [], []
    for record in await store.list_wait_records(ctx_of(user), user):
        node = record.data.cursor.node_pointer
        if node in WAITS_FOR:
            asked.append({**last_words(record), **wait_of(record, node)})
        elif node == LET_GO:
            let_go.append(last_words(record))
    return {"type": "waits", "waits": asked, "letGo": let_go}


def last_words(record: SessionRecord) -> Frame:
    memory = memory_of(record)
    return {
        "conversation": {"id": channels.place(record.scope).conversation},
        "text": memory.said,
        "replyToId": memory.answered,
        "isReminder": memory.is_reminded,
    }


def wait_of(record: SessionRecord, node: str) -> Frame:
    return {
        "choices": CHOICES.get(node, []),
        "waitsFor": WAITS_FOR[node],
        "secondsLeft": (record.expires_at - datetime.now(timezone.utc)).total_seconds(),
    }


def memory_of(record: SessionRecord) -> Memory:
    return Memory(**json.loads(record.data.context_json))


# --- The server -------------------------------------------------------------------------------


async def page(request: Request) -> Response:
    response = FileResponse(HERE / "page.html", headers=HEADERS)
    response.set_cookie(
        COOKIE,
        cookie_of(request) or secrets.token_urlsafe(),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


async def asset(request: Request) -> Response:
    return FileResponse(HERE / request.url.path.lstrip("/"), headers=HEADERS)


async def chat(websocket: WebSocket) -> None:
    """Serve one page: its socket carries all its conversations, whose turns run side by side."""
    cookie = cookie_of(websocket)
    if cookie is None or not comes_from_our_page(websocket):
        await websocket.close()
        return
    await websocket.accept()
    # The store holds only a hash of the cookie, so nobody who reads the store can log in with it.
    line = Line(websocket, UserId(hashlib.sha256(cookie.encode()).hexdigest()))
    with suppress(WebSocketDisconnect):
        await line.show_waits()
    async with anyio.create_task_group() as turns:
        async for frame in websocket.iter_json():
            turns.start_soon(line.take, frame)
        turns.cancel_scope.cancel()  # the page sends unanswered messages again


class Line:
    """The connection to one page of one user."""

    def __init__(self, websocket: WebSocket, user: UserId) -> None:
        self._websocket = websocket
        self._store: AsyncSessionStore = websocket.state.store
        self._user = user
        self._lock = anyio.Lock()  # without it, an answer could overtake an older list of waits

    async def take(self, frame: Mapping[str, object]) -> None:
        with suppress(WebSocketDisconnect):
            try:
                if frame != {"type": "waits"}:
                    await self._answer(frame)
                await self.show_waits()
            except InvalidInputError as error:
                logger.warning("refused: %s", error)
            except SessionStoreError:
                logger.exception("the page will send this again")
                await self._websocket.send_json({"type": "later"})

    async def show_waits(self) -> None:
        async with self._lock:
            await self._websocket.send_json(await waits(self._store, self._user))

    async def _answer(self, activity: Mapping[str, object]) -> None:
        inbound = channels.webchat(activity, bot_id="trattoria", user_id=self._user)
        answered = await answer(self._store, inbound)
        async with self._lock:
            await self._websocket.send_json(answered)


def cookie_of(connection: HTTPConnection) -> str | None:
    cookie = connection.cookies.get(COOKIE, "")
    return cookie if len(cookie) == COOKIE_LENGTH else None


def comes_from_our_page(websocket: WebSocket) -> bool:
    """Check the origin: a browser sends the cookie even if another site opens the socket."""
    origin = urlsplit(websocket.headers.get("origin", ""))
    return origin.netloc == websocket.headers["host"]


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, object]]:
    async with AsyncSessionStore.from_env() as store, anyio.create_task_group() as tasks:
        await store.purge_expired()
        tasks.start_soon(remind, store)
        yield {"store": store}
        tasks.cancel_scope.cancel()  # an unfinished turn gives its wait back


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", page),
        *(Route(f"/{name}", asset) for name in ("style.css", "chat.js", "icon.svg")),
        WebSocketRoute("/chat", chat),
    ],
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    os.environ.setdefault("SESSION_STORE_URL", "sqlite:///webchat.db")
    os.environ.setdefault("SESSION_WAIT_TTL_SECS", "1800")
    uvicorn.run(app, port=options.port, ws_max_size=MAX_FRAME_BYTES)
