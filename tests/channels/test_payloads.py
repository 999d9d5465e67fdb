"""X1: each platform's payloads give what the platform's reference says they hold."""

from __future__ import annotations

import copy
import dataclasses
import re

import pytest
from expected_inbounds import EXPECTED as FIRST_EXPECTED
from expected_inbounds import TENANT, WEBEX, whatsapp_inbound
from more_expected_inbounds import MORE_EXPECTED
from more_refused_payloads import MORE_NO_TURN
from platform_payloads import (
    BATCHES,
    FOLDER,
    MOVES,
    PARSERS,
    PAYLOADS,
    WEBEX_PAIRS,
    parse,
    parser,
    payload,
)
from refused_payloads import NO_TURN as FIRST_NO_TURN

from async_session_store import InvalidInputError, UserId
from async_session_store.channels import (
    discord,
    slack,
    split_whatsapp,
    teams,
    telegram,
    webchat,
    webex,
    whatsapp,
)

EXPECTED = {**FIRST_EXPECTED, **MORE_EXPECTED}
NO_TURN = {**FIRST_NO_TURN, **MORE_NO_TURN}


@pytest.mark.parametrize("name", EXPECTED)
def test_x1_a_payload_gives_what_it_holds(name: str) -> None:
    before = copy.deepcopy(PAYLOADS[name])
    assert parse(name) == EXPECTED[name]
    assert PAYLOADS[name] == before


def test_every_payload_is_tested_and_has_its_source() -> None:
    assert set(EXPECTED) == set(PAYLOADS) - {*BATCHES, *MOVES}
    index = (FOLDER / "README.md").read_text()
    patterns = [name.replace("*", ".*") for name in re.findall(r"`([a-z]+_[a-z_*]+)`", index)]
    for name in PAYLOADS:
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name


def test_x1_a_payload_may_be_any_mapping_and_an_inbound_cannot_be_changed() -> None:
    inbound = slack(PAYLOADS["slack_message"])
    assert hash(inbound) == hash(slack(dict(PAYLOADS["slack_message"])))
    with pytest.raises(dataclasses.FrozenInstanceError):
        inbound.text = "other"  # type: ignore[misc]


def test_x1_slack_sends_one_message_as_two_events_with_one_delivery_id() -> None:
    message, mention = parse("slack_message"), parse("slack_mention")
    assert message.delivery_id == mention.delivery_id
    assert message.scopes() == mention.scopes()


@pytest.mark.parametrize("name", NO_TURN)
def test_x1_a_payload_that_is_not_a_users_turn_is_refused(name: str) -> None:
    platform, value, message = NO_TURN[name]
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}"):
        PARSERS[platform](value)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, "is missing"),
        (True, "must be a string or an integer"),
        (1.5, "must be a string or an integer"),
        ([], "must be a string or an integer"),
        ("", "must not be empty"),
        ("x" * 1025, "at most 1024 bytes"),
        ("\udc80", "must be valid Unicode"),
        (10**30, "at most 64 bits"),
    ],
)
def test_x1_an_invalid_id_is_refused_by_name(value: object, rule: str) -> None:
    update = payload("telegram_message")
    update["message"]["chat"]["id"] = value
    with pytest.raises(InvalidInputError, match=r"^update\.message\.chat\.id: ") as caught:
        telegram(update, bot_id=4242)
    assert rule in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_x1_an_argument_that_is_not_an_id_is_refused_by_name() -> None:
    for call in (
        lambda: telegram(PAYLOADS["telegram_message"], bot_id=""),
        lambda: telegram(PAYLOADS["telegram_message"], bot_id="4242:the-whole-token"),
        lambda: discord(PAYLOADS["discord_message"], bot_id=True),
        lambda: webchat(PAYLOADS["webchat_message"], bot_id=None),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInputError, match=r"^bot_id: "):
            call()
    with pytest.raises(InvalidInputError, match=r"^conversation_id: "):
        webchat(PAYLOADS["webchat_message"], bot_id="orders", conversation_id="")
    with pytest.raises(InvalidInputError, match=r"^user_id: "):
        webchat(PAYLOADS["webchat_message"], bot_id="orders", user_id="")


def test_x1_webex_refuses_a_payload_fetched_for_another_message() -> None:
    other = payload("webex_message_fetched", id=f"{WEBEX}OTHER")
    with pytest.raises(InvalidInputError, match=r"^fetched\.id: "):
        webex(PAYLOADS["webex_message"], other)


def test_x1_the_fetched_part_alone_may_name_a_webex_card_action() -> None:
    webhook = payload("webex_card_action", data__messageId=None)
    fetched = PAYLOADS["webex_card_action_fetched"]
    assert webex(webhook, fetched) == EXPECTED["webex_card_action_fetched"]
    with pytest.raises(InvalidInputError, match=r"^webhook\.data\.messageId: is missing"):
        webex(webhook)


