from __future__ import annotations

import pytest

from async_session_store.abc import Backend
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing import BackendSuite
from clock import Clock


class TestMemory(BackendSuite):
    @pytest.fixture
    def backend(self) -> Backend:
        self.clock = Clock()
        return MemoryBackend(clock=self.clock)

    async def advance(self, backend: Backend, seconds: float) -> None:
        self.clock.advance(seconds)

    async def leftovers(self, backend: Backend) -> list[str]:
        assert isinstance(backend, MemoryBackend)
        waits = [(owner, scope) for owner, scopes in backend._waits.items() for scope in scopes]
        return [*map(str, backend._sessions), *map(str, waits)]
