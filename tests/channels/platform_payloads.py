"""The recorded payloads of each platform, and the functions that read them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from async_session_store.channels import (
    Inbound,
    discord,
    google_chat,
    line,
    matrix,
    mattermost,
    messenger,
    slack,
    teams,
    telegram,
    twilio,
    webchat,
    webex,
    whatsapp,
)

FOLDER: Final = Path(__file__).parent / "payloads"
PAYLOADS: Final[dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
BOT: Final = "700000000000000001"

MOVES: Final = (
    *("slack_channel_moved", "telegram_migrated_from", "telegram_migrated_to"),
    *("whatsapp_number_changed", "whatsapp_user_id_changed"),
)
"""Payloads that report another id of a conversation or person."""

BATCHES: Final = ("line_batch", "messenger_batch", "whatsapp_batch")
"""Webhooks with several messages."""

Parse = Callable[[Any], Inbound]

PARSERS: Final[dict[str, Parse]] = {
    "telegram": lambda payload: telegram(payload, bot_id=4242),
    "slack": lambda payload: slack(payload, bot_id="A0ORDERS"),
    "teams": teams,
    "whatsapp": whatsapp,
    "webex": webex,
    "discord": lambda payload: discord(payload, bot_id=BOT),
    "webchat": lambda payload: webchat(payload, bot_id="orders", conversation_id="abc123"),
    "google": lambda payload: google_chat(payload, bot_id=1234567890),
    "messenger": messenger,
    "instagram": messenger,
    "line": line,
    "matrix": lambda payload: matrix(payload, bot_id="@orders:example.org"),
    "mattermost": lambda payload: mattermost(payload, bot_id="orders".ljust(26, "b")),
    "twilio": twilio,
}
WEBEX_PAIRS: Final = {
    "webex_message_fetched": "webex_message",
    "webex_thread_fetched": "webex_message",
    "webex_card_action_fetched": "webex_card_action",
}
"""Each fetched payload, and the webhook that announced it."""


def payload(name: str, /, **changes: object) -> Any:
    """Return a changed copy of a payload.

    ``a__b=1`` sets the field ``b`` of the object ``a``; a value of None drops the field.
    """
    changed = copy.deepcopy(PAYLOADS[name])
    for path, value in changes.items():
        *outer, last = path.split("__")
        holder = changed
        for step in outer:
            holder = holder[int(step) if step.isdigit() else step]
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    return changed


def parser(name: str) -> Parse:
    """Return the function that reads a payload. The payload's name begins with its platform's."""
    platform, _, _ = name.partition("_")
    return PARSERS[platform]


def parse(name: str) -> Inbound:
    """Read a recorded payload, a fetched one together with its webhook."""
    if name in WEBEX_PAIRS:
        return webex(PAYLOADS[WEBEX_PAIRS[name]], PAYLOADS[name])
    return parser(name)(PAYLOADS[name])


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value within a JSON value, including itself."""
    yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from paths(item, (*path, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*path, index))
