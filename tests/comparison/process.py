"""One of the bots in a process of its own, on a given platform and storage.

Each line on stdin holds messages as JSON: ``[[number, text], ...]``. They are delivered together,
in this order. When the bot has handled them, the process prints "done". Two deliveries with the
same number are one message, delivered twice. The thousands of a number tell its sender.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partialmethod
from pathlib import Path

from async_session_store import AsyncSessionStore

TOKEN = "4242:AAF-a-token-that-looks-like-one"
LEASE = 1  # seconds of claims and locks: how long others wait after a crash

Deliver = Callable[[int, str], Awaitable[object]]


class ShortLeaseStore(AsyncSessionStore):
    turn = partialmethod(AsyncSessionStore.turn, lease=LEASE)


def telegram_update(number: int, text: str) -> dict[str, object]:
    user_id = 5551 + number // 1000
    ann = {"id": user_id, "is_bot": False, "first_name": "Ann"}
    chat = {"id": user_id, "type": "private", "first_name": "Ann"}
    message = {"message_id": number, "date": 1767225600, "from": ann, "chat": chat, "text": text}
    return {"update_id": number, "message": message}


@asynccontextmanager
async def aiogram_bot(platform: str, dispatcher: object) -> AsyncIterator[Deliver]:
    from aiogram import Bot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer

    async with Bot(TOKEN, session=AiohttpSession(api=TelegramAPIServer.from_base(platform))) as bot:

        async def deliver(number: int, text: str) -> None:
            await dispatcher.feed_raw_update(bot, telegram_update(number, text))

        yield deliver


@asynccontextmanager
async def run_turn(platform: str, storage: str) -> AsyncIterator[Deliver]:
    import turn_pizza
    from aiogram import Dispatcher

    async with ShortLeaseStore.from_url(storage) as store:
        dispatcher = Dispatcher(store=store)
        dispatcher.message.register(turn_pizza.on_message)
        async with aiogram_bot(platform, dispatcher) as deliver:
            yield deliver


@asynccontextmanager
async def run_aiogram(
    platform: str, storage: str, *, isolated: bool = False
) -> AsyncIterator[Deliver]:
    import aiogram_pizza
    from aiogram import Dispatcher
    from aiogram.fsm.storage.redis import RedisEventIsolation, RedisStorage

    states = RedisStorage.from_url(storage)
    # By default the lock of a process that was killed lasts 60 seconds.
    lock = {"timeout": LEASE}
    isolation = RedisEventIsolation(states.redis, lock_kwargs=lock) if isolated else None
    dispatcher = Dispatcher(storage=states, events_isolation=isolation)
    dispatcher.include_router(aiogram_pizza.router)
    async with aiogram_bot(platform, dispatcher) as deliver:
        yield deliver
    await states.close()


@asynccontextmanager
async def run_aiogram_isolated(platform: str, storage: str) -> AsyncIterator[Deliver]:
    async with run_aiogram(platform, storage, isolated=True) as deliver:
        yield deliver


@asynccontextmanager
async def run_ptb(platform: str, storage: str) -> AsyncIterator[Deliver]:
    import ptb_pizza
    from telegram import Update
    from telegram.ext import ApplicationBuilder, PicklePersistence

    builder = ApplicationBuilder().token(TOKEN).base_url(f"{platform}/bot")
    application = builder.persistence(PicklePersistence(storage)).build()
    application.add_handler(ptb_pizza.conversation)

    async def deliver(number: int, text: str) -> None:
        # As its webhook does. The application handles one update after the other.
        update = Update.de_json(telegram_update(number, text), application.bot)
        await application.update_queue.put(update)
        await application.update_queue.join()

    async with application:
        await application.start()
        yield deliver
        await application.stop()


@asynccontextmanager
async def run_dialogs(platform: str, storage: str) -> AsyncIterator[Deliver]:
    import dialogs_pizza
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer
    from microsoft_agents.activity import load_configuration_from_env
    from microsoft_agents.authentication.msal import MsalConnectionManager
    from microsoft_agents.hosting.aiohttp import (
        CloudAdapter,
        jwt_authorization_middleware,
        start_agent_process,
    )
    from microsoft_agents.hosting.core import AgentApplication, Storage, TurnState

    class FileStorage(Storage):
        """A file for each key. The last write wins, as in the SDK's Blob and Cosmos storages.

        Those write JSON, which cannot represent the SDK's dialog state, so it is pickled here.
        """

        def __init__(self) -> None:
            Path(storage).mkdir(exist_ok=True)

        def file(self, key: str) -> Path:
            return Path(storage, key.replace("/", "_"))

        async def read(self, keys, *, target_cls, **_):
            found = {key: self.file(key) for key in keys if self.file(key).exists()}
            await asyncio.sleep(0.001)  # stands in for a network
            return {
                key: target_cls.from_json_to_store_item(pickle.loads(file.read_bytes()))
                for key, file in found.items()
            }

        async def write(self, changes):
            await asyncio.sleep(0.001)
            for key, item in changes.items():
                self.file(key).write_bytes(pickle.dumps(item.store_item_to_json()))

        async def delete(self, keys):
            for key in keys:
                self.file(key).unlink(missing_ok=True)

    anonymous = {"CONNECTIONS__SERVICE_CONNECTION__SETTINGS__ANONYMOUS_ALLOWED": "True"}
    connections = MsalConnectionManager(**load_configuration_from_env({**os.environ, **anonymous}))
    adapter = CloudAdapter(connection_manager=connections)
    agent = AgentApplication[TurnState](storage=FileStorage(), connection_manager=connections)
    agent.activity("message")(dialogs_pizza.on_message)

    async def on_post(request: web.Request) -> web.Response:
        return await start_agent_process(request, agent, adapter)

    app = web.Application(middlewares=[jwt_authorization_middleware])
    app["agent_configuration"] = connections.get_default_connection_configuration()
    app.router.add_post("/api/messages", on_post)

    async with TestClient(TestServer(app)) as client:

        async def deliver(number: int, text: str) -> None:
            activity = {
                "type": "message",
                "id": str(number % 1000),
                "channelId": "msteams",
                "serviceUrl": platform,
                "from": {"id": f"29:{number // 1000}ann"},
                "recipient": {"id": "28:pizza"},
                "conversation": {"id": f"a:{number // 1000}chat", "conversationType": "personal"},
                "text": text,
            }
            response = await client.post("/api/messages", json=activity)
            assert response.status == 202, await response.text()

        yield deliver


BOTS = {
    "turn": run_turn,
    "aiogram": run_aiogram,
    "aiogram, isolated": run_aiogram_isolated,
    "ptb": run_ptb,
    "dialogs": run_dialogs,
}


async def main(name: str, platform: str, storage: str) -> None:
    async with BOTS[name](platform, storage) as deliver:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await asyncio.gather(*(deliver(number, text) for number, text in json.loads(line)))
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
