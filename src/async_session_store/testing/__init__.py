"""The conformance suite: the duties of every backend, as tests that its author inherits.

It needs pytest, and runs on the pytest plugin of anyio. A backend passes it with a class such as::

    class TestMyBackend(BackendSuite):
        @pytest.fixture
        def backend(self, tmp_path: Path) -> Backend:
            self.folder, self.clock = tmp_path, MyClock()
            return MyBackend(self.folder, clock=self.clock)

        async def advance(self, backend: Backend, seconds: float) -> None:
            self.clock.advance(seconds)

        async def leftovers(self, backend: Backend) -> list[str]:
            return [path.name for path in self.folder.iterdir()]

A backend whose storage outlives its store objects, and can be shared by them, inherits
:class:`SharedStorageSuite` instead. The event loops are those of anyio's fixture ``anyio_backend``,
which may be overridden as usual. Each test's name opens with the id of the guarantee that it
checks.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.contract")

from async_session_store.testing.contract import BackendSuite, SharedStorageSuite  # noqa: E402

__all__ = ["BackendSuite", "SharedStorageSuite"]
