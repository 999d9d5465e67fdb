"""X6: what a platform reports about a conversation or person with a new id."""

from __future__ import annotations

import re
from typing import Any

import pytest
from platform_payloads import MOVES, PAYLOADS, payload

from async_session_store import InvalidInputError, ReplyScope, UserId
from async_session_store.channels import (
    Inbound,
    Move,
    place,
    slack,
    slack_moves,
    telegram,
    telegram_moves,
    whatsapp,
    whatsapp_moves,
)

GROUP = Move(
    provider="telegram",
    bot_id="4242",
    old_conversation="-4001",
    new_conversation="-1001234567890",
)


def person(old: str, new: str) -> Move:
    return Move(
        provider="whatsapp",
        bot_id="106540352242922",
        old_conversation=old,
        new_conversation=new,
        old_user_id=UserId(old),
        new_user_id=UserId(new),
    )


def read(name: str, value: Any) -> tuple[Move, ...]:
    if name.startswith("telegram"):
        return telegram_moves(value, bot_id=4242)
    return slack_moves(value) if name.startswith("slack") else whatsapp_moves(value)


NUMBER = person("16505551234", "16505559876")
USER_ID = person("US.13491208655302741918", "US.24601208655302741918")
EXPECTED = {
    "telegram_migrated_to": (GROUP,),
    "telegram_migrated_from": (GROUP,),
    "slack_channel_moved": (
        Move(
            provider="slack",
            bot_id="A0ORDERS",
            old_conversation="G0LUNCH",
            new_conversation="C0LUNCH",
        ),
    ),
    "whatsapp_number_changed": (USER_ID, NUMBER),
    "whatsapp_user_id_changed": (USER_ID, person("US.ENT.1", "US.ENT.2")),
}


@pytest.mark.parametrize("name", MOVES)
def test_x6_a_move_is_read(name: str) -> None:
    assert read(name, PAYLOADS[name]) == EXPECTED[name]


def test_x6_a_move_names_what_move_waits_takes() -> None:
    old, new = GROUP.conversation
    assert GROUP.scope(ReplyScope(conversation=old)) == ReplyScope(conversation=new)
    assert GROUP.user is None
    assert USER_ID.user == ("US.13491208655302741918", "US.24601208655302741918")
    assert USER_ID.conversation[1] == "whatsapp/106540352242922/US.24601208655302741918"


@pytest.mark.parametrize("name", sorted(set(PAYLOADS) - set(MOVES)))
def test_x6_any_other_payload_reports_no_move(name: str) -> None:
    if name.startswith(("telegram", "slack", "whatsapp")):
        assert read(name, PAYLOADS[name]) == ()


def test_x6_an_older_webhook_names_the_new_number_otherwise() -> None:
    value = payload("whatsapp_number_changed")
    message = value["entry"][0]["changes"][0]["value"]["messages"][0]
    message["system"] = {
        "type": "customer_changed_number",
        "customer": "16505551234",
        "new_wa_id": "16505559876",
    }
    assert whatsapp_moves(value) == (NUMBER,)


def test_x6_a_scope_moves_with_its_conversation() -> None:
    before = Inbound(
        provider="telegram",
        bot_id="4242",
        conversation="-4001",
        user_id=UserId("5551"),
        delivery_id="1",
        thread="topic/9",
    )
    moved = GROUP.scope(before.scope)
    assert place(moved).conversation == "-1001234567890"
    assert place(moved).thread == "topic/9"
    assert GROUP.scope(before.expecting(correlation="a b")) == ReplyScope(
        conversation="telegram/4242/-1001234567890", correlation="a%20b"
    )
    elsewhere = ReplyScope(conversation="telegram/4243/-4001")
    assert GROUP.scope(elsewhere) is elsewhere


def test_x6_where_a_wait_was_is_where_the_answer_comes_after_the_move() -> None:
    asked = telegram(payload("telegram_message", message__chat__id=-4001), bot_id=4242)
    answered = telegram(payload("telegram_reply"), bot_id=4242)
    assert GROUP.scope(asked.scope) in answered.scopes()
    asked = slack(payload("slack_message", event__channel="G0LUNCH"))
    (move,) = slack_moves(PAYLOADS["slack_channel_moved"])
    assert move.scope(asked.scope) == slack(PAYLOADS["slack_message"]).scope
    path = "entry__0__changes__0__value__messages__0__from"
    answered = whatsapp(payload("whatsapp_text", **{path: "16505559876"}))
    assert NUMBER.scope(whatsapp(PAYLOADS["whatsapp_text"]).scope) == answered.scope
    assert NUMBER.new_user_id == answered.user_id


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("telegram_migrated_to", {"message__chat__id": 1.5}, "update.message.chat.id: "),
        ("slack_channel_moved", {"event__new_channel_id": None}, "payload.event.new_channel_id: "),
        ("whatsapp_number_changed", {"entry": "secret"}, "payload.entry: must be a list"),
    ],
)
def test_x6_a_malformed_move_is_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}"):
        read(name, payload(name, **changes))
