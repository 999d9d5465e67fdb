"""The targets of the benchmarks: an arm's value, or its ratio to a reference in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness import Table

OURS = "AsyncSessionStore"
BARE_DICTS = "bare dicts"
REDIS_PY = "redis-py, 5 calls"
IN_THREAD = "sqlite3 in the loop's thread"
AIOSQLITE = "aiosqlite, 5 hops"
AIOGRAM = "aiogram"
LITESTAR = "litestar"
KEY_VALUE = "py-key-value"
LANGGRAPH = "langgraph"
AGENTS = "openai-agents"
RUST = "greentic-session"

NATIVE = "AsyncSessionStore on asyncio"
BRIDGED = "AsyncSessionStore on trio"
FACADE = "SessionStore"
THREADSAFE = "run_coroutine_threadsafe"
BEFORE = "SessionStore when each call crossed alone"

TURN = f"{OURS}, turn"
RESUME_AND_NEXT = f"{OURS}, resume_wait and next"
REGISTER_AND_RESUME = f"{OURS}, register_wait and resume_wait"
FIVE_CALLS = f"{OURS}, the cycle's 5 calls"
BLOCK = "resume_wait"
CLAIM_AND_COMPLETE = "claim_wait and complete by hand"
TRANSACTIONS = "sqlite3 in the loop's thread, 2 transactions"
TRANSACTION_HOPS = "aiosqlite, 2 hops"
GET_AND_SET_SCRIPTS = "a script that GETs, a script that SETs"

MILLION = 1_000_000  # results with fewer sessions are printed, but not saved
MANY = f"among {MILLION:,}"
FEW = "among 1,000"
PURGE = f"while {MILLION // 100:,} are purged"
MAXIMUM, MEDIAN = "maximum", "median"
NOTHING = "while nothing happens"
IMPORT = "import async_session_store"
PYDANTIC_AND_ASYNCIO = "import asyncio, pydantic"


@dataclass(frozen=True)
class Target:
    """An upper bound. ``why`` says why the target is missed, if it is."""

    table: str
    arm: str
    reference: str | None
    at_most: float
    why: str = ""

    def measured(self, table: Table) -> float:
        if self.reference is None:
            return table.value(self.arm)
        return table.ratio(self.arm, self.reference)


def _cycle(
    storage: str, callers: int, kib: int, reference: str, at_most: float, why: str = ""
) -> Target:
    return Target(f"{storage}-{callers}-{kib}", OURS, reference, at_most, why)


def _turn(storage: str, callers: int, reference: str, at_most: float, why: str = "") -> Target:
    # Like resume_wait, most references do not look into the flow's memory. turn() parses,
    # validates and writes it, so it is compared with aiogram, which parses and writes it too.
    ours = TURN if reference == AIOGRAM else RESUME_AND_NEXT
    return Target(f"turn-{storage}-{callers}-1", ours, reference, at_most, why)


_SCRIPT = "for a lone call, a script that checks the owner takes about 25 µs longer than a GET"
_ESCAPED = "escaping JSON inside JSON twice and unescaping it once takes a third of the time"
_TWO_TRIPS = "a script that claims or completes takes the server 20 µs longer than a GET or SET"
_VALIDATED = "aiogram's data is a dict of any JSON; ours is validated when it is read and saved"
_SCHEDULED = "the reference never leaves its task; our calls check rules and wait for the loop"
_TWO_LOOPS = "each command crosses to another loop"
_TWO_WAKE_UPS = "a lone call wakes another thread, and is woken by it"
_EACH_THREAD_SLEEPS = "a reply wakes a thread of its own, and each thread waits for the GIL"


TARGETS = (
    _cycle("redis", 1, 1, REDIS_PY, 1.25, _SCRIPT),
    _cycle("redis", 64, 1, REDIS_PY, 0.4),
    _cycle("redis", 64, 16, REDIS_PY, 0.6, _ESCAPED),
    _cycle("redis", 64, 1, AIOGRAM, 0.25),
    _cycle("rust", 1, 1, RUST, 1.0),
    _cycle("rust", 1, 16, RUST, 1.0),
    _cycle("rust", 64, 1, RUST, 0.5),
    _cycle("rust", 64, 16, RUST, 0.5),
    Target("rust-look-up", OURS, RUST, 1.0),
    _cycle("sqlite-normal", 1, 1, AIOSQLITE, 1.0),
    _cycle("sqlite-normal", 64, 1, IN_THREAD, 1.3, _SCHEDULED),
    _cycle("sqlite-full", 64, 1, IN_THREAD, 0.5),
    _cycle("sqlite-normal", 1, 1, KEY_VALUE, 0.6),
    _cycle("sqlite-normal", 1, 16, KEY_VALUE, 1.2),
    _cycle(
        "memory", 1, 1, BARE_DICTS, 2.0, "each call runs two coroutines and the rules about owners"
    ),
    _cycle("memory", 1, 1, AIOGRAM, 1.3),
    _turn("redis", 1, REDIS_PY, 0.65),
    _turn("redis", 64, REDIS_PY, 0.25),
    _turn("redis", 1, AIOGRAM, 0.6, _TWO_TRIPS),
    _turn("redis", 64, AIOGRAM, 0.3, _VALIDATED),
    Target("turn-scripts-1", RESUME_AND_NEXT, None, 40),
    Target("turn-scripts-16", RESUME_AND_NEXT, GET_AND_SET_SCRIPTS, 1.7),
    _turn("sqlite-full", 64, TRANSACTIONS, 0.6),
    _turn("sqlite-normal", 1, TRANSACTION_HOPS, 1.0),
    Target("turn-memory-1-1", REGISTER_AND_RESUME, FIVE_CALLS, 4),
    Target("turn-memory-1-1", TURN, FIVE_CALLS, 10),
    Target("turn-block-asyncio", BLOCK, CLAIM_AND_COMPLETE, 2.5),
    Target("turn-block-trio", BLOCK, CLAIM_AND_COMPLETE, 2.5),
    Target("listing-memory", MANY, FEW, 1.5),
    Target("listing-sqlite", MANY, FEW, 1.5),
    Target("listing-redis", MANY, FEW, 1.5),
    Target("purge-memory", PURGE, None, 10),
    Target("purge-sqlite", PURGE, None, 10),
    Target(
        "purge-redis",
        PURGE,
        None,
        10,
        "even an idle loop pauses half as long while the server is this busy",
    ),
    Target("expired-look-memory", MANY, FEW, 1.5),
    Target("expired-look-sqlite", MANY, FEW, 1.5),
    Target("expired-look-redis", MANY, FEW, 1.5),
    Target("expired-late-memory", MAXIMUM, None, 1000),
    Target("expired-late-sqlite", MAXIMUM, None, 1000),
    Target("expired-late-redis", MAXIMUM, None, 1000),
    Target("import", IMPORT, PYDANTIC_AND_ASYNCIO, 1.6),
    Target("crossing-redis-1", BRIDGED, NATIVE, 2.2, _TWO_WAKE_UPS),
    Target("crossing-redis-64", BRIDGED, NATIVE, 2.0, _TWO_LOOPS),
    Target("crossing-sqlite-1", BRIDGED, NATIVE, 2.0),
    Target("crossing-sqlite-64", BRIDGED, NATIVE, 2.0),
    Target("crossing-redis-1", FACADE, THREADSAFE, 1.0),
    Target("crossing-redis-64", FACADE, THREADSAFE, 0.6, _EACH_THREAD_SLEEPS),
    Target("crossing-sqlite-64", FACADE, THREADSAFE, 0.6, _EACH_THREAD_SLEEPS),
    Target("crossing-before-64", FACADE, BEFORE, 0.5, _EACH_THREAD_SLEEPS),
)


def targets_of(table: str) -> Iterator[Target]:
    return (target for target in TARGETS if target.table == table)
