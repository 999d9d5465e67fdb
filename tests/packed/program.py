"""A program that uses every backend. Tests pack it: into a wheel's venv, a zip, a frozen program.

Its argument is the URL of a Redis server. It prints where it found the library.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from uuid import uuid4

import async_session_store
from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    ReplyScope,
    SessionCursor,
    SessionData,
    SessionStore,
    TenantCtx,
)

CTX = TenantCtx(env="prod", tenant_id="acme", user_id="u1")
CHAT = ReplyScope(conversation="chat")
CURSOR = SessionCursor(node_pointer="ask")
DATA = SessionData(tenant_ctx=CTX, flow_id="order", cursor=CURSOR, context_json="{}")


async def pause_and_resume(url: str, namespace: str | None) -> None:
    async with AsyncSessionStore.from_url(url, namespace=namespace) as store:
        await store.register_wait(CTX, "u1", CHAT, "k", DATA, ttl=60)
        await store.touch_session("k", 600)
        await store.edit_session("k", lambda data: data)
        assert len(await store.list_wait_records(CTX, "u1")) == 1
        async with store.resume_wait(CTX, "u1", CHAT, delivery_id="event") as wait:
            assert wait is not None
            await store.register_wait(CTX, "u1", CHAT, "k", DATA)
        try:
            await store.claim_wait(CTX, "u1", CHAT, delivery_id="event")
        except DuplicateDeliveryError:
            assert await store.clear_waits_for_user(CTX, "u1") == 1
        await store.purge_expired()


def pause_and_resume_without_async(url: str, namespace: str | None) -> None:
    with SessionStore.from_url(url, namespace=namespace) as store:
        store.register_wait(CTX, "u1", CHAT, "k", DATA)
        assert store.clear_wait(CTX, "u1", CHAT)


def main() -> None:
    (redis_url,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        places = {"memory://": None, f"sqlite:///{folder}/bot.db": None, redis_url: str(uuid4())}
        for url, namespace in places.items():
            asyncio.run(pause_and_resume(url, namespace))
            pause_and_resume_without_async(url, namespace)
    print(async_session_store.__file__)


if __name__ == "__main__":
    main()
