"""The right of one worker to resume one wait."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

import anyio

from async_session_store import _rules
from async_session_store.abc import Backend, Claimed, Delivery, Outcome
from async_session_store.errors import ClaimLostError, SessionStoreError
from async_session_store.models import SessionRecord

__all__ = ["WaitClaim"]

_RENEWALS: Final = 3  # in the time of one lease
_CLEAN_UP_TIMEOUT: Final = 5.0  # seconds

_logger = logging.getLogger("async_session_store")


class WaitClaim:
    """A claim on a wait, from ``claim_wait``. It is held until it is ended or its lease ends.

    Using it after that raises ``ClaimLostError`` and changes nothing, so a worker that was too
    slow cannot touch what the next one does.
    """

    def __init__(
        self, backend: Backend, claimed: Claimed, lease: int, delivery: Delivery | None
    ) -> None:
        self._backend = backend
        self._claim = claimed.claim
        self._record = claimed.record
        self._lease = lease
        self._lease_ends_at = claimed.lease_ends_at
        self._delivery = delivery

    @property
    def record(self) -> SessionRecord:
        """The session that waits, as it was when it was claimed."""
        return self._record

    @property
    def token(self) -> str:
        """What tells this claim from all others."""
        return self._claim.token

    @property
    def lease(self) -> timedelta:
        """How long the claim is held without being renewed."""
        return timedelta(milliseconds=self._lease)

    @property
    def lease_ends_at(self) -> datetime:
        """When the lease ends, in UTC, on the storage's clock."""
        return self._lease_ends_at

    async def complete(self) -> bool:
        """End the claim and remove the wait and its session; whether they were removed.

        False if the scope does not hold the very wait that was claimed: it was registered anew,
        moved, cleared, removed, expired, or rewritten by a Rust process. What is there stays. A
        delivery id of the claim is remembered. Raises ``ClaimLostError``.
        """
        outcome = await self._backend.complete_claim(self._claim, delivery=self._delivery)
        if outcome is Outcome.LOST:
            raise _lost()
        return outcome is Outcome.DONE

    async def release(self) -> None:
        """End the claim and give the wait back, as it is. Raises ``ClaimLostError``."""
        if await self._backend.release_claim(self._claim) is Outcome.LOST:
            raise _lost()

    async def renew(self, lease: timedelta | float | None = None) -> None:
        """Let the lease end ``lease`` from now: as long as at first, unless told otherwise.

        Raises ``ClaimLostError``. The deadline of the wait stays as it is.
        """
        milliseconds = self._lease if lease is None else _rules.duration("lease", lease)
        ends_at = await self._backend.renew_claim(self._claim, milliseconds)
        if ends_at is None:
            raise _lost()
        self._lease_ends_at = ends_at


@asynccontextmanager
async def holding(claim: WaitClaim) -> AsyncGenerator[None, None]:
    """Renew the claim while a block runs; complete it if the block ends well, else release it."""
    lost: ClaimLostError | None = None
    failure: BaseException | None = None

    async def renew() -> None:
        nonlocal lost
        lost = await _renew_until_lost(claim)
        tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(renew)
            try:
                yield
            except (anyio.get_cancelled_exc_class(), GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001  # it is raised below, not in a group
                failure = error
            tasks.cancel_scope.cancel()
    except BaseException:
        await _release_quietly(claim)
        raise
    if failure is not None:
        await _release_quietly(claim)
        raise failure
    if lost is not None:
        raise lost
    with anyio.CancelScope(shield=True):
        await claim.complete()


async def _renew_until_lost(claim: WaitClaim) -> ClaimLostError:
    seconds = claim.lease.total_seconds()
    lease_end = anyio.current_time() + seconds
    while True:
        await anyio.sleep(seconds / _RENEWALS)
        begun = anyio.current_time()
        try:
            with anyio.move_on_after(lease_end - begun):
                await claim.renew()
                lease_end = begun + seconds
        except ClaimLostError as error:
            return error
        except SessionStoreError:
            _logger.warning("a claim could not be renewed; trying again", exc_info=True)
        if anyio.current_time() >= lease_end:
            return _lost()


async def _release_quietly(claim: WaitClaim) -> None:
    """Give the wait back if that is possible: what made the block end matters more."""
    with anyio.move_on_after(_CLEAN_UP_TIMEOUT, shield=True):
        try:
            await claim.release()
        except ClaimLostError:
            pass  # It is given back already.
        except SessionStoreError:
            _logger.warning("a claim could not be released; its lease will end", exc_info=True)


def _lost() -> ClaimLostError:
    return ClaimLostError(
        "the claim is held no longer: its lease ended, or it was completed or released; "
        "nothing was changed"
    )
