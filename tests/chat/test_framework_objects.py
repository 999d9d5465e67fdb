"""X1: a framework's objects give what the raw payloads hold, by the lines in the guide's table."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import aiogram.types
import pytest
import telegram
from microsoft_agents.activity import Activity

from async_session_store import channels

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # discord.py imports audioop
    import discord

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "channels" / "payloads"
GUIDE = (ROOT / "docs" / "how-to" / "channels.md").read_text()
LINES = {
    found["name"]: found["line"]
    for found in re.finditer(
        r"^\| (?P<name>[^|]+) \| `(?P<line>channels\.[^`]+)` \|$", GUIDE, re.MULTILINE
    )
}
BOT = "700000000000000001"
MOVES = ("telegram_migrated_to", "telegram_migrated_from")


def payloads(platform: str) -> dict[str, Any]:
    found = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob(f"{platform}_*.json")}
    return {name: found[name] for name in sorted(found) if name not in MOVES}


def by_the_line(framework: str, **names: object) -> channels.Inbound:
    return eval(LINES[framework], {"channels": channels, "BOT_ID": 4242, "APP_ID": BOT, **names})


def test_the_guide_has_a_line_for_each_framework() -> None:
    assert sorted(LINES) == sorted([
        *("aiogram `Update`", "python-telegram-bot `Update`", "discord.py `Interaction`"),
        *("discord.py `Message`", "Microsoft 365 Agents SDK `Activity`", "Bolt `body`"),
    ])  # fmt: skip


@pytest.mark.parametrize("name", payloads("telegram"))
def test_x1_an_update_of_aiogram(name: str) -> None:
    raw = payloads("telegram")[name]
    update = aiogram.types.Update.model_validate(raw)
    assert by_the_line("aiogram `Update`", update=update) == channels.telegram(raw, bot_id=4242)


@pytest.mark.parametrize("name", payloads("telegram"))
def test_x1_an_update_of_python_telegram_bot(name: str) -> None:
    raw = payloads("telegram")[name]
    update = telegram.Update.de_json(raw, None)
    expected = channels.telegram(raw, bot_id=4242)
    assert by_the_line("python-telegram-bot `Update`", update=update) == expected


@pytest.mark.parametrize("name", payloads("teams"))
def test_x1_an_activity_of_the_agents_sdk(name: str) -> None:
    raw = payloads("teams")[name]
    activity = Activity.model_validate(raw)
    line = "Microsoft 365 Agents SDK `Activity`"
    assert by_the_line(line, activity=activity) == channels.teams(raw)


USER = {"username": "ann", "global_name": "Ann", "avatar": None, "discriminator": "0"}
MEMBER = {"roles": [], "joined_at": None, "deaf": False, "mute": False, "flags": 0}
MESSAGE = {
    "content": "",
    "timestamp": "2026-01-01T00:00:01.000000+00:00",
    "edited_timestamp": None,
    "tts": False,
    "mention_everyone": False,
    "mentions": [],
    "mention_roles": [],
    "attachments": [],
    "embeds": [],
    "pinned": False,
}


def made(raw: dict[str, Any]) -> object:
    """Give the object that discord.py makes of a payload, with what it needs beside."""
    state = discord.Client(intents=discord.Intents.none())._connection
    state.user = discord.ClientUser(state=state, data={**USER, "id": BOT})
    guild_id = int(raw["guild_id"]) if "guild_id" in raw else None
    if guild_id is not None:
        state._add_guild(state._get_or_create_unavailable_guild(guild_id))
    if "author" in raw:
        channel = discord.PartialMessageable(state, id=int(raw["channel_id"]), guild_id=guild_id)
        return discord.Message(state=state, channel=channel, data={**MESSAGE, **raw})
    place = {"id": raw["channel_id"], "type": 1, "recipients": []}
    if guild_id is not None:
        place |= {"type": 0, "name": "lunch", "position": 0}
    more: dict[str, Any] = {"attachment_size_limit": 1, "channel": place}
    if "message" in raw:
        author = {**USER, **raw["message"]["author"]}
        more["message"] = {**MESSAGE, **raw["message"], "author": author}
    if "member" in raw:
        more["member"] = {**MEMBER, **raw["member"]}
    return discord.Interaction(data={**raw, **more}, state=state)


@pytest.mark.anyio
@pytest.mark.parametrize("name", payloads("discord"))
async def test_x1_an_object_of_discord_py(name: str) -> None:
    raw = payloads("discord")[name]
    kind = "Message" if "author" in raw else "Interaction"
    names = {kind.lower(): made(raw)}
    expected = channels.discord(raw, bot_id=BOT)
    assert by_the_line(f"discord.py `{kind}`", **names) == expected


def test_x1_a_body_of_bolt() -> None:
    body = payloads("slack")["slack_shortcut"]
    expected = channels.slack(body, bot_id=BOT)
    assert by_the_line("Bolt `body`", body=body) == expected
