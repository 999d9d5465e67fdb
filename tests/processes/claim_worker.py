"""A process that makes claims on a storage that it shares with others.

Run as ``python claim_worker.py TASK URL NAMESPACE NUMBER``. It prints its result as JSON.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import anyio
from process_worker import CTX, Tasks, data, run

from async_session_store import (
    AsyncSessionStore,
    ClaimLostError,
    ReplyScope,
    SessionData,
    WaitClaimedError,
)

ROUNDS = [ReplyScope(conversation=f"round-{number}") for number in range(500)]
SCOPE = ReplyScope(conversation="one")
BLOCKS = 25
EDITS = 100
LEASE = 2.0
SHORT_LEASE = 0.3
LET_OTHERS_IN = 0.002  # seconds; SQLite's lock is unfair, and its last holder tends to get it again
LONG = 300.0


class NotDoneError(Exception):
    """Raised in a block to give back its wait."""


async def claim_and_keep(store: AsyncSessionStore, _number: int) -> list[int]:
    """Claim the wait of each round. Return the rounds that this process won."""
    won = []
    for index, scope in enumerate(ROUNDS):
        with suppress(WaitClaimedError):
            claim = await store.claim_wait(CTX, "u1", scope, lease=LONG)
            assert claim is not None, "nobody completes a claim"
            won.append(index)
            await anyio.sleep(LET_OTHERS_IN)
    return won


async def claim_and_complete(store: AsyncSessionStore, _number: int) -> list[int]:
    """Claim the wait of each round and complete it. Return the rounds that this process handled."""
    handled = []
    for index, scope in enumerate(ROUNDS):
        with suppress(WaitClaimedError):
            claim = await store.claim_wait(CTX, "u1", scope, lease=LONG)
            if claim is not None:
                assert await claim.complete()
                handled.append(index)
                await anyio.sleep(LET_OTHERS_IN)
    return handled


async def count_in_blocks(store: AsyncSessionStore, _number: int) -> int:
    """Count up in blocks. Only the claim keeps others out between reading and writing."""
    for _ in range(BLOCKS):
        with suppress(NotDoneError):
            async with store.resume_wait(CTX, "u1", SCOPE, lease=LONG, wait=LONG) as record:
                assert record is not None, "every block leaves a wait"
                count = int(record.data.context_json)
                await store.update_session(record.key, data(str(count + 1)))
                if count % 2:
                    raise NotDoneError
                await store.register_wait(CTX, "u1", SCOPE, record.key, data(str(count + 1)))
    return BLOCKS


async def hang_in_block(store: AsyncSessionStore, number: int) -> None:
    """Leave a trace, and hang until the process is killed."""
    async with store.resume_wait(CTX, "u1", SCOPE, lease=LEASE) as record:
        assert record is not None
        await store.update_session(record.key, data(f"{record.data.context_json} {number}"))
        print("in the block", flush=True)
        await anyio.sleep(LONG)


async def take_over(store: AsyncSessionStore, _number: int) -> str | None:
    """Wait for a turn, and resume. Return the context of the session, or None if it is gone."""
    async with store.resume_wait(CTX, "u1", SCOPE, wait=LONG) as record:
        return None if record is None else record.data.context_json


async def outlive_the_lease(store: AsyncSessionStore, _number: int) -> list[str]:
    """Claim, and use the claim long after its lease has ended. Return the outcomes."""
    claim = await store.claim_wait(CTX, "u1", SCOPE, lease=SHORT_LEASE)
    assert claim is not None
    outcomes = []
    for _ in range(2):
        print("too late", flush=True)
        sys.stdin.readline()
        for use in (claim.complete, claim.release, claim.renew):
            try:
                outcomes.append(repr(await use()))
            except ClaimLostError:
                outcomes.append("lost")
    return outcomes


async def edit(store: AsyncSessionStore, _number: int) -> int:
    for _ in range(EDITS):
        await store.edit_session("counter", counted_up)
    return EDITS


def counted_up(current: SessionData) -> SessionData:
    return data(str(int(current.context_json) + 1))


TASKS: Tasks = {
    "claim_and_keep": claim_and_keep,
    "claim_and_complete": claim_and_complete,
    "count_in_blocks": count_in_blocks,
    "hang_in_block": hang_in_block,
    "take_over": take_over,
    "outlive_the_lease": outlive_the_lease,
    "edit": edit,
}


if __name__ == "__main__":
    print(json.dumps(anyio.run(run, TASKS, *sys.argv[1:])))
