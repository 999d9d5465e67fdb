"""A process with the Rust crate ``greentic-session``: built with cargo, and driven line by line.

The program's source is in ``tests/interop/rust_peer``. Only tests with the mark ``interop`` start
it. The same folder has a program that the benchmarks start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from async_session_store import ReplyScope, SessionData, SessionKey, TenantCtx

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = ROOT / "tests" / "interop" / "rust_peer"
TARGET: Final = ROOT / ".cache" / "rust_peer"

# A batch fits into the buffers of the two pipes. A larger one could block both sides for ever,
# each waiting for the other to read.
_BATCH: Final = 32


class RustPeerError(Exception):
    """Raised if the program could not be built, or ended early."""


class RustError(Exception):
    """Raised with an error that the crate returned."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def build(program: str = "rust_peer") -> Path:
    """Build the programs, which takes a minute the first time, and return the path of one."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise RustPeerError("cargo is missing; the tests beside the Rust crate need it")
    command = [cargo, "build", "--release", "--locked", "--quiet", "--target-dir", TARGET]
    done = subprocess.run(
        command, cwd=PROJECT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        raise RustPeerError(f"cargo build failed:\n{done.stdout.decode()}")
    return TARGET / "release" / program


def command(op: str, arguments: str = "{}", store: str = "") -> str:
    """Return the line for an operation. ``arguments`` are JSON."""
    return f'{{"op":"{op}","store":"{store}","args":{arguments}}}'


def arguments(**values: object) -> str:
    """Return arguments as JSON. Wire types are written as the library writes them."""
    fields = [f'"{name}":{_as_json(value)}' for name, value in values.items()]
    return f"{{{','.join(fields)}}}"


def _as_json(value: object) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, timedelta):
        seconds, microseconds = divmod(value // timedelta(microseconds=1), 1_000_000)
        return json.dumps({"secs": seconds, "nanos": microseconds * 1000})
    return json.dumps(value)


class RustProcess:
    """The running program. Only one thread may use it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._commands, self._replies = process, process.stdin, process.stdout
        self._stores = 0

    @classmethod
    @contextmanager
    def start(
        cls, program: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Iterator[RustProcess]:
        """Run a program that speaks the peer's protocol, by default the peer itself."""
        with subprocess.Popen(
            [program or build()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=None if environment is None else {**os.environ, **environment},
            encoding="utf-8",
            start_new_session=True,  # else Ctrl-C would stop it before the tests that use it
        ) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()  # this ends it

    def replies(self, commands: Sequence[str]) -> list[dict[str, Any]]:
        """Return the reply to each command: a result under ``ok``, or a failure under ``error``."""
        replies: list[dict[str, Any]] = []
        for start in range(0, len(commands), _BATCH):
            batch = commands[start : start + _BATCH]
            self._commands.write("".join(f"{line}\n" for line in batch))
            self._commands.flush()
            replies += [self._reply() for _ in batch]
        return replies

    def _reply(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line:
            raise RustPeerError(f"the Rust process ended early: {self._process.wait(timeout=10)}")
        return json.loads(line)

    def call(self, op: str, arguments: str = "{}", store: str = "") -> Any:
        """Return the result of one command, or raise ``RustError``."""
        (reply,) = self.replies([command(op, arguments, store)])
        if "error" in reply:
            raise RustError(**reply["error"])
        return reply["ok"]

    def rewrite(self, kind: str, *texts: str) -> list[str]:
        """Return each text as the crate writes it after reading it as one of its types."""
        return self.call("rewrite", arguments(type=kind, texts=texts))

    def equal(self, kind: str, *texts: str) -> bool:
        """Return whether the crate reads equal values from all texts."""
        return self.call("equal", arguments(type=kind, texts=texts))

    def memory_store(self) -> RustStore:
        """Open a store in memory."""
        return self._open(arguments(backend="memory"))

    def redis_store(self, url: str, namespace: str) -> RustStore:
        """Open a store on Redis."""
        return self._open(arguments(backend="redis", url=url, namespace=namespace))

    def _open(self, backend: str) -> RustStore:
        self._stores += 1
        name = str(self._stores)
        self.call("open", backend, name)
        return RustStore(self, name)


class RustStore:
    """A store of the crate, with the nine methods of its trait."""

    def __init__(self, process: RustProcess, name: str) -> None:
        self.process = process
        self.name = name

    def close(self) -> None:
        self.process.call("close", store=self.name)

    def create_session(self, ctx: TenantCtx, data: SessionData) -> SessionKey:
        return SessionKey(self._call("create_session", ctx=ctx, data=data))

    def get_session(self, key: str) -> SessionData | None:
        found = self._call("get_session", key=key)
        return None if found is None else _data(found)

    def update_session(self, key: str, data: SessionData) -> None:
        self._call("update_session", key=key, data=data)

    def remove_session(self, key: str) -> None:
        self._call("remove_session", key=key)

    def register_wait(
        self,
        ctx: TenantCtx,
        user_id: str,
        scope: ReplyScope,
        session_key: str,
        data: SessionData,
        ttl: timedelta | None = None,
    ) -> None:
        self._call(
            "register_wait",
            ctx=ctx,
            user_id=user_id,
            scope=scope,
            session_key=session_key,
            data=data,
            ttl=ttl,
        )

    def find_wait_by_scope(self, ctx: TenantCtx, user_id: str, scope: ReplyScope) -> str | None:
        return self._call("find_wait_by_scope", ctx=ctx, user_id=user_id, scope=scope)

    def list_waits_for_user(self, ctx: TenantCtx, user_id: str) -> list[str]:
        """Return the keys in no particular order."""
        return self._call("list_waits_for_user", ctx=ctx, user_id=user_id)

    def clear_wait(self, ctx: TenantCtx, user_id: str, scope: ReplyScope) -> None:
        self._call("clear_wait", ctx=ctx, user_id=user_id, scope=scope)

    def find_by_user(self, ctx: TenantCtx, user_id: str) -> tuple[str, SessionData] | None:
        found = self._call("find_by_user", ctx=ctx, user_id=user_id)
        return None if found is None else (found[0], _data(found[1]))

    def _call(self, op: str, **values: object) -> Any:
        return self.process.call(op, arguments(**values), self.name)


def _data(fields: object) -> SessionData:
    return SessionData.model_validate_json(json.dumps(fields))
