from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import redis

from redis_server import RedisServer


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Give a client that looks behind the API."""
    with redis.Redis.from_url(redis_server.unix_url) as client:
        yield client


@pytest.fixture
def namespace(redis_client: redis.Redis) -> Iterator[str]:
    """Give a namespace that is empty, now and in the end."""
    namespace = f"test:{uuid.uuid4().hex}"
    yield namespace
    for key in redis_client.scan_iter(f"{namespace}:*", count=1000):
        redis_client.delete(key)
