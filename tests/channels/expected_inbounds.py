"""What each payload of the folder holds."""

from __future__ import annotations

from typing import Any

from platform_payloads import BOT

from async_session_store import UserId
from async_session_store.channels import Inbound

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
    fields["threads"] = "none"
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
    fields["threads"] = "apart"
    fields |= {"user_id": UserId("80351110224678912"), "conversation": "1000000000000000001"}
    return Inbound(**{**fields, **more}, delivery_id=delivery_id)


def webchat_inbound(delivery_id: str, user: str, **more: Any) -> Inbound:
    return Inbound(
        provider="webchat",
        threads="none",
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
    "telegram_reply": telegram_inbound(
        "900000002", GROUP, message_id="71", reply_to="70", reply_chain="70"
    ),
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
        is_ephemeral=True,
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
        options=(("size", "large"),),
    ),
    "teams_card_action": teams_inbound(
        "f:5261769396935243055",
        conversation="a:1personalChatOfAnn",
        thread=None,
        reply_to="1767225602000",
        correlation="chooseSize",
        options=(("size", "large"),),
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
    "webex_card_action_fetched": webex_inbound(
        "ACTION", reply_to=f"{WEBEX}MESSAGE", options=(("size", "large"),)
    ),
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
        "1200000000000000001",
        reply_to="1100000000000000000",
        correlation="size",
        text="large",
        values=("large",),
    ),
    "discord_modal": discord_inbound(
        "1200000000000000001",
        correlation="order-form",
        text="somewhere",
        options=(("address", "somewhere"),),
    ),
    "discord_command_in_dm": discord_inbound(
        "1200000000000000001", tenant_hint=None, command="order"
    ),
    "webchat_message": webchat_inbound("0001", "dl_ann", message_id="0001", text="large"),
    "webchat_posted": webchat_inbound("1767225601000abc", "user1", text="hello"),
    "webchat_post_back": webchat_inbound(
        "0002",
        "dl_ann",
        message_id="0002",
        reply_to="0001|0000000",
        options=(("size", "large"),),
    ),
    "discord_command": discord_inbound(
        "1200000000000000001",
        command="order food pizza",
        options=(("size", "large"), ("count", "2"), ("spicy", "true"), ("tip", "1.5")),
    ),
    "discord_message_command": discord_inbound(
        "1200000000000000001", reply_to="1100000000000000005", command="Order this"
    ),
    "discord_modal_labels": discord_inbound(
        "1200000000000000001",
        correlation="order-form",
        options=(("address", "somewhere"), ("extras", "salad"), ("extras", "water")),
    ),
    "discord_multi_select": discord_inbound(
        "1200000000000000001",
        reply_to="1100000000000000000",
        correlation="extras",
        text="salad",
        values=("salad", "water"),
        is_ephemeral=True,
    ),
    "slack_attachment_button": slack_inbound(
        "1767225616.123456",
        thread="1767225601.000100",
        reply_to="1767225602.000200",
        correlation="sizes",
        text="large",
    ),
    "slack_command": slack_inbound(
        "12321423425.333649436676.d8c1bb837935619ccad0f624c448ffb3", text="large", command="order"
    ),
    "slack_connect_mention": slack_inbound(
        "1767225620.000500",
        tenant_hint="T0HOME",
        message_id="1767225620.000500",
        text="<@U0BOT> I am hungry",
    ),
    "slack_connect_message": slack_inbound(
        "1767225620.000500",
        tenant_hint="T0HOME",
        message_id="1767225620.000500",
        text="I am hungry",
    ),
    "slack_dialog": slack_inbound(
        "1767225617.123456", correlation="order-dialog", text="large", options=(("size", "large"),)
    ),
    "slack_message_shortcut": slack_inbound(
        "1767225612.123456",
        thread="1767225601.000100",
        reply_to="1767225604.000200",
        correlation="order-this",
    ),
    "slack_modal": slack_inbound(
        "12321423428.333649436676.d8c1",
        thread="1767225601.000100",
        correlation="order-form",
        options=(("size", "large"), ("extras", "salad"), ("extras", "water")),
    ),
    "slack_modal_action": slack_inbound(
        "1767225614.123456", thread="1767225601.000100", correlation="day", text="2026-01-02"
    ),
    "slack_modal_alone": slack_inbound(
        "12321423429.333649436676.d8c1",
        conversation="U0ANN",
        correlation="order-form",
        text="large",
        options=(("size", "large"),),
    ),
    "slack_multi_select": slack_inbound(
        "1767225615.123456",
        thread="1767225601.000100",
        reply_to="1767225602.000200",
        correlation="extras",
        text="salad",
        values=("salad", "water"),
    ),
    "slack_org_command": slack_inbound(
        "12321423425.333649436676.d8c1bb837935619ccad0f624c448ffb3",
        tenant_hint="E0ACME",
        command="order",
    ),
    "slack_org_message": slack_inbound(
        "1767225621.000500",
        tenant_hint="E0ACME",
        message_id="1767225621.000500",
        text="I am hungry",
    ),
    "slack_shortcut": slack_inbound("1767225613.123456", conversation="U0ANN", correlation="order"),
    "slack_workflow_step": slack_inbound(
        "Fx0ORDER",
        correlation="order_step",
        options=(("size", "large"), ("guest", "U0ANN"), ("room", "C0LUNCH")),
    ),
    "teams_card_submit": teams_inbound(
        "f:5261769396935243065",
        conversation="a:1personalChatOfAnn",
        thread=None,
        reply_to="1:1cardOfTheBot",
        correlation="order-7",
        options=(("size", "large"), ("count", "2"), ("spicy", "false")),
    ),
    "teams_connector_card": teams_inbound(
        "f:5261769396935243064",
        conversation="a:1personalChatOfAnn",
        thread=None,
        reply_to="1767225602000",
        correlation="card-size",
        text="large",
    ),
    "teams_dialog": teams_inbound(
        "f:5261769396935243063",
        conversation="a:1personalChatOfAnn",
        thread=None,
        correlation="order-form",
        options=(("size", "large"),),
    ),
    "teams_file_consent": teams_inbound(
        "f:5261769396935243060",
        conversation="a:1personalChatOfAnn",
        thread=None,
        reply_to="1767225602000",
        correlation="receipt-7",
        text="accept",
        options=(("file", "receipt.pdf"),),
    ),
    "teams_sign_in_code": teams_inbound(
        "f:5261769396935243061", conversation="a:1personalChatOfAnn", thread=None, text="485932"
    ),
    "teams_sign_in_token": teams_inbound(
        "6e8a2f6e-0000-4000-8000-000000000001",
        conversation="a:1personalChatOfAnn",
        thread=None,
        correlation="calendar",
    ),
    "telegram_album": telegram_inbound(
        "900000023", "5551", message_id="89", text="these", group_id="13579246801234567"
    ),
    "telegram_command": telegram_inbound(
        "900000015",
        "-1001234567890",
        message_id="83",
        text="/order@order_bot large",
        command="order",
    ),
    "telegram_comment": telegram_inbound(
        "900000018", "-1005555555555", thread="30", reply_to="30", message_id="85"
    ),
    "telegram_comment_reply": telegram_inbound(
        "900000019", "-1005555555555", reply_to="31", message_id="86", reply_chain="30"
    ),
    "telegram_other_comment": telegram_inbound(
        "900000033", "-1005555555555", thread="32", reply_to="32", message_id="91"
    ),
    "telegram_ephemeral": telegram_inbound(
        "900000020",
        "-1001234567890",
        message_id="ephemeral:3",
        text="/order large",
        command="order",
        is_ephemeral=True,
    ),
    "telegram_ephemeral_callback": telegram_inbound(
        "900000021",
        "-1001234567890",
        reply_to="ephemeral:78",
        correlation="size:large",
        text="size:large",
        is_ephemeral=True,
    ),
    "telegram_general_callback": telegram_inbound(
        "900000017",
        "-1001234567890",
        thread="1",
        reply_to="78",
        correlation="size:large",
        text="size:large",
    ),
    "telegram_general_topic": telegram_inbound(
        "900000016", "-1001234567890", thread="1", message_id="84"
    ),
    "telegram_guest": telegram_inbound(
        "900000022", "-1001234567890", account="guest", message_id="88", text="@order_bot large"
    ),
    "telegram_inline_callback": telegram_inbound(
        "900000030", "5551", reply_to="AAAAexample", correlation="size:large", text="size:large"
    ),
    "telegram_join_request": telegram_inbound(
        "900000028", "5551", correlation="-1001234567890", text=None
    ),
    "telegram_paid_media": telegram_inbound("900000029", "5551", correlation="recipe-3", text=None),
    "telegram_passport": telegram_inbound("900000013", "5551", message_id="81", text=None),
    "telegram_pre_checkout": telegram_inbound(
        "900000026", "5551", correlation="order-7", text="express"
    ),
    "telegram_rich_message": telegram_inbound(
        "900000012", "5551", message_id="80", text="Order\na large one, 👍\nwith salad"
    ),
    "telegram_shipping": telegram_inbound("900000027", "5551", correlation="order-7", text=None),
    "telegram_unknown_content": telegram_inbound("900000014", "5551", message_id="82", text=None),
    "telegram_vote": telegram_inbound(
        "900000024", "5551", correlation="5334567890123456789", text="0", values=("0", "2")
    ),
    "telegram_vote_of_channel": telegram_inbound(
        "900000025",
        "-1009876543210",
        user_id=UserId("-1009876543210"),
        correlation="5334567890123456789",
        text=None,
    ),
    "whatsapp_both_ids": whatsapp_inbound(
        10,
        user_id=UserId("US.13491208655302741918"),
        conversation="US.13491208655302741918",
        text="large",
        user_aliases=(
            UserId("US.ENT.11815799212886844830"),
            UserId("16505551234"),
        ),
        conversation_aliases=("US.ENT.11815799212886844830", "16505551234"),
    ),
    "whatsapp_call_permission": whatsapp_inbound(12, reply_to="wamid.ASKED", text="accept"),
    "whatsapp_form": whatsapp_inbound(
        11,
        reply_to="wamid.ASKED",
        correlation="order-7",
        options=(
            ("size", "large"),
            ("extras", "salad"),
            ("extras", "water"),
            ("spicy", "true"),
            ("count", "2"),
        ),
    ),
}
