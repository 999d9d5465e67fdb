"""Payloads of Google Chat, Meta, LINE, Matrix, Mattermost and Twilio that are no user's turn."""

from __future__ import annotations

import json
from typing import Any

from more_expected_inbounds import MATRIX_BOT, MATTERMOST_BOT
from platform_payloads import PAYLOADS, payload

EVENT = "payload.entry[0].messaging[0]."


def meta(**event: object) -> Any:
    """Return a webhook with another event."""
    others = dict.fromkeys(("message", "timestamp")) | event
    changes = {f"entry__0__messaging__0__{name}": value for name, value in others.items()}
    return payload("messenger_text", **changes)


def line(kind: str, **event: object) -> Any:
    changes = {f"events__0__{name}": value for name, value in {"type": kind, **event}.items()}
    return payload("line_text", **changes)


def post(**changes: object) -> Any:
    """Return a websocket event with another post."""
    changed = json.loads(PAYLOADS["mattermost_post"]["data"]["post"]) | changes
    return payload("mattermost_post", data__post=json.dumps(changed))


MORE_NO_TURN: dict[str, tuple[str, Any, str]] = {
    "google chat added": (
        "google",
        payload("google_chat_added_by_mention", message=None),
        "event.type: ",
    ),
    "google chat removed": (
        "google",
        payload("google_chat_message", type="REMOVED_FROM_SPACE"),
        "event.type: ",
    ),
    "google chat suggestions": (
        "google",
        payload("google_chat_dialog", type="WIDGET_UPDATED"),
        "event.type: ",
    ),
    "google chat home": ("google", payload("google_chat_form", type="APP_HOME"), "event.type: "),
    "google chat closed dialog": (
        "google",
        payload("google_chat_dialog", dialogEventType="CANCEL_DIALOG"),
        "event.dialogEventType: is CANCEL_DIALOG",
    ),
    "google chat bot": (
        "google",
        payload("google_chat_message", user__type="BOT"),
        "event.user.type: is BOT",
    ),
    "google chat add-on added": (
        "google",
        payload(
            "google_chat_addon_message",
            chat__messagePayload=None,
            chat__addedToSpacePayload={"space": {"name": "spaces/AAAAlunch"}},
        ),
        "event.chat.messagePayload: is missing, and so is every other kind",
    ),
    "google chat add-on closed dialog": (
        "google",
        payload(
            "google_chat_addon_button", chat__buttonClickedPayload__dialogEventType="CANCEL_DIALOG"
        ),
        "event.chat.buttonClickedPayload.dialogEventType: ",
    ),
    "messenger other object": (
        "messenger",
        payload("messenger_text", object="whatsapp_business_account"),
        "payload.object: ",
    ),
    "messenger several": ("messenger", PAYLOADS["messenger_batch"], "payload.entry: must hold one"),
    "messenger only watched": (
        "messenger",
        PAYLOADS["messenger_batch"] | {"entry": PAYLOADS["messenger_batch"]["entry"][2:]},
        "payload.entry: must hold one",
    ),
    "messenger echo": (
        "messenger",
        payload("messenger_text", entry__0__messaging__0__message__is_echo=True),
        f"{EVENT}message.is_echo: ",
    ),
    "messenger delivery": ("messenger", meta(delivery={"watermark": 1}), f"{EVENT}message: "),
    "messenger read": ("messenger", meta(read={"watermark": 1}), f"{EVENT}message: "),
    "messenger reaction": (
        "messenger",
        meta(reaction={"action": "react", "mid": "m_ASKED", "reaction": "love"}),
        f"{EVENT}message: ",
    ),
    "messenger edit": (
        "messenger",
        meta(message_edit={"mid": "m_EXAMPLE1", "text": "small", "num_edit": 1}),
        f"{EVENT}message: ",
    ),
    "messenger referral": (
        "messenger",
        meta(referral={"ref": "poster", "source": "SHORTLINK", "type": "OPEN_THREAD"}),
        f"{EVENT}message: ",
    ),
    "messenger handover": (
        "messenger",
        meta(pass_thread_control={"new_owner_app_id": "1"}),
        f"{EVENT}message: ",
    ),
    "instagram deleted": (
        "instagram",
        payload("instagram_text", entry__0__messaging__0__message__is_deleted=True),
        f"{EVENT}message.is_deleted: ",
    ),
    "instagram comment": (
        "instagram",
        payload(
            "instagram_change",
            entry__0__changes=[{"field": "comments", "value": {"id": "1", "text": "nice"}}],
        ),
        "payload.entry: must hold one",
    ),
    "instagram watched change": (
        "instagram",
        payload("instagram_change", entry__0__changes__0__field="standby"),
        "payload.entry: must hold one",
    ),
    "line verification": ("line", payload("line_text", events=[]), "payload.events: must hold one"),
    "line several": ("line", PAYLOADS["line_batch"], "payload.events: must hold one"),
    "line follow": ("line", line("follow", message=None), "payload.events[0].type: "),
    "line join": ("line", line("join", message=None), "payload.events[0].type: "),
    "line unsend": (
        "line",
        line("unsend", message=None, unsend={"messageId": "1"}),
        "payload.events[0].type: ",
    ),
    "line video seen": ("line", line("videoPlayComplete"), "payload.events[0].type: "),
    "line beacon": ("line", line("beacon"), "payload.events[0].type: "),
    "line standby": ("line", line("message", mode="standby"), "payload.events[0].mode: "),
    "line unknown member": (
        "line",
        payload("line_group_quote", events__0__source__userId=None),
        "payload.events[0].source.userId: is missing",
    ),
    "line other source": (
        "line",
        line("message", source={"type": "square", "userId": "U1"}),
        "payload.events[0].source.type: ",
    ),
    "line menu switch": (
        "line",
        payload(
            "line_date",
            events__0__postback__params={"newRichMenuAliasId": "second", "status": "SUCCESS"},
        ),
        "payload.events[0].postback.params.newRichMenuAliasId: ",
    ),
    "matrix own message": (
        "matrix",
        payload("matrix_text", sender=MATRIX_BOT),
        "event.sender: is the bot",
    ),
    "matrix notice": (
        "matrix",
        payload("matrix_text", content__msgtype="m.notice"),
        "event.content.msgtype: ",
    ),
    "matrix edit": (
        "matrix",
        payload(
            "matrix_text",
            **{"content__m.relates_to": {"rel_type": "m.replace", "event_id": "$example0"}},
        ),
        "event.content.m.relates_to.rel_type: is m.replace",
    ),
    "matrix edit without its relation": (
        "matrix",
        payload(
            "matrix_text", **{"content__m.new_content": {"msgtype": "m.text", "body": "small"}}
        ),
        "event.content.m.new_content: is present",
    ),
    "matrix vote without a poll": (
        "matrix",
        payload("matrix_vote", **{"content__m.relates_to": None}),
        "event.content.m.relates_to: is missing",
    ),
    "matrix vote that names no poll": (
        "matrix",
        payload("matrix_vote", **{"content__m.relates_to__rel_type": "m.thread"}),
        "event.content.m.relates_to.rel_type: is not m.reference",
    ),
    "matrix closed poll": ("matrix", payload("matrix_vote", type="m.poll.end"), "event.type: "),
    "matrix reaction": ("matrix", payload("matrix_text", type="m.reaction"), "event.type: "),
    "matrix redaction": ("matrix", payload("matrix_text", type="m.room.redaction"), "event.type: "),
    "matrix redacted": (
        "matrix",
        payload("matrix_sticker", content={}, unsigned={"redacted_because": {}}),
        "event.unsigned.redacted_because: ",
    ),
    "matrix empty": ("matrix", payload("matrix_text", content={}), "event.content.msgtype: "),
    "matrix join": (
        "matrix",
        payload("matrix_text", type="m.room.member", content={"membership": "join"}),
        "event.type: ",
    ),
    "matrix encrypted": (
        "matrix",
        payload("matrix_text", type="m.room.encrypted"),
        "event.type: is m.room.encrypted; decrypt",
    ),
    "matrix receipt": ("matrix", payload("matrix_text", type="m.receipt"), "event.type: "),
    "matrix typing": ("matrix", payload("matrix_text", type="m.typing"), "event.type: "),
    "matrix without a room": (
        "matrix",
        payload("matrix_text", room_id=None),
        "event.room_id: is missing",
    ),
    "mattermost edit": (
        "mattermost",
        payload("mattermost_post", event="post_edited"),
        "payload.event: is not posted",
    ),
    "mattermost typing": (
        "mattermost",
        payload("mattermost_post", event="typing", data={}),
        "payload.event: ",
    ),
    "mattermost join": (
        "mattermost",
        post(type="system_join_channel"),
        "payload.data.post.type: ",
    ),
    "mattermost own post": (
        "mattermost",
        post(user_id=MATTERMOST_BOT),
        "payload.data.post.user_id: is the bot",
    ),
    "mattermost other bot": (
        "mattermost",
        post(props={"from_bot": "true"}),
        "payload.data.post.props.from_bot: ",
    ),
    "mattermost incoming webhook": (
        "mattermost",
        post(props={"from_webhook": "true"}),
        "payload.data.post.props.from_webhook: ",
    ),
    "mattermost plugin": (
        "mattermost",
        post(props={"from_plugin": True}),
        "payload.data.post.props.from_plugin: ",
    ),
    "mattermost app in a person's name": (
        "mattermost",
        post(props={"from_oauth_app": "true"}),
        "payload.data.post.props.from_oauth_app: ",
    ),
    "mattermost broken post": (
        "mattermost",
        payload("mattermost_post", data__post="{"),
        "payload.data.post: must be JSON",
    ),
    "mattermost own post by webhook": (
        "mattermost",
        payload("mattermost_webhook", user_id=MATTERMOST_BOT),
        "payload.user_id: is the bot",
    ),
    "mattermost cancelled dialog": (
        "mattermost",
        payload("mattermost_dialog", cancelled=True, submission=None),
        "payload.cancelled: ",
    ),
    "mattermost refreshed dialog": (
        "mattermost",
        payload("mattermost_dialog", type="refresh"),
        "payload.type: ",
    ),
    "mattermost menu that looks up its options": (
        "mattermost",
        payload("mattermost_menu", type="dialog_lookup", trigger_id=""),
        "payload.type: is dialog_lookup",
    ),
    "twilio status": (
        "twilio",
        payload("twilio_sms", SmsStatus="delivered", MessageStatus="delivered", Body=None),
        "form.MessageStatus: ",
    ),
    "twilio older status": (
        "twilio",
        payload("twilio_sms", SmsStatus="sent", Body=None),
        "form.SmsStatus: ",
    ),
}
