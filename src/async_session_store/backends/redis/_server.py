"""Checks at open: can this server hold sessions, and does the user have the permissions?"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from redis.exceptions import ResponseError

from async_session_store.errors import StoreUnavailableError

_logger = logging.getLogger("async_session_store")

OLDEST_REDIS: Final = (6, 2)
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_KEEPS_ALL: Final = "noeviction"

# How servers say that a user may not run a command, or use a key. The first phrase of each comes
# from scripts on Redis 6.2. Such a text may contain a user's name, which has no blanks but may be
# one of the single words below. So these phrases are searched for first.
_NOT_THE_COMMAND: Final = ("can't run", "permissions to run")
_NOT_THE_KEY: Final = ("can't access", "permissions to access")
# Servers that let a script use only the keys that its call declares, or, in a cluster, only keys of
# one slot. redis-py's MovedError is recognized by its name, as its text only says where a slot is.
_OTHER_KEYS: Final = ("slot", "clusterdown", "movederror", "non local key", "undeclared")
_UNKNOWN: Final = ("unknown",)
_NAMED_COMMAND: Final = re.compile(r"to run the '([\w|]+)' command")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The relevant fields of the reply to ``INFO``. A server may leave out any of them."""

    version: tuple[int, int] | None = None
    is_cluster: bool = False
    is_sentinel: bool = False
    is_replica: bool = False
    eviction_policy: str = _KEEPS_ALL
    """The eviction policy: ``noeviction`` if there is no memory limit, as nothing is evicted."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that the server refused, and its answer."""

    command: str
    text: str


async def check_server(
    info: Callable[[], Awaitable[object]],
    probe: Callable[[], Awaitable[object]],
    *,
    key_pattern: str,
) -> None:
    """Refuse a server that cannot hold sessions, and warn about one that may lose some.

    Args:
        info: Sends ``INFO``.
        probe: Runs ``probe.lua``.
        key_pattern: A pattern for ``ACL SETUSER`` that matches the keys of the namespace.
    """
    found = await _info(info)
    check_kind(found)
    # The first run sends the script's source and the second its hash: EVAL and EVALSHA.
    for command in ("EVAL", "EVALSHA"):
        check_permissions(await _refusals(command, probe), key_pattern)
    for warning in warnings(found):
        _logger.warning("%s", warning)


def parse_info(reply: bytes) -> ServerInfo:
    """Read the reply to ``INFO``."""
    lines = reply.decode(errors="replace").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    mode = fields.get("redis_mode") or fields.get("server_mode")
    version = _VERSION.match(fields.get("redis_version", ""))
    has_limit = fields.get("maxmemory", "0") != "0"
    return ServerInfo(
        version=None if version is None else (int(version[1]), int(version[2])),
        is_cluster=mode == "cluster" or fields.get("cluster_enabled") == "1",
        is_sentinel=mode == "sentinel",
        is_replica=fields.get("role") == "slave",
        eviction_policy=fields.get("maxmemory_policy", _KEEPS_ALL) if has_limit else _KEEPS_ALL,
    )


def check_kind(info: ServerInfo) -> None:
    """Raise ``StoreUnavailableError`` for an unsupported kind of server."""
    if info.is_sentinel:
        raise StoreUnavailableError(
            "Redis: this is a Sentinel, not a server that stores keys; pass a client that "
            "asks it for the primary: Sentinel([...]).master_for(name)"
        )
    if info.is_cluster:
        raise StoreUnavailableError(
            "Redis: the server is in cluster mode, where one script cannot use all keys of a wait; "
            "connect to a single server, or to one behind Sentinel"
        )
    if info.version is not None and info.version < OLDEST_REDIS:
        raise StoreUnavailableError(
            f"Redis {'.'.join(map(str, info.version))} is too old; this library needs 6.2 or newer"
        )


def check_permissions(refusals: Sequence[Refusal], key_pattern: str) -> None:
    """Raise ``StoreUnavailableError`` if a command was refused permanently.

    A replica, or a server that is out of memory, refuses writes too. Those refusals are left to the
    calls that write, since reads can still be answered.
    """
    if _refused_with(refusals, _NOT_THE_KEY):
        raise StoreUnavailableError(
            f"Redis: its user may not use all keys of the namespace; grant it ~{key_pattern}"
        )
    if denied := _refused_with(refusals, _NOT_THE_COMMAND):
        raise StoreUnavailableError(
            "Redis: its user may not run a command that the store needs; grant it "
            + " ".join(f"+{command.lower()}" for command in denied)
        )
    if _refused_with(refusals, _OTHER_KEYS):
        raise StoreUnavailableError(
            "Redis: the server lets a script use only the keys that its call names, as in cluster "
            "mode; connect to a single server, or to one behind Sentinel"
        )
    if unknown := _refused_with(refusals, _UNKNOWN):
        raise StoreUnavailableError(
            f"Redis: the server does not know {', '.join(unknown)}, which the store needs; "
            "connect to Redis or Valkey themselves, not to a proxy or an imitation"
        )


def warnings(info: ServerInfo) -> list[str]:
    """Return warnings about settings that may lose sessions or prevent writes."""
    found: list[str] = []
    if info.eviction_policy != _KEEPS_ALL:
        found.append(
            f"the Redis server evicts keys when its memory is full (maxmemory-policy "
            f"{info.eviction_policy}): waits and claims can vanish; set {_KEEPS_ALL}"
        )
    if info.is_replica:
        found.append("the Redis server is a replica: writes go to its primary, so connect to that")
    return found


def _refused_with(refusals: Sequence[Refusal], words: Sequence[str]) -> list[str]:
    """Return each command that was refused with some of these words, without duplicates."""
    found = (each.command for each in refusals if _contains_any(each.text, words))
    return list(dict.fromkeys(found))


def _contains_any(text: str, phrases: Sequence[str]) -> bool:
    return any(some in text.lower() for some in phrases)


async def _info(info: Callable[[], Awaitable[object]]) -> ServerInfo:
    """Ask the server about itself. If it refuses ``INFO``, everything else may still work."""
    try:
        reply = await info()
        return parse_info(reply) if isinstance(reply, bytes) else ServerInfo()
    except StoreUnavailableError as error:
        if _contains_any(_server_message(error), (*_NOT_THE_COMMAND, *_UNKNOWN)):
            return ServerInfo()
        raise


async def _refusals(command: str, probe: Callable[[], Awaitable[object]]) -> list[Refusal]:
    try:
        reply = cast("list[list[bytes]]", await probe())
    except StoreUnavailableError as error:
        if message := _server_message(error):
            named = _NAMED_COMMAND.search(message)  # or one that redis-py sends
            return [Refusal(named[1] if named else command, message)]
        raise
    return [Refusal(name.decode(), text.decode(errors="replace")) for name, text in reply]


def _server_message(error: StoreUnavailableError) -> str:
    """Return the server's error message, or an empty text if the error is not the server's."""
    cause = error.__cause__
    return f"{type(cause).__name__}: {cause}" if isinstance(cause, ResponseError) else ""
