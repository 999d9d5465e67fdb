"""Measure what it costs to reach the store from trio and from threads.

Each arm runs the cycle of ``cycle.py``. With ``--before``, which names a checkout of an earlier
version, threads also use ``SessionStore`` as it was there, each version in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

from arms.store import store
from harness import ROUNDS, SECONDS, Arm, Run, compare, on_asyncio, on_trio
from report import with_targets
from results import save
from targets import BEFORE, BRIDGED, FACADE, NATIVE, THREADSAFE
from workload import DISK, KIBIBYTE, TTL, Caller, callers

from async_session_store import AsyncSessionStore, SessionData, SessionStore
from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.backends.redis import RedisBackend
from async_session_store.backends.sqlite import SqliteBackend
from redis_server import RedisServer


@contextmanager
def in_threads(backend: Callable[[], Backend], called_by: Sequence[Caller]) -> Iterator[Run]:
    """The blocking store, which all threads share."""
    with SessionStore(backend()) as opened, ThreadPoolExecutor(len(called_by)) as pool:
        yield partial(_seconds_in, pool, partial(_cycle, opened), called_by)


@contextmanager
def threadsafe(backend: Callable[[], Backend], called_by: Sequence[Caller]) -> Iterator[Run]:
    """The async store in a thread's loop, called through asyncio's own means."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    opened = AsyncSessionStore(backend())
    asyncio.run_coroutine_threadsafe(opened.open(), loop).result()
    try:
        with ThreadPoolExecutor(len(called_by)) as pool:
            yield partial(_seconds_in, pool, partial(_handed_over, opened, loop), called_by)
    finally:
        asyncio.run_coroutine_threadsafe(opened.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _seconds_in(
    pool: ThreadPoolExecutor,
    step: Callable[[Caller], object],
    called_by: Sequence[Caller],
    repeats: int,
) -> float:
    start = time.perf_counter()
    for done in [pool.submit(_repeat, step, caller, repeats) for caller in called_by]:
        done.result()
    return time.perf_counter() - start


def _repeat(step: Callable[[Caller], object], caller: Caller, repeats: int) -> None:
    for _ in range(repeats):
        step(caller)


def _cycle(opened: SessionStore, caller: Caller) -> SessionData | None:
    ctx, user, scope, key = caller.ctx, caller.user, caller.scope, caller.key
    opened.register_wait(ctx, user, scope, key, caller.data, TTL)
    opened.find_wait_by_scope(ctx, user, scope)
    data = opened.get_session(key)
    opened.update_session(key, caller.data)
    opened.clear_wait(ctx, user, scope)
    return data


def _handed_over(
    opened: AsyncSessionStore, loop: asyncio.AbstractEventLoop, caller: Caller
) -> SessionData | None:
    hand_over = asyncio.run_coroutine_threadsafe
    ctx, user, scope, key = caller.ctx, caller.user, caller.scope, caller.key
    hand_over(opened.register_wait(ctx, user, scope, key, caller.data, TTL), loop).result()
    hand_over(opened.find_wait_by_scope(ctx, user, scope), loop).result()
    data = hand_over(opened.get_session(key), loop).result()
    hand_over(opened.update_session(key, caller.data), loop).result()
    hand_over(opened.clear_wait(ctx, user, scope), loop).result()
    return data


def arms(backend: Callable[[str], Backend], called_by: Sequence[Caller]) -> Iterator[Arm]:
    yield on_trio(BRIDGED, partial(store, partial(backend, "bridged")), called_by)
    yield Arm(FACADE, lambda: in_threads(partial(backend, "facade"), called_by))
    yield Arm(THREADSAFE, lambda: threadsafe(partial(backend, "threadsafe"), called_by))
    yield on_asyncio(NATIVE, partial(store, partial(backend, "native")), called_by)


@contextmanager
def in_process(checkout: Path, count: int) -> Iterator[Run]:
    """Threads that share a store in memory, in a process that runs the library of a checkout."""
    paths = [str(checkout / "src"), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", str(count)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield partial(_seconds_there, process)
        process.communicate()  # it ends when its input does


def _seconds_there(process: subprocess.Popen[str], repeats: int) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{repeats}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def serve(count: int) -> None:
    """Take as many steps as each line of the input says, and print how long that took."""
    with in_threads(MemoryBackend, callers(count, KIBIBYTE)) as run:
        for line in sys.stdin:
            print(run(int(line)), flush=True)


def compare_with(checkout: Path, count: int, rounds: int, seconds: float) -> None:
    here = Path(__file__).parents[1]
    table = compare(
        f"crossing-before-{count}",
        f"Memory, crossing, {count} threads, two versions",
        [
            Arm(FACADE, partial(in_process, here, count)),
            Arm(BEFORE, partial(in_process, checkout, count)),
        ],
        base=BEFORE,
        callers=count,
        rounds=rounds,
        seconds=seconds,
    )
    save(table)
    print(with_targets(table), end="\n\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per arm and round")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve)
        return
    if asked.before is not None:
        compare_with(asked.before, max(asked.callers), asked.rounds, asked.seconds)
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DISK) as folder, RedisServer.start() as server:
        redis = partial(RedisBackend.from_url, server.url)
        backends: dict[str, Callable[[str], Backend]] = {
            "Memory": lambda _: MemoryBackend(),
            "SQLite": lambda name: SqliteBackend(Path(folder, f"{name}.db"), synchronous="NORMAL"),
            "Redis": lambda name: redis(namespace=name),
        }
        for storage, backend in backends.items():
            for count in asked.callers:
                table = compare(
                    f"crossing-{storage.lower()}-{count}",
                    f"{storage}, crossing, {count} {'caller' if count == 1 else 'callers'}",
                    list(arms(backend, callers(count, KIBIBYTE))),
                    base=NATIVE,
                    callers=count,
                    rounds=asked.rounds,
                    seconds=asked.seconds,
                )
                save(table, Redis=server.version)
                print(with_targets(table), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
