"""A storage for the commands, which the environment names, and a way to run them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from ran_commands import Command, Ran

from async_session_store._cli.program import run
from redis_server import RedisServer


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs a command in this process."""

    def run_command(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        return Ran(code, *capsys.readouterr())

    return run_command


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of whoever runs the tests away from the commands."""
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SESSION_STORE_URL", "SESSION_REDIS_URL", "SESSION_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


@pytest.fixture
def sqlite_url(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SESSION_STORE_URL", f"sqlite:///{path}")
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "redis"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a storage in the environment, as a bot does. Return its kind."""
    if request.param == "sqlite":
        request.getfixturevalue("sqlite_url")
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        monkeypatch.setenv("SESSION_STORE_URL", server.url)
        monkeypatch.setenv("SESSION_NAMESPACE", request.getfixturevalue("namespace"))
    return str(request.param)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Run a Redis server of the test's own, which it may misconfigure."""
    with RedisServer.start() as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.unix_url) as client:
        yield client
