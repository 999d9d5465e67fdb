"""Concurrent histories of several processes are linearizable."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from model import Call, is_linearizable

WORKER = Path(__file__).with_name("soak_worker.py")
PROCESSES = 4


def start(stack: ExitStack, url: str, namespace: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), "histories", url, namespace, str(number)]
    process = stack.enter_context(
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def play(process: subprocess.Popen[str]) -> list[Call]:
    assert process.stdout is not None
    return [Call(*call) for call in json.loads(process.stdout.readline())]


def test_w1_k1_histories_of_processes_are_linearizable(
    url_and_namespace: tuple[str, str], rounds: int
) -> None:
    overlapping = 0
    with ExitStack() as stack:
        processes = [start(stack, *url_and_namespace, number) for number in range(PROCESSES)]
        for number in range(rounds):
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"h{number}\n")
            history = [call for process in processes for call in play(process)]
            assert is_linearizable(history), sorted(history, key=lambda call: call.began)
            calls = sorted(history, key=lambda call: call.began)
            overlapping += sum(b.began < a.ended for a, b in itertools.pairwise(calls))
        for process in processes:
            process.communicate()
    assert overlapping > rounds, "too few calls overlapped"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([("find", "k1", 3, 4), ("register", None, 1, 2)], True),
        ([("find", None, 3, 4), ("register", None, 1, 2)], False),
        ([("find", None, 1, 4), ("register", None, 1, 2)], True),
        ([("register", None, 1, 2), ("clear", True, 3, 6), ("clear", True, 4, 5)], False),
    ],
)
def test_the_search_tells_histories_apart(
    seen: list[tuple[str, str | bool | None, int, int]], *, expected: bool
) -> None:
    history = [
        Call(str(number), name, "a", "k1", result, began, ended)
        for number, (name, result, began, ended) in enumerate(seen)
    ]
    assert is_linearizable(history) is expected
