"""A SQLite file, log or index that is read, deleted, replaced or overwritten while it is open."""

# ruff: noqa: ASYNC220, ASYNC222, ASYNC240  # tests may block

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_process import sqlite_process

from async_session_store import AsyncSessionStore, ReplyScope, StoreUnavailableError
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import listed, register
from calls import GROWING, READS, SHRINKING

pytestmark = pytest.mark.anyio

CALLS = {**GROWING, **SHRINKING, **READS}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AsyncSessionStore]:
    async with open_store(path) as store:
        yield store


def open_store(path: Path, busy_timeout: float = 0.2) -> AsyncSessionStore:
    return AsyncSessionStore(SqliteBackend(path, busy_timeout=busy_timeout))


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def index_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-shm")


def files_of(path: Path) -> tuple[Path, Path, Path]:
    return path, log_of(path), index_of(path)


async def fill(store: AsyncSessionStore, *keys: str) -> None:
    for key in keys:
        await register(store, key, ReplyScope(conversation=key))


async def keys_in(path: Path) -> list[str]:
    async with open_store(path) as store:
        return [*map(str, await listed(store))]


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def back_up(path: Path) -> Path:
    copy = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


async def assert_refused(store: AsyncSessionStore, match: str) -> None:
    """Check that each call reports the loss."""
    for call in CALLS.values():
        with pytest.raises(StoreUnavailableError, match=match):
            await call(store)


# --- Locks that the program drops -------------------------------------------------------------


@pytest.mark.parametrize("which", [[0], [1], [2], [0, 1, 2]], ids=["db", "wal", "shm", "all"])
async def test_r1_a_program_may_read_its_own_files(
    path: Path, store: AsyncSessionStore, which: list[int]
) -> None:
    await fill(store, "first")
    with sqlite_process(path) as other:
        for number in range(30):
            for index in which:
                files_of(path)[index].read_bytes()
            other.do("open" if number % 2 == 0 else f"register other-{number}")
            await fill(store, f"mine-{number}")
            if number % 2:
                other.do("close")
                break
    with sqlite_process(path) as other:
        other.do("open")
        await fill(store, "last")
        assert len(await keys_in(path)) == 5
        other.do("register another")
    await store.aclose()
    assert len(await keys_in(path)) == 6
    assert is_sound(path)


async def test_r1_a_program_may_have_its_own_files_open_to_write(path: Path) -> None:
    async with open_store(path) as store:
        await fill(store, "k")
        with path.open("ab"), index_of(path).open("ab"):
            async with open_store(path) as other:
                await fill(other, "k2")
    with path.open("ab"):
        assert await keys_in(path) == ["k", "k2"]


async def test_r1_copying_the_file_loses_nothing_while_processes_come_and_go(
    path: Path, store: AsyncSessionStore
) -> None:
    expected: list[str] = []
    for number in range(4):
        shutil.copy(path, path.with_name("copy.db"))
        with sqlite_process(path) as other:
            other.do("open")
            other.do(f"register other-{number}")
            other.do("close")
            for mine in range(50):
                await fill(store, f"mine-{number}-{mine}")
        expected += [f"other-{number}", *(f"mine-{number}-{mine}" for mine in range(50))]
    assert log_of(path).exists()
    await store.aclose()
    assert await keys_in(path) == sorted(expected)


