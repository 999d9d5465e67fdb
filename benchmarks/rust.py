"""Measure the store against the Rust crate ``greentic-session``, on Redis.

The two are compared at the cycle of ``cycle.py``, and at finding a wait of 1 MiB that the crate
registered. It needs cargo.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial

import uvloop
from arms.rust import greentic_session
from arms.store import store
from harness import ROUNDS, SECONDS, Arm, Run, Step, compare, on_asyncio
from report import with_targets
from results import save
from targets import OURS, RUST
from workload import KIBIBYTE, Caller, caller, callers

from async_session_store import AsyncSessionStore
from async_session_store.backends.redis import RedisBackend
from redis_server import RedisServer
from rust_process import RustProcess

NAMESPACE = "look-up"


def arms(url: str, called_by: Sequence[Caller]) -> Iterator[Arm]:
    backend = partial(RedisBackend.from_url, url)
    yield on_asyncio(OURS, partial(store, partial(backend, namespace="ours")), called_by)
    yield on_asyncio(
        f"{OURS} on uvloop",
        partial(store, partial(backend, namespace="uvloop")),
        called_by,
        uvloop.new_event_loop,
    )
    yield greentic_session(url, called_by)


def look_up_arms(url: str, process: RustProcess) -> Iterator[Arm]:
    waiter = caller(0, 1024 * KIBIBYTE)
    with closing(process.redis_store(url, NAMESPACE)) as store:
        store.register_wait(waiter.ctx, waiter.user, waiter.scope, waiter.key, waiter.data)
    yield on_asyncio(OURS, partial(our_look_up, url), [waiter])
    yield Arm(RUST, partial(rust_look_up, process, url, waiter))


@asynccontextmanager
async def our_look_up(url: str) -> AsyncIterator[Step[Caller]]:
    async def find(waiter: Caller) -> bool:
        return await store.find_wait_by_scope(waiter.ctx, waiter.user, waiter.scope) == waiter.key

    async with AsyncSessionStore(RedisBackend.from_url(url, namespace=NAMESPACE)) as store:
        yield find


@contextmanager
def rust_look_up(process: RustProcess, url: str, waiter: Caller) -> Iterator[Run]:
    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            assert store.find_wait_by_scope(waiter.ctx, waiter.user, waiter.scope) == waiter.key
        return time.perf_counter() - start

    with closing(process.redis_store(url, NAMESPACE)) as store:
        yield run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--kib", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per arm and round")
    arguments = parser.parse_args()
    with RustProcess.start() as process, RedisServer.start() as server:
        crates = process.call("versions")
        table = compare(
            "rust-look-up",
            "Redis, Rust, look up a wait of 1 MiB",
            list(look_up_arms(server.url, process)),
            rounds=arguments.rounds,
            seconds=arguments.seconds,
        )
        save(table, Redis=server.version, **{RUST: crates[RUST]})
        print(with_targets(table), end="\n\n", flush=True)
        for count, kib in itertools.product(arguments.callers, arguments.kib):
            table = compare(
                f"rust-{count}-{kib}",
                f"Redis, Rust, {count} {'caller' if count == 1 else 'callers'}, {kib} KiB",
                list(arms(server.url, callers(count, kib * KIBIBYTE))),
                callers=count,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
            )
            save(table, Redis=server.version, **{RUST: crates[RUST]})
            print(with_targets(table), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
