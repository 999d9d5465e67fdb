"""X1: each platform's payloads give what the platform's reference says they hold."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import Any

import pytest
from platform_payloads import BOT, FOLDER, PARSERS, PAYLOADS, WEBEX_PAIRS, parse, parser, payload

from async_session_store import InvalidInputError, UserId
from async_session_store.channels import (
    Inbound,
    discord,
    slack,
    split_whatsapp,
    teams,
    telegram,
    webchat,
    webex,
    whatsapp,
)

ANN = UserId("5551")
TENANT = "bec8e231-67ad-484e-87f4-3e5438390a77"
CHANNEL = "19:60f98ff1f9524d6d8df6bf80cfe094b3@thread.tacv2"
WEBEX = "Y2lzY29zcGFyazovL3VzL"


def telegram_inbound(update_id: str, conversation: str, **more: Any) -> Inbound:
    fields = {"provider": "telegram", "bot_id": "4242", "user_id": ANN, "text": "large"}
    return Inbound(**{**fields, **more}, delivery_id=update_id, conversation=conversation)


def slack_inbound(delivery_id: str, **more: Any) -> Inbound:
    fields = {"provider": "slack", "bot_id": "A0ORDERS", "user_id": UserId("U0ANN")}
    fields |= {"tenant_hint": "T0ACME", "conversation": "C0LUNCH"}
    return Inbound(**{**fields, **more}, delivery_id=delivery_id)


def teams_inbound(delivery_id: str, **more: Any) -> Inbound:
    fields = {
        "provider": "msteams",
        "bot_id": "28:e58eef39-fbb7-4a72-9e9d-7d5e83ffcab8",
        "tenant_hint": TENANT,
        "user_id": UserId("94e09f70-60e1-4abe-935a-aa4247ad9a6d"),
        "conversation": CHANNEL,
        "thread": "1767225601000",
    }
    return Inbound(**{**fields, **more}, delivery_id=delivery_id)


def whatsapp_inbound(number: int, **more: Any) -> Inbound:
    fields = {"provider": "whatsapp", "bot_id": "106540352242922", "tenant_hint": "102290129340398"}
    fields |= {"user_id": UserId("16505551234"), "conversation": "16505551234"}
    delivery_id = f"wamid.EXAMPLE{number}"
    return Inbound(**{**fields, **more}, delivery_id=delivery_id, message_id=delivery_id)


def webex_inbound(name: str, **more: Any) -> Inbound:
    return Inbound(
        provider="webex",
        bot_id=f"{WEBEX}BOT",
        tenant_hint=f"{WEBEX}ORG",
        user_id=UserId.encode(f"{WEBEX}ANN"),
        conversation=f"{WEBEX}ROOM",
        delivery_id=f"{WEBEX}{name}",
        **more,
    )


def discord_inbound(delivery_id: str, **more: Any) -> Inbound:
    fields = {"provider": "discord", "bot_id": BOT, "tenant_hint": "900000000000000001"}
    fields |= {"user_id": UserId("80351110224678912"), "conversation": "1000000000000000001"}
    return Inbound(**{**fields, **more}, delivery_id=delivery_id)


def webchat_inbound(delivery_id: str, user: str, **more: Any) -> Inbound:
    return Inbound(
        provider="webchat",
        bot_id="orders",
        user_id=UserId(user),
        conversation="abc123",
        delivery_id=delivery_id,
        **more,
    )


GROUP = "-1001234567890"
BUSINESS = {"account": "Qx7kP1aBcDeF", "tenant_hint": "Qx7kP1aBcDeF"}
BUTTON = {"correlation": "size:large", "reply_to": "78"}

EXPECTED: dict[str, Inbound] = {
    "telegram_message": telegram_inbound("900000001", "5551", message_id="11", text="/start"),
    # A group without topics: message_thread_id is there, but it is no topic.
    "telegram_reply": telegram_inbound("900000002", GROUP, message_id="71", reply_to="70"),
    "telegram_topic": telegram_inbound(
        "900000003", GROUP, message_id="72", thread="40", reply_to="40"
    ),
    "telegram_anonymous_admin": telegram_inbound(
        "900000004", GROUP, message_id="73", user_id=UserId(GROUP)
    ),
    "telegram_photo": telegram_inbound("900000005", "5551", message_id="74", text="this one"),
    "telegram_channel_post": telegram_inbound(
        "900000006",
        "-1009876543210",
        message_id="75",
        user_id=UserId("-1009876543210"),
        text="menu of the day",
    ),
    "telegram_business": telegram_inbound("900000007", "5551", message_id="76", **BUSINESS),
    "telegram_direct_messages_topic": telegram_inbound(
        "900000008", "-1007777777777", message_id="77", thread="4503599627370001"
    ),
    "telegram_callback": telegram_inbound(
        "900000009", GROUP, thread="40", text="size:large", **BUTTON
    ),
    # The message is too old: Telegram tells of it nothing but chat and id.
    "telegram_callback_old": telegram_inbound("900000010", GROUP, text="size:large", **BUTTON),
    "telegram_callback_business": telegram_inbound(
        "900000011", "5551", text="size:large", **{**BUTTON, "reply_to": "79"}, **BUSINESS
    ),
    "slack_message": slack_inbound(
        "1767225601.000100", message_id="1767225601.000100", text="I am hungry"
    ),
    "slack_mention": slack_inbound(
        "1767225601.000100", message_id="1767225601.000100", text="<@U0BOT> I am hungry"
    ),
    "slack_thread": slack_inbound(
        "1767225609.000300",
        message_id="1767225609.000300",
        thread="1767225601.000100",
        reply_to="1767225601.000100",
        text="large",
    ),
    "slack_file": slack_inbound(
        "1767225610.000400",
        message_id="1767225610.000400",
        conversation="D0ANN",
        tenant_hint="E0ACME",
    ),
    "slack_block_action": slack_inbound(
        "1767225610.123456",
        thread="1767225601.000100",
        reply_to="1767225602.000200",
        correlation="size",
        text="large",
    ),
    "slack_ephemeral_select": slack_inbound(
        "1767225611.123456",
        tenant_hint="E0ACME",
        reply_to="1767225603.000200",
        correlation="size",
        text="large",
    ),
    "teams_personal": teams_inbound(
        "1767225601000",
        conversation="a:1personalChatOfAnn",
        thread=None,
        message_id="1767225601000",
        text="large",
    ),
    "teams_channel_root": teams_inbound(
        "1767225601000",
        reply_to="1767225601000",
        message_id="1767225601000",
        text="<at>Orders</at> I am hungry",
    ),
    "teams_channel_reply": teams_inbound(
        "1767225609000",
        reply_to="1767225601000",
        message_id="1767225609000",
        text="<at>Orders</at> large",
    ),
    "teams_message_back": teams_inbound(
        "f:5261769396935243054",
        user_id=UserId.encode("29:1annAnnAnn_ann"),
        reply_to="1767225602000",
        text="large",
    ),
    "teams_card_action": teams_inbound(
        "f:5261769396935243055",
        conversation="a:1personalChatOfAnn",
        thread=None,
        reply_to="1767225602000",
        correlation="chooseSize",
    ),
    "whatsapp_text": whatsapp_inbound(1, text="large"),
    "whatsapp_reply": whatsapp_inbound(2, reply_to="wamid.ASKED", text="large"),
    "whatsapp_forwarded": whatsapp_inbound(3, text="this one"),
    "whatsapp_button_reply": whatsapp_inbound(
        4, reply_to="wamid.ASKED", correlation="size-large", text="Large"
    ),
    "whatsapp_list_reply": whatsapp_inbound(
        5, reply_to="wamid.ASKED", correlation="size-large", text="Large"
    ),
    "whatsapp_template_button": whatsapp_inbound(
        6, reply_to="wamid.ASKED", correlation="size-large", text="Large"
    ),
    "whatsapp_without_number": whatsapp_inbound(
        7,
        user_id=UserId("US.13491208655302741918"),
        conversation="US.13491208655302741918",
        text="large",
    ),
    "whatsapp_location": whatsapp_inbound(8),
    "webex_message": webex_inbound("MESSAGE", message_id=f"{WEBEX}MESSAGE"),
    "webex_message_fetched": webex_inbound(
        "MESSAGE", message_id=f"{WEBEX}MESSAGE", text="Orders large"
    ),
    "webex_thread_fetched": webex_inbound(
        "MESSAGE",
        message_id=f"{WEBEX}MESSAGE",
        thread=f"{WEBEX}PARENT",
        reply_to=f"{WEBEX}PARENT",
        text="Orders large",
    ),
    "webex_card_action": webex_inbound("ACTION", reply_to=f"{WEBEX}MESSAGE"),
    "webex_card_action_fetched": webex_inbound("ACTION", reply_to=f"{WEBEX}MESSAGE"),
    "discord_message": discord_inbound(
        "1100000000000000001", message_id="1100000000000000001", text="large"
    ),
    "discord_reply": discord_inbound(
        "1100000000000000001",
        message_id="1100000000000000001",
        reply_to="1100000000000000000",
        text="large",
    ),
    "discord_forward": discord_inbound(
        "1100000000000000001", message_id="1100000000000000001", text="large"
    ),
    "discord_button": discord_inbound(
        "1200000000000000001", reply_to="1100000000000000000", correlation="size-large"
    ),
    "discord_select": discord_inbound(
        "1200000000000000001", reply_to="1100000000000000000", correlation="size", text="large"
    ),
    "discord_modal": discord_inbound("1200000000000000001", correlation="order-form"),
    "discord_command_in_dm": discord_inbound("1200000000000000001", tenant_hint=None),
    "webchat_message": webchat_inbound("0001", "dl_ann", message_id="0001", text="large"),
    "webchat_posted": webchat_inbound("1767225601000abc", "user1", text="hello"),
    "webchat_post_back": webchat_inbound(
        "0002", "dl_ann", message_id="0002", reply_to="0001|0000000"
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_x1_a_payload_gives_what_it_holds(name: str) -> None:
    before = copy.deepcopy(PAYLOADS[name])
    assert parse(name) == EXPECTED[name]
    assert PAYLOADS[name] == before


def test_every_payload_is_tested_and_has_its_source() -> None:
    assert set(EXPECTED) == set(PAYLOADS) - {"whatsapp_batch"}
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


NO_TURN: dict[str, tuple[str, Any, str]] = {
    "telegram edit": ("telegram", {"update_id": 1, "edited_message": {}}, "update.message: "),
    "telegram member": ("telegram", {"update_id": 1, "my_chat_member": {}}, "update.message: "),
    "telegram inline button": (
        "telegram",
        payload("telegram_callback", callback_query__message=None),
        "update.callback_query.message: is missing",
    ),
    "telegram join": (
        "telegram",
        payload("telegram_message", message__text=None, message__new_chat_members=[]),
        "update.message.text: ",
    ),
    "telegram bot": (
        "telegram",
        payload("telegram_message", message__from__is_bot=True),
        "update.message.from.is_bot: ",
    ),
    "telegram business bot": (
        "telegram",
        payload("telegram_business", business_message__sender_business_bot={"id": 4242}),
        "update.business_message.sender_business_bot: ",
    ),
    "slack url verification": ("slack", {"type": "url_verification"}, "payload.type: "),
    "slack reaction": (
        "slack",
        payload("slack_message", event__type="reaction_added"),
        "payload.event.type: ",
    ),
    "slack edit": (
        "slack",
        payload("slack_message", event__subtype="message_changed"),
        "payload.event.subtype: ",
    ),
    "slack join": (
        "slack",
        payload("slack_message", event__subtype="channel_join"),
        "payload.event.subtype: ",
    ),
    "slack bot": (
        "slack",
        payload("slack_message", event__bot_id="B0ORDERS"),
        "payload.event.bot_id: ",
    ),
    "slack modal": (
        "slack",
        payload("slack_block_action", channel=None, container={"type": "view", "view_id": "V0"}),
        "payload.channel: is missing",
    ),
    "slack modal submitted": ("slack", {"type": "view_submission"}, "payload.type: "),
    "slack no actions": (
        "slack",
        payload("slack_block_action", actions=[]),
        "payload.actions: is missing or empty",
    ),
    "teams join": (
        "teams",
        payload("teams_personal", type="conversationUpdate"),
        "activity.type: ",
    ),
    "teams typing": ("teams", payload("teams_personal", type="typing"), "activity.type: "),
    "teams other invoke": (
        "teams",
        payload("teams_card_action", name="composeExtension/query"),
        "activity.type: ",
    ),
    "teams refreshed card": (
        "teams",
        payload("teams_card_action", value__trigger="automatic"),
        "activity.value.trigger: ",
    ),
    "teams bot": (
        "teams",
        payload("teams_personal", from__role="bot"),
        "activity.from.role: ",
    ),
    "teams no conversation": (
        "teams",
        payload("teams_personal", conversation__id=";messageid=1"),
        "activity.conversation.id: ",
    ),
    "whatsapp receipt": (
        "whatsapp",
        PAYLOADS["whatsapp_batch"] | {"entry": PAYLOADS["whatsapp_batch"]["entry"][1:]},
        "payload.entry[0].changes[0].value.messages: ",
    ),
    "whatsapp several": ("whatsapp", PAYLOADS["whatsapp_batch"], "payload.entry: must hold one"),
    "whatsapp reaction": (
        "whatsapp",
        payload("whatsapp_text", entry__0__changes__0__value__messages__0__type="reaction"),
        "payload.entry[0].changes[0].value.messages[0].type: ",
    ),
    "webex other resource": (
        "webex",
        payload("webex_message", resource="memberships"),
        "webhook.resource: ",
    ),
    "webex deleted": ("webex", payload("webex_message", event="deleted"), "webhook.event: "),
    "webex bot": (
        "webex",
        payload("webex_message", createdBy=f"{WEBEX}ANN"),
        "webhook.data.personId: ",
    ),
    "discord join": ("discord", payload("discord_message", type=7), "payload.type: "),
    "discord bot": (
        "discord",
        payload("discord_message", author__bot=True),
        "payload.author.bot: ",
    ),
    "discord webhook": (
        "discord",
        payload("discord_message", webhook_id="1"),
        "payload.webhook_id: ",
    ),
    "discord ping": ("discord", payload("discord_button", type=1), "payload.type: "),
    "discord autocomplete": ("discord", payload("discord_button", type=4), "payload.type: "),
    "discord other application": (
        "discord",
        payload("discord_button", application_id="1"),
        "payload.application_id: ",
    ),
    "webchat typing": ("webchat", payload("webchat_message", type="typing"), "activity.type: "),
    "webchat event": ("webchat", payload("webchat_message", type="event"), "activity.type: "),
    "webchat bot": (
        "webchat",
        payload("webchat_message", from__role="bot"),
        "activity.from.role: ",
    ),
    "webchat no id": (
        "webchat",
        payload("webchat_posted", channelData=None),
        "activity.id: is missing",
    ),
}


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
    assert webex(webhook, PAYLOADS["webex_card_action_fetched"]) == EXPECTED["webex_card_action"]
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
