"""A signal handler that raises, at any bytecode; ``nox -s storm`` sends 100,000 of its signals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from redis_server import RedisServer

PROGRAM = Path(__file__).with_name("interrupt_storm.py")
INTERRUPTS = 400
SECONDS = 45


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return server.url
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'bot.db'}"


def test_r3_an_interrupt_at_any_bytecode_leaves_the_store_usable(url: str) -> None:
    ran = subprocess.run(
        [sys.executable, PROGRAM, url, str(INTERRUPTS)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "0 hangs" in ran.stdout
