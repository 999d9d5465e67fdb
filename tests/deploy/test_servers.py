"""Servers that fork their workers, as docs/how-to/deploy.md runs them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from server import EXAMPLES, Server

from async_session_store import AsyncSessionStore, TenantCtx
from async_session_store.channels import Inbound
from async_session_store.models import UserId

pytestmark = pytest.mark.timeout(120)

UVICORN = ("uvicorn", "app:app", "--port", "{port}", "--workers", "2")
SERVICE = TenantCtx(env="prod", tenant_id="acme")
CHAT = Inbound(
    provider="demo",
    bot_id="pizza",
    conversation="chat-42",
    user_id=UserId("alice"),
    delivery_id="0",
    text="",
).scope

OPENED_BEFORE_THE_FORK = """
from async_session_store import SessionStore, StoreUsageError

store = SessionStore.from_env().open()


def error_of(call):
    try:
        return call() or "fine"
    except StoreUsageError as error:
        return str(error).partition(";")[0].partition(", and")[0]


def app(environ, start_response):
    start_response("200 OK", [])
    texts = [error_of(store.ping), error_of(lambda: SessionStore.from_env().open().close())]
    return ["\\n".join(texts).encode()]
"""
OPENED_BY_HOOKS = """
import os

from async_session_store import SessionStore

store = SessionStore.from_env()


def app(environ, start_response):
    store.ping()
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
"""


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/bot.db"


def test_uvicorn_workers_share_a_file(storage: str) -> None:
    with Server.start(*UVICORN, storage=storage) as server:
        for number in range(0, 10, 2):
            assert server.tell(str(number), "hi") == "Which pizza?"
            assert server.tell(str(number + 1), "funghi") == "One funghi."
        assert server.stop() == 0


@pytest.mark.anyio
async def test_sigterm_lets_a_turn_end(storage: str) -> None:
    with Server.start(*UVICORN, storage=storage) as server:
        assert server.tell("1", "hi") == "Which pizza?"
        async with AsyncSessionStore.from_url(storage) as store:
            claim = await store.claim_wait(SERVICE, "alice", CHAT)
            assert claim is not None
            answer = asyncio.create_task(asyncio.to_thread(server.tell, "2", "funghi"))
            await asyncio.sleep(1)  # the worker waits for its turn
            stopped = asyncio.create_task(asyncio.to_thread(server.stop))
            await asyncio.sleep(1)
            await claim.release()
            assert await answer == "One funghi."
            assert await stopped == 0
            assert await store.count_waits(SERVICE) == 0


def test_gunicorn_that_preloads_an_open_store(storage: str, tmp_path: Path) -> None:
    (tmp_path / "myapp.py").write_text(OPENED_BEFORE_THE_FORK)
    command = ("gunicorn", "--preload", "--bind", "127.0.0.1:{port}", "myapp:app")
    with Server.start(*command, storage=storage, folder=tmp_path) as server:
        assert server.get("/").splitlines() == [
            "this store is from before a fork",
            "this process was forked while a store was open on this SQLite file",
        ]


def test_gunicorn_whose_hooks_open_the_store(storage: str, tmp_path: Path) -> None:
    page = (EXAMPLES.parents[1] / "docs/how-to/sync.md").read_text()
    config = page.partition("```python\n# gunicorn.conf.py\n")[2].partition("```")[0]
    (tmp_path / "gunicorn.conf.py").write_text(config)
    (tmp_path / "myapp.py").write_text(OPENED_BY_HOOKS)
    command = ("gunicorn", "--bind", "127.0.0.1:{port}", "myapp:app")
    with Server.start(*command, storage=storage, folder=tmp_path) as server:
        pids = set()
        while len(pids) < 2:  # a worker that has not booted would miss the signal
            pids.add(int(server.get("/")))
        assert server.stop() == 0


def test_celery_processes_open_a_store_each(storage: str, tmp_path: Path) -> None:
    for folder in ("queue", "control", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "celeryconfig.py").write_text(
        f"""
broker_url = "filesystem://"
broker_transport_options = {{
    "data_folder_in": "{tmp_path}/queue",
    "data_folder_out": "{tmp_path}/queue",
    "control_folder": "{tmp_path}/control",
}}
result_backend = "file://{tmp_path}/results"
"""
    )
    environment = {
        **os.environ,
        "SESSION_STORE_URL": storage,
        "CELERY_CONFIG_MODULE": "celeryconfig",
        "PYTHONPATH": f"{tmp_path}:{EXAMPLES}",
    }
    celery = [sys.executable, "-m", "celery", "-A", "tasks"]
    worker = subprocess.Popen(
        [*celery, "worker", "--concurrency", "2", "--pool", "prefork"],
        cwd=tmp_path,
        env=environment,
    )
    try:
        ask = "from tasks import count_waits; print(count_waits.delay().get(timeout=60))"
        done = subprocess.run(
            [sys.executable, "-c", ask], env=environment, check=True, capture_output=True, text=True
        )
        assert done.stdout == "0\n"
        worker.terminate()
        assert worker.wait(timeout=30) == 0
    finally:
        worker.kill()
        worker.wait()
