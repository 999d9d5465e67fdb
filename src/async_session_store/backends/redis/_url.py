"""Clients from URLs. A URL that redis-py would misread, or refuse only later, is refused here."""

from __future__ import annotations

import codecs
import inspect
import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from async_session_store._unicode import encoded
from async_session_store.errors import InvalidInputError

_SCHEMES: Final = ("redis", "rediss", "unix")
_DATABASE: Final = re.compile(r"/?|/[0-9]+/?")
_OPTION: Final = re.compile(r"[a-z][a-z0-9_]*")
_POOL_OPTION: Final = "max_connections"

# Arguments of redis-py's connections that cannot be given as text.
_OBJECTS: Final = {
    "connection_class",
    "credential_provider",
    "driver_info",
    "encoder_class",
    "event_dispatcher",
    "himport_registry",
    "kwargs",
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "maintenance_state",
    "oss_cluster_maint_notifications_handler",
    "parser_class",
    "redis_connect_func",
    "retry",
    "retry_on_error",
    "self",
    "socket_keepalive_options",
    "socket_type",
}
# redis-py accepts any number for these, and replaces 0 by its own default.
_MINIMUM: Final = {
    "db": 0,
    "health_check_interval": 0,
    "max_connections": 1,
    "port": 1,
    "socket_connect_timeout": 1e-3,
    "socket_read_size": 1,
    "socket_timeout": 1e-3,
}
# redis-py checks these only when it connects.
_LATE: Final[dict[str, Callable[[str], object]]] = {
    "encoding": codecs.lookup,
    "encoding_errors": codecs.lookup_error,
}
_LATE_TLS: Final = {"ssl_ciphers", "ssl_min_version"}


def client_from_url(url: str, **defaults: Any) -> Redis:
    """Return ``redis.asyncio.Redis.from_url(url, **defaults)``, or raise ``InvalidInputError``.

    The error's text quotes nothing that may be part of a password. It has neither a cause nor a
    context, because their texts might.
    """
    if not isinstance(url, str):
        raise InvalidInputError("url: give a text")
    encoded("url", url)
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in _SCHEMES:
        raise InvalidInputError("url: its scheme must be redis://, rediss:// or unix://")
    url = f"{scheme}://{rest}"
    parts = _split(url)
    _check_place(parts)
    _check_options(scheme, parts.query)
    with suppress(ValueError):
        return Redis.from_url(url, **defaults)
    raise InvalidInputError("url: redis-py cannot parse it; check its syntax")


def _split(url: str) -> SplitResult:
    if "#" in url:
        raise InvalidInputError("url: write '#' as %23; a Redis URL has no fragment")
    if not _is_utf8(url):
        raise InvalidInputError("url: its percent-encoded characters must be UTF-8")
    with suppress(ValueError):
        return urlsplit(url)
    raise InvalidInputError(
        "url: its host cannot be read; write '[' and ']' as %5B and %5D, "
        "except around an IPv6 address"
    )


def _is_utf8(url: str) -> bool:
    with suppress(UnicodeDecodeError):
        unquote(url, errors="strict")
        return True
    return False


def _check_place(parts: SplitResult) -> None:
    if _port(parts) == 0:
        raise InvalidInputError(
            "url: its port must be a number from 1 to 65535; "
            "percent-encode the special characters of a user name or password"
        )
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise InvalidInputError(
                "url: unix takes three slashes before the path of the socket (unix:///run/redis)"
            )
    elif not _DATABASE.fullmatch(unquote(parts.path)):
        raise InvalidInputError(
            "url: after its host comes the number of a database (/0), or nothing; "
            "percent-encode the special characters of a user name or password"
        )


def _port(parts: SplitResult) -> int | None:
    with suppress(ValueError):
        return parts.port
    return 0


def _check_options(scheme: str, query: str) -> None:
    known = _known_options(scheme)
    seen: set[str] = set()
    for name, value in parse_qsl(query, keep_blank_values=True):
        shown = f"the option {name!r}" if _may_be_shown(name, query) else "an option"
        if name not in known:
            raise InvalidInputError(f"url: redis-py does not accept {shown} for {scheme}://")
        if name in seen:
            raise InvalidInputError(f"url: {shown} is given twice")
        if not _is_usable(scheme, name, value):
            raise InvalidInputError(f"url: {shown} has a value that cannot be used")
        seen.add(name)


def _may_be_shown(name: str, query: str) -> bool:
    """Return whether a name cannot be part of a password that contains a question mark."""
    return "@" not in query and _OPTION.fullmatch(name) is not None


def _known_options(scheme: str) -> set[str]:
    """Return the arguments of a connection class and of its bases, to which it passes the rest."""
    kind: type[object] = Redis.from_url(f"{scheme}://").connection_pool.connection_class
    initializers = [vars(each)["__init__"] for each in kind.__mro__ if "__init__" in vars(each)]
    arguments = {name for each in initializers for name in inspect.signature(each).parameters}
    return (arguments | {_POOL_OPTION}) - _OBJECTS


def _is_usable(scheme: str, name: str, value: str) -> bool:
    """Return whether redis-py can make a connection with the value."""
    with suppress(ValueError, TypeError, LookupError, OSError, RedisError):
        _LATE.get(name, str)(value)
        pool = Redis.from_url(f"{scheme}://?{urlencode({name: value})}").connection_pool
        connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
        if name in _LATE_TLS:
            connection.ssl_context.get()
        return value != "" and _is_large_enough(name, value)
    return False


def _is_large_enough(name: str, value: str) -> bool:
    minimum = _MINIMUM.get(name)
    return minimum is None or minimum <= float(value) < math.inf
