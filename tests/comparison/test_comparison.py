"""Check the table of docs/explanation/comparison.md with the real frameworks.

Each bot runs in a process of its own, which is killed where the table says so. The programs are the
ones on the page. The platform is a local server.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import permutations
from pathlib import Path

import pytest
import redis
from aiogram.fsm.storage.redis import DEFAULT_REDIS_LOCK_KWARGS
from microsoft_agents.hosting.core.state.agent_state import CachedAgentState
from platform_server import Call, Platform
from process import BOTS, LEASE
from telegram.ext import PicklePersistence

from redis_server import RedisServer

# Importing the dialogs takes seconds, here and in each process that runs them.
pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]

ASK_PIZZA, ASK_SIZE, DONE = "Which pizza?", "What size?", "One large margherita."
HI, PIZZA, SIZE = (1, "hi"), (2, "margherita"), (3, "large")


def sent_by(person: int) -> list[tuple[int, str]]:
    return [(1000 * person + number, text) for number, text in (HI, PIZZA, SIZE)]


class Bot:
    """A bot whose processes share a storage, and everything that it has sent."""

    def __init__(self, name: str, platform: Platform, storage: str) -> None:
        self.name = name
        self._platform = platform
        self._storage = storage
        self._processes = AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self.killed_at: str | None = None
        self.sent: list[str] = []
        platform.answers["/getMe"] = lambda _: {
            "ok": True,
            "result": {"id": 4242, "is_bot": True, "first_name": "Pizza", "username": "pizza_bot"},
        }
        platform.answers["/sendMessage"] = self._on_telegram
        platform.answers["/activities"] = self._on_teams
        for number in range(10):
            platform.answers[f"/activities/{number}"] = self._on_teams

    async def start(self) -> None:
        """Start a process. From now on it gets the messages."""
        program = str(Path(__file__).with_name("process.py"))
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, program, self.name, self._platform.url, self._storage),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._processes.push_async_callback(self._end, process)
        assert await process.stdout.readline() == b"ready\n"

    async def tell(self, *messages: tuple[int, str]) -> list[str]:
        """Deliver messages at once. Return what the bot sends until it has handled them or dies."""
        before = len(self.sent)
        self._process.stdin.write(json.dumps(messages).encode() + b"\n")
        assert await self._process.stdout.readline() in (b"done\n", b"")
        return self.sent[before:]

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        self._process.stdin.close()
        assert await self._process.wait() == 0

    async def close(self) -> None:
        await self._processes.aclose()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.kill()
        await process.communicate()

    def _on_telegram(self, call: Call) -> object:
        self._note(str(call.fields["text"]))
        chat = {"id": 5551, "type": "private"}
        return {"ok": True, "result": {"message_id": 1, "date": 1767225600, "chat": chat}}

    def _on_teams(self, call: Call) -> object:
        if call.fields["type"] == "message":
            self._note(str(call.fields["text"]))
        return {"id": "sent"}

    def _note(self, text: str) -> None:
        self.sent.append(text)
        if text == self.killed_at:
            self.killed_at = None
            self._process.kill()


@pytest.fixture(params=BOTS)
async def bot(
    request: pytest.FixtureRequest, platform: Platform, tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[Bot]:
    name = request.param
    storage = str(tmp_path / "flows")
    if name == "turn":
        storage = f"sqlite:///{storage}"
    if name.startswith("aiogram"):
        with redis.Redis.from_url(redis_server.url) as client:
            for key in client.scan_iter("fsm:*"):
                client.delete(key)
        storage = redis_server.url
    bot = Bot(name, platform, storage)
    await bot.start()
    yield bot
    await bot.close()


@pytest.mark.anyio
async def test_a_flow(bot: Bot) -> None:
    assert await bot.tell(HI) == [ASK_PIZZA]
    assert await bot.tell(PIZZA) == [ASK_SIZE]
    assert await bot.tell(SIZE) == [DONE]


@pytest.mark.anyio
async def test_a_first_message_that_is_delivered_again(bot: Bot) -> None:
    await bot.tell(HI)
    again = await bot.tell(HI)
    if bot.name == "turn":
        assert again == []
    else:
        assert again == [ASK_SIZE]  # "hi" is taken as the pizza


@pytest.mark.anyio
async def test_an_answer_that_is_delivered_again(bot: Bot) -> None:
    await bot.tell(HI)
    await bot.tell(PIZZA)
    again = await bot.tell(PIZZA)
    if bot.name == "turn":
        assert again == []
        assert await bot.tell(SIZE) == [DONE]
    else:
        assert again == ["One margherita margherita."]  # it is taken as the size


@pytest.mark.anyio
async def test_three_quick_messages(bot: Bot) -> None:
    if bot.name in ("aiogram", "dialogs"):
        # Each message starts the flow if it comes before another has changed the state. On a busy
        # machine the first may be faster, so several people try.
        assert [ASK_PIZZA] * 3 in [await bot.tell(*sent_by(n)) for n in range(10)]
        return
    sent = await bot.tell(HI, PIZZA, SIZE)
    if bot.name == "aiogram, isolated":
        assert sent[:2] == [ASK_PIZZA, ASK_SIZE]  # one at a time, in no particular order
        texts = [text for _, text in (HI, PIZZA, SIZE)]
        assert sent[2] in [f"One {second} {first}." for first, second in permutations(texts, 2)]
    else:
        assert sent == [ASK_PIZZA, ASK_SIZE, DONE]


@pytest.mark.anyio
async def test_a_crash_in_the_middle_of_a_handler(bot: Bot) -> None:
    await bot.tell(HI)
    bot.killed_at = ASK_SIZE
    assert await bot.tell(PIZZA) == [ASK_SIZE]
    await bot.start()
    await asyncio.sleep(LEASE)
    again = await bot.tell(PIZZA)
    if bot.name in ("turn", "dialogs"):
        assert again == [ASK_SIZE]
        assert await bot.tell(SIZE) == [DONE]
    elif bot.name == "ptb":
        assert again == [ASK_PIZZA]  # the flow is lost, and starts over
    else:
        assert again == ["One margherita margherita."]  # it is taken as the size


@pytest.mark.anyio
async def test_a_process_that_is_killed_between_two_messages(bot: Bot) -> None:
    await bot.tell(HI)
    await bot.kill()
    await bot.start()
    sent = await bot.tell(PIZZA)
    assert sent == [ASK_PIZZA if bot.name == "ptb" else ASK_SIZE]


@pytest.mark.anyio
async def test_a_process_that_is_stopped_between_two_messages(bot: Bot) -> None:
    await bot.tell(HI)
    await bot.stop()
    await bot.start()
    assert await bot.tell(PIZZA) == [ASK_SIZE]


@pytest.mark.anyio
async def test_another_worker_that_takes_the_next_message(bot: Bot) -> None:
    await bot.tell(HI)
    await bot.start()
    sent = await bot.tell(PIZZA)
    assert sent == [ASK_PIZZA if bot.name == "ptb" else ASK_SIZE]


def test_the_dialog_state_is_not_json() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports raise syntax warnings
        from microsoft_agents.hosting.dialogs import DialogState
    state = CachedAgentState({"dialogs": DialogState()})
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(state.store_item_to_json())


def test_the_defaults_that_the_page_names() -> None:
    assert PicklePersistence("file").update_interval == 60
    assert DEFAULT_REDIS_LOCK_KWARGS == {"timeout": 60}


def test_the_page_gives_the_lines_of_code() -> None:
    page = (ROOT / "docs/explanation/comparison.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| lines of code"))
    programs = ("turn_pizza.py", "aiogram_pizza.py", "ptb_pizza.py", "dialogs_pizza.py")
    texts = [Path(__file__).with_name(name).read_text() for name in programs]
    lines = [sum(map(bool, text.splitlines())) for text in texts]
    assert [int(cell) for cell in re.findall(r"\d+", row)] == lines
