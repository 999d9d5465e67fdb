from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from worker_processes import Storage

from redis_server import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(
    params=[
        pytest.param(False, id="alone"),
        pytest.param(True, id="crowded", marks=pytest.mark.crowded),
    ]
)
def crowded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["sqlite", "redis"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, *, crowded: bool) -> Iterator[Storage]:
    if request.param == "sqlite":
        yield Storage(f"sqlite:///{tmp_path / 'shared.db'}", crowded=crowded)
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    namespace = f"test:{uuid.uuid4()}"
    yield Storage(server.url, namespace, crowded)
    with redis.Redis.from_url(server.url) as client:
        for key in client.scan_iter(f"{namespace}:*"):
            client.delete(key)
