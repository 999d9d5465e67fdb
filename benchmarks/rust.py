"""The cycle of ``cycle.py`` on Redis, against the Rust crate ``greentic-session``. Needs cargo."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import uvloop
from arms.rust import greentic_session
from arms.store import store
from harness import ROUNDS, SECONDS, Arm, compare, on_asyncio
from report import with_targets
from results import save
from targets import OURS, RUST
from workload import KIBIBYTE, Caller, callers

from async_session_store.backends.redis import RedisBackend
from redis_server import RedisServer
from rust_process import RustProcess


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--kib", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for an arm in a round")
    asked = parser.parse_args()
    with RustProcess.start() as process:
        crates = process.call("versions")
    with RedisServer.start() as server:
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
