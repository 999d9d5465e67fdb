"""A bot that runs without its token says so in one line, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = {
    "discord_bot.py": "DISCORD_TOKEN",
    "slack_bolt.py": "SLACK_BOT_TOKEN",
    "teams_agents.py": "CONNECTIONS__...",
    "telegram_aiogram.py": "TELEGRAM_TOKEN",
    "telegram_ptb.py": "TELEGRAM_TOKEN",
    "whatsapp_pywa.py": "WHATSAPP_TOKEN",
}


@pytest.mark.parametrize("example", SETTINGS)
def test_a_setting_that_is_missing_is_named(example: str) -> None:
    env = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, EXAMPLES / example], check=False, capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"{SETTINGS[example]} is not set: ")
    assert "Traceback" not in done.stderr
