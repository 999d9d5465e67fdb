"""On Redis, against the Rust crate ``greentic-session``: the cycle of ``cycle.py``, and a look-up.

The look-up finds a wait of 1 MiB that the crate registered. Needs cargo.
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
    of = caller(0, 1024 * KIBIBYTE)
    with closing(process.redis_store(url, NAMESPACE)) as store:
        store.register_wait(of.ctx, of.user, of.scope, of.key, of.data)
    yield on_asyncio(OURS, partial(our_look_up, url), [of])
    yield Arm(RUST, partial(crates_look_up, process, url, of))


@asynccontextmanager
async def our_look_up(url: str) -> AsyncIterator[Step[Caller]]:
    async def find(of: Caller) -> bool:
        return await store.find_wait_by_scope(of.ctx, of.user, of.scope) == of.key

    async with AsyncSessionStore(RedisBackend.from_url(url, namespace=NAMESPACE)) as store:
        yield find


@contextmanager
def crates_look_up(process: RustProcess, url: str, of: Caller) -> Iterator[Run]:
    def run(steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            assert store.find_wait_by_scope(of.ctx, of.user, of.scope) == of.key
        return time.perf_counter() - begun

    with closing(process.redis_store(url, NAMESPACE)) as store:
        yield run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--kib", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for an arm in a round")
    asked = parser.parse_args()
    with RustProcess.start() as process, RedisServer.start() as server:
        crates = process.call("versions")
        table = compare(
            "rust-look-up",
            "Redis, Rust, look up a wait of 1 MiB",
            list(look_up_arms(server.url, process)),
            rounds=asked.rounds,
            seconds=asked.seconds,
        )
        save(table, Redis=server.version, **{RUST: crates[RUST]})
        print(with_targets(table), end="\n\n", flush=True)
        for count, kib in itertools.product(asked.callers, asked.kib):
            table = compare(
                f"rust-{count}-{kib}",
                f"Redis, Rust, {count} {'caller' if count == 1 else 'callers'}, {kib} KiB",
                list(arms(server.url, callers(count, kib * KIBIBYTE))),
                callers=count,
                rounds=asked.rounds,
                seconds=asked.seconds,
            )
            save(table, Redis=server.version, **{RUST: crates[RUST]})
            print(with_targets(table), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
