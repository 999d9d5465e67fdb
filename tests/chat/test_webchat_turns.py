"""The web chat's turns, without its page: the browser's tests leave no room for an event loop."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from async_session_store import AsyncSessionStore, UserId, channels

EXAMPLE = Path(__file__).parents[2] / "examples" / "webchat" / "app.py"

ASK_DATE = "Hello Ann. For which date? Write it like 2030-12-31."
CONFIRM = "A table for Ann on 2030-05-17: yes or no?"
BOOKED = "Booked for Ann on 2030-05-17."


@pytest.mark.anyio
async def test_a_worker_may_die_before_it_noted_the_delivery() -> None:
    app = SimpleNamespace(**runpy.run_path(str(EXAMPLE)))

    def inbound(number: int, text: str) -> channels.Inbound:
        return channels.Inbound(
            provider="webchat",
            bot_id="trattoria",
            user_id=UserId("ann"),
            conversation="one",
            delivery_id=str(number),
            text=text,
        )

    async with AsyncSessionStore.from_url("memory://", default_wait_ttl=60) as store:
        await app.answer(store, inbound(1, "hi"))
        name, ctx = inbound(2, "Ann"), app.ctx_of(UserId("ann"))
        claim = await store.claim_wait(ctx, "ann", name.scope, delivery_id="2")
        paused = app.go_on(name, claim.record)
        await store.register_wait(ctx, "ann", name.scope, claim.record.key, paused)
        await claim.release()  # as the end of its lease does
        for _ in range(2):
            assert (await app.answer(store, name))["text"] == ASK_DATE
        assert (await app.answer(store, inbound(3, "2030-05-17")))["text"] == CONFIRM
