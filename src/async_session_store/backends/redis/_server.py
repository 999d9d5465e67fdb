"""Checks at open: whether this server can hold sessions, and its user has the permissions."""

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

# How servers say that a user may not run a command, or use a key; the first of each comes from
# scripts on Redis 6.2. Such a text may contain a user's name. No name contains a blank, but one may
# be a single word of those below, so these are looked for first.
_NOT_THE_COMMAND: Final = ("can't run", "permissions to run")
_NOT_THE_KEY: Final = ("can't access", "permissions to access")
# A script may use only keys that its call declares or, in a cluster, keys of one slot. The text of
# redis-py's MovedError says only where a slot is.
_OTHER_KEYS: Final = ("slot", "clusterdown", "movederror", "non local key", "undeclared")
_UNKNOWN: Final = ("unknown",)
_NAMED_COMMAND: Final = re.compile(r"to run the '([\w|]+)' command")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The relevant part of the reply to ``INFO``. A server may leave any of it out."""

    version: tuple[int, int] | None = None
    is_cluster: bool = False
    is_sentinel: bool = False
    is_replica: bool = False
    eviction_policy: str = _KEEPS_ALL
    """``noeviction`` also if the server has no memory limit, as it evicts nothing then."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that the server refused, and its words."""

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
        key_pattern: Matches the keys of the namespace, as ``ACL SETUSER`` takes it.
    """
    found = await _info(info)
    check_kind(found)
    # The first run sends the script's source and the second its hash: EVAL and EVALSHA.
    for command in ("EVAL", "EVALSHA"):
        check_rights(await _refusals(command, probe), key_pattern)
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
    """Raise ``StoreUnavailableError`` for a kind of server that is not supported."""
    if info.is_sentinel:
        raise StoreUnavailableError(
            "Redis: this is a Sentinel, not a server that stores keys; hand over a client that "
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


def check_rights(refusals: Sequence[Refusal], key_pattern: str) -> None:
    """Raise ``StoreUnavailableError`` if a command was refused for good.

    A replica, or a server that is out of memory, refuses writes too. Those refusals are left to the
    calls that write, as other calls can be answered.
    """
    if _commands(refusals, _NOT_THE_KEY):
        raise StoreUnavailableError(
            f"Redis: its user may not use all keys of the namespace; grant it ~{key_pattern}"
        )
    if denied := _commands(refusals, _NOT_THE_COMMAND):
        raise StoreUnavailableError(
            "Redis: its user may not run a command that the store needs; grant it "
            + " ".join(f"+{command.lower()}" for command in denied)
        )
    if _commands(refusals, _OTHER_KEYS):
        raise StoreUnavailableError(
            "Redis: the server lets a script use only the keys that its call names, as in cluster "
            "mode; connect to a single server, or to one behind Sentinel"
        )
    if unknown := _commands(refusals, _UNKNOWN):
        raise StoreUnavailableError(
            f"Redis: the server does not know {', '.join(unknown)}, which the store needs; "
            "connect to Redis or Valkey themselves, not to a proxy or an imitation"
        )


def warnings(info: ServerInfo) -> list[str]:
    """Return warnings about settings that may lose sessions, or keep them from being stored."""
    found: list[str] = []
    if info.eviction_policy != _KEEPS_ALL:
        found.append(
            f"the Redis server evicts keys when its memory is full (maxmemory-policy "
            f"{info.eviction_policy}): waits and claims can vanish; set {_KEEPS_ALL}"
        )
    if info.is_replica:
        found.append("the Redis server is a replica: writes go to its primary, so connect to that")
    return found


def _commands(refusals: Sequence[Refusal], words: Sequence[str]) -> list[str]:
    """Name each command that was refused with some of these words, once."""
    found = (each.command for each in refusals if _speaks(each.text, words))
    return list(dict.fromkeys(found))


def _speaks(text: str, words: Sequence[str]) -> bool:
    return any(some in text.lower() for some in words)


async def _info(info: Callable[[], Awaitable[object]]) -> ServerInfo:
    """Ask the server about itself. If ``INFO`` is refused, everything else may still work."""
    try:
        reply = await info()
        return parse_info(reply) if isinstance(reply, bytes) else ServerInfo()
    except StoreUnavailableError as error:
        if _speaks(_servers_words(error), (*_NOT_THE_COMMAND, *_UNKNOWN)):
            return ServerInfo()
        raise


async def _refusals(command: str, probe: Callable[[], Awaitable[object]]) -> list[Refusal]:
    try:
        reply = cast("list[list[bytes]]", await probe())
    except StoreUnavailableError as error:
        if words := _servers_words(error):
            named = _NAMED_COMMAND.search(words)  # refusals while connecting end up here too
            return [Refusal(named[1] if named else command, words)]
        raise
    return [Refusal(name.decode(), text.decode(errors="replace")) for name, text in reply]


def _servers_words(error: StoreUnavailableError) -> str:
    """Return what the server answered, or nothing if the refusal is not the server's."""
    cause = error.__cause__
    return f"{type(cause).__name__}: {cause}" if isinstance(cause, ResponseError) else ""
