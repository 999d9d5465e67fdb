"""Payloads that are no user's turn, and how the error begins."""

from __future__ import annotations

from typing import Any

from expected_inbounds import WEBEX
from platform_payloads import PAYLOADS, payload

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
