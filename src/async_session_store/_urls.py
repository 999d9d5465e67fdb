"""Backends from URLs and environment variables. A driver is imported only if its URL is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from async_session_store import _rules
from async_session_store._wire import give_text
from async_session_store.abc import Backend
from async_session_store.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in environment variables."""

    url: str
    namespace: str | None
    wait_ttl_seconds: float | None
    expired_ttl_seconds: float | None


def settings_from_env() -> Settings:
    """Return the settings. Raises ``InvalidInputError`` for an invalid time to live."""
    url = os.environ.get("SESSION_STORE_URL") or os.environ.get("SESSION_REDIS_URL")
    return Settings(
        url=url or "memory://",
        namespace=os.environ.get("SESSION_NAMESPACE") or None,
        wait_ttl_seconds=_seconds("SESSION_WAIT_TTL_SECS", _rules.milliseconds),
        expired_ttl_seconds=_seconds("SESSION_EXPIRED_TTL_SECS", _rules.expired_ttl),
    )


def backend(url: str, *, namespace: str | None) -> Backend:
    """Return a backend for a URL, not yet open. Raises ``InvalidInputError`` if none accepts it."""
    if isinstance(url, os.PathLike):
        raise InvalidInputError(f"url: give a text, not a path; {_FOR_A_FILE}")
    if not isinstance(url, str):
        raise InvalidInputError(f"url: {give_text(url)}, such as {_KNOWN}")
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise InvalidInputError(f"url: has no scheme; {_FOR_A_FILE}; else one of {_KNOWN}")
    make = _BACKENDS.get(scheme.lower())
    if make is None:
        raise InvalidInputError(f"url: its scheme must be one of {_KNOWN}")
    return make(url, namespace)


def _memory(url: str, _namespace: str | None) -> Backend:
    from async_session_store.backends.memory import MemoryBackend

    # A namespace has no effect here: a memory store shares nothing.
    if url.partition("://")[2]:
        raise InvalidInputError("url: write just memory://; it takes no path and no options")
    return MemoryBackend()


def _sqlite(url: str, namespace: str | None) -> Backend:
    from async_session_store.backends.sqlite import SqliteBackend

    if namespace is not None:
        raise InvalidInputError(
            "namespace: only Redis takes one; give each SQLite store its own file"
        )
    return SqliteBackend(sqlite_path(url))


def sqlite_path(url: str) -> str:
    """Return the path in a SQLite URL. Raises ``InvalidInputError`` if it is not one."""
    parts = _split(url)
    if parts is None or parts.netloc:
        raise InvalidInputError(
            "url: sqlite takes three slashes before a relative path (sqlite:///bot.db) "
            "and four before an absolute one"
        )
    if parts.query or parts.fragment:
        raise InvalidInputError("url: sqlite takes no options; write '?' and '#' as %3F and %23")
    with suppress(UnicodeDecodeError):
        return unquote(parts.path[1:], errors="strict") or ":memory:"
    raise InvalidInputError("url: its percent-encoded characters must be UTF-8")


def _split(url: str) -> SplitResult | None:
    """Split a URL. Return None if its host cannot be parsed."""
    with suppress(ValueError):
        return urlsplit(url)
    return None


def _redis(url: str, namespace: str | None) -> Backend:
    from async_session_store.backends.redis import DEFAULT_NAMESPACE, RedisBackend

    return RedisBackend.from_url(url, namespace=namespace or DEFAULT_NAMESPACE)


def _seconds(variable: str, check: Callable[[str, float], object]) -> float | None:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError as error:
        raise InvalidInputError(f"{variable}: must be a number of seconds") from error
    check(variable, seconds)
    return seconds


_BACKENDS: Final[dict[str, Callable[[str, str | None], Backend]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
}
_KNOWN: Final = ", ".join(f"{scheme}://" for scheme in _BACKENDS)
_FOR_A_FILE: Final = (
    "for a SQLite file write sqlite:///bot.db, and sqlite:////path for an absolute path"
)
