"""Test the web chat's turns without its page.

They are not in the browser's tests, because no event loop can run in the same thread as those.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from async_session_store import AsyncSessionStore, UserId, channels

EXAMPLE = Path(__file__).parents[2] / "examples" / "webchat" / "app.py"

ASK_NAME = "What name should the booking be under?"
ASK_DATE = "Hello Ann. What date would you like? Please write it like 2030-12-31."
CONFIRM = "A table for Ann on 2030-05-17. Shall I book it, yes or no?"
BOOKED = "Done! Your table is booked for Ann on 2030-05-17."


@pytest.mark.anyio
async def test_a_redelivered_message_gets_the_same_answer_even_the_last_one() -> None:
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

    flow = {"hi": ASK_NAME, "Ann": ASK_DATE, "2030-05-17": CONFIRM, "yes": BOOKED}
    async with AsyncSessionStore.from_url("memory://", default_wait_ttl=60) as store:
        for number, (text, answer) in enumerate(flow.items()):
            for _ in range(2):
                assert (await app.answer(store, inbound(number, text)))["text"] == answer
        assert (await app.answer(store, inbound(9, "hi")))["text"] == ASK_NAME
