"""The hooks that a backend's author implements, and the fixtures that all tests share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from async_session_store import AsyncSessionStore, SessionStoreError
from async_session_store.abc import Backend


class Hooks(ABC):
    """The hooks for any backend."""

    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio
    store_class: ClassVar[type[AsyncSessionStore]] = AsyncSessionStore

    @pytest.fixture
    def backend(self) -> Backend:
        """Return an unopened backend on empty storage. Override this; it may be ``async``."""
        raise NotImplementedError("override the fixture 'backend'")

    @abstractmethod
    async def advance(self, backend: Backend, seconds: float) -> None:
        """Move the backend's clock forward.

        The clock starts at the present and runs on in real time. If the storage's clock cannot be
        moved, shorten its deadlines instead.
        """

    @abstractmethod
    async def leftovers(self, backend: Backend) -> list[str]:
        """Return a name for everything that is stored: rows, keys, members of indexes.

        Look behind the API, so that expired entries count until they are reclaimed. The backend
        may be open or closed.
        """

    @pytest.fixture
    async def store(self, backend: Backend) -> AsyncIterator[AsyncSessionStore]:
        """Yield an open store on the backend."""
        async with self.store_class(backend) as store:
            yield store

    @asynccontextmanager
    async def refused(
        self, backend: Backend, error: type[SessionStoreError], match: str
    ) -> AsyncGenerator[None, None]:
        """Check that the block raises the error, and that it writes and removes nothing."""
        before = sorted(await self.leftovers(backend))
        with pytest.raises(error, match=match):
            yield
        assert sorted(await self.leftovers(backend)) == before


class SharedHooks(Hooks):
    """The hooks for a backend whose storage is shared."""

    @abstractmethod
    def peer(self, backend: Backend) -> Backend:
        """Return another, unopened backend on the same storage and the same clock."""

    @abstractmethod
    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        """Replace a stored document behind the API, and leave everything else as it is.

        A document is the JSON of a session's data. The bytes given here may be anything.
        """

    @pytest.fixture
    async def other(self, backend: Backend) -> AsyncIterator[AsyncSessionStore]:
        """Yield another open store on the same storage."""
        async with self.store_class(self.peer(backend)) as other:
            yield other
