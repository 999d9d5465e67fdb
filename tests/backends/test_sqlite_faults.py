"""SQLite when things go wrong: files that are away, refuse, are full, locked or somebody else's."""

# ruff: noqa: ASYNC240  # tests may block

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import anyio
import pytest
from cancelled_calls import cancel_a_thousand_calls
from closing_stores import cancel_closing_while_blocked, close_while_many_call
from sqlite_locks import locked

from async_session_store import (
    AsyncSessionStore,
    ReplyScope,
    StoreUnavailableError,
    StoreUsageError,
)
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.backends.sqlite._schema import APPLICATION_ID
from async_session_store.testing.contract.builders import (
    CTX,
    A,
    B,
    context_of,
    data,
    find,
    listed,
    register,
)
from calls import GROWING, READS, SHRINKING, Call
from loops import eventually, turn_loop

pytestmark = pytest.mark.anyio

WRITES = {**GROWING, **SHRINKING}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AsyncSessionStore]:
    """Yield a store that waits a tenth of a second for a lock."""
    async with open_store(path) as store:
        yield store


def open_store(path: Path | str, busy_timeout: float = 0.1) -> AsyncSessionStore:
    return AsyncSessionStore(SqliteBackend(path, busy_timeout=busy_timeout))


def behind(path: Path) -> closing[sqlite3.Connection]:
    """Return a connection behind the API."""
    return closing(sqlite3.connect(path, isolation_level=None))


def content(path: Path) -> list[object]:
    with behind(path) as database:
        return database.execute("SELECT * FROM sessions ORDER BY key").fetchall()


async def refused(path: Path | str, match: str) -> BaseException | None:
    """Check that opening a store fails, and return the cause."""
    with pytest.raises(StoreUnavailableError, match=match) as caught:
        await open_store(path).open()
    return caught.value.__cause__


