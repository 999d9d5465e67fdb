"""The examples run, and their output says what happened."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from redis_server import RedisServer

EXAMPLES = Path(__file__).parents[1] / "examples"

STORY = """\
parent sessions are stored in {kind}
parent alice: "margherita"
process 1 (pid {first}) bot: "Margherita, good choice. Small or large?"
process 1 (pid {first}) stored: order-pizza waits in chat-42 for up to 30 minutes
process 1 (pid {first}) kill -9, with the store still open
parent process 1 is dead, and everything in its memory is gone
parent alice: "large"
process 2 (pid {second}) found order-pizza, waiting in chat-42 until TIME UTC
process 2 (pid {second}) resuming at take_size with Order(pizza='margherita')
process 2 (pid {second}) bot: "One large margherita is on its way."
process 2 (pid {second}) the flow has ended; alice's open waits: []
parent done: process 2 finished what process 1 started
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, cwd=EXAMPLES
    )


def assert_resumed(done: subprocess.CompletedProcess[str], kind: str) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    pids = re.findall(r"\(pid (\d+)\)", done.stdout)
    assert len(set(pids)) == 2
    story = STORY.format(kind=kind, first=pids[0], second=pids[-1])
    output = re.sub(r"\d\d:\d\d:\d\d", "TIME", done.stdout)
    assert re.sub(r"  +", " ", output) == story


def test_quickstart_resumes_on_sqlite() -> None:
    done = run("quickstart.py")
    assert_resumed(done, "sqlite")


def test_quickstart_resumes_on_redis(redis_server: RedisServer) -> None:
    run("quickstart.py", "--url", redis_server.url)
    done = run("quickstart.py", "--url", redis_server.url)  # again, with the data of the first run
    assert_resumed(done, "redis")


def test_quickstart_fails_if_nothing_was_stored() -> None:
    done = run("quickstart.py", "--url", "memory://")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "no flow is waiting in chat-42",
        "process 2 did not resume the flow",
    ]


def assert_each_message_was_handled_once(done: subprocess.CompletedProcess[str], kind: str) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    first, _, head, *table, _, last = done.stdout.splitlines()
    assert first == f"10 messages, 2 workers, a lease of 1.5 s, {kind}"
    assert head.split() == ["message", "worker", "1", "worker", "2", "stored"]
    assert len(table) == 10
    for number, row in enumerate(table, 1):
        assert row.startswith(f"{number:02} ")
        assert row.endswith(" 1 x")
        assert row.count("handled") == 1
    killed = [number for number, row in enumerate(table, 1) if "killed" in row]
    assert killed == [6]
    assert "claimed" in table[5]
    assert all("duplicate" in row for row in table[:5])
    assert not any("duplicate" in row for row in table[5:])
    assert re.fullmatch(
        r"worker (1|2) was killed, worker (?!\1)(1|2) finished,"
        r" and every message was handled exactly once",
        last,
    )


def test_two_workers_handle_each_message_once_on_sqlite() -> None:
    done = run("two_workers.py")
    assert_each_message_was_handled_once(done, "sqlite")


def test_two_workers_handle_each_message_once_on_redis(redis_server: RedisServer) -> None:
    done = run("two_workers.py", "--url", redis_server.url)
    assert_each_message_was_handled_once(done, "redis")


def test_two_workers_fail_if_nothing_is_shared() -> None:
    done = run("two_workers.py", "--url", "memory://")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "one worker should be killed and the other should finish, but they exited with [-9, -9]"
    ]


def assert_each_flow_was_resumed(done: subprocess.CompletedProcess[str], kind: str) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    first, _, *lines, _, last = done.stdout.splitlines()
    assert first == f"3 people in one chat, one nursery, {kind}"
    for person, pizza, size in (
        ("alice", "margherita", "large"),
        ("bob", "funghi", "small"),
        ("carol", "diavola", "large"),
    ):
        story = [re.sub(r"  +", " | ", line) for line in lines if person in line]
        assert story == [
            f"{person} | hi",
            f"bot to {person} | Which pizza? | paused at take_pizza",
            f"{person} | {pizza}",
            f"bot to {person} | Small or large? | paused at take_size",
            f"{person} | {size}",
            f"bot to {person} | One {size} {pizza}. | done",
        ]
    writers = [line.split()[0] for line in lines if not line.startswith("bot")]
    assert len(writers) == 9
    assert len(list(groupby(writers))) > 3  # their messages are interleaved
    assert last == (
        "every flow paused twice, was resumed by other tasks, and ended with the right pizza"
    )


@pytest.mark.parametrize("arguments", [(), ("--url", "memory://")], ids=["sqlite", "memory"])
def test_trio_app_resumes_each_flow(arguments: tuple[str, ...]) -> None:
    done = run("trio_app.py", *arguments)
    assert_each_flow_was_resumed(done, "memory" if arguments else "sqlite")


def test_trio_app_resumes_each_flow_on_redis(redis_server: RedisServer) -> None:
    done = run("trio_app.py", "--url", redis_server.url)
    assert_each_flow_was_resumed(done, "redis")


ALL = [*sorted(EXAMPLES.glob("*.py")), EXAMPLES / "webchat" / "app.py"]

# Runs an example as if its framework were not installed, even if it is.
WITHOUT_FRAMEWORK = """
import runpy, sys
example, *missing = sys.argv[1:]
sys.modules.update(dict.fromkeys(missing))
sys.path.insert(0, ".")
runpy.run_path(example, run_name="__main__")
"""
FRAMEWORKS = {
    "discord_bot.py": ("discord", "discord.py"),
    "langgraph_approval.py": ("langgraph", "langgraph langgraph-checkpoint-sqlite"),
    "slack_bolt.py": ("aiohttp", "slack-bolt aiohttp"),
    "sync_flask.py": ("flask", "flask"),
    "teams_agents.py": (
        "aiohttp",
        "microsoft-agents-hosting-aiohttp microsoft-agents-authentication-msal",
    ),
    "telegram_aiogram.py": ("aiogram", "aiogram"),
    "telegram_ptb.py": ("telegram", "python-telegram-bot"),
    "webchat/app.py": ("uvicorn", "starlette uvicorn websockets"),
    "whatsapp_pywa.py": ("aiohttp", "pywa aiohttp"),
}


def name_of(example: Path) -> str:
    return example.relative_to(EXAMPLES).as_posix()


@pytest.mark.parametrize("example", ALL, ids=name_of)
def test_each_example_says_how_to_run_it_and_what_to_install(example: Path) -> None:
    first_lines = example.read_text().split('"""')[1]
    _, install, commands = first_lines.partition("\n    pip install ")
    assert install
    assert f" examples/{name_of(example)}\n" in commands


@pytest.mark.parametrize("example", FRAMEWORKS)
def test_an_example_without_its_framework_says_so_in_one_line(example: str) -> None:
    module, packages = FRAMEWORKS[example]
    done = run("-c", WITHOUT_FRAMEWORK, example, module)
    assert done.returncode == 1
    assert done.stderr == f"{module} is missing: pip install . {packages}\n"
    assert f"    pip install . {packages}\n" in (EXAMPLES / example).read_text()


def test_without_trio_the_trio_app_says_so_in_one_line() -> None:
    done = run("-c", WITHOUT_FRAMEWORK, "trio_app.py", "trio")
    assert (done.returncode, done.stderr) == (1, "trio is missing: pip install '.[trio]'\n")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_each_example_is_in_the_table(example: Path) -> None:
    assert f"\n| `{example.name}` | " in (EXAMPLES / "README.md").read_text()
