"""Measure one pause and resume of a flow: register with a deadline, find, get, update, clear."""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop
from arms import dicts, drivers, peers
from arms.store import store
from harness import ROUNDS, SECONDS, Arm, compare, on_asyncio
from report import with_targets
from results import save
from targets import (
    AGENTS,
    AIOGRAM,
    AIOSQLITE,
    BARE_DICTS,
    IN_THREAD,
    KEY_VALUE,
    LANGGRAPH,
    LITESTAR,
    OURS,
    REDIS_PY,
)
from workload import DISK, KIBIBYTE, Caller, callers

from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer


@dataclass(frozen=True)
class Place:
    """Where the arms of a table store their data, and who calls them."""

    folder: Path
    redis_url: str
    callers: Sequence[Caller]


def memory(place: Place) -> Iterator[Arm]:
    arm = partial(on_asyncio, callers=place.callers)
    ours = partial(store, MemoryBackend)
    yield arm(OURS, ours)
    yield arm(BARE_DICTS, dicts.bare_dicts)
    yield arm(AIOGRAM, peers.aiogram_memory)
    yield arm(LITESTAR, peers.litestar_memory)
    yield arm(KEY_VALUE, peers.key_value_memory)


def sqlite_normal(place: Place) -> Iterator[Arm]:
    yield from _sqlite(place, "NORMAL")
    disk = partial(peers.key_value_disk, place.folder)
    yield on_asyncio(KEY_VALUE, disk, place.callers)


def sqlite_full(place: Place) -> Iterator[Arm]:
    yield from _sqlite(place, "FULL")
    items = partial(peers.agents_sqlite, place.folder, place.callers)
    yield on_asyncio(AGENTS, items, place.callers)


def _sqlite(place: Place, synchronous: str) -> Iterator[Arm]:
    arm, folder = partial(on_asyncio, callers=place.callers), place.folder

    def backend(name: str) -> Callable[[], SqliteBackend]:
        return lambda: SqliteBackend(folder / name, synchronous=synchronous)

    yield arm(OURS, partial(store, backend("ours.db")))
    yield arm(
        f"{OURS} on uvloop",
        partial(store, backend("uvloop.db")),
        loop_factory=uvloop.new_event_loop,
    )
    yield arm(IN_THREAD, partial(drivers.sqlite_in_thread, folder, synchronous))
    yield arm(AIOSQLITE, partial(drivers.aiosqlite_hops, folder, synchronous))
    yield arm(LANGGRAPH, partial(peers.langgraph_sqlite, folder, synchronous))


def redis(place: Place) -> Iterator[Arm]:
    arm, url = partial(on_asyncio, callers=place.callers), place.redis_url
    on_uvloop = partial(arm, loop_factory=uvloop.new_event_loop)

    def backend(namespace: str) -> Callable[[], RedisBackend]:
        return lambda: RedisBackend.from_url(url, namespace=namespace)

    yield arm(OURS, partial(store, backend("ours")))
    yield on_uvloop(f"{OURS} on uvloop", partial(store, backend("uvloop")))
    yield arm(REDIS_PY, partial(drivers.redis_py, url, place.callers))
    yield on_uvloop(f"{REDIS_PY} on uvloop", partial(drivers.redis_py, url, place.callers))
    yield arm(AIOGRAM, partial(peers.aiogram_redis, url))
    yield arm(LITESTAR, partial(peers.litestar_redis, url))
    yield arm(KEY_VALUE, partial(peers.key_value_redis, url))


STORAGES: dict[str, Callable[[Place], Iterator[Arm]]] = {
    "memory": memory,
    "sqlite-normal": sqlite_normal,
    "sqlite-full": sqlite_full,
    "redis": redis,
}
TITLES = {
    "memory": "Memory",
    "sqlite-normal": "SQLite at NORMAL",
    "sqlite-full": "SQLite at FULL",
    "redis": "Redis",
}


def measure(storage: str, count: int, kib: int, rounds: int, seconds: float) -> None:
    with open_place(callers(count, kib * KIBIBYTE)) as (place, redis_version):
        table = compare(
            f"{storage}-{count}-{kib}",
            f"{TITLES[storage]}, {count} {'caller' if count == 1 else 'callers'}, {kib} KiB",
            list(STORAGES[storage](place)),
            callers=count,
            rounds=rounds,
            seconds=seconds,
        )
    save(table, Redis=redis_version)
    print(with_targets(table), end="\n\n", flush=True)


@contextmanager
def open_place(called_by: Sequence[Caller]) -> Iterator[tuple[Place, str]]:
    """Create a folder and start a Redis server. Yield both, and the server's version."""
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DISK) as folder, RedisServer.start() as server:
        yield Place(Path(folder), server.url, called_by), server.version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage", nargs="*", help=f"any of {', '.join(STORAGES)} (default: all)")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--kib", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per arm and round")
    arguments = parser.parse_args()
    for storage, count, kib in itertools.product(
        arguments.storage or STORAGES, arguments.callers, arguments.kib
    ):
        measure(storage, count, kib, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
