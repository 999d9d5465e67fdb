"""Measure one turn: resume a flow with a delivery id, and ask the next question at its scope."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from arms import turns
from arms.store import store
from cycle import TITLES, Place, open_place
from harness import ROUNDS, SECONDS, Arm, Run, Table, compare, on_asyncio, on_trio
from redis import Redis
from report import with_targets
from results import save
from targets import (
    AIOGRAM,
    BLOCK,
    CLAIM_AND_COMPLETE,
    FIVE_CALLS,
    GET_AND_SET_SCRIPTS,
    REDIS_PY,
    REGISTER_AND_RESUME,
    RESUME_AND_NEXT,
    TRANSACTION_HOPS,
    TRANSACTIONS,
    TURN,
)
from workload import KIBIBYTE, callers

from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend


def memory(place: Place) -> Iterator[Arm]:
    yield from _ours(place, lambda _: MemoryBackend())
    arm = partial(on_asyncio, callers=place.callers)
    yield arm(REGISTER_AND_RESUME, partial(turns.register_and_resume, MemoryBackend))
    yield arm(FIVE_CALLS, partial(store, MemoryBackend))


def sqlite_normal(place: Place) -> Iterator[Arm]:
    yield from _sqlite(place, "NORMAL")


def sqlite_full(place: Place) -> Iterator[Arm]:
    yield from _sqlite(place, "FULL")


def _sqlite(place: Place, synchronous: str) -> Iterator[Arm]:
    folder, called_by = place.folder, place.callers
    yield from _ours(
        place, lambda name: SqliteBackend(folder / f"{name}.db", synchronous=synchronous)
    )
    arm = partial(on_asyncio, callers=called_by)
    yield arm(TRANSACTIONS, partial(turns.sqlite_in_thread, folder, synchronous, called_by))
    yield arm(TRANSACTION_HOPS, partial(turns.aiosqlite_hops, folder, synchronous, called_by))


def redis(place: Place) -> Iterator[Arm]:
    url, called_by = place.redis_url, place.callers
    yield from _ours(place, _on_redis(place))
    arm = partial(on_asyncio, callers=called_by)
    yield arm(REDIS_PY, partial(turns.redis_py, url, called_by))
    yield arm(AIOGRAM, partial(turns.aiogram_redis, url, called_by))


def _on_redis(place: Place) -> Callable[[str], Backend]:
    return lambda name: RedisBackend.from_url(place.redis_url, namespace=name)


def _ours(place: Place, backend: Callable[[str], Backend]) -> Iterator[Arm]:
    """Yield the arms of this library, each on its own storage: ``turn``, and ``resume_wait``."""
    arm, called_by = partial(on_asyncio, callers=place.callers), place.callers
    yield arm(TURN, partial(turns.turn, partial(backend, "turn"), called_by))
    yield arm(RESUME_AND_NEXT, partial(turns.resume_and_next, partial(backend, "next"), called_by))


def scripts(place: Place) -> Iterator[Arm]:
    """Yield arms that measure how long the Redis server runs scripts for a turn."""
    url, called_by = place.redis_url, place.callers
    scripted = partial(turns.get_and_set_scripts, url, called_by)
    for arm in (
        *_ours(place, _on_redis(place)),
        on_asyncio(GET_AND_SET_SCRIPTS, scripted, called_by),
    ):
        yield Arm(arm.name, partial(_script_seconds, url, arm))


@contextmanager
def _script_seconds(url: str, arm: Arm) -> Iterator[Run]:
    """Open an arm. Yield a run that returns how long the server ran scripts, not the total time."""
    with arm.open() as run, Redis.from_url(url) as client:

        def scripted(steps: int) -> float:
            client.config_resetstat()
            run(steps)
            stats = client.info("commandstats")
            # The time of an EVALSHA includes the commands that its script calls.
            return sum(stat["usec"] for name, stat in stats.items() if "eval" in name) / 1e6

        yield scripted


def blocks(place: Place, on: Callable[..., Arm]) -> Iterator[Arm]:
    """Yield arms that show what a block adds to a claim, in memory."""
    for name, opened in ((BLOCK, turns.block), (CLAIM_AND_COMPLETE, turns.claim_and_complete)):
        yield on(name, partial(opened, MemoryBackend, place.callers), place.callers)


STORAGES: dict[str, Callable[[Place], Iterator[Arm]]] = {
    "memory": memory,
    "sqlite-normal": sqlite_normal,
    "sqlite-full": sqlite_full,
    "redis": redis,
}
LOOPS: dict[str, Callable[..., Arm]] = {"asyncio": on_asyncio, "trio": on_trio}


def tables(arguments: argparse.Namespace) -> Iterator[tuple[Table, str]]:
    """Measure the tables one after another. Yield each with the version of the Redis server."""
    measure = partial(compare, rounds=arguments.rounds, seconds=arguments.seconds)
    for storage, arms in STORAGES.items():
        for count in (1, 64) if storage in arguments.table else ():
            with open_place(callers(count, KIBIBYTE)) as (place, version):
                many = "caller" if count == 1 else "callers"
                title = f"{TITLES[storage]}, a turn, {count} {many}, 1 KiB"
                name = f"turn-{storage}-{count}-1"
                yield measure(name, title, list(arms(place)), callers=count), version
    for kib in (1, 16) if "scripts" in arguments.table else ():
        with open_place(callers(64, kib * KIBIBYTE)) as (place, version):
            title = f"Redis, scripts on the server for a turn, {kib} KiB"
            yield measure(f"turn-scripts-{kib}", title, list(scripts(place)), callers=64), version
    for loop, on in LOOPS.items() if "blocks" in arguments.table else ():
        with open_place(callers(1, KIBIBYTE)) as (place, version):
            title = f"Memory, a block that keeps its wait, {loop}"
            yield measure(f"turn-block-{loop}", title, list(blocks(place, on))), version


def main() -> None:
    known = (*STORAGES, "scripts", "blocks")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", nargs="*", help=f"any of {', '.join(known)} (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per arm and round")
    arguments = parser.parse_args()
    arguments.table = arguments.table or known
    for table, redis_version in tables(arguments):
        save(table, Redis=redis_version)
        print(with_targets(table), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
