"""What each payload of Google Chat, Meta, LINE, Matrix, Mattermost and Twilio holds."""

from __future__ import annotations

from typing import Any

from async_session_store import UserId
from async_session_store.channels import Inbound

GOOGLE_ANN = UserId.encode("users/100000000000000000001")
MOMENT = "2026-01-01T00:00:01.123456Z/users/100000000000000000001"
LUNCH, DIRECT = "spaces/AAAAlunch", "spaces/BBBBann"
CARD = f"{LUNCH}/messages/t1.asked"
MATRIX_BOT = "@orders:example.org"
MATTERMOST_BOT = "orders".ljust(26, "b")
META_USER = "5550000000000001"
LINE_USER = "U0000000000000000000000000000ann1"


def google_inbound(space: str, **more: Any) -> Inbound:
    fields = {"provider": "google_chat", "bot_id": "1234567890", "user_id": GOOGLE_ANN}
    fields |= {"tenant_hint": "1a2b3c4", "delivery_id": MOMENT}
    return Inbound(**{**fields, **more}, conversation=space)


def google_message(space: str, message: str, *, chain: str | None = None, **more: Any) -> Inbound:
    name = f"{space}/messages/{message}"
    more["reply_chain"] = None if chain is None else f"{space}/threads/{chain}"
    return google_inbound(space, message_id=name, **{"delivery_id": name, **more})


def meta_inbound(delivery_id: str, **more: Any) -> Inbound:
    fields = {"provider": "messenger", "bot_id": "110000000000001", "threads": "none"}
    fields |= {"user_id": UserId(META_USER), "conversation": META_USER}
    return Inbound(**{**fields, **more}, delivery_id=delivery_id)


def meta_message(number: int, **more: Any) -> Inbound:
    return meta_inbound(f"m_EXAMPLE{number}", message_id=f"m_EXAMPLE{number}", **more)


def line_inbound(number: int, **more: Any) -> Inbound:
    fields = {"provider": "line", "bot_id": "U0000000000000000000000000000b0t1", "threads": "none"}
    fields |= {"user_id": UserId(LINE_USER), "conversation": LINE_USER}
    return Inbound(**{**fields, **more}, delivery_id=f"01EXAMPLE000000000000000{number:03}")


def line_message(number: int, **more: Any) -> Inbound:
    return line_inbound(number, message_id=f"{500000000000000000 + number}", **more)


def matrix_inbound(number: int, **more: Any) -> Inbound:
    fields = {"provider": "matrix", "bot_id": MATRIX_BOT, "conversation": "!lunch:example.org"}
    fields |= {"message_id": f"$example{number}"}
    ann = UserId.encode("@ann:example.org")
    return Inbound(**{**fields, **more}, user_id=ann, delivery_id=f"$example{number}")


def mattermost_inbound(delivery_id: str, **more: Any) -> Inbound:
    fields = {"provider": "mattermost", "bot_id": MATTERMOST_BOT, "text": "large"}
    fields |= {"tenant_hint": "acme".ljust(26, "t"), "conversation": "lunch".ljust(26, "c")}
    ann = UserId("ann".ljust(26, "a"))
    return Inbound(**{**fields, **more}, user_id=ann, delivery_id=delivery_id)


def mattermost_post(number: int, **more: Any) -> Inbound:
    post = f"post{number}".ljust(26, "p")
    return mattermost_inbound(post, message_id=post, **more)


def twilio_inbound(number: int, user: str, *others: str, **more: Any) -> Inbound:
    sid, bot = f"SM{number:032x}", "+15550100001"
    fields = {"provider": "twilio", "threads": "none", "text": "large"}
    return Inbound(
        **{**fields, **more},
        bot_id=f"whatsapp:{bot}" if user.startswith("whatsapp") else bot,
        tenant_hint="AC00000000000000000000000000000001",
        user_id=UserId.encode(user),
        user_aliases=tuple(map(UserId.encode, others)),
        conversation=user,
        conversation_aliases=others,
        message_id=sid,
        delivery_id=sid,
    )


ASKED_POST = "asked".ljust(26, "p")
INSTAGRAM = {"provider": "instagram", "bot_id": "17841400000000001"}
PRESSED = {"reply_to": "m_ASKED", "correlation": "size-large", "text": "Large"}
NUMBER, LASTING = "whatsapp:+15550100002", "whatsapp:US.134912"
DIALOG = "67febcc51cd8aa97cc75aedb7a931bd50ee5efa3acb95602370550737fd0dc29"

