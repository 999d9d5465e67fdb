"""The checks of a Redis server for operators. They leave no key behind."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from async_session_store import _random
from async_session_store._findings import (
    Finding,
    Level,
    ok,
    problem,
    refusal,
    size_text,
    unknown,
    warning,
)
from async_session_store.backends.redis import _faults
from async_session_store.backends.redis._client import make_client
from async_session_store.backends.redis._keys import Keys
from async_session_store.backends.redis._scripts import script
from async_session_store.backends.redis._server import (
    Refusal,
    check_kind,
    check_permissions,
    parse_info,
)
from async_session_store.errors import StoreUnavailableError
from async_session_store.models import SessionKey

_MAX_DOCUMENT_BYTES: Final = (
    1  # the scripts take it as an argument, and the probe reads no document
)
_NEARLY: Final = 0.9  # of a limit
_CLOCK_OFFSET: Final = 1.0  # seconds
_SETTINGS: Final = ("save", "appendfsync", "min-replicas-to-write")
_NOBODY: Final = "127.0.0.1:1"  # an address that no client has
_KEEPS_ALL: Final = "noeviction"
_LOST: Final = "waits, claims and records of deliveries"

_Fields = Mapping[str, str]


async def check_server(url: str, namespace: str) -> list[Finding]:
    """Check the server, its settings, and the permissions of the user in the URL.

    Raises ``StoreUnavailableError`` or ``StoreTimeoutError`` if the server does not answer.
    """
    client = make_client(url)
    client.response_callbacks.clear()  # redis-py would parse replies, and differently by version
    try:
        found = [await _answer(client)]
        info = await _info(client)
        if info is None:
            found.append(unknown("server", "INFO is forbidden", "grant +info to check more"))
        else:
            found.append(_kind(info))
            if found[-1].level is Level.PROBLEM:
                return found  # the rest means nothing there
            found += _check_settings(_fields(info), await _settings(client))
        found += await _permissions(client, Keys(namespace))
        found.append(await _clock(client))
    except (RedisError, OSError) as error:
        raise _faults.not_sent(error) from error
    finally:
        await client.aclose()
    return found


async def _answer(client: Redis) -> Finding:
    await client.ping()
    began_at = time.perf_counter()
    await client.ping()
    return ok("answer", f"in {(time.perf_counter() - began_at) * 1000:.1f} ms")


async def _info(client: Redis) -> bytes | None:
    try:
        return cast("bytes", await _raw(client, "INFO"))
    except ResponseError:
        return None


async def _settings(client: Redis) -> dict[str, str]:
    """Return settings that INFO does not show. Managed hosts forbid to ask for them."""
    found: dict[str, str] = {}
    try:
        for name in _SETTINGS:
            reply = await _raw(client, "CONFIG", "GET", name)
            # An array in RESP2, and a map in RESP3.
            pairs = cast("dict[bytes, bytes] | list[bytes]", reply)
            values = [*pairs.values()] if isinstance(pairs, dict) else pairs[1:]
            if values:
                found[name] = values[0].decode()
    except ResponseError:
        pass
    return found


def _fields(info: bytes) -> _Fields:
    lines = info.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _check_settings(info: _Fields, settings: _Fields) -> Iterator[Finding]:
    yield from _persistence(info, settings)
    yield from _memory(info)
    yield _replication(info, settings)
    yield _clients(info)


def _kind(info: bytes) -> Finding:
    try:
        check_kind(parse_info(info))
    except StoreUnavailableError as error:
        return refusal("server", error)
    fields = _fields(info)
    if "valkey_version" in fields:
        return ok("server", f"Valkey {fields['valkey_version']}")
    return ok("server", f"Redis {fields.get('redis_version', 'of an unknown version')}")


# --- Settings -------------------------------------------------------------------------------------


def _persistence(info: _Fields, settings: _Fields) -> Iterator[Finding]:
    subject = "persistence"
    if info.get("aof_enabled") == "1":
        yield _append_only(info, settings)
    elif "save" not in settings:
        yield unknown(
            subject,
            "no append-only file; CONFIG GET is forbidden, so snapshots are unknown",
            "ask your host whether data survives a restart",
        )
    elif not settings["save"]:
        yield problem(
            subject,
            "the server writes nothing to disk: a restart loses every session",
            "set appendonly yes",
        )
    else:
        yield warning(
            subject,
            "only snapshots: a crash loses what was stored since the last one",
            "set appendonly yes",
        )
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield problem("snapshot", "the last one failed", "check the server's disk and its log")


def _append_only(info: _Fields, settings: _Fields) -> Finding:
    subject, sync = "persistence", settings.get("appendfsync")
    if info.get("aof_last_write_status", "ok") != "ok":
        return problem(
            subject,
            "the server cannot write to its append-only file, so it refuses writes",
            "check its disk and its log",
        )
    if sync == "no":
        return warning(
            subject,
            "an append-only file that is never synced: a power failure loses what the system had "
            "not written yet",
            "set appendfsync everysec",
        )
    if sync == "everysec":
        return ok(subject, "append-only file; a power failure loses up to a second")
    return ok(subject, "append-only file" + (", synced always" if sync == "always" else ""))


def _memory(info: _Fields) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy", _KEEPS_ALL)
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    yield _eviction(policy, has_limit=limit > 0)
    text = f"{size_text(used)} of {size_text(limit)}" if limit else f"{size_text(used)}, no limit"
    if limit and used > limit * _NEARLY:
        full = "the server refuses writes" if policy == _KEEPS_ALL else "the server evicts keys"
        yield warning("memory", f"{text}: when it is full, {full}", "raise maxmemory")
    else:
        yield ok("memory", text)


def _eviction(policy: str, *, has_limit: bool) -> Finding:
    subject = "eviction"
    if policy == _KEEPS_ALL:
        return ok(subject, policy)
    fix = f"set maxmemory-policy {_KEEPS_ALL}"
    if not has_limit:
        return warning(
            subject,
            f"maxmemory-policy {policy}: as soon as maxmemory is set, {_LOST} can vanish",
            fix,
        )
    if policy.startswith("volatile-"):
        return problem(
            subject,
            f"maxmemory-policy {policy}: when memory is full, {_LOST} can vanish, as they have "
            "deadlines; sessions without one stay",
            fix,
        )
    return problem(
        subject, f"maxmemory-policy {policy}: when memory is full, {_LOST} can vanish", fix
    )


def _replication(info: _Fields, settings: _Fields) -> Finding:
    subject = "replication"
    if info.get("role") == "slave":
        return problem(subject, "this is a replica: it refuses writes", "connect to its primary")
    replicas = int(info.get("connected_slaves", 0))
    wanted = settings.get("min-replicas-to-write")
    good = int(info.get("min_slaves_good_slaves", replicas))
    if wanted is not None and int(wanted) > good:
        return problem(
            subject,
            f"{good} replicas in reach, and min-replicas-to-write is {wanted}: it refuses writes",
            "check the replicas",
        )
    if not replicas:
        return ok(subject, "a primary without replicas")
    text = f"a primary with {replicas} replicas" if replicas > 1 else "a primary with a replica"
    if wanted is None:
        return unknown(
            subject,
            f"{text}; CONFIG GET is forbidden",
            "ask your host whether a failover can lose acknowledged writes",
        )
    if wanted == "0":
        return warning(
            subject,
            f"{text}: if they lose contact, a failover loses what the primary goes on to accept",
            "set min-replicas-to-write 1, if you have Sentinel or another failover",
        )
    return ok(subject, f"{text}, min-replicas-to-write {wanted}")


def _clients(info: _Fields) -> Finding:
    connected, limit = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    text = f"{connected} of {limit}" if limit else str(connected)
    if limit and connected > limit * _NEARLY:
        return warning("clients", text, "raise maxclients, or look for programs that leak clients")
    return ok("clients", text)


# --- Permissions and clock ------------------------------------------------------------------------


async def _permissions(client: Redis, keys: Keys) -> list[Finding]:
    subject = "permissions"
    try:
        check_permissions(await _refusals(client, keys), keys.pattern)
    except StoreUnavailableError as error:
        found = refusal(subject, error)
    else:
        found = ok(subject, f"all commands and keys ({keys.pattern})")
    return [found, *await _channels(client, keys)]


async def _refusals(client: Redis, keys: Keys) -> list[Refusal]:
    probe, name = script("probe"), SessionKey(_random.unique_id())
    prefix = keys.pattern.removesuffix(":*")
    arguments = (2, keys.session(name), keys.meta(name), prefix, _MAX_DOCUMENT_BYTES, name)
    found: list[Refusal] = []
    for command, code in (("EVAL", probe.source), ("EVALSHA", probe.sha)):
        reply, refused = await _try(client, command, code, *arguments)
        found += refused
        for one, text in cast("list[tuple[bytes, bytes]]", reply or []):
            found.append(Refusal(one.decode(), text.decode(errors="replace")))
    # The store has a server close a connection whose fate is unknown, before it sends more.
    for call in (("CLIENT", "INFO"), ("CLIENT", "KILL", "ID", "1", "ADDR", _NOBODY)):
        _, refused = await _try(client, *call)
        found += [Refusal("|".join(call[:2]), each.text) for each in refused]
    return found


async def _channels(client: Redis, keys: Keys) -> list[Finding]:
    channel = keys.channel(_random.token())
    _, refused = await _try(client, "PUBLISH", channel, "")
    try:
        async with client.pubsub() as listener:
            await listener.subscribe(channel)
            await listener.get_message(timeout=1)
    except ResponseError as error:
        refused.append(Refusal("SUBSCRIBE", str(error)))
    if not refused:
        return [ok("channels", keys.channels)]
    return [
        warning(
            "channels",
            "this user may not use them, so a caller that waits for its turn starts late, by up "
            "to 0.3 seconds",
            f"grant +subscribe +publish &{keys.channels}",
        )
    ]


async def _clock(client: Redis) -> Finding:
    asked_at = time.time()
    reply, refused = await _try(client, "TIME")
    if refused or not isinstance(reply, list):
        return unknown("clock", "TIME is forbidden", "grant +time")
    seconds, microseconds = map(int, cast("list[bytes]", reply))
    offset = seconds + microseconds / 1e6 - (asked_at + time.time()) / 2
    if abs(offset) < _CLOCK_OFFSET:
        return ok("clock", "the same as here, to a second")
    ahead = "ahead of" if offset > 0 else "behind"
    return warning(
        "clock",
        f"the server's is {abs(offset):.1f} seconds {ahead} this machine's: deadlines and leases "
        "follow the server's",
        "synchronize the clocks of both machines",
    )


async def _try(client: Redis, *command: Any) -> tuple[object, list[Refusal]]:
    """Return the reply, or None and the server's refusal."""
    try:
        return await _raw(client, *command), []
    except ResponseError as error:
        return None, [Refusal(str(command[0]), f"{type(error).__name__}: {error}")]


async def _raw(client: Redis, *command: Any) -> object:
    """Send a command, and return the server's reply as it is."""
    sent = client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py's
    return await cast("Awaitable[object]", sent)