def test_x1_the_host_of_a_web_chat_says_who_writes_and_where() -> None:
    posted = PAYLOADS["webchat_posted"]
    inbound = webchat(posted, bot_id="orders", conversation_id="c-7", user_id="ann@example.com")
    assert inbound.user_id == UserId.encode("ann@example.com")
    assert inbound.conversation == "c-7"
    with pytest.raises(InvalidInputError, match=r"^activity\.conversation: is missing"):
        webchat(posted, bot_id="orders")
    nobody = payload("webchat_message", **{"from": None})
    assert webchat(nobody, bot_id="orders", user_id="ann").user_id == "ann"
    with pytest.raises(InvalidInputError, match=r"^activity\.from: is missing"):
        webchat(nobody, bot_id="orders")


def test_x1_a_whatsapp_webhook_is_split_into_its_messages() -> None:
    batch = PAYLOADS["whatsapp_batch"]
    before = copy.deepcopy(batch)
    inbounds = [whatsapp(one) for one in split_whatsapp(batch)]
    assert [inbound.text for inbound in inbounds] == ["large", "and salad"]
    assert inbounds[0] == whatsapp_inbound(9, text="large")
    assert batch == before
    assert split_whatsapp(batch | {"entry": batch["entry"][1:]}) == ()
    assert split_whatsapp(PAYLOADS["whatsapp_text"]) == (PAYLOADS["whatsapp_text"],)
    with pytest.raises(InvalidInputError, match=r"^payload\.entry: must be a list"):
        split_whatsapp({"entry": "no list"})


def test_x1_a_group_of_whatsapp_is_a_conversation() -> None:
    grouped = payload("whatsapp_text", entry__0__changes__0__value__messages__0__group_id="G1")
    assert whatsapp(grouped) == whatsapp_inbound(1, text="large", conversation="G1")


def test_x1_teams_falls_back_to_the_tenant_of_the_conversation_and_to_the_plain_user_id() -> None:
    inbound = teams(payload("teams_personal", channelData=None, from__aadObjectId=None))
    assert inbound.tenant_hint == TENANT
    assert inbound.user_id == UserId.encode("29:1annAnnAnn_ann")


@pytest.mark.parametrize("name", sorted({*EXPECTED} - {*WEBEX_PAIRS}))
def test_x1_f8_a_refusal_shows_nothing_of_the_payload(name: str) -> None:
    told = [
        str(refusal(name, {field: value}))
        for value in ({"key": "secret"}, ["secret"], "secret\udc80", 1.25)
        for field in PAYLOADS[name]
    ]
    assert not any("secret" in text or "1.25" in text for text in told)
    assert any(": must be " in text for text in told)


def refusal(name: str, changes: dict[str, object]) -> InvalidInputError | None:
    try:
        parser(name)(payload(name, **changes))
    except InvalidInputError as error:
        return error
    return None


def test_x1_a_button_of_an_older_card_has_an_invoke_without_a_name() -> None:
    pressed = teams(payload("teams_card_action", name=None, value={"size": "large"}))
    assert pressed.reply_to == "1767225602000"
    assert pressed.options == (("size", "large"),)


def test_x1_a_card_of_teams_that_names_its_message_elsewhere_is_found_by_it() -> None:
    for changes in (
        {"replyToId": "-1", "relatesTo": {"activityId": "1767225602000"}},
        {"replyToId": None, "channelData": {"legacy": {"replyToId": "1767225602000"}}},
    ):
        pressed = teams(payload("teams_card_action", **changes))
        assert pressed.reply_to == "1767225602000"


def test_x1_the_value_of_a_button_is_the_text_if_it_is_one() -> None:
    pressed = webchat(payload("webchat_post_back", value="large"), bot_id="orders")
    assert (pressed.text, pressed.options) == ("large", ())
    pressed = teams(payload("teams_message_back", text=None, value="large"))
    assert (pressed.text, pressed.options) == ("large", ())


def test_x1_a_command_of_telegram_opens_the_text() -> None:
    command = payload("telegram_command")
    assert telegram(command, bot_id=4242).command == "order"
    command["message"]["entities"][0]["offset"] = 6
    assert telegram(command, bot_id=4242).command is None


def test_x1_a_form_of_whatsapp_without_a_token_waits_at_its_message() -> None:
    path = "entry__0__changes__0__value__messages__0__interactive__nfm_reply__response_json"
    form = whatsapp(payload("whatsapp_form", **{path: '{"size": "large"}'}))
    assert (form.correlation, form.reply_to) == (None, "wamid.ASKED")
    assert form.options == (("size", "large"),)
