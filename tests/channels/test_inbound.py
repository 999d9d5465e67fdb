"""X2, X3: scopes that never meet, and a ladder that finds what was registered."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from platform_payloads import parse, payload

from async_session_store import (
    AsyncSessionStore,
    InvalidInputError,
    ReplyScope,
    SessionCursor,
    SessionData,
    TenantCtx,
    UserId,
)
from async_session_store.backends.memory import MemoryBackend
from async_session_store.channels import Inbound, Place, place, telegram

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
AWKWARD = st.one_of(TEXT, st.text("/:%\n2FA", min_size=1, max_size=5))
PLACES = st.tuples(AWKWARD, AWKWARD, st.none() | AWKWARD, AWKWARD)


def inbound(**more: Any) -> Inbound:
    fields: dict[str, Any] = {
        "provider": "irc",
        "bot_id": "bot",
        "user_id": UserId("ann"),
        "conversation": "#lunch",
        "delivery_id": "1",
    }
    return Inbound(**{**fields, **more})


def at(place: tuple[str, str, str | None, str]) -> Inbound:
    provider, bot_id, account, conversation = place
    return inbound(provider=provider, bot_id=bot_id, account=account, conversation=conversation)


@given(PLACES, PLACES)
def test_x2_two_places_never_share_a_scope(
    one: tuple[str, str, str | None, str], other: tuple[str, str, str | None, str]
) -> None:
    assert (at(one).scope == at(other).scope) == (one == other)


@given(PLACES, st.sampled_from(["thread", "reply_to", "correlation"]), st.none() | AWKWARD)
def test_x2_a_scope_gives_back_the_ids_it_was_made_of(
    ids: tuple[str, str, str | None, str], name: str, part: str | None
) -> None:
    scope = at(ids).expecting(**({} if part is None else {name: part}))
    found = place(scope)
    assert (found.provider, found.bot_id, found.account, found.conversation) == ids
    parts = {"thread": found.thread, "reply_to": found.reply_to, "correlation": found.correlation}
    assert parts == {"thread": None, "reply_to": None, "correlation": None, name: part}


def test_x2_the_place_of_a_record() -> None:
    scope = inbound(account="a", thread="topic/9").scope
    assert place(scope) == Place("irc", "bot", "a", "#lunch", thread="topic/9")


@pytest.mark.parametrize(
    "scope",
    [
        ReplyScope(conversation="chat-42"),
        ReplyScope(conversation="a/b/c/d/e"),
        ReplyScope(conversation="a//c"),
        ReplyScope(conversation="a/b/c d"),
        ReplyScope(conversation="a/b/%2f"),
        ReplyScope(conversation="a/b/c", thread="d/e"),
        ReplyScope(conversation="a/b/c", reply_to=""),
    ],
    ids=lambda scope: scope.model_dump_json(),
)
def test_x2_a_scope_that_no_inbound_made_is_refused(scope: ReplyScope) -> None:
    with pytest.raises(InvalidInputError, match="scope"):
        place(scope)


@pytest.mark.parametrize("wrong", [None, "a/b/c", at(("a", "b", None, "c"))], ids=type)
def test_x2_a_value_that_is_not_a_scope_has_no_place(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"^scope: .* type {type(wrong).__name__};"):
        place(wrong)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a/b", "c", None, "d"), ("a", "b/c", None, "d")),
        (("a", "b", None, "c/d"), ("a", "b", "c", "d")),
        (("a", "b", None, "c%2Fd"), ("a", "b", None, "c/d")),
        (("a:b", "c", None, "d"), ("a", "b:c", None, "d")),
        (("a", "b", None, "c\nd"), ("a", "b", None, "c%0Ad")),
    ],
)
def test_x2_the_parts_may_contain_the_separator(
    one: tuple[str, str, str | None, str], other: tuple[str, str, str | None, str]
) -> None:
    assert at(one).scope.scope_hash() != at(other).scope.scope_hash()


def test_x2_two_bots_platforms_and_accounts_with_equal_ids_never_meet() -> None:
    inbounds = [
        inbound(),
        inbound(provider="slack"),
        inbound(bot_id="other"),
        inbound(account="business"),
    ]
    for one, other in itertools.combinations(inbounds, 2):
        assert not {scope.scope_hash() for scope in one.scopes()} & {
            scope.scope_hash() for scope in other.scopes()
        }


def test_x2_a_scope_can_be_read() -> None:
    assert parse("teams_channel_reply").scope == ReplyScope(
        conversation=(
            "msteams/28:e58eef39-fbb7-4a72-9e9d-7d5e83ffcab8/"
            "19:60f98ff1f9524d6d8df6bf80cfe094b3@thread.tacv2"
        ),
        thread="1767225601000",
    )


def test_x3_the_ladder_goes_from_the_most_to_the_least_specific() -> None:
    place = "irc/bot/%23lunch"
    full = inbound(thread="t", reply_to="r", correlation="c")
    assert full.scopes() == (
        ReplyScope(conversation=place, correlation="c"),
        ReplyScope(conversation=place, reply_to="r"),
        ReplyScope(conversation=place, thread="t"),
        ReplyScope(conversation=place),
    )
    assert full.scope == ReplyScope(conversation=place, thread="t")
    assert inbound().scopes() == (inbound().scope,) == (ReplyScope(conversation=place),)


def test_x3_a_conversation_with_several_ids_is_looked_up_at_each_of_them() -> None:
    both = inbound(conversation="ann", conversation_aliases=("555", "556"), correlation="c")
    ann, five, six = (inbound(conversation=one) for one in ("ann", "555", "556"))
    assert both.scopes() == (
        *(one.expecting(correlation="c") for one in (ann, five, six)),
        *(one.scope for one in (ann, five, six)),
    )
    assert both.scope == ann.scope
    assert both.expecting(reply_to="r") == ann.expecting(reply_to="r")


def test_x3_a_person_with_several_ids_has_one_of_them_first() -> None:
    assert inbound().user_ids == (UserId("ann"),)
    both = inbound(user_aliases=(UserId("555"), UserId("556")))
    assert both.user_ids == (UserId("ann"), UserId("555"), UserId("556"))
    assert both.scopes() == inbound().scopes()


def test_x3_a_chain_of_replies_is_looked_up_but_not_asked_in() -> None:
    reply = inbound(reply_to="r", reply_chain="first")
    assert reply.scope == inbound().scope
    assert reply.scopes() == (
        inbound().expecting(reply_to="r"),
        inbound().expecting(thread="first"),
        inbound().scope,
    )
    assert inbound(thread="t", reply_chain="t").scopes() == inbound(thread="t").scopes()


def test_x3_a_thread_that_is_a_conversation_of_its_own_is_expected_there() -> None:
    asked = inbound(threads="apart").expecting(thread="#lunch-today")
    assert asked == inbound(threads="apart", conversation="#lunch-today").scope
    assert place(asked) == Place("irc", "bot", None, "#lunch-today")


def test_x3_a_thread_on_a_platform_that_has_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^thread: irc has no threads$"):
        inbound(threads="none").expecting(thread="t")


def test_x3_a_number_is_expected_as_its_text() -> None:
    assert inbound().expecting(reply_to=78) == inbound().expecting(reply_to="78")


@given(AWKWARD, AWKWARD)
def test_x3_a_correlation_may_be_any_text(sent: str, came_back: str) -> None:
    expected = inbound().expecting(correlation=sent)
    assert (expected in inbound(correlation=came_back).scopes()) == (sent == came_back)


def test_x3_one_answer_is_expected_at_a_time() -> None:
    assert inbound(thread="t").expecting() == inbound(thread="t").scope
    with pytest.raises(InvalidInputError, match=r"^thread and reply_to: give only one of them"):
        inbound().expecting(thread="t", reply_to="r")
    with pytest.raises(InvalidInputError, match=r"^correlation: must not be empty"):
        inbound().expecting(correlation="")
    with pytest.raises(InvalidInputError, match=r"^reply_to: must be a string or an integer"):
        inbound().expecting(reply_to=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conversation": ""}, "conversation: must not be empty"),
        ({"conversation": 7}, "conversation: give a text"),
        ({"delivery_id": "x" * 1025}, "delivery_id: .* at most 1024 bytes"),
        ({"thread": "\udc80"}, "thread: must be valid Unicode"),
        ({"thread": ""}, "thread: must not be empty"),
        ({"text": "\udc80"}, "text: must be valid Unicode"),
        ({"text": 7}, "text: give a text"),
        ({"user_id": "ann"}, "user_id: give a UserId"),
        ({"user_aliases": ("ann",)}, r"user_aliases\[0\]: give a UserId"),
        ({"user_aliases": [UserId("ann")]}, "user_aliases: must be a tuple"),
        ({"conversation_aliases": ("a", "")}, r"conversation_aliases\[1\]: must not be empty"),
        ({"values": ["large"]}, "values: must be a tuple"),
        ({"values": ("large", 7)}, r"values\[1\]: give a text"),
        ({"command": 7}, "command: give a text"),
        ({"options": {"size": "large"}}, "options: must be a tuple"),
        ({"options": (("size",),)}, r"options\[0\]: must be a name and a value"),
        ({"options": (["size", "large"],)}, r"options\[0\]: must be a tuple"),
        ({"options": (("size", 7),)}, r"options\[0\]: give a text"),
        ({"group_id": ""}, "group_id: must not be empty"),
        ({"reply_chain": ""}, "reply_chain: must not be empty"),
        ({"threads": "elsewhere"}, "threads: must be one of inside, apart, none"),
        ({"threads": "none", "thread": "t"}, 'thread: must be None if threads is "none"'),
    ],
)
def test_x1_an_inbound_built_by_hand_is_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        inbound(**fields)


# What is registered, by which turn, is found by which other one: (asked by, expected, answered by).
FOUND = [
    ("telegram_message", {}, "telegram_photo"),
    ("telegram_topic", {}, "telegram_callback"),
    ("telegram_topic", {"reply_to": 78}, "telegram_callback"),
    ("telegram_topic", {"reply_to": 78}, "telegram_callback_old"),
    ("telegram_topic", {"correlation": "size:large"}, "telegram_callback_old"),
    ("telegram_business", {"reply_to": 79}, "telegram_callback_business"),
    ("telegram_general_topic", {}, "telegram_general_callback"),
    ("telegram_comment", {}, "telegram_comment_reply"),
    ("telegram_reply", {"reply_to": "ephemeral:78"}, "telegram_ephemeral_callback"),
    ("telegram_message", {"correlation": "5334567890123456789"}, "telegram_vote"),
    ("telegram_message", {"correlation": "order-7"}, "telegram_shipping"),
    ("telegram_message", {"correlation": "order-7"}, "telegram_pre_checkout"),
    ("telegram_message", {"correlation": "recipe-3"}, "telegram_paid_media"),
    ("telegram_message", {"correlation": -1001234567890}, "telegram_join_request"),
    ("telegram_message", {"reply_to": "AAAAexample"}, "telegram_inline_callback"),
    ("slack_message", {}, "slack_command"),
    ("slack_message", {"reply_to": "1767225604.000200"}, "slack_message_shortcut"),
    ("slack_message", {"reply_to": "1767225602.000200"}, "slack_attachment_button"),
    ("slack_message", {"correlation": "order-dialog"}, "slack_dialog"),
    ("slack_message", {"correlation": "order_step"}, "slack_workflow_step"),
    ("slack_thread", {}, "slack_modal"),
    ("slack_thread", {}, "slack_modal_action"),
    ("slack_shortcut", {"correlation": "order-form"}, "slack_modal_alone"),
    ("slack_message", {"thread": "1767225601.000100"}, "slack_thread"),
    ("slack_message", {"reply_to": "1767225601.000100"}, "slack_thread"),
    ("slack_message", {}, "slack_thread"),
    ("slack_thread", {}, "slack_block_action"),
    ("slack_message", {"reply_to": "1767225602.000200"}, "slack_block_action"),
    ("slack_message", {"correlation": "size"}, "slack_ephemeral_select"),
    ("teams_channel_root", {}, "teams_channel_reply"),
    ("teams_personal", {"reply_to": "1767225602000"}, "teams_card_action"),
    ("teams_personal", {"reply_to": "1767225602000"}, "teams_file_consent"),
    ("teams_personal", {"reply_to": "1:1cardOfTheBot"}, "teams_card_submit"),
    ("teams_personal", {"correlation": "order-7"}, "teams_card_submit"),
    ("teams_personal", {"correlation": "order-form"}, "teams_dialog"),
    ("teams_personal", {}, "teams_sign_in_code"),
    ("teams_personal", {"correlation": "calendar"}, "teams_sign_in_token"),
    ("whatsapp_text", {"correlation": "order-7"}, "whatsapp_form"),
    ("whatsapp_without_number", {}, "whatsapp_both_ids"),
    ("discord_message", {"thread": "1000000000000000001"}, "discord_reply"),
    ("whatsapp_text", {}, "whatsapp_button_reply"),
    ("whatsapp_text", {"reply_to": "wamid.ASKED"}, "whatsapp_reply"),
    ("whatsapp_text", {"correlation": "size-large"}, "whatsapp_list_reply"),
    ("webex_message", {}, "webex_thread_fetched"),
    ("webex_message", {"reply_to": "Y2lzY29zcGFyazovL3VzLMESSAGE"}, "webex_card_action"),
    ("discord_message", {"reply_to": "1100000000000000000"}, "discord_reply"),
    ("discord_message", {"correlation": "size-large"}, "discord_button"),
    ("webchat_message", {"reply_to": "0001|0000000"}, "webchat_post_back"),
    ("google_chat_message", {}, "google_chat_forward"),
    ("google_chat_message", {}, "google_chat_addon_message"),
    ("google_chat_mention", {"thread": "spaces/AAAAlunch/threads/t1"}, "google_chat_thread"),
    (
        "google_chat_mention",
        {"reply_to": "spaces/AAAAlunch/messages/t1.asked"},
        "google_chat_thread",
    ),
    ("google_chat_thread", {}, "google_chat_button"),
    ("google_chat_message", {"correlation": "order-7"}, "google_chat_dialog"),
    ("google_chat_message", {}, "google_chat_form"),
    ("messenger_text", {}, "messenger_quick_reply"),
    ("messenger_text", {"reply_to": "m_ASKED"}, "messenger_reply"),
    ("messenger_text", {"reply_to": "m_ASKED"}, "messenger_postback"),
    ("messenger_text", {"correlation": "size-large"}, "messenger_quick_reply"),
    ("messenger_text", {}, "messenger_customer_details"),
    ("instagram_text", {}, "instagram_change"),
    ("instagram_text", {"correlation": "size-large"}, "instagram_postback"),
    ("line_text", {}, "line_postback"),
    ("line_text", {"correlation": "when"}, "line_date"),
    ("line_group_quote", {"reply_to": "500000000000000000"}, "line_group_quote"),
    ("matrix_text", {}, "matrix_image"),
    ("matrix_text", {"thread": "$root"}, "matrix_thread"),
    ("matrix_text", {"reply_to": "$root"}, "matrix_thread"),
    ("matrix_thread", {}, "matrix_thread_reply"),
    ("matrix_text", {"reply_to": "$asked"}, "matrix_quoting_reply"),
    ("matrix_text", {"reply_to": "$poll"}, "matrix_vote"),
    ("mattermost_post", {}, "mattermost_webhook"),
    ("mattermost_post", {"reply_to": "asked".ljust(26, "p")}, "mattermost_thread"),
    ("mattermost_post", {"reply_to": "asked".ljust(26, "p")}, "mattermost_menu"),
    ("mattermost_thread", {"correlation": "order-7"}, "mattermost_dialog"),
    ("mattermost_command", {}, "mattermost_post"),
    ("twilio_sms", {}, "twilio_mms"),
    ("twilio_whatsapp", {"correlation": "size-large"}, "twilio_list"),
]
NOT_FOUND = [
    ("telegram_topic", {}, "telegram_reply"),  # another topic
    ("telegram_general_topic", {}, "telegram_topic"),
    ("telegram_topic", {}, "telegram_general_topic"),
    ("telegram_comment", {}, "telegram_other_comment"),
    ("telegram_reply", {}, "telegram_guest"),  # equal chat ids, as a guest
    ("telegram_reply", {"reply_to": 78}, "telegram_ephemeral_callback"),
    ("telegram_message", {}, "telegram_business"),  # equal chat ids, another account
    ("telegram_message", {"reply_to": 10}, "telegram_photo"),  # no reply at all
    ("slack_message", {"reply_to": "1767225602.000200"}, "slack_thread"),
    ("slack_thread", {}, "slack_message"),
    ("discord_message", {"correlation": "size-small"}, "discord_button"),
    ("whatsapp_text", {"reply_to": "wamid.OTHER"}, "whatsapp_reply"),
    ("whatsapp_text", {}, "whatsapp_without_number"),  # another user
    ("google_chat_thread", {}, "google_chat_slash_command"),  # another thread
    ("google_chat_message", {"reply_to": "spaces/CCCCother/messages/m9.m9"}, "google_chat_forward"),
    ("messenger_text", {}, "instagram_text"),  # another platform
    ("messenger_text", {"reply_to": "m_OTHER"}, "messenger_postback"),
    ("line_text", {}, "line_group_quote"),  # another chat
    ("matrix_thread", {}, "matrix_text"),
    ("matrix_text", {"reply_to": "$last"}, "matrix_thread"),  # only continues the thread
    ("mattermost_thread", {}, "mattermost_post"),
    ("twilio_sms", {}, "twilio_whatsapp"),  # the same number on another channel
]


async def is_found(asked: Inbound, scope: ReplyScope, answered: Inbound) -> bool:
    """Register for one turn, and resume with the other."""
    async with AsyncSessionStore(MemoryBackend()) as store:
        ctx = TenantCtx(env="prod", tenant_id="acme", user_id=asked.user_id)
        data = SessionData(
            tenant_ctx=ctx,
            flow_id="order",
            cursor=SessionCursor(node_pointer="size"),
            context_json="{}",
        )
        await store.register_wait(ctx, asked.user_id, scope, "k", data)
        answering = TenantCtx(env="prod", tenant_id="acme", user_id=answered.user_id)
        async with store.resume_wait(
            answering, answered.user_id, answered.scopes(), delivery_id=answered.delivery_id
        ) as wait:
            return wait is not None


@pytest.mark.anyio
@pytest.mark.parametrize(("asked", "expected", "answered"), FOUND)
async def test_x3_a_wait_is_found_by_its_answer(
    asked: str, expected: dict[str, Any], answered: str
) -> None:
    assert await is_found(parse(asked), parse(asked).expecting(**expected), parse(answered))


@pytest.mark.anyio
@pytest.mark.parametrize(("asked", "expected", "answered"), NOT_FOUND)
async def test_x3_a_wait_is_not_found_by_another_message(
    asked: str, expected: dict[str, Any], answered: str
) -> None:
    assert not await is_found(parse(asked), parse(asked).expecting(**expected), parse(answered))


@pytest.mark.anyio
async def test_x3_a_wait_at_a_number_is_found_when_the_person_has_an_id_too() -> None:
    asked, answered = parse("whatsapp_text"), parse("whatsapp_both_ids")
    async with AsyncSessionStore(MemoryBackend()) as store:
        ctx = TenantCtx(env="prod", tenant_id="acme")
        async with store.turn(ctx, asked, flow="order", memory=dict) as turn:
            turn.ask("take_size")
        found = [await store.get_wait(ctx, one, answered.scopes()) for one in answered.user_ids]
    assert [record is not None for record in found] == [False, False, True]


def test_x3_what_an_older_version_registered_in_the_general_topic_is_found() -> None:
    general = parse("telegram_general_topic")
    assert ReplyScope(conversation="telegram/4242/-1001234567890") in general.scopes()


def test_x3_all_comments_below_a_post_are_one_thread_if_the_host_says_so() -> None:
    comment, reply = (
        telegram(payload(name), bot_id=4242, discussion_group=True)
        for name in ("telegram_comment", "telegram_comment_reply")
    )
    assert comment.scope == reply.scope == comment.expecting(thread=30)
    assert reply.reply_chain is None
