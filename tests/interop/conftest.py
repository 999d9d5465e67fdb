from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from sides import PythonStore

from async_session_store import AsyncSessionStore
from redis_server import RedisServer
from rust_process import RustProcess, RustStore


@pytest.fixture
def python(redis_server: RedisServer, namespace: str) -> Iterator[PythonStore]:
    """Yield a store of this library, on the same namespace as ``rust``."""
    store = AsyncSessionStore.from_url(redis_server.unix_url, namespace=namespace)
    with PythonStore.opened(store) as side:
        yield side


@pytest.fixture
def rust(
    rust_process: RustProcess, redis_server: RedisServer, namespace: str
) -> Iterator[RustStore]:
    with closing(rust_process.redis_store(redis_server.url, namespace)) as store:
        yield store
