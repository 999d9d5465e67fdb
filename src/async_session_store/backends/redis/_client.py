"""The client of a Redis backend: checked if the caller made it, or made from a URL."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import (
    AbstractConnection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff

from async_session_store.backends.redis._url import client_from_url
from async_session_store.errors import InvalidInputError

_PORT: Final = 6379
TIMEOUT: Final = 5.0  # seconds
HEALTH_CHECK_INTERVAL: Final = 30  # seconds; NATs of clouds drop connections after 4 idle minutes


def make_client(url: str) -> Redis:
    """Return a client for a URL. Its default time limits are ours, and it retries nothing.

    A call that redis-py repeats after a time-out could be carried out twice (R4).
    """
    return client_from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        health_check_interval=HEALTH_CHECK_INTERVAL,
        retry=Retry(NoBackoff(), 0),
    )


def check_client(client: object) -> None:
    """Raise ``InvalidInputError`` for a client that does not read replies as redis-py does."""
    if not isinstance(client, Redis):
        raise InvalidInputError("client: give a redis.asyncio.Redis, not one of Redis Cluster")
    kind = client.connection_pool.connection_class
    own = AbstractConnection.read_response
    if kind.read_response is not own and not issubclass(kind, SentinelManagedConnection):
        raise InvalidInputError(
            f"client: its connections ({kind.__name__}) imitate redis-py's; give a client of a "
            "server, or use memory:// for tests"
        )


def timeout_of(client: Redis) -> float:
    """Return how long a call may take, in seconds: the client's limit, or ours if it has none."""
    timeout: float = _settings(client).get("socket_timeout") or TIMEOUT
    return timeout


def take_over_timeout(client: Redis) -> None:
    """Turn off a client's own time limit for replies.

    The backend limits whole batches, which costs less than a time-out for each reply.
    """
    _settings(client)["socket_timeout"] = None


def place_of(client: Redis) -> str:
    """Return the kind and address of a client's server, without user name and password."""
    pool, settings = client.connection_pool, _settings(client)
    database = settings.get("db") or 0
    if isinstance(pool, SentinelConnectionPool):
        return f"redis {pool.service_name}/{database} by Sentinel"
    if issubclass(pool.connection_class, UnixDomainSocketConnection):
        return f"unix {settings.get('path')}/{database}"
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    host = str(settings.get("host", "localhost"))
    host = f"[{host}]" if ":" in host else host
    return f"{scheme} {host}:{settings.get('port', _PORT)}/{database}"


def _settings(client: Redis) -> dict[str, Any]:
    """Return the arguments with which the client makes its connections."""
    return client.connection_pool.connection_kwargs
