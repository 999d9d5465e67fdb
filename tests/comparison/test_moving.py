"""A user answers a question that another framework asked: docs/how-to/move-from-a-framework.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import redis.asyncio
from platform_server import Call, Platform
from process import run_aiogram, run_ptb, run_turn
from telegram.ext import PicklePersistence
from turn_pizza import CTX, Order

from async_session_store import AsyncSessionStore
from redis_server import RedisServer

sys.path.append(str(Path(__file__).parents[2] / "examples/moving"))

import from_aiogram
import from_ptb

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

BOT = "4242"
CONVERSATION = ["Which pizza?", "What size?", "One large margherita."]


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/bot.db"


@pytest.fixture
def sent(platform: Platform) -> list[str]:
    """Return what the bots have sent, which grows."""
    texts: list[str] = []

    def on_message(call: Call) -> object:
        texts.append(str(call.fields["text"]))
        chat = {"id": 5551, "type": "private"}
        return {"ok": True, "result": {"message_id": 1, "date": 1767225600, "chat": chat}}

    me = {"id": 4242, "is_bot": True, "first_name": "Pizza", "username": "pizza_bot"}
    platform.answers |= {
        "/getMe": lambda _: {"ok": True, "result": me},
        "/sendMessage": on_message,
    }
    return texts


async def test_from_aiogram(platform: Platform, sent: list[str], storage: str) -> None:
    with RedisServer.start() as server:
        async with run_aiogram(platform.url, server.url) as deliver:
            await deliver(1, "hi")
            await deliver(2, "margherita")
        async with (
            AsyncSessionStore.from_url(storage) as store,
            redis.asyncio.Redis.from_url(server.url) as client,
        ):
            assert await from_aiogram.move(store, CTX, client, BOT, Order) == 1
            assert await from_aiogram.move(store, CTX, client, BOT, Order) == 0
    await answer_the_last_question(platform, storage)
    assert sent == CONVERSATION


async def test_from_ptb(platform: Platform, sent: list[str], storage: str, tmp_path: Path) -> None:
    file = str(tmp_path / "persistence")
    async with run_ptb(platform.url, file) as deliver:
        await deliver(1, "hi")
        await deliver(2, "margherita")
    async with AsyncSessionStore.from_url(storage) as store:
        for moved in (1, 0):
            persistence = PicklePersistence(file)
            assert await from_ptb.move(store, CTX, persistence, BOT, Order, 1800) == moved
    await answer_the_last_question(platform, storage)
    assert sent == CONVERSATION


async def answer_the_last_question(platform: Platform, storage: str) -> None:
    async with run_turn(platform.url, storage) as deliver:
        await deliver(3, "large")
