"""examples/langgraph_approval.py, and what docs/how-to/langgraph.md says about LangGraph itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

import langgraph_approval
from async_session_store import AsyncSessionStore, DuplicateDeliveryError
from langgraph_approval import Refund, message, on_message

pytestmark = pytest.mark.anyio

QUESTIONS = ["How much do you want back?", "Refund 9 EUR? Answer yes or no.", "Refunded 9 EUR."]
TEXTS = ["refund, please", "9 EUR", "yes"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[AsyncSessionStore]:
    async with AsyncSessionStore.from_url(f"sqlite:///{tmp_path}/chat.db") as store:
        yield store


@pytest.fixture
async def checkpoints(tmp_path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "graph.db")) as checkpoints:
        yield checkpoints


def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, langgraph_approval.__file__], check=True, capture_output=True, text=True
    )
    said = [line.removeprefix("bot: ") for line in done.stdout.splitlines() if "bot: " in line]
    assert said == [*QUESTIONS[:2], "(this message was delivered twice)", QUESTIONS[2]]


@pytest.mark.parametrize("dies_at", range(3))
async def test_a_worker_that_dies_after_the_graph_ran(
    store: AsyncSessionStore, checkpoints: AsyncSqliteSaver, dies_at: int
) -> None:
    graph = langgraph_approval.bound(checkpoints)
    answers = []
    for number, text in enumerate(TEXTS):
        if number == dies_at:
            with pytest.raises(WorkerDiedError):
                await on_message(store, DyingGraph(graph), message(number, text))
        answers.append(await on_message(store, graph, message(number, text)))
    assert answers == QUESTIONS


class WorkerDiedError(Exception):
    pass


class DyingGraph:
    """A graph whose worker dies as soon as it has run."""

    def __init__(self, graph) -> None:
        self.aget_state = graph.aget_state
        self._graph = graph

    async def ainvoke(self, *arguments) -> None:
        await self._graph.ainvoke(*arguments)
        raise WorkerDiedError


async def test_an_answer_that_arrives_twice_at_once_runs_a_node_once(
    store: AsyncSessionStore, checkpoints: AsyncSqliteSaver
) -> None:
    paid: list[str] = []
    graph = paying_graph(paid).compile(checkpointer=checkpoints)
    await on_message(store, graph, message(0, "hi"))
    both = [on_message(store, graph, message(1, "yes")) for _ in range(2)]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert {type(one) for one in outcomes} == {DuplicateDeliveryError, str}
    assert paid == ["yes"]


async def test_langgraph_alone_runs_it_twice(checkpoints: AsyncSqliteSaver) -> None:
    paid: list[str] = []
    graph = paying_graph(paid).compile(checkpointer=checkpoints)
    config = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({}, config)
    both = [graph.ainvoke(Command(resume="yes"), config) for _ in range(2)]
    await asyncio.gather(*both)
    assert paid == ["yes", "yes"]


def paying_graph(paid: list[str]) -> StateGraph:
    async def pay(_: Refund) -> Refund:
        answer = interrupt("Pay?")
        await asyncio.sleep(0.1)  # a payment takes a while
        paid.append(answer)
        return {"result": "paid"}

    graph = StateGraph(Refund)
    graph.add_node(pay)
    graph.add_edge(START, "pay")
    graph.add_edge("pay", END)
    return graph