async def test_r1_a_read_of_the_index_during_a_call_is_noticed(path: Path) -> None:
    backend = SqliteBackend(path)
    async with AsyncSessionStore(backend) as store:
        await fill(store, "k")
        index_of(path).read_bytes()
        await fill(store, "k2")  # there was no call that it could harm
        with pytest.raises(StoreUnavailableError, match="descriptor of the SQLite file's -shm"):
            await backend._writing(lambda _: index_of(path).read_bytes())
        await assert_refused(store, "descriptor of the SQLite file's -shm")
    assert await keys_in(path) == ["k", "k2"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the table of locks")
async def test_a_store_that_was_closed_leaves_no_locks_to_others_on_the_file(path: Path) -> None:
    async with open_store(path):
        before = number_of_locks(index_of(path))
        for _ in range(3):
            async with open_store(path) as other:
                await fill(other, "k")
        assert number_of_locks(index_of(path)) == before


def number_of_locks(file: Path) -> int:
    locks = Path("/proc/locks").read_text(encoding="ascii")
    return locks.count(f":{file.stat().st_ino} ")


async def test_a_clean_close_leaves_one_file(path: Path) -> None:
    for _ in range(2):
        async with open_store(path) as store, open_store(path) as other:
            await fill(store, "k")
            await fill(other, "k2")
            assert sorted(path.parent.iterdir()) == sorted(files_of(path))
        assert [*path.parent.iterdir()] == [path]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_r1_a_forked_child_keeps_no_lock_of_a_store_that_was_closed(path: Path) -> None:
    async with open_store(path) as store:
        await fill(store, "k")
        child = os.fork()
        if child == 0:
            signal.pause()
        try:
            with sqlite_process(path) as other:
                other.do("open")
                await store.aclose()
                other.do("register k2")
                other.kill()
            assert await keys_in(path) == ["k", "k2"]
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


# --- A log that was deleted -------------------------------------------------------------------


@pytest.mark.parametrize("which", [[1], [2], [1, 2]], ids=["wal", "shm", "both"])
async def test_r1_a_deleted_log_is_written_back(
    path: Path, store: AsyncSessionStore, which: list[int]
) -> None:
    await fill(store, "k", "k2")
    for index in which:
        files_of(path)[index].unlink()
    await assert_refused(store, "deleted while it was open.* was written back")
    await store.aclose()
    assert await keys_in(path) == ["k", "k2"]
    assert is_sound(path)


@pytest.mark.parametrize("which", [[1], [2], [1, 2]], ids=["wal", "shm", "both"])
async def test_r1_a_log_that_was_deleted_before_its_store_is_closed_is_written_back(
    path: Path, caplog: pytest.LogCaptureFixture, which: list[int]
) -> None:
    async with open_store(path) as store:
        await fill(store, "k", "k2")
        for index in which:
            files_of(path)[index].unlink()
    assert "written back" in caplog.text
    assert await keys_in(path) == ["k", "k2"]


async def test_r1_a_deleted_log_is_not_written_over_what_others_wrote_since(
    path: Path, store: AsyncSessionStore
) -> None:
    await fill(store, "k")
    back_up(path)
    for file in files_of(path)[1:]:
        file.unlink()
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register theirs")
        await assert_refused(store, "may be lost")
        await store.aclose()
        other.do("register theirs-too")
        other.do("close")
    found = await keys_in(path)
    assert found == ["theirs", "theirs-too"]
    assert is_sound(path)


async def test_r1_what_others_wrote_before_closing_stays(
    path: Path, store: AsyncSessionStore
) -> None:
    await fill(store, "k")
    for file in files_of(path)[1:]:
        file.unlink()
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register theirs")
        other.do("close")
    await assert_refused(store, "may be lost")
    await store.aclose()
    assert await keys_in(path) == ["theirs"]


async def test_r1_two_processes_whose_log_was_deleted_both_keep_what_they_wrote(
    path: Path, store: AsyncSessionStore
) -> None:
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register theirs")
        await fill(store, "mine")
        log_of(path).unlink()
        assert "written back" in other.tell("register unknown")
        await assert_refused(store, "written back")
        await store.aclose()
        other.do("close")
    assert {"theirs", "mine"} <= {*await keys_in(path)}


async def test_r1_a_new_store_beside_one_that_lost_its_log_is_refused(
    path: Path, store: AsyncSessionStore
) -> None:
    await fill(store, "k")
    log_of(path).unlink()
    with pytest.raises(StoreUnavailableError, match="close that store first"):
        await open_store(path).open()
    await store.aclose()
    assert await keys_in(path) == ["k"]


# --- A file that was replaced -----------------------------------------------------------------


async def test_r1_a_store_opened_on_the_replacement_works(
    path: Path, store: AsyncSessionStore
) -> None:
    await fill(store, "k", "k2")
    back_up(path).replace(path)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailableError, match=r"-wal and -shm beside .* are not its own"):
        await open_store(path).open()
    await assert_refused(store, "deleted or replaced")
    await store.aclose()
    assert path.read_bytes() == before
    with pytest.raises(StoreUnavailableError, match=r"are not its own.* delete its -wal and -shm"):
        await open_store(path).open()
    for file in files_of(path)[1:]:
        file.unlink()
    assert await keys_in(path) == ["k", "k2"]


