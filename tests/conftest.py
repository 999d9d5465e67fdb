from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from redis_server import RedisServer
from rust_process import RustProcess

INTEROP = Path(__file__).parent / "interop"
SOAK = Path(__file__).parent / "soak"
LONG_SECONDS = 1800  # one test may run thousands of generated examples or rounds

# The duration of an example says more about the machine than about the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("default"), max_examples=2000)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", default=40, help="the length of each soak test")


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, even in a background job of a shell.

    Such a job ignores SIGINT, and its children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that run only on request: ``pytest -m interop``, ``pytest -m soak``.

    Tests beside a Greentic runner have the mark ``runner`` instead: ``.ci/run`` does not build one.
    """
    for item in items:
        needs_runner = item.get_closest_marker("runner")
        if INTEROP in item.path.parents and not needs_runner:
            item.add_marker(pytest.mark.interop)
        if SOAK in item.path.parents:
            item.add_marker(pytest.mark.soak)
        if needs_runner or item.get_closest_marker("interop") or item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep coverage.py out of the processes that a test starts: it imports modules, writes files.

    Only ``nox -s coverage`` sets the variable by which a process knows that it is to be measured.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return request.param


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run one server for all tests of this worker. Each test keeps to a namespace of its own."""
    with RedisServer.start() as server:
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Yield a client that looks behind the API."""
    with redis.Redis.from_url(redis_server.unix_url) as client:
        yield client


@pytest.fixture
def namespace(redis_client: redis.Redis) -> Iterator[str]:
    """Yield an empty namespace, and delete its keys at the end."""
    namespace = f"test:{uuid.uuid4().hex}"
    yield namespace
    for key in redis_client.scan_iter(f"{namespace}:*", count=1000):
        redis_client.delete(key)


@pytest.fixture(scope="session")
def rust_process() -> Iterator[RustProcess]:
    """Run one process with the Rust crate for all tests of this worker. It is built first."""
    with RustProcess.start() as process:
        yield process
