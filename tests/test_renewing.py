"""Renewals on each loop when timers are late, a backend is odd, or the store closes meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import anyio
import pytest
from typing_extensions import override

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ReplyScope,
    SessionRecord,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store.abc import ClaimKey, Outcome
from async_session_store.backends.memory import MemoryBackend
from async_session_store.testing.contract.builders import CTX, A, B, register

pytestmark = pytest.mark.anyio

LEASE = 0.3


class Slow(MemoryBackend):
    """A backend whose renewals take a while despite cancellation, and fail on request."""

    def __init__(self, seconds: float = 0.0, *, error: Exception | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.error = error
        self.renewals = 0
        self.is_closed = False

    @override
    async def renew_claim(self, claim: ClaimKey, lease: int) -> datetime | None:
        self.renewals += 1
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return await super().renew_claim(claim, lease)

    @override
    async def release_claim(self, claim: ClaimKey) -> Outcome:
        if self.error is not None:
            raise self.error
        return await super().release_claim(claim)

    @override
    async def aclose(self) -> None:
        self.is_closed = True
        await super().aclose()


async def test_k4_a_loop_that_stalls_goes_on_renewing() -> None:
    """After a stall, the late timers run before the next ones are set."""
    scopes = [ReplyScope(conversation=str(number)) for number in range(60)]
    async with AsyncSessionStore(MemoryBackend()) as store, anyio.create_task_group() as tasks:

        async def block(number: int) -> None:
            await anyio.sleep(number * 0.001)
            async with store.resume_wait(CTX, "u1", scopes[number], lease=LEASE):
                await anyio.sleep(2 * LEASE)

        for number, scope in enumerate(scopes):
            await register(store, f"k{number}", scope)
        for number in range(len(scopes)):
            tasks.start_soon(block, number)
        await anyio.sleep(LEASE / 3 + 0.02)
        time.sleep(0.05)  # noqa: ASYNC251  # it is the stall


async def test_k4_a_block_is_cancelled_when_its_lease_ends_not_at_the_next_look() -> None:
    lease = 0.9
    async with AsyncSessionStore(Slow(0.12, error=StoreUnavailableError("away"))) as store:
        await register(store, "k", A)
        began = anyio.current_time()
        with pytest.raises(ClaimLostError):
            async with store.resume_wait(CTX, "u1", A, lease=lease):
                await anyio.sleep(60)
        assert anyio.current_time() - began < lease + 0.25  # looks are 0.3 apart


async def test_k4_the_blocks_error_comes_out_whatever_a_release_raises() -> None:
    async with AsyncSessionStore(Slow(error=ArithmeticError())) as store:
        await register(store, "k", A)
        with pytest.raises(KeyError):
            async with store.resume_wait(CTX, "u1", A):
                raise KeyError


async def test_r5_nothing_is_renewed_after_the_store_was_closed() -> None:
    backend = Slow(0.2)
    store = await AsyncSessionStore(backend).open()

    async def block(scope: ReplyScope) -> None:
        with pytest.raises(StoreUsageError, match="closed"):
            async with store.resume_wait(CTX, "u1", scope, lease=LEASE):
                await anyio.sleep(4 * LEASE)

    for key, scope in (("a", A), ("b", B)):
        await register(store, key, scope)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(block, A)
        tasks.start_soon(block, B)
        with anyio.fail_after(10):
            while backend.renewals < 2:  # noqa: ASYNC110  # both are in flight
                await anyio.sleep(0.01)
        await store.aclose()
        renewals = backend.renewals
    assert backend.renewals == renewals


async def test_r5_a_cancelled_close_lets_go_of_the_storage(
    anyio_backend: tuple[str, dict[str, object]],
) -> None:
    if anyio_backend[0] == "trio":
        return  # where shields hold
    import asyncio

    backend = Slow(0.2)
    store = await AsyncSessionStore(backend).open()
    await register(store, "k", A)

    async def block() -> None:
        async with store.resume_wait(CTX, "u1", A, lease=LEASE):
            await anyio.sleep(60)

    running = asyncio.ensure_future(block())
    with anyio.fail_after(10):
        while backend.renewals == 0:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    closing = asyncio.ensure_future(store.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert backend.is_closed
    running.cancel()
    await asyncio.wait([running])


class Managed:
    """A context manager that lets a function enter the block."""

    def __init__(self, store: AsyncSessionStore) -> None:
        self._store = store
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> SessionRecord | None:
        return await self._enter()

    async def _enter(self) -> SessionRecord | None:
        block = self._store.resume_wait(CTX, "u1", A, lease=LEASE)
        return await self._stack.enter_async_context(block)

    async def __aexit__(self, *error: object) -> None:
        await self._stack.__aexit__(*error)  # type: ignore[arg-type]  # as it came


async def test_k4_a_generators_consumer_is_not_cancelled_whatever_entered_the_block() -> None:
    async def answer(store: AsyncSessionStore) -> AsyncGenerator[str, None]:
        async with Managed(store):
            yield "first"
            yield "more"

    async with AsyncSessionStore(Slow(error=StoreUnavailableError("away"))) as store:
        await register(store, "k", A)
        steps = answer(store)
        assert await steps.__anext__() == "first"
        await anyio.sleep(1.5 * LEASE)  # the lease ends while the generator stands still
        with anyio.fail_after(10):
            assert await steps.__anext__() == "more"
        with pytest.raises(ClaimLostError):
            await steps.__anext__()


@pytest.fixture
async def steps() -> AsyncIterator[AsyncGenerator[str, None]]:
    async def answer(store: AsyncSessionStore) -> AsyncGenerator[str, None]:
        async with store.resume_wait(CTX, "u1", A, lease=LEASE):
            yield "first"
            await anyio.sleep(60)

    async with AsyncSessionStore(Slow(error=StoreUnavailableError("away"))) as store:
        await register(store, "k", A)
        yield answer(store)


async def test_k4_a_generators_block_is_cancelled_however_the_step_is_asked_for(
    steps: AsyncGenerator[str, None], anyio_backend: tuple[str, dict[str, object]]
) -> None:
    if anyio_backend[0] == "trio":
        return  # where a generator's block is not cancelled
    assert await anext(steps, None) == "first"
    with anyio.fail_after(10), pytest.raises(ClaimLostError):
        await anext(steps, None)


def test_r5_a_store_with_blocks_is_refused_in_another_loop() -> None:
    store = AsyncSessionStore(MemoryBackend())

    async def use() -> None:
        async with store.resume_wait(CTX, "u1", A, lease=LEASE) as wait:
            assert wait is not None

    async def begin() -> None:
        await store.open()
        await register(store, "k", A)
        await use()
        await register(store, "k", A)

    anyio.run(begin)
    with pytest.raises(StoreUsageError, match="another event loop"):
        anyio.run(use)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}"])
def test_r5_a_program_that_closes_nothing_ends_without_a_word(url: str, tmp_path: Path) -> None:
    program = (
        "import atexit, sys\n"
        "from async_session_store import SessionStore\n"
        "kept = SessionStore.from_url(sys.argv[1]).open()\n"
        "closed = SessionStore.from_url('memory://').open()\n"
        "atexit.register(closed.close)\n"
        "kept.ping()\n"
    )
    command = [sys.executable, "-c", program, url.format(tmp_path / "bot.db")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("", "")
