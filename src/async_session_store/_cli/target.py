"""The storage that a command works on, and the options that name it."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec

import click

from async_session_store import _urls
from async_session_store._cli.output import Output
from async_session_store._store import AsyncSessionStore
from async_session_store.abc import Backend
from async_session_store.errors import StoreUnavailableError

_P = ParamSpec("_P")

_MEMORY: Final = "memory"
_SQLITE: Final = "sqlite"


@dataclass(frozen=True, slots=True)
class Target:
    """A storage, and where to print what is found there."""

    url: str
    namespace: str | None
    output: Output

    @property
    def kind(self) -> str:
        """The scheme of the URL, in lower case."""
        return self.url.partition("://")[0].lower()

    @property
    def location(self) -> str:
        """Where the storage is, without a password."""
        return self.backend().location

    def backend(self) -> Backend:
        """Return a backend, not yet open. Raises ``InvalidInputError`` for a bad URL."""
        return _urls.backend(self.url, namespace=self.namespace)

    @asynccontextmanager
    async def opened(self, *, create: bool = False) -> AsyncGenerator[AsyncSessionStore, None]:
        """Open the store. Unless ``create``, a SQLite file has to exist."""
        if self.kind == _MEMORY:
            self.output.hint(
                "memory:// is this process's own memory, and empty: set SESSION_STORE_URL or --url"
            )
        if self.kind == _SQLITE and not create:
            _check_exists(_urls.sqlite_path(self.url))
        async with AsyncSessionStore(self.backend()) as store:
            yield store


def _check_exists(path: str) -> None:
    if path != ":memory:" and not os.path.exists(path):  # noqa: PTH110  # no Path elsewhere
        raise StoreUnavailableError(
            "SQLite: there is no file at this path; check it, as nothing was created"
        )


def target_options(command: Callable[Concatenate[Target, _P], int]) -> Callable[..., int]:
    """Give a command ``--url``, ``--namespace`` and ``--json``, and pass it a ``Target``."""

    @click.option("--url", help="The storage. By default SESSION_STORE_URL or SESSION_REDIS_URL.")
    @click.option("--namespace", help="For Redis. By default SESSION_NAMESPACE.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @functools.wraps(command)
    def with_target(
        url: str | None,
        namespace: str | None,
        as_json: bool,  # noqa: FBT001  # click passes it by its name
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> int:
        return command(target(url, namespace, Output(as_json=as_json)), *args, **kwargs)

    return with_target


def target(url: str | None, namespace: str | None, output: Output) -> Target:
    """Return the storage that options name, or else the environment."""
    settings = _urls.settings_from_env()
    if url is None:
        return Target(settings.url, namespace or settings.namespace, output)
    # The namespace in the environment belongs to the URL there, unless both are for Redis.
    takes_one = url.partition("://")[0].lower() not in (_MEMORY, _SQLITE)
    return Target(url, namespace or (settings.namespace if takes_one else None), output)
