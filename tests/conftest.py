from __future__ import annotations

from collections.abc import Iterator

import pytest

from redis_server import RedisServer


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run one server for all tests of this worker: a test keeps to a namespace of its own."""
    with RedisServer.start() as server:
        yield server
