"""What the author of a backend gives to the tests, and what the tests share."""

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
        """Override this: a backend on storage that is empty, not opened. It may be ``async``."""
        raise NotImplementedError("override the fixture 'backend'")

    @abstractmethod
    async def advance(self, backend: Backend, seconds: float) -> None:
        """Move the backend's clock forward.

        The clock starts at the present and runs on in real time. Storage that has no clock to
        move may shorten its deadlines instead.
        """

    @abstractmethod
    async def leftovers(self, backend: Backend) -> list[str]:
        """Name everything that is stored, found behind the API: rows, keys, members of indexes.

        What is expired counts as long as it is there. The backend may be open or closed.
        """

    @pytest.fixture
    async def store(self, backend: Backend) -> AsyncIterator[AsyncSessionStore]:
        """Give an open store on the backend."""
        async with self.store_class(backend) as store:
            yield store

    @asynccontextmanager
    async def refused(
        self, backend: Backend, error: type[SessionStoreError], match: str
    ) -> AsyncGenerator[None, None]:
        """Expect the error, and that nothing was written or removed."""
        before = sorted(await self.leftovers(backend))
        with pytest.raises(error, match=match):
            yield
        assert sorted(await self.leftovers(backend)) == before


class SharedHooks(Hooks):
    """The hooks for a backend whose storage is shared."""

    @abstractmethod
    def peer(self, backend: Backend) -> Backend:
        """Make another backend on the same storage and the same clock, not opened."""

    @abstractmethod
    async def overwrite(self, backend: Backend, key: str, document: bytes) -> None:
        """Replace a stored document behind the API, and nothing beside it.

        A document is what a session's data is as JSON; these bytes may be anything.
        """

    @pytest.fixture
    async def other(self, backend: Backend) -> AsyncIterator[AsyncSessionStore]:
        """Give another open store on the same storage."""
        async with self.store_class(self.peer(backend)) as other:
            yield other