@pytest.mark.parametrize("end", ["kill", "exit", "close", "notice and exit", "lives on"])
async def test_r1_the_log_of_a_file_that_was_replaced_under_another_process(
    path: Path, end: str
) -> None:
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register k")
        copy = back_up(path)
        other.do("register k2 k3 k4")
        if end == "kill":
            other.kill()
        copy.replace(path)
        before = path.read_bytes()
        if end == "notice and exit":
            assert "deleted or replaced" in other.tell("register k5")
        if end == "close":
            other.do("close")
        if end in {"exit", "notice and exit"}:
            other.exits()
        with pytest.raises(StoreUnavailableError, match="are not its own"):
            await open_store(path).open()
        assert path.read_bytes() == before
        for file in files_of(path)[1:]:
            file.unlink()
        assert await keys_in(path) == ["k"]
        if end == "lives on":
            async with open_store(path) as store:
                await fill(store, "new")
                assert "deleted or replaced" in other.tell("register k5")
                other.do("close")
                await fill(store, "newer")
            assert await keys_in(path) == ["k", "new", "newer"]
        assert is_sound(path)


async def test_r1_a_file_that_was_moved_back_does_not_bring_a_refused_store_back(
    path: Path, store: AsyncSessionStore
) -> None:
    await fill(store, "k")
    moved = path.rename(path.with_name("moved.db"))
    await assert_refused(store, "deleted or replaced")
    moved.rename(path)
    await assert_refused(store, "deleted or replaced")
    await store.aclose()
    assert await keys_in(path) == ["k"]


async def test_r1_a_store_that_was_never_closed_writes_no_log_over_a_new_file(path: Path) -> None:
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register k k2")
        copy = back_up(path)
        other.do("register k3")
        for file in files_of(path):
            file.unlink()
        copy.rename(path)
        async with open_store(path) as store:
            await fill(store, "new")
            other.exits()
            assert log_of(path).exists()
            await fill(store, "newer")
        assert await keys_in(path) == ["k", "k2", "new", "newer"]


async def test_a_moved_file_is_opened_and_moved_again(path: Path) -> None:
    for number in range(3):
        async with open_store(path) as store:
            await fill(store, f"k{number}")
        path = shutil.copy(path, path.with_name(f"copy-{number}.db"))
    assert await keys_in(path) == ["k0", "k1", "k2"]


async def test_the_log_of_a_killed_process_is_applied(path: Path) -> None:
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register k k2")
        other.kill()
    assert log_of(path).stat().st_size
    assert await keys_in(path) == ["k", "k2"]


@pytest.mark.parametrize("is_first_alive", [True, False])
async def test_r1_the_log_of_a_restored_file_that_was_read_when_it_was_opened_is_its_own(
    path: Path, *, is_first_alive: bool
) -> None:
    async with open_store(path) as store:
        await fill(store, "k")
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)
    with sqlite_process(path) as other:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM sessions").fetchall()
            other.do("open")  # it cannot write to the file that this is another one now
            other.do("register k2")
            if is_first_alive:
                with sqlite_process(path) as second:
                    second.do("open")
                    second.do("register k3")
        other.kill()
    assert await keys_in(path) == (["k", "k2", "k3"] if is_first_alive else ["k", "k2"])
    assert is_sound(path)


async def test_r1_what_is_written_after_a_restore_through_sqlite_survives_a_kill(
    path: Path,
) -> None:
    async with open_store(path) as store:
        await fill(store, "k")
        copy = back_up(path)
    with closing(sqlite3.connect(copy)) as database:
        database.execute("UPDATE file SET inode = '1'")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register gone")
        with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
            target.execute("PRAGMA wal_checkpoint")
        other.do("register k2")
        other.kill()
    assert await keys_in(path) == ["k", "k2"]