def run_python(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


# --- Files that cannot be opened --------------------------------------------------------------


async def test_r1_a_missing_folder(path: Path) -> None:
    cause = await refused(path.parent / "none" / "bot.db", "folder .* does not exist")
    assert isinstance(cause, FileNotFoundError)
    assert list(path.parent.iterdir()) == []


async def test_r1_a_folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir()
    await refused(path, "cannot be opened")


async def test_r1_a_folder_that_is_a_file(path: Path) -> None:
    path.touch()
    await refused(path / "bot.db", "SQLite: ")


@pytest.mark.parametrize("size", [2, 99, 100, 5000])
async def test_r1_a_file_that_is_not_a_database(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)
    assert isinstance(await refused(path, "not a SQLite database"), sqlite3.DatabaseError)
    assert path.read_bytes() == b"x" * size
    assert list(path.parent.iterdir()) == [path]


async def test_an_empty_file_is_treated_as_new(path: Path) -> None:
    path.touch()
    async with open_store(path) as store:
        await register(store, "k", A)
        assert await find(store, A) == "k"


async def test_r1_a_damaged_file(path: Path) -> None:
    async with open_store(path) as store:
        for number in range(50):
            await register(store, f"k{number}", ReplyScope(conversation=str(number)), "x" * 5000)
    whole = path.read_bytes()
    damage = len(whole) // 2
    path.write_bytes(whole[:-damage] + b"\xff" * damage)
    async with open_store(path) as store:
        with pytest.raises(StoreUnavailableError, match="damaged"):
            await store.clear_waits_for_user(CTX, "u1")


async def test_r1_a_file_of_a_newer_version_is_left_as_it_is(path: Path) -> None:
    with behind(path) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    await refused(path, "newer version of this library")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_r1_a_file_of_another_application_is_left_as_it_is(path: Path) -> None:
    with behind(path) as database:
        database.execute("CREATE TABLE theirs (id)")
    before = path.read_bytes()
    await refused(path, "belongs to another application")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Become an ordinary user if this is root, which ignores file modes."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
async def foreign() -> AsyncIterator[Path]:
    """Yield a file with a wait, in a folder of its own, which nobody may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nobody must get there
        async with open_store(folder / "bot.db") as store:
            await register(store, "k", A)
        (folder / "bot.db").chmod(0o444)
        before = (folder / "bot.db").read_bytes()
        yield folder / "bot.db"
        assert (folder / "bot.db").read_bytes() == before
        folder.chmod(0o755)  # for its removal


async def test_r1_a_read_only_file(foreign: Path) -> None:
    async def read_and_write() -> None:
        async with open_store(foreign) as store:
            assert await find(store, A) == "k"
            await register(store, "k", B)

    foreign.parent.chmod(0o777)
    with unprivileged(), pytest.raises(StoreUnavailableError, match="read-only"):
        await read_and_write()


async def test_r1_a_read_only_folder(foreign: Path) -> None:
    foreign.parent.chmod(0o555)
    with unprivileged():
        await refused(foreign, "folder of the database file cannot be written")
        await refused(foreign.with_name("new.db"), "cannot be created: Permission denied")
    assert list(foreign.parent.iterdir()) == [foreign]


async def test_r1_an_unreadable_file(foreign: Path) -> None:
    foreign.chmod(0)
    foreign.parent.chmod(0o777)
    with unprivileged():
        await refused(foreign, "cannot be opened")


def test_r1_a_failed_open_ends_the_process_in_order(path: Path) -> None:
    process = run_python(FAILED_OPEN, path.parent / "none" / "bot.db")
    assert (process.returncode, process.stdout, process.stderr) == (0, "refused\n", "")


FAILED_OPEN = """
import asyncio, sys
from async_session_store import AsyncSessionStore, StoreUnavailableError, StoreUsageError

try:
    asyncio.run(AsyncSessionStore.from_url(f"sqlite:///{sys.argv[1]}").open())
except StoreUnavailableError:
    print("refused")
"""


# --- The file and its neighbours --------------------------------------------------------------


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_the_file_is_private_to_its_user(path: Path, store: AsyncSessionStore) -> None:
    await register(store, "k", A)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    names = ("bot.db", "bot.db-wal", "bot.db-shm")
    assert modes == dict.fromkeys(names, 0o600)


@pytest.mark.usefixtures("umask")
async def test_the_mode_of_an_existing_file_is_kept(path: Path) -> None:
    path.touch(0o640)
    async with open_store(path) as store:
        await register(store, "k", A)
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o640}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
async def test_a_database_in_memory_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    async with AsyncSessionStore.from_url(url) as one, AsyncSessionStore.from_url(url) as two:
        await register(one, "k", A)
        assert await find(one, A) == "k"
        assert await find(two, A) is None
        assert await one.purge_expired() == 0
        await two.ping()
    assert list(tmp_path.iterdir()) == []


async def test_a_relative_path_outlives_a_change_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with AsyncSessionStore.from_url("sqlite:///bot.db") as store:
        await register(store, "k", A)
        monkeypatch.chdir("/")
        await register(store, "k2", B)
        assert await listed(store) == ["k", "k2"]


@pytest.mark.parametrize("replace", [False, True], ids=["deleted", "replaced"])
@pytest.mark.parametrize("call", {**WRITES, **READS}.values(), ids={**WRITES, **READS})
async def test_r1_a_file_that_was_moved_away_under_a_store(
    path: Path, store: AsyncSessionStore, call: Call, *, replace: bool
) -> None:
    await register(store, "k", A)
    moved = path.with_name("moved.db")
    path.rename(moved)
    if replace:
        path.touch()
    with pytest.raises(StoreUnavailableError, match=r"deleted or replaced.* is unknown"):
        await call(store)
    with pytest.raises(StoreUnavailableError, match=r"deleted or replaced.* Nothing was done"):
        await call(store)


async def test_r1_each_caller_learns_of_a_lost_file(path: Path, store: AsyncSessionStore) -> None:
    path.unlink()
    results = await asyncio.gather(
        *(register(store, f"k{number}", A) for number in range(32)), return_exceptions=True
    )
    assert {type(result) for result in results} == {StoreUnavailableError}
    assert len({*map(id, results)}) == len(results)
    assert {"deleted or replaced" in str(result) for result in results} == {True}


async def test_two_stores_in_one_process_keep_their_locks(path: Path) -> None:
    # POSIX drops all locks of a process on a file when it closes the file once, anywhere.
    async with open_store(path) as store:
        await register(store, "k", A)
        for _ in range(2):
            async with open_store(path) as other:
                assert await find(other, A) == "k"
            # Another process would take itself for the last one, and delete the log.
            process = run_python(USE_AND_CLOSE, path)
            assert (process.returncode, process.stderr) == (0, "")
            assert path.with_name("bot.db-wal").exists()
            await register(store, "k2", B)
        assert len(content(path)) == 2


USE_AND_CLOSE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT * FROM sessions").fetchall()
database.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the table of locks")
async def test_r1_opening_drops_no_locks_even_where_the_librarys_own_do_not_last(
    path: Path,
) -> None:
    process = await asyncio.to_thread(run_python, OPEN_TWICE, path)
    before, after = process.stdout.splitlines()
    assert "WRITE" in before
    assert (after, process.stderr) == (before, "")


OPEN_TWICE = """
import asyncio, os, sqlite3, sys
from async_session_store import AsyncSessionStore
from async_session_store.backends.sqlite import SqliteBackend, _locks
from async_session_store.testing.contract.builders import A, register

_locks.are_supported = lambda: False  # as on macOS, whose locks all belong to the process

def locks(path):
    inodes = [str(os.stat(path + suffix).st_ino) for suffix in ("", "-shm")]
    with open("/proc/locks") as table:
        rows = [row.split() for row in table]
    return sorted((row[3], *row[-2:]) for row in rows if row[-3].split(":")[-1] in inodes)

async def main(path):
    backend = SqliteBackend(path)
    async with AsyncSessionStore(backend) as store, AsyncSessionStore(SqliteBackend(path)) as other:
        await register(store, "k", A)
        await other.aclose()
        def hold(tables):
            print(locks(path))
            asyncio.run(open_another(path))
            print(locks(path))
        await backend._writing(hold, inline=False)

async def open_another(path):
    await AsyncSessionStore(SqliteBackend(path, busy_timeout=0.1)).open()

asyncio.run(main(sys.argv[1]))
"""


async def test_many_stores_open_a_new_file_at_once(path: Path) -> None:
    stores = [open_store(path, busy_timeout=5) for _ in range(16)]
    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(store.open)
    await register(stores[0], "k", A)
    for store in stores:
        assert await find(store, A) == "k"
        await store.aclose()


OPEN_AT_ONCE = """
import asyncio, multiprocessing, sys
from async_session_store import AsyncSessionStore

async def use(path):
    async with AsyncSessionStore.from_url(f"sqlite:///{path}") as store:
        await store.ping()

def work(barrier, path):
    try:
        for number in range(40):
            barrier.wait()
            asyncio.run(use(f"{path}-{number}"))
    except BaseException:
        barrier.abort()  # the others need not wait any more
        raise

fork = multiprocessing.get_context("fork")
barrier = fork.Barrier(5)
processes = [fork.Process(target=work, args=(barrier, sys.argv[1])) for _ in range(5)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


def test_many_processes_open_a_new_file_at_once(path: Path) -> None:
    process = run_python(OPEN_AT_ONCE, path)
    assert (process.returncode, process.stderr) == (0, "")


# --- Locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
async def test_r4_a_writer_waits_for_the_lock_until_its_timeout(
    path: Path, store: AsyncSessionStore, call: Call
) -> None:
    await register(store, "k", A)
    before = content(path)
    with locked(path):
        with pytest.raises(StoreUnavailableError, match="nothing was written") as caught:
            await call(store)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert content(path) == before
    await call(store)


async def test_r4_a_writer_gets_its_turn(path: Path) -> None:
    async with open_store(path, busy_timeout=20) as store:
        with locked(path) as release:
            call = asyncio.ensure_future(register(store, "k", A))
            done, _ = await asyncio.wait([call], timeout=0.1)
            assert not done
            release()
            await call
        assert await find(store, A) == "k"


@pytest.mark.parametrize("call", READS.values(), ids=READS)
async def test_reads_take_no_write_lock(path: Path, store: AsyncSessionStore, call: Call) -> None:
    await register(store, "k", A)
    with locked(path):
        assert await call(store)


async def test_reads_beside_a_writer_that_gets_no_lock(
    path: Path, store: AsyncSessionStore
) -> None:
    await register(store, "k", A, "old")
    with locked(path):
        results = await asyncio.gather(
            context_of(store, "k"),
            store.update_session("k", data("new")),
            context_of(store, "k"),
            find(store, A),
            return_exceptions=True,
        )
    assert (results[0], results[2], results[3]) == ("old", "old", "k")
    assert isinstance(results[1], StoreUnavailableError)


# --- No room ----------------------------------------------------------------------------------


@contextmanager
def size_limit(size: int) -> Iterator[None]:
    """Limit the size of every file that this process writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a database file on a disk of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    try:
        yield tmp_path / "bot.db"
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


async def fill(store: AsyncSessionStore) -> int:
    """Create sessions until the disk is full, and return their number."""
    for number in range(1000):
        try:
            await store.create_session(CTX, data("x" * 10_000))
        except StoreUnavailableError:
            return number
    raise AssertionError("the disk is not full")


async def test_r1_a_full_disk(small_disk: Path) -> None:
    async with open_store(small_disk) as store:
        await register(store, "k", A)
        created = await fill(store)
        assert created > 10
        with pytest.raises(StoreUnavailableError, match=r"disk is full; nothing was") as caught:
            await register(store, "new", B, "x" * 500_000)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert await find(store, B) is None
        assert await find(store, A) == "k"
        assert len(content(small_disk)) == created + 1
    async with open_store(small_disk) as store:
        assert await find(store, A) == "k"
        assert len(content(small_disk)) == created + 1


async def test_r1_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    filler = small_disk.with_name("filler")
    filler.write_bytes(b"x" * (2**20 - 4096))
    await refused(small_disk, "disk is full")
    filler.unlink()
    async with open_store(small_disk) as store:
        await register(store, "k", A)


async def test_r1_a_file_that_may_not_grow(path: Path, store: AsyncSessionStore) -> None:
    await register(store, "k", A, "old")
    before = content(path)
    with size_limit(100_000):
        created = await fill(store)
        with pytest.raises(StoreUnavailableError, match="SQLite: "):
            await register(store, "new", B, "x" * 500_000)
        assert await context_of(store, "k") == "old"
    assert len(content(path)) == len(before) + created
    await register(store, "new", B, "x" * 500_000)
    assert await listed(store) == ["k", "new"]


@pytest.mark.parametrize("sizes", [(1, 300_000, 1, 1), (1, 5_000_000, 300_000, 1)])
async def test_r1_a_write_that_does_not_fit_leaves_the_rest_of_its_batch_alone(
    store: AsyncSessionStore, sizes: tuple[int, ...]
) -> None:
    # 300,000 characters fail when they are committed; 5,000,000 before that.
    await register(store, "k", A, "old")
    with size_limit(200_000):
        *results, read = await asyncio.gather(
            *(
                register(store, f"k{number}", ReplyScope(conversation=str(number)), "x" * size)
                for number, size in enumerate(sizes)
            ),
            context_of(store, "k"),
            return_exceptions=True,
        )
    assert read == "old"
    for number, (size, result) in enumerate(zip(sizes, results, strict=True)):
        stored = await context_of(store, f"k{number}")
        assert (result is None, stored is not None) == (size == 1, size == 1)
        assert result is None or isinstance(result, StoreUnavailableError)


# --- A call that fails ------------------------------------------------------------------------


async def test_r1_a_call_that_fails_leaves_the_rest_of_its_batch_alone(
    path: Path, store: AsyncSessionStore
) -> None:
    await register(store, "k", A, "old")
    with behind(path) as database:
        database.execute(
            "CREATE TRIGGER no BEFORE INSERT ON sessions WHEN new.key = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    good, bad, read, update = await asyncio.gather(
        register(store, "good", B),
        register(store, "bad", ReplyScope(conversation="c")),
        context_of(store, "k"),
        store.update_session("k", data("new")),
        return_exceptions=True,
    )
    assert (good, read, update) == (None, "old", None)
    assert isinstance(bad, StoreUnavailableError)
    assert await listed(store) == ["good", "k"]
    assert await context_of(store, "k") == "new"


async def test_r1_a_lock_that_another_process_takes_fails_only_the_calls_that_need_it(
    path: Path,
) -> None:
    backend = SqliteBackend(path, busy_timeout=0.1)
    runs = 0

    with ExitStack() as stack:

        def fail(_table: object) -> None:
            # The calls of the batch now run each alone. Before the next, the lock is gone.
            nonlocal runs
            runs += 1
            if runs == 2:
                stack.enter_context(locked(path))
            raise sqlite3.IntegrityError("no")

        async def failing() -> None:
            await backend._reading(fail)

        async with AsyncSessionStore(backend) as store:
            before, failed, after, read = await asyncio.gather(
                register(store, "before", A),
                failing(),
                register(store, "after", B),
                find(store, A),
                return_exceptions=True,
            )
    assert (before, read) == (None, "before")
    assert isinstance(failed, StoreUnavailableError)
    assert isinstance(after, StoreUnavailableError)
    assert "nothing was written" in str(after)
    assert len(content(path)) == 1


CLOSE_THE_INDEX = """
import asyncio, os, sys
from async_session_store import AsyncSessionStore, StoreUnavailableError, StoreUsageError
from async_session_store.backends.sqlite import SqliteBackend, _locks
from async_session_store.testing.contract.builders import A, register

async def main(path):
    backend = SqliteBackend(path)
    def close_the_index(tables):
        (index,) = _locks.descriptors(_locks.identity(f"{path}-shm"))
        os.close(index)
    async with AsyncSessionStore(backend) as store:
        await register(store, "k", A)
        try:
            await backend._writing(close_the_index)
        except StoreUnavailableError as error:
            print(error)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the index")
def test_r1_a_write_after_which_the_index_cannot_be_read_is_not_said_to_be_undone(
    path: Path,
) -> None:
    process = run_python(CLOSE_THE_INDEX, path)
    assert "whether this call was carried out is unknown" in process.stdout
    assert process.stderr == ""
    assert path.with_name("bot.db-wal").exists()  # as it may be another's by now
    assert len(content(path)) == 1


# --- Cancellation and closing -----------------------------------------------------------------


def open_files() -> set[str]:
    """Return the database files that this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            continue  # the folder itself
    return {item for item in found if "bot.db" in item}


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 5, 6, 7, 8])
async def test_r3_opening_cancelled_half_way_leaves_nothing(path: Path, turns: int) -> None:
    tasks, before = asyncio.all_tasks(), threads()
    opening = asyncio.ensure_future(open_store(path).open())
    await turn_loop(turns)
    opening.cancel()
    await asyncio.wait([opening])
    if not opening.cancelled():
        await opening.result().aclose()
    await eventually(lambda: not open_files() and threads() <= before)
    assert asyncio.all_tasks() == tasks


async def test_r3_opening_cancelled_while_it_waits_for_a_lock_leaves_nothing(path: Path) -> None:
    before = threads()
    with locked(path), anyio.move_on_after(0.05):
        await open_store(path, busy_timeout=0.3).open()
    await eventually(lambda: not open_files() and threads() <= before)


async def test_r5_opening_twice_at_once_leaves_one(path: Path) -> None:
    before = threads()
    store = open_store(path)
    results = await asyncio.gather(store.open(), store.open(), return_exceptions=True)
    assert sorted(isinstance(result, StoreUsageError) for result in results) == [False, True]
    await register(store, "k", A)
    await store.aclose()
    await eventually(lambda: not open_files() and threads() <= before)


async def test_r5_a_failed_open_leaves_nothing(path: Path) -> None:
    path.write_bytes(b"x" * 5000)
    before = threads()
    store = open_store(path)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await store.open()
    await eventually(lambda: not open_files() and threads() <= before)
    path.unlink()
    await store.open()
    await store.aclose()
    await eventually(lambda: not open_files() and threads() <= before)


async def test_r3_a_thousand_cancelled_calls(path: Path) -> None:
    before = threads()
    async with AsyncSessionStore(SqliteBackend(path, synchronous="NORMAL")) as store:
        await cancel_a_thousand_calls(store)
        await store.clear_waits_for_user(CTX, "u1")
        assert content(path) == []
    await eventually(lambda: not open_files() and threads() <= before)


async def test_r3_a_call_that_waits_for_the_lock_is_followed_by_others(path: Path) -> None:
    async with open_store(path, busy_timeout=20) as store:
        await register(store, "k", A)
        with locked(path):
            begun = anyio.current_time()
            with anyio.move_on_after(0.05):
                await register(store, "k", B)
            assert anyio.current_time() - begun < 5
        assert await find(store, B) == "k"
        assert await find(store, A) is None


async def test_r5_closing_while_calls_are_in_flight(path: Path) -> None:
    async with open_store(path) as store:
        await close_while_many_call(store)
    assert len(content(path)) == 64


@pytest.mark.parametrize("native", [True, False], ids=["task.cancel", "cancel scope"])
async def test_r5_closing_is_not_interrupted(path: Path, *, native: bool) -> None:
    before, tasks = threads(), asyncio.all_tasks()
    store = await open_store(path, busy_timeout=20).open()
    await cancel_closing_while_blocked(store, locked(path), native=native)
    assert asyncio.all_tasks() == tasks
    await eventually(lambda: not open_files() and threads() <= before)


NO_CLOSE = """
import asyncio, sys
from async_session_store import AsyncSessionStore

async def main(path, how):
    store = await AsyncSessionStore.from_url(f"sqlite:///{path}").open()
    await store.ping()
    if how == "under way":
        tasks = [asyncio.ensure_future(store.get_session(f"k{n}")) for n in range(500)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    if how == "failing":
        raise KeyError

try:
    asyncio.run(main(*sys.argv[1:]))
except KeyError:
    pass
print("ended")
"""


@pytest.mark.parametrize("how", ["idle", "under way", "failing"])
def test_r5_a_loop_that_ends_without_closing(path: Path, how: str) -> None:
    process = run_python(NO_CLOSE, path, how)
    assert (process.returncode, process.stdout, process.stderr) == (0, "ended\n", "")


RUN_BY_HAND = """
import asyncio, sys
from async_session_store import AsyncSessionStore
from async_session_store.testing.contract.builders import A, register

loop = asyncio.new_event_loop()
store = AsyncSessionStore.from_url(f"sqlite:///{sys.argv[1]}")
loop.run_until_complete(store.open())
for _ in range(4):
    loop.run_until_complete(register(store, "k", A))
calls = [register(store, f"k{number}", A) for number in range(50)]
if sys.argv[2] == "under way":
    tasks = [loop.create_task(call) for call in calls]
    loop.run_until_complete(asyncio.sleep(0))
else:
    for call in calls:
        call.close()
if sys.argv[2] == "loop closed":
    loop.close()
print("ended", flush=True)
"""


@pytest.mark.parametrize("how", ["idle", "under way", "loop closed"])
async def test_r5_a_loop_that_is_run_by_hand_may_leave_its_store_open(path: Path, how: str) -> None:
    # Python may complain of tasks that are left; but it ends, and what was answered is kept.
    command = [sys.executable, "-c", RUN_BY_HAND, str(path), how]
    process = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=50, check=False
    )
    assert (process.returncode, process.stdout) == (0, "ended\n")
    async with open_store(path) as store:
        assert await store.get_session("k") is not None


DROPPED = """
import asyncio, gc, os, sys, threading, time
from async_session_store import AsyncSessionStore
from async_session_store.testing.contract.builders import A, register

def use_and_drop():
    loop = asyncio.new_event_loop()
    store = AsyncSessionStore.from_url(f"sqlite:///{sys.argv[1]}")
    loop.run_until_complete(store.open())
    loop.run_until_complete(register(store, "k", A))
    loop.close()

for _ in range(10):
    use_and_drop()
def left():
    descriptors = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
    return threading.active_count(), len(descriptors) < 20

end = time.monotonic() + 10
while left() != (1, True) and time.monotonic() < end:
    gc.collect()
    time.sleep(0.01)
print(*left())
"""


async def test_r5_a_store_that_is_dropped_with_its_loop_leaves_no_thread(path: Path) -> None:
    # asyncio complains of the tasks that are left.
    command = [sys.executable, "-c", DROPPED, str(path)]
    process = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=50, check=False
    )
    assert (process.returncode, process.stdout) == (0, "1 True\n")
