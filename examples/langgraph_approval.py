"""A LangGraph graph that asks a person twice, over a chat whose messages may arrive twice.

    pip install . langgraph langgraph-checkpoint-sqlite
    python examples/langgraph_approval.py

It prints a conversation. The store and the graph are opened anew for each message, as if each had
its own process. LangGraph keeps the state of the graph in graph.db. The store keeps in chat.db who
is asked, and refuses the message that is delivered twice.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

try:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Command, interrupt
except ModuleNotFoundError:
    sys.exit("langgraph is missing: pip install . langgraph langgraph-checkpoint-sqlite")

from pydantic import BaseModel
from typing_extensions import TypedDict

from async_session_store import (
    AsyncSessionStore,
    DuplicateDeliveryError,
    TenantCtx,
    UserId,
    derive_session_key,
)
from async_session_store.channels import Inbound

CTX = TenantCtx(env="demo", tenant_id="acme")


class Refund(TypedDict, total=False):
    """The state of the graph, which LangGraph keeps."""

    amount: str
    result: str


def ask_amount(state: Refund) -> Refund:
    return {"amount": interrupt("How much do you want back?")}


def confirm(state: Refund) -> Refund:
    answer = interrupt(f"Refund {state['amount']}? Answer yes or no.")
    return {"result": f"Refunded {state['amount']}." if answer == "yes" else "Nothing refunded."}


def new_graph() -> StateGraph:
    graph = StateGraph(Refund)
    graph.add_node(ask_amount)
    graph.add_node(confirm)
    graph.add_edge(START, "ask_amount")
    graph.add_edge("ask_amount", "confirm")
    graph.add_edge("confirm", END)
    return graph


class Run(BaseModel):
    """What the store remembers: which run of the graph waits here, and for which answer."""

    thread_id: str = ""
    question: str = ""


async def on_message(store: AsyncSessionStore, graph, message: Inbound) -> str:
    async with store.turn(CTX, message, flow="refund", memory=Run, ttl=86400) as turn:
        run = turn.memory
        if turn.is_new:  # the same thread if this message is delivered again after a crash
            place = message.scope.conversation
            run.thread_id = derive_session_key(CTX, "graph", place, message.delivery_id)
        config = {"configurable": {"thread_id": run.thread_id}}

        state = await graph.aget_state(config)
        if state.created_at is None:  # a new thread
            await graph.ainvoke({}, config)
        elif state.interrupts and state.interrupts[0].id == run.question:
            await graph.ainvoke(Command(resume=turn.text), config)
        # Otherwise a worker ran the graph with this message, and died before its turn ended.

        state = await graph.aget_state(config)
        if state.interrupts:
            run.question = state.interrupts[0].id
            turn.ask("graph")
            return state.interrupts[0].value
        turn.end()
        return state.values["result"]


def message(number: int, text: str) -> Inbound:
    return Inbound(
        provider="demo",
        bot_id="refunds",
        conversation="chat-42",
        user_id=UserId("alice"),
        delivery_id=str(number),
        text=text,
    )


async def main(folder: Path) -> None:
    for number, text in [(1, "refund, please"), (2, "9 EUR"), (2, "9 EUR"), (3, "yes")]:
        async with (
            AsyncSqliteSaver.from_conn_string(str(folder / "graph.db")) as checkpoints,
            AsyncSessionStore.from_url(f"sqlite:///{folder}/chat.db") as store,
        ):
            print("alice:", text)
            try:
                print("bot:", await on_message(store, bound(checkpoints), message(number, text)))
            except DuplicateDeliveryError:
                print("bot: (this message was delivered twice)")


def bound(checkpoints: AsyncSqliteSaver):
    return new_graph().compile(checkpointer=checkpoints)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
