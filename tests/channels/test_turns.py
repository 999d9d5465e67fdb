"""What a turn makes of deliveries that come twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields

import pytest
from platform_payloads import payload

from async_session_store import AsyncSessionStore, DuplicateDeliveryError, TenantCtx, UserId
from async_session_store.channels import Inbound, slack, telegram, whatsapp

CTX = TenantCtx(env="prod", tenant_id="acme")


@dataclass
class Order:
    pizza: str = ""


async def answer(store: AsyncSessionStore, inbound: Inbound) -> str:
    try:
        async with store.turn(CTX, inbound, flow="order", memory=Order, ttl=60) as turn:
            if turn.is_new:
                turn.ask("take_pizza")
                return "begun"
            turn.end()
            return "ended"
    except DuplicateDeliveryError:
        return "duplicate"


async def answer_twice(first: Inbound, second: Inbound, *, at_once: bool) -> list[str]:
    async with AsyncSessionStore.from_url("memory://") as store:
        if at_once:
            return await asyncio.gather(answer(store, first), answer(store, second))
        return [await answer(store, first), await answer(store, second)]


@pytest.mark.parametrize("at_once", [False, True], ids=["one after the other", "at once"])
def test_n3_a_first_message_that_is_delivered_twice_begins_one_flow(*, at_once: bool) -> None:
    inbound = telegram(payload("telegram_message"), bot_id=4242)
    answers = asyncio.run(answer_twice(inbound, inbound, at_once=at_once))
    assert answers == ["begun", "duplicate"]


@pytest.mark.parametrize("at_once", [False, True], ids=["one after the other", "at once"])
@pytest.mark.parametrize("mention_first", [False, True])
def test_n3_a_mention_that_slack_also_sends_as_a_message_begins_one_flow(
    *, mention_first: bool, at_once: bool
) -> None:
    # An app that subscribes to both gets one message as both, with one ts.
    both = [slack(payload("slack_message")), slack(payload("slack_mention"))]
    if mention_first:
        both.reverse()
    assert asyncio.run(answer_twice(*both, at_once=at_once)) == ["begun", "duplicate"]


def whatsapp_message(number: int, **ids: str) -> Inbound:
    message = {"id": f"wamid.{number}", "type": "text", "text": {"body": "large"}, **ids}
    value = {"metadata": {"phone_number_id": "106540352242922"}, "messages": [message]}
    return whatsapp({"entry": [{"changes": [{"value": value}]}]})


NUMBER = {"from": "16505551234"}
LASTING = {"from_user_id": "US.134912"}


@pytest.mark.parametrize("known", [NUMBER, NUMBER | LASTING], ids=["the number", "both ids"])
@pytest.mark.parametrize("redelivered", [NUMBER, NUMBER | LASTING], ids=["number", "both"])
def test_n7_x3_an_answer_on_whatsapp_is_found_and_handled_once_whichever_ids_it_has(
    known: dict[str, str], redelivered: dict[str, str]
) -> None:
    # The bot wrote first, to a number.
    asked, answers = whatsapp_message(1, **NUMBER), whatsapp_message(2, **known)
    again = whatsapp_message(2, **redelivered)

    async def talk() -> list[str]:
        async with AsyncSessionStore.from_url("memory://") as store:
            return [await answer(store, one) for one in (asked, answers, again)]

    assert asyncio.run(talk()) == ["begun", "ended", "duplicate"]


def test_n7_an_error_inside_user_ids_is_not_taken_for_a_class_without_them() -> None:
    class Broken(Inbound):
        @property
        def user_ids(self) -> tuple[UserId, ...]:
            raise AttributeError("nowhere", name="nowhere", obj=self)

    inbound = whatsapp_message(1, **NUMBER)
    broken = Broken(**{one.name: getattr(inbound, one.name) for one in fields(inbound)})

    async def take() -> None:
        async with AsyncSessionStore.from_url("memory://") as store:
            await answer(store, broken)

    with pytest.raises(AttributeError, match="nowhere"):
        asyncio.run(take())
