"""A webhook for several workers: each worker opens a store of its own, and closes it at its end.

    uvicorn app:app --workers 2

Every flow pauses in the store, so any worker may get the next message.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    DuplicateDeliveryError,
    StoreTimeoutError,
    StoreUnavailableError,
    TenantCtx,
    UserId,
    WaitClaimedError,
)
from async_session_store.channels import Inbound

CTX = TenantCtx(env="prod", tenant_id="acme")


class Order(BaseModel):
    pizza: str = ""


async def answer(store: AsyncSessionStore, message: Inbound) -> str:
    async with store.turn(CTX, message, flow="order", memory=Order, ttl=1800) as turn:
        if turn.is_new:
            turn.ask("take_pizza")
            return "Which pizza?"
        turn.end()
        return f"One {turn.text}."


async def on_message(request: Request) -> Response:
    payload = await request.json()
    message = Inbound(
        provider="demo",
        bot_id="pizza",
        conversation=payload["chat"],
        user_id=UserId(payload["user"]),
        delivery_id=payload["event"],
        text=payload["text"],
    )
    try:
        return PlainTextResponse(await answer(request.state.store, message))
    except DuplicateDeliveryError:
        return Response(status_code=200)  # acknowledge it: the user has the answer
    except (WaitClaimedError, ClaimLostError, StoreUnavailableError, StoreTimeoutError):
        return Response(status_code=503, headers={"Retry-After": "1"})  # deliver it again


async def is_ready(request: Request) -> Response:
    try:
        await request.state.store.ping()
    except (StoreUnavailableError, StoreTimeoutError):
        return Response(status_code=503)
    return Response(status_code=200)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, object]]:
    async with AsyncSessionStore.from_env() as store:  # in the worker, after any fork
        yield {"store": store}
    # By now the server has finished its requests, and the store has ended its calls.


routes = [Route("/messages", on_message, methods=["POST"]), Route("/ready", is_ready)]
app = Starlette(routes=routes, lifespan=lifespan)
