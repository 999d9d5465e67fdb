"""Getting a claim when it is one's turn, and holding it while a block runs."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from async_session_store import _random
from async_session_store._backoff import pause
from async_session_store.abc import Backend, Claimed, ClaimKey, Delivery, Outcome, Unreadable
from async_session_store.claims import WaitClaim, claim_lost
from async_session_store.errors import (
    ClaimLostError,
    CorruptSessionError,
    DuplicateDeliveryError,
    SessionStoreError,
    WaitClaimedError,
)
from async_session_store.models import Owner

_RENEWALS: Final = 3  # in the time of one lease
_CLEAN_UP_TIMEOUT: Final = 5.0  # seconds

_logger = logging.getLogger("async_session_store")


@dataclass(frozen=True, slots=True)
class ClaimWish:
    """What to claim: ``lease`` in milliseconds, ``patience`` (how long to wait) in seconds."""

    owner: Owner
    scope_hashes: tuple[str, ...]
    lease: int
    patience: float
    deliveries: tuple[Delivery, ...]
    """The delivery at each of the scopes, or none."""

    def delivery_at(self, scope_hash: str) -> Delivery | None:
        if not self.deliveries:
            return None
        return self.deliveries[self.scope_hashes.index(scope_hash)]


async def claim(storage: Callable[[], Backend], wish: ClaimWish) -> WaitClaim | None:
    """Claim a wait, or wait for a turn; None if none is live.

    The storage is asked for at each attempt, as the store may be closed meanwhile.
    """
    give_up_at = anyio.current_time() + wish.patience
    attempt = 0
    while True:
        backend = storage()
        asked_at = time.monotonic()
        found = await _try_once(backend, wish)
        left = give_up_at - anyio.current_time()
        if found is not Outcome.CLAIMED or left <= 0:
            break
        await anyio.sleep(min(left, pause(attempt)))
        attempt += 1
    if isinstance(found, Claimed):
        delivery = wish.delivery_at(found.claim.scope_hash)
        return WaitClaim(backend, found, wish.lease, delivery, asked_at)
    if isinstance(found, Unreadable):
        raise CorruptSessionError(found.key, found.reason)
    if found is Outcome.CLAIMED:
        raise WaitClaimedError("another worker resumes this wait; try later or set wait=")
    if found is Outcome.DUPLICATE:
        raise DuplicateDeliveryError("this delivery was handled before; acknowledge it")
    return None


async def _try_once(backend: Backend, wish: ClaimWish) -> Claimed | Unreadable | Outcome:
    token = _random.token()
    try:
        return await backend.claim_wait(
            wish.owner,
            wish.scope_hashes,
            token=token,
            lease=wish.lease,
            deliveries=wish.deliveries,
        )
    except anyio.get_cancelled_exc_class():
        # It may have been granted, and then no one would hold it until its lease ends.
        for scope_hash in wish.scope_hashes:
            await _quietly(partial(backend.release_claim, ClaimKey(wish.owner, scope_hash, token)))
        raise


@asynccontextmanager
async def holding(claim: WaitClaim) -> AsyncGenerator[None, None]:
    """Renew the claim while a block runs; complete it if the block ends well, else release it."""
    lost: ClaimLostError | None = None
    failure: BaseException | None = None
    block = anyio.CancelScope()

    async def renew() -> None:
        nonlocal lost
        lost = await renew_until_lost(claim)
        block.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(renew)
            try:
                with block:
                    yield
            except (anyio.get_cancelled_exc_class(), GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001  # it is raised below, not in a group
                failure = error
            tasks.cancel_scope.cancel()
    except BaseException:
        await end(claim.release, quiet=True)
        raise
    if failure is not None:
        await end(claim.release, quiet=True)
        raise failure
    if lost is not None:
        raise lost
    await end(claim.complete, quiet=False)


async def renew_until_lost(claim: WaitClaim) -> ClaimLostError:
    """Renew the claim, three times in the time of its lease, for as long as it is held."""
    while True:
        await anyio.sleep(claim.lease.total_seconds() / _RENEWALS)
        try:
            with anyio.move_on_after(claim.seconds_left):
                await claim.renew()
        except ClaimLostError as error:
            return error
        except SessionStoreError:
            _logger.warning("a claim could not be renewed; trying again", exc_info=True)
        if claim.lost:
            return claim_lost()


async def end(act: Callable[[], Awaitable[object]], *, quiet: bool) -> None:
    """Complete or release a claim, also if the caller is cancelled.

    Where asyncio itself cancels a task, as its time-outs do, no shield of anyio holds: then the
    call may not have begun, and is made again. If it was carried out, the second finds it ended.
    """
    with anyio.CancelScope(shield=True):
        try:
            await (_quietly(act) if quiet else act())
        except anyio.get_cancelled_exc_class():
            await _quietly(act)
            raise


async def _quietly(act: Callable[[], Awaitable[object]]) -> None:
    """End a claim if that is possible: why it ends matters more."""
    with anyio.move_on_after(_CLEAN_UP_TIMEOUT, shield=True):
        try:
            await act()
        except ClaimLostError:
            pass  # It is ended already.
        except SessionStoreError:
            _logger.warning("a claim could not be ended; its lease will end", exc_info=True)
