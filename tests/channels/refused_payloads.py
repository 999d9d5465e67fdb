"""Payloads that are no user's turn, and how the error begins."""

from __future__ import annotations

from typing import Any

from expected_inbounds import WEBEX
from platform_payloads import PAYLOADS, payload

from async_session_store import ReplyScope
from async_session_store.channels import scope_to_text

OTHER_BOT = scope_to_text(ReplyScope(conversation="slack/A0OTHER/C0LUNCH"))
WHATSAPP_MESSAGE = "entry__0__changes__0__value__messages__0"

NO_TURN: dict[str, tuple[str, Any, str]] = {
    "telegram edit": ("telegram", {"update_id": 1, "edited_message": {}}, "update.message: "),
    "telegram member": ("telegram", {"update_id": 1, "my_chat_member": {}}, "update.message: "),
    "telegram inline button": (
        "telegram",
        payload("telegram_callback", callback_query__message=None),
        "update.callback_query.message: is missing, and so is inline_message_id",
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
    "telegram business owner": (
        "telegram",
        payload("telegram_business", business_message__from__id=9001),
        "update.business_message.from.id: ",
    ),
    "telegram copied post": (
        "telegram",
        payload("telegram_message", message__is_automatic_forward=True),
        "update.message.is_automatic_forward: ",
    ),
    "telegram event with a field of the future": (
        "telegram",
        payload(
            "telegram_message", message__text=None, message__pinned_message={}, message__new={}
        ),
        "update.message.text: ",
    ),
    "telegram inline query": ("telegram", {"update_id": 1, "inline_query": {}}, "update.message: "),
    "telegram reaction": ("telegram", {"update_id": 1, "message_reaction": {}}, "update.message: "),
    "telegram migration": ("telegram", PAYLOADS["telegram_migrated_to"], "update.message.text: "),
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
    "slack modal of another bot": (
        "slack",
        payload("slack_modal", api_app_id="A0ORDERS", view__private_metadata=OTHER_BOT),
        "payload.view.private_metadata: holds the scope of another bot",
    ),
    "slack modal with a damaged scope": (
        "slack",
        payload("slack_modal", view__private_metadata=OTHER_BOT[:-1]),
        "payload.view.private_metadata: was cut or changed",
    ),
    "slack modal closed": (
        "slack",
        payload("slack_modal", type="view_closed"),
        "payload.type: ",
    ),
    "slack edited mention": (
        "slack",
        payload("slack_mention", event__thread_ts="1767225601.000100", event__edited={"ts": "1"}),
        "payload.event.edited: ",
    ),
    "slack edited message": (
        "slack",
        payload("slack_message", event__edited={"user": "U0ANN", "ts": "1"}),
        "payload.event.edited: ",
    ),
    "slackbot": (
        "slack",
        payload("slack_message", event__user="USLACKBOT"),
        "payload.event.user: ",
    ),
    "slack user token": (
        "slack",
        payload("slack_message", event__bot_id="B0OTHER"),
        "payload.event.bot_id: ",
    ),
    "slack other app": (
        "slack",
        payload("slack_message", api_app_id="A0OTHER"),
        "payload.api_app_id: differs from bot_id",
    ),
    "slack step without a user": (
        "slack",
        payload("slack_workflow_step", event__inputs={"size": "large"}),
        "payload.event.inputs: names no user",
    ),
    "slack form without JSON": (
        "slack",
        {"payload": "type=block_actions"},
        "payload.payload: must be JSON",
    ),
    "slack form of another kind": ("slack", {"payload": "[]"}, "payload.payload: must be a JSON"),
    "slack ssl check": ("slack", {"ssl_check": "1", "token": "t"}, "payload.type: is missing"),
    "slack moved channel": ("slack", PAYLOADS["slack_channel_moved"], "payload.event.type: "),
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
        "activity.name: ",
    ),
    "teams opened dialog": (
        "teams",
        payload("teams_dialog", name="task/fetch"),
        "activity.name: ",
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
    "whatsapp changed number": (
        "whatsapp",
        PAYLOADS["whatsapp_number_changed"],
        "payload.entry[0].changes[0].value.messages[0].type: ",
    ),
    "whatsapp only watched": (
        "whatsapp",
        payload("whatsapp_text", entry__0__changes__0__field="standby"),
        "payload.entry[0].changes[0].field: ",
    ),
    "whatsapp broken form": (
        "whatsapp",
        payload(
            "whatsapp_form",
            **{f"{WHATSAPP_MESSAGE}__interactive__nfm_reply__response_json": "{"},
        ),
        "payload.entry[0].changes[0].value.messages[0].interactive.nfm_reply.response_json: ",
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
