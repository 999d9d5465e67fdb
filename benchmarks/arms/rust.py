"""The Rust crate ``greentic-session``, in a process and in threads of its own.

The crate's store holds neither a lock nor a connection, so its threads do not wait for each other.
But each operation opens a new connection to Redis, and finding a wait opens two. A cycle makes 6
connections, each with a handshake, and sends 15 commands, each of which waits for the reply to the
one before.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO

from harness import Arm, Run
from targets import RUST
from workload import TTL, Caller

from rust_process import RustPeerError, build


def greentic_session(url: str, callers: Sequence[Caller]) -> Arm:
    return Arm(RUST, partial(_run_process, _settings(url, callers)))


@contextmanager
def _run_process(settings: str) -> Iterator[Run]:
    with subprocess.Popen(
        [build("pace")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print(settings, file=process.stdin)
        yield partial(_seconds, process.stdin, process.stdout)


def _seconds(commands: IO[str], replies: IO[str], steps: int) -> float:
    print(steps, file=commands, flush=True)
    reply = replies.readline()
    if not reply:
        raise RustPeerError("the Rust process exited before it reported a time")
    return float(reply)


def _settings(url: str, callers: Sequence[Caller]) -> str:
    store = {"backend": "redis", "url": url, "namespace": "rust"}
    return json.dumps({"store": store, "ttl": TTL, "callers": [_as_json(one) for one in callers]})


def _as_json(caller: Caller) -> dict[str, object]:
    return {
        "ctx": caller.ctx.model_dump(mode="json"),
        "user": caller.user,
        "scope": caller.scope.model_dump(mode="json"),
        "key": caller.key,
        "data": caller.fields,
    }