MORE_EXPECTED: dict[str, Inbound] = {
    # Outside of a thread: the next message names another thread, so the chat is the place.
    "google_chat_message": google_message(DIRECT, "m1.m1", chain="m1", text="large"),
    "google_chat_mention": google_message(LUNCH, "t1.t1", chain="t1", text="I am hungry"),
    "google_chat_thread": google_message(
        LUNCH, "t1.m2", thread=f"{LUNCH}/threads/t1", reply_to=CARD, text="large"
    ),
    "google_chat_forward": google_message(DIRECT, "m3.m3", chain="m3", text="that one"),
    "google_chat_topic": google_message(LUNCH, "t7.m8", thread=f"{LUNCH}/threads/t7", text="large"),
    "google_chat_slash_command": google_message(
        LUNCH, "t4.t4", chain="t4", text="large", command="order"
    ),
    "google_chat_quick_command": google_inbound(
        DIRECT, reply_chain=f"{DIRECT}/threads/m5", command="2"
    ),
    # The message is Ben's, and so is the command in it.
    "google_chat_message_action": google_inbound(
        LUNCH, thread=f"{LUNCH}/threads/t1", reply_to=f"{LUNCH}/messages/t1.m9", command="3"
    ),
    "google_chat_button": google_inbound(
        LUNCH,
        thread=f"{LUNCH}/threads/t1",
        reply_to=CARD,
        correlation="take_size",
        text="large",
        options=(("size", "large"),),
    ),
    "google_chat_old_button": google_inbound(
        LUNCH,
        thread=f"{LUNCH}/threads/t1",
        reply_to=CARD,
        correlation="order-7",
        text="large",
        options=(("size", "large"),),
    ),
    "google_chat_dialog": google_inbound(
        DIRECT,
        correlation="order-7",
        options=(
            *(("price", "12"), ("size", "large"), ("toppings", "ham"), ("toppings", "olives")),
            *(("day", "1767225600000"), ("at", "1767295800000"), ("time", "07:30")),
        ),
    ),
    "google_chat_checkboxes": google_inbound(
        LUNCH,
        thread=f"{LUNCH}/threads/t1",
        reply_to=CARD,
        correlation="take_toppings",
        text="ham",
        values=("ham", "olives"),
        options=(("toppings", "ham"), ("toppings", "olives")),
    ),
    "google_chat_form": google_inbound(
        DIRECT, correlation="save", text="large", options=(("size", "large"),)
    ),
    "google_chat_added_by_mention": google_message(LUNCH, "t6.t6", chain="t6", text="hello"),
    "google_chat_addon_message": google_message(DIRECT, "m1.m1", chain="m1", text="large"),
    "google_chat_addon_button": google_inbound(
        LUNCH,
        thread=f"{LUNCH}/threads/t1",
        reply_to=CARD,
        correlation="order-7",
        text="large",
        options=(("size", "large"),),
    ),
    # Without an annotation, only the id of the command is known.
    "google_chat_addon_command": google_message(LUNCH, "t4.t4", chain="t4", command="1"),
    "google_chat_addon_message_action": google_inbound(
        LUNCH, thread=f"{LUNCH}/threads/t1", reply_to=f"{LUNCH}/messages/t1.m9", command="3"
    ),
    "messenger_text": meta_message(1, text="large"),
    "messenger_quick_reply": meta_message(2, text="Large", correlation="size-large"),
    "messenger_reply": meta_message(3, text="large", reply_to="m_ASKED"),
    "messenger_images": meta_message(4),
    "messenger_postback": meta_inbound("1767225601000/m_ASKED", **PRESSED),
    "messenger_get_started": meta_inbound("1767225601000", correlation="start", text="Get Started"),
    "messenger_plugin": meta_inbound(
        "1767225601000",
        user_id=UserId("checkbox-7"),
        conversation="checkbox-7",
        correlation="lunch",
    ),
    "messenger_opt_in": meta_inbound(
        "1767225601000", correlation="menu-of-the-day", text="Menu of the day"
    ),
    "messenger_account_link": meta_inbound(
        "1767225601000", text="linked", options=(("authorization_code", "example-code"),)
    ),
    "messenger_customer_details": meta_inbound(
        "1767225601000", options=(("city", "Oslo"), ("street", "Example Street 7"))
    ),
    "instagram_text": meta_message(1, text="large", **INSTAGRAM),
    "instagram_story_reply": meta_message(
        2, text="looks good", reply_to="18000000000000001", **INSTAGRAM
    ),
    "instagram_postback": meta_inbound("1767225601000/m_ASKED", **PRESSED, **INSTAGRAM),
    "instagram_unsupported": meta_message(3, **INSTAGRAM),
    "instagram_change": meta_message(4, text="large", **INSTAGRAM),
    "instagram_change_without_time": meta_inbound("1767225601500/m_ASKED", **PRESSED, **INSTAGRAM),
    "line_text": line_message(1, text="large"),
    "line_group_quote": line_message(
        2,
        conversation="C00000000000000000000000000lunch1",
        reply_to="500000000000000000",
        text="@Orders large",
    ),
    "line_room_sticker": line_message(3, conversation="R00000000000000000000000000lunch1"),
    "line_album": line_message(4, group_id="E005D41A"),
    "line_postback": line_inbound(5, correlation="size-large", text="size-large"),
    "line_date": line_inbound(
        6,
        correlation="when",
        text="2026-01-02T19:30",
        options=(("datetime", "2026-01-02T19:30"),),
    ),
    "line_account_link": line_inbound(7, correlation="example-nonce", text="ok"),
    "matrix_text": matrix_inbound(1, text="large"),
    "matrix_reply": matrix_inbound(2, reply_to="$asked", text="large"),
    "matrix_quoting_reply": matrix_inbound(3, reply_to="$asked", text="large\nor small"),
    # Only continues the thread: the message that it names is for clients without threads.
    "matrix_thread": matrix_inbound(4, thread="$root", reply_to="$root", text="large"),
    "matrix_thread_reply": matrix_inbound(5, thread="$root", reply_to="$asked", text="large"),
    "matrix_image": matrix_inbound(6),
    "matrix_image_with_caption": matrix_inbound(7, text="this one"),
    "matrix_location": matrix_inbound(8),
    "matrix_emote": matrix_inbound(9, text="is hungry"),
    "matrix_unknown_content": matrix_inbound(10, text="large"),
    "matrix_sticker": matrix_inbound(11),
    "matrix_vote": matrix_inbound(
        12, message_id=None, reply_to="$poll", text="ham", values=("ham", "olives")
    ),
    "matrix_older_vote": matrix_inbound(
        13, message_id=None, reply_to="$poll", text="ham", values=("ham",)
    ),
    "matrix_poll": matrix_inbound(14),
    "matrix_older_poll_in_thread": matrix_inbound(15, thread="$root", reply_to="$root"),
    "mattermost_post": mattermost_post(1),
    "mattermost_thread": mattermost_post(2, thread=ASKED_POST, reply_to=ASKED_POST),
    "mattermost_me": mattermost_post(3, text="is hungry"),
    "mattermost_direct": mattermost_post(4, tenant_hint=None),
    # The server keeps what it says until a reader opens it.
    "mattermost_burn_on_read": mattermost_post(6, text=None),
    "mattermost_webhook": mattermost_post(5, text="#order large"),
    "mattermost_command": mattermost_inbound("ZXhhbXBsZS10cmlnZ2VyLTE=", command="order"),
    "mattermost_command_in_thread": mattermost_inbound(
        "ZXhhbXBsZS10cmlnZ2VyLTU=", thread=ASKED_POST, reply_to=ASKED_POST, command="order"
    ),
    "mattermost_button": mattermost_inbound(
        "ZXhhbXBsZS10cmlnZ2VyLTI=",
        reply_to=ASKED_POST,
        correlation="order-7",
        options=(("size", "large"),),
    ),
    "mattermost_menu": mattermost_inbound(
        "ZXhhbXBsZS10cmlnZ2VyLTM=",
        reply_to=ASKED_POST,
        options=(("action", "take_size"), ("selected_option", "large")),
    ),
    "mattermost_plain_button": mattermost_inbound(
        "ZXhhbXBsZS10cmlnZ2VyLTQ=", reply_to=ASKED_POST, text=None
    ),
    "mattermost_dialog": mattermost_inbound(
        DIALOG,
        correlation="order-7",
        text=None,
        options=(("size", "large"), ("spicy", "true"), ("slices", "8")),
    ),
    "twilio_sms": twilio_inbound(1, "+15550100002"),
    "twilio_mms": twilio_inbound(2, "+15550100002", text=None),
    "twilio_whatsapp": twilio_inbound(3, NUMBER),
    "twilio_button": twilio_inbound(
        *(4, LASTING, "whatsapp:US.ENT.118157", NUMBER),
        reply_to="MM00000000000000000000000000000001",
        correlation="size-large",
        text="Large",
    ),
    "twilio_list": twilio_inbound(5, NUMBER, correlation="size-large", text="Large"),
    "twilio_without_number": twilio_inbound(6, LASTING),
    "twilio_keyword": twilio_inbound(7, "+15550100002", text="STOP"),
}
