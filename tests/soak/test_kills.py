"""An acknowledged write survives the kill of its process."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from async_session_store import AsyncSessionStore

WORKER = Path(__file__).with_name("soak_worker.py")
WRITERS = 4


def start(stack: ExitStack, url: str, namespace: str, number: int) -> subprocess.Popen[bytes]:
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, str(WORKER), "write_until_killed", url, namespace, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


async def stored_values(url: str, namespace: str) -> list[int | None]:
    async with AsyncSessionStore.from_url(url, namespace=namespace or None) as store:
        found = [await store.get_session(f"key-{number}") for number in range(WRITERS)]
    return [None if one is None else json.loads(one.context_json) for one in found]


def test_w1_what_killed_processes_were_acknowledged_is_kept(
    url_and_namespace: tuple[str, str], rounds: int
) -> None:
    chance = random.Random(1)
    acknowledged = 0
    next_values = [0] * WRITERS
    seen: list[int | None] = [None] * WRITERS
    for _ in range(max(1, rounds // 10)):
        with ExitStack() as stack:
            writers = [start(stack, *url_and_namespace, number) for number in range(WRITERS)]
            for writer, value in zip(writers, next_values, strict=True):
                assert writer.stdin is not None
                writer.stdin.write(f"{value}\n".encode())
                writer.stdin.flush()
            asyncio.run(asyncio.sleep(chance.uniform(0.02, 0.4)))
            for writer in writers:
                writer.kill()
            outputs = [writer.communicate()[0].split() for writer in writers]
        stored = asyncio.run(stored_values(*url_and_namespace))
        for number, output in enumerate(outputs):
            acknowledged += len(output)
            last = int(output[-1]) if output else seen[number]
            # The call that was in flight when the kill came may have been carried out.
            assert stored[number] in (last, next_values[number] + len(output))
            # The next writer begins with a registration, which is every third value.
            next_values[number] = 3 * ((stored[number] or 0) // 3 + 1)
        seen = stored
    assert acknowledged > rounds
