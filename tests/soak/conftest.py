"""Long versions of tests that otherwise run briefly. ``--rounds 1000`` sets their length."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from redis_server import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rounds"))


@pytest.fixture(params=["sqlite", "redis"])
def url_and_namespace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'soak.db'}", ""
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    namespace = f"test:{uuid.uuid4().hex}"
    yield server.url, namespace
    with redis.Redis.from_url(server.url) as client:
        for key in client.scan_iter(f"{namespace}:*", count=1000):
            client.delete(key)