async def test_r1_the_text_about_an_odd_log_says_how_to_keep_it(path: Path) -> None:
    with sqlite_process(path) as other:
        other.do("open")
        other.do("register k k2")
        other.kill()
    moved = path.with_name("moved.db")
    for old, new in zip(files_of(path), files_of(moved), strict=True):
        shutil.copy(old, new)
    with pytest.raises(StoreUnavailableError, match=r"keep a copy .* wal_checkpoint\(TRUNCATE\)"):
        await open_store(moved).open()
    with closing(sqlite3.connect(moved)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert await keys_in(moved) == ["k", "k2"]


async def test_many_stores_open_a_file_that_was_just_restored(path: Path) -> None:
    async with open_store(path) as store:
        await fill(store, "k")
    copy = path.with_name("restored.db")
    shutil.copy(path, copy)
    stores = [open_store(copy, busy_timeout=5) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        assert await listed(store) == ["k"]
        await store.aclose()


# --- A file that was overwritten --------------------------------------------------------------


@pytest.mark.parametrize("checkpointed", [True, False])
async def test_r1_a_file_that_was_overwritten_in_place(
    path: Path, store: AsyncSessionStore, *, checkpointed: bool
) -> None:
    await fill(store, "k")
    copy = back_up(path)
    await fill(store, *(f"k{number}" for number in range(10)))
    if checkpointed:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await fill(store, "more")
    await asyncio.sleep(0.02)  # longer than the clock of the file system takes to go on
    shutil.copyfile(copy, path)
    await assert_refused(store, "overwritten")
    await store.aclose()
    assert path.read_bytes() == copy.read_bytes()
    for file in files_of(path)[1:]:
        file.unlink()
    assert await keys_in(path) == ["k"]


async def test_r1_a_file_that_was_touched_is_opened_again_with_its_log(
    path: Path, store: AsyncSessionStore
) -> None:
    await fill(store, "k")
    await asyncio.sleep(0.02)  # longer than the clock of the file system takes to go on
    path.touch()
    await assert_refused(store, r"open a new one, if nothing but the time .* Only if a copy")
    await store.aclose()
    assert await keys_in(path) == ["k"]


async def test_checkpoints_of_other_processes_are_not_taken_for_overwriting(
    path: Path, store: AsyncSessionStore
) -> None:
    with closing(sqlite3.connect(path)) as database:
        for number in range(100):
            await fill(store, f"k{number}")
            mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][number % 4]
            database.execute(f"PRAGMA wal_checkpoint({mode})")
            await store.ping()


async def test_r1_a_copy_is_noticed_by_a_store_that_only_reads_since_a_checkpoint(
    path: Path, store: AsyncSessionStore
) -> None:
    await fill(store, "k")
    copy = back_up(path)
    await fill(store, "k2")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint")
    await store.ping()
    await asyncio.sleep(0.02)  # longer than the clock of the file system takes to go on
    shutil.copyfile(copy, path)
    with pytest.raises(StoreUnavailableError, match="overwritten"):
        await store.ping()


CHECKPOINT = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA synchronous = OFF")
database.execute("PRAGMA wal_checkpoint")
"""


async def test_a_checkpoint_of_a_killed_process_is_not_taken_for_overwriting(path: Path) -> None:
    backend = SqliteBackend(path, synchronous="NORMAL")
    async with AsyncSessionStore(backend) as store:
        await fill(store, "k")
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute("PRAGMA wal_autocheckpoint = 0")
            database.execute("BEGIN")
            database.executemany(
                "INSERT INTO sessions (key, env, tenant, team, user, document, context_json)"
                " VALUES (?, 'e', 't', '', 'u', '{}', ?)",
                ((f"x{number}", "z" * 3500) for number in range(12_000)),
            )
            database.execute("COMMIT")
            with subprocess.Popen([sys.executable, "-c", CHECKPOINT, path]) as checkpointing:
                wait_until_changed(path, path.stat().st_size)
                checkpointing.send_signal(signal.SIGSTOP)
                await fill(store, "k2")
                size = path.stat().st_size
                checkpointing.send_signal(signal.SIGCONT)
                wait_until_changed(path, size)
                checkpointing.kill()
            await store.ping()
            await fill(store, "k3")


def wait_until_changed(path: Path, size: int) -> None:
    end = time.monotonic() + 20
    while path.stat().st_size == size:
        assert time.monotonic() < end
