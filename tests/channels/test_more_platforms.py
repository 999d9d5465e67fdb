"""X1: Google Chat, Messenger, Instagram, LINE, Matrix, Mattermost and Twilio."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from more_expected_inbounds import MATRIX_BOT, MATTERMOST_BOT, line_message, meta_message
from platform_payloads import PAYLOADS, parse, payload

from async_session_store import AsyncSessionStore, InvalidInputError, TenantCtx
from async_session_store.channels import (
    google_chat,
    line,
    matrix,
    mattermost,
    messenger,
    split_line,
    split_messenger,
    twilio,
)

CTX = TenantCtx(env="prod", tenant_id="acme")
QUESTION_AND_ANSWER = [
    ("google_chat_message", "google_chat_forward"),
    ("google_chat_thread", "google_chat_button"),
    ("messenger_text", "messenger_images"),
    ("instagram_text", "instagram_story_reply"),
    ("line_text", "line_album"),
    ("matrix_text", "matrix_emote"),
    ("mattermost_post", "mattermost_webhook"),
    ("twilio_sms", "twilio_mms"),
    ("twilio_button", "twilio_without_number"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("first", "second"), QUESTION_AND_ANSWER)
async def test_n3_a_question_is_answered_by_the_next_message(first: str, second: str) -> None:
    async with AsyncSessionStore.from_url("memory://") as store:
        async with store.turn(CTX, parse(first), flow="order", memory=dict, ttl=60) as turn:
            assert turn.is_new
            turn.ask("take_size")
        async with store.turn(CTX, parse(second), flow="order", memory=dict, ttl=60) as turn:
            assert turn.node == "take_size"
            turn.end()


def test_x1_a_batch_is_split_into_its_turns() -> None:
    for name, split, read, message in (
        ("messenger_batch", split_messenger, messenger, meta_message),
        ("line_batch", split_line, line, line_message),
    ):
        batch = PAYLOADS[name]
        before = copy.deepcopy(batch)
        inbounds = [read(one) for one in split(batch)]
        number = 5 if read is messenger else 8
        assert [inbound.text for inbound in inbounds] == ["large", "and salad"]
        assert inbounds[0] == message(number, text="large")
        assert batch == before
    assert split_line(payload("line_text", events=[])) == ()
    assert split_messenger({"object": "page", "entry": []}) == ()
    assert [messenger(one) for one in split_messenger(PAYLOADS["instagram_change"])] == [
        parse("instagram_change")
    ]
    with pytest.raises(InvalidInputError, match=r"^payload\.entry: must be a list"):
        split_messenger({"entry": "no list"})
    with pytest.raises(InvalidInputError, match=r"^payload\.events: must be a list"):
        split_line({"events": "no list"})


def test_x1_a_button_that_is_pressed_again_is_no_redelivery() -> None:
    again = payload("messenger_postback", entry__0__messaging__0__timestamp=1767225609000)
    assert messenger(again).delivery_id != parse("messenger_postback").delivery_id
    later = payload("messenger_postback", entry__0__time=1767225700000)  # sent again
    assert messenger(later) == parse("messenger_postback")
    other = payload("google_chat_button", eventTime="2026-01-01T00:00:09.000000Z")
    assert google_chat(other, bot_id=1).delivery_id != parse("google_chat_button").delivery_id


def test_x1_a_button_may_hold_more_than_an_id_can() -> None:
    long = "ø" * 600
    pressed = messenger(
        payload("messenger_postback", entry__0__messaging__0__postback__payload=long)
    )
    assert (pressed.correlation, pressed.text) == (None, "Large")
    posted = line(payload("line_postback", events__0__postback__data=long))
    assert (posted.correlation, posted.text) == (None, long)
    clicked = payload("google_chat_button", common__parameters={"correlation": long})
    assert google_chat(clicked, bot_id=1).correlation == "take_size"
    submitted = mattermost(payload("mattermost_dialog", state=long), bot_id=MATTERMOST_BOT)
    assert submitted.correlation == "order"


def test_x1_a_message_of_google_chat_without_an_argument_has_its_whole_text() -> None:
    mention = payload("google_chat_mention", message__argumentText=None)
    assert google_chat(mention, bot_id=1).text == "@Orders I am hungry"
    unnamed = payload("google_chat_slash_command", message__annotations=None)
    assert google_chat(unnamed, bot_id=1).command == "1"
    midnight = payload("google_chat_form", common__formInputs={"at": {"timeInput": {}}})
    assert google_chat(midnight, bot_id=1).text == "00:00"
    unknown = payload("google_chat_form", common__formInputs={"at": {"newInput": {}}})
    assert google_chat(unknown, bot_id=1).options == ()
    bare = payload("google_chat_form", common=None)
    assert (google_chat(bare, bot_id=1).correlation, google_chat(bare, bot_id=1).text) == (
        None,
        None,
    )


def test_x1_two_actions_of_google_chat_on_a_message_are_two_turns() -> None:
    first = parse("google_chat_message_action")
    later = payload("google_chat_message_action", eventTime="2026-01-01T00:00:09.000000Z")
    assert google_chat(later, bot_id=1).delivery_id != first.delivery_id
    unnamed = payload("google_chat_message_action", message=None)
    assert google_chat(unnamed, bot_id=1).reply_to is None


def test_x1_a_card_of_google_chat_that_only_the_user_sees_is_ephemeral() -> None:
    private = payload("google_chat_button", message__privateMessageViewer={"name": "users/1"})
    assert google_chat(private, bot_id=1).is_ephemeral
    assert not parse("google_chat_button").is_ephemeral


def test_x1_a_matrix_event_from_sync_is_in_the_room_that_the_host_names() -> None:
    synced = payload("matrix_text", room_id=None)
    given = matrix(synced, bot_id=MATRIX_BOT, room_id="!lunch:example.org")
    assert given == parse("matrix_text")
    with pytest.raises(InvalidInputError, match=r"^room_id: must not be empty"):
        matrix(synced, bot_id=MATRIX_BOT, room_id="")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("large", "large"),
        ("> <@bot:example.org> What size?\n\nlarge", "large"),
        ("> <@bot:example.org> What size?\n\n", None),
        ("> * <@bot:example.org> is hungry\n> too\n\nlarge", "large"),
        ("> <@bot:example.org> What size?\nlarge", "> <@bot:example.org> What size?\nlarge"),
        ("> What size?\n\nlarge", "> What size?\n\nlarge"),  # the user's own quote
        ("> large", "> large"),  # the user quotes something, and that is all
        ("> large\nplease", "> large\nplease"),
        ("large\n> or small", "large\n> or small"),
    ],
)
def test_x1_a_matrix_reply_is_read_without_its_quote(body: str, text: str | None) -> None:
    reply = matrix(payload("matrix_reply", content__body=body), bot_id=MATRIX_BOT)
    assert reply.text == text
    unrelated = matrix(payload("matrix_text", content__body=body), bot_id=MATRIX_BOT)
    assert unrelated.text == body


@pytest.mark.parametrize(("caption", "text"), [("this one", "this one"), ("pizza.jpg", None)])
def test_x1_a_matrix_caption_is_read_without_its_quote(caption: str, text: str | None) -> None:
    changes = {
        "content__m.relates_to": {"m.in_reply_to": {"event_id": "$asked"}},
        "content__body": f"> <@bot:example.org> Which one?\n\n{caption}",
        "content__filename": "pizza.jpg",
    }
    image = matrix(payload("matrix_image_with_caption", **changes), bot_id=MATRIX_BOT)
    assert (image.text, image.reply_to) == (text, "$asked")


def test_x1_a_withdrawn_vote_has_no_text() -> None:
    withdrawn = matrix(payload("matrix_vote", **{"content__m.selections": []}), bot_id=MATRIX_BOT)
    assert (withdrawn.text, withdrawn.values, withdrawn.reply_to) == (None, (), "$poll")


def test_x1_a_post_of_mattermost_is_the_same_turn_by_every_way() -> None:
    post = json.loads(PAYLOADS["mattermost_post"]["data"]["post"])
    webhook = payload("mattermost_webhook", post_id=post["id"])
    by_webhook = mattermost(webhook, bot_id=MATTERMOST_BOT)
    assert by_webhook.delivery_id == parse("mattermost_post").delivery_id


def test_x1_a_dialog_of_mattermost_is_told_apart_by_what_was_entered() -> None:
    def delivery_id(**changes: Any) -> str:
        dialog = payload("mattermost_dialog", **changes)
        return mattermost(dialog, bot_id=MATTERMOST_BOT).delivery_id

    assert delivery_id() == parse("mattermost_dialog").delivery_id
    others = [
        delivery_id(submission={"size": "small"}),
        delivery_id(state="order-8"),
        delivery_id(user_id="ben"),
    ]
    assert len({delivery_id(), *others}) == 4


@pytest.mark.parametrize("name", ["twilio_sms", "twilio_button"])
def test_x1_a_form_of_twilio_is_a_mapping_of_its_fields(name: str) -> None:
    body = urlencode(PAYLOADS[name])
    assert twilio(dict(parse_qsl(body, keep_blank_values=True))) == parse(name)


@pytest.mark.parametrize("name", ["mattermost_webhook", "mattermost_command"])
def test_x1_a_form_of_mattermost_is_a_mapping_of_its_fields(name: str) -> None:
    form = dict(parse_qsl(urlencode(PAYLOADS[name]), keep_blank_values=True))
    assert mattermost(form, bot_id=MATTERMOST_BOT) == parse(name)


def test_x1_a_person_on_whatsapp_through_twilio_is_known_by_every_id() -> None:
    both, lasting = parse("twilio_button"), parse("twilio_without_number")
    number = parse("twilio_whatsapp")
    assert both.user_ids[0] == lasting.user_id
    assert number.user_id in both.user_ids
    assert number.scope in both.scopes()
    assert lasting.scope == both.scope


def test_x1_threads_are_refused_where_a_platform_has_none() -> None:
    for name in ("messenger_text", "instagram_text", "line_text", "twilio_sms"):
        with pytest.raises(InvalidInputError, match=r"^thread: \w+ has no threads$"):
            parse(name).expecting(thread="t")
