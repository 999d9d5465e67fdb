"""Where a SQLite file may be, for whom it is created, and whose file is left alone."""

# ruff: noqa: ASYNC221, ASYNC240  # tests may block

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from async_session_store import AsyncSessionStore, StoreUnavailableError
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.backends.sqlite._place import Mount, file_system_of, parse_mounts
from async_session_store.backends.sqlite._schema import APPLICATION_ID
from async_session_store.testing.contract.builders import A, B, find, register

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def open_store(path: Path) -> AsyncSessionStore:
    return AsyncSessionStore(SqliteBackend(path, busy_timeout=0.1))


async def assert_refused(path: Path, match: str) -> None:
    with pytest.raises(StoreUnavailableError, match=match):
        await open_store(path).open()


def modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


# --- Modes ------------------------------------------------------------------------------------


@pytest.fixture(params=[0, 0o277], ids=["no umask", "a strict umask"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.parametrize("target", ["data/bot.db", "../data/bot.db"])
async def test_a_file_created_through_a_link_is_private_to_its_user(
    tmp_path: Path, target: str
) -> None:
    for name in ("links", "data", "links/data"):
        (tmp_path / name).mkdir()
    link = tmp_path / "links" / "bot.db"
    link.symlink_to(target)
    folder = Path(os.path.normpath(link.parent / target)).parent
    before = os.umask(0)
    try:
        async with open_store(link) as store:
            await register(store, "k", A)
            names = ("bot.db", "bot.db-wal", "bot.db-shm")
            assert modes(folder) == dict.fromkeys(names, 0o600)
    finally:
        os.umask(before)
    assert link.is_symlink()


@pytest.mark.usefixtures("umask")
async def test_a_file_is_private_to_its_user_whatever_the_umask(path: Path) -> None:
    async with open_store(path) as store:
        await register(store, "k", A)
        assert {*modes(path.parent).values()} == {0o600}


async def test_r1_a_link_that_leads_elsewhere_now_is_noticed(tmp_path: Path) -> None:
    link = tmp_path / "current.db"
    link.symlink_to("one.db")
    async with open_store(link) as store:
        await register(store, "k", A)
        link.unlink()
        (tmp_path / "two.db").touch()
        link.symlink_to("two.db")
        with pytest.raises(StoreUnavailableError, match=r"no longer leads .* nothing is wrong"):
            await register(store, "k2", B)
    async with open_store(tmp_path / "one.db") as store:
        assert await find(store, A) == "k"


# --- Folders and mounts -----------------------------------------------------------------------


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """Mount a file system at the last argument."""
    subprocess.run(["mount", *arguments], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", arguments[-1]], check=True)


@pytest.mark.usefixtures("root")
async def test_r1_a_file_that_is_a_mount_point_is_refused(tmp_path: Path) -> None:
    outside, inside = tmp_path / "host.db", tmp_path / "in a container"
    inside.mkdir()
    async with open_store(outside) as store:
        await register(store, "k", A)
    before = outside.read_bytes()
    (inside / "bot.db").touch()
    (inside / "link.db").symlink_to("bot.db")
    with mounted("--bind", outside, inside / "bot.db"):
        await assert_refused(inside / "bot.db", "mount its folder instead")
        await assert_refused(inside / "link.db", "mount its folder instead")
        assert {file.name for file in inside.iterdir()} == {"bot.db", "link.db"}
    assert outside.read_bytes() == before


@pytest.mark.usefixtures("root")
async def test_a_folder_may_be_a_mount_point(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "container").mkdir()
    with mounted("--bind", tmp_path / "host", tmp_path / "container"):
        async with open_store(tmp_path / "container" / "bot.db") as store:
            await register(store, "k", A)
            async with open_store(tmp_path / "host" / "bot.db") as other:
                assert await find(other, A) == "k"


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("name", ["bot.db", "bot.db-wal", "bot.db-shm"])
async def test_r1_a_mount_over_an_open_file_is_noticed(path: Path, name: str) -> None:
    other = path.with_name("other")
    other.touch()
    async with open_store(path) as store:
        await register(store, "k", A)
        with (
            mounted("--bind", other, path.with_name(name)),
            pytest.raises(StoreUnavailableError, match="deleted or replaced"),
        ):
            await register(store, "k", A)
        await store.aclose()
    assert other.read_bytes() == b""
    async with open_store(path) as store:
        assert await find(store, A) == "k"


USE = """
import asyncio, sys
from async_session_store import AsyncSessionStore
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import A, find, register

async def main():
    async with AsyncSessionStore(SqliteBackend(sys.argv[1])) as store:
        await register(store, "k", A)
        print(await find(store, A))

asyncio.run(main())
"""


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("folder", ["/proc", "/dev"])
async def test_a_sandbox_may_lack_what_lasting_locks_need(folder: str) -> None:
    hide = f'mount -t tmpfs none {folder} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "-", sys.executable, "-c", USE]
    with TemporaryDirectory(dir="/var/tmp") as place:  # the usual ones may be in /dev/shm
        path = Path(place, "sessions.db")
        ran = subprocess.run([*command, path], check=False, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("k\n", "")


@pytest.mark.usefixtures("root")
async def test_r1_a_folder_that_cannot_be_written_is_refused(path: Path) -> None:
    async with open_store(path) as store:
        await register(store, "k", A)
    with mounted("--bind", path.parent, path.parent):
        subprocess.run(["mount", "-o", "remount,ro,bind", path.parent], check=True)
        await assert_refused(path, "folder of the database file cannot be written")
    assert [*path.parent.iterdir()] == [path]


MOUNTS = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 21 0:30 / /srv rw - tmpfs tmpfs rw
37 36 0:31 / /srv/my\040bot rw,relatime shared:9 master:1 - nfs4 server:/export rw,vers=4.2
38 36 0:32 /one.db /srv/one.db rw - ext4 /dev/sda1 rw
39 21 0:33 / /hidden rw - cifs //server/share rw
40 39 0:34 / /hidden rw - ext4 /dev/sdb1 rw
""".strip()


@pytest.mark.parametrize(
    ("path", "file_system"),
    [
        ("/home/bot.db", "ext4"),
        ("/srv/bot.db", "tmpfs"),
        ("/srv/my bot/bot.db", "nfs4"),
        ("/srv/my botanics/bot.db", "tmpfs"),
        ("/hidden/bot.db", "ext4"),
    ],
)
def test_the_file_system_of_a_path(path: str, file_system: str) -> None:
    assert file_system_of(path, tuple(parse_mounts(MOUNTS))) == file_system


async def test_a_network_file_system_is_warned_about(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = path.with_name("mounts")
    monkeypatch.setattr("async_session_store.backends.sqlite._place._MOUNTS", table)
    for file_system, warned in (("ext4", False), ("nfs4", True)):
        caplog.clear()
        table.write_text(f"36 21 0:30 / {path.parent} rw - {file_system} server:/ rw\n")
        async with open_store(path) as store:
            await register(store, "k", A)
        assert ("network file system (nfs4)" in caplog.text) == warned


def test_the_mount_table_of_this_machine_can_be_read() -> None:
    mounts = [*parse_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))]
    assert "/" in {mount.point for mount in mounts}
    assert Mount("/proc", "proc") in mounts


# --- Other applications -----------------------------------------------------------------------


def their_file(path: Path, *statements: str) -> dict[str, bytes]:
    """Write a file as another application may. Return the content of its folder."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    return content(path)


def content(path: Path) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes()
        for file in path.parent.iterdir()
        if not file.name.endswith("-shm")
    }


SESSIONS = "CREATE TABLE sessions (key TEXT NOT NULL PRIMARY KEY, deadline INTEGER)"


@pytest.mark.parametrize("version", [0, 1, 2, 3, 99])
@pytest.mark.parametrize("application_id", [0, 7, 1936028530])
@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
async def test_r1_the_file_of_another_application_is_left_byte_for_byte(
    path: Path, version: int, application_id: int, journal: str
) -> None:
    before = their_file(
        path,
        f"PRAGMA journal_mode = {journal}",
        SESSIONS,
        "INSERT INTO sessions VALUES ('theirs', 1)",
        f"PRAGMA user_version = {version}",
        f"PRAGMA application_id = {application_id}",
    )
    await assert_refused(path, "belongs to another application")
    assert content(path) == before


async def test_r1_an_empty_file_that_another_application_has_stamped(path: Path) -> None:
    before = their_file(path, "PRAGMA application_id = 7")
    await assert_refused(path, "belongs to another application")
    assert content(path) == before


LEAVE_A_LOG = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE theirs (id)")
database.execute("PRAGMA user_version = 2")
os._exit(0)
"""


async def test_r1_the_log_of_another_application_is_left_to_it(path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEAVE_A_LOG, path], check=True)
    before = content(path)
    assert before["bot.db-wal"]
    await assert_refused(path, "belongs to another application")
    assert content(path) == before


async def test_r1_the_log_that_another_application_is_using_is_left_to_it(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE theirs (id)")
        before = content(path)
        await assert_refused(path, "belongs to another application")
        assert content(path) == before
        database.execute("INSERT INTO theirs VALUES (1)")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT * FROM theirs").fetchall() == [(1,)]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "addition",
    [
        "CREATE TABLE more (id)",
        "ALTER TABLE sessions ADD COLUMN theirs TEXT",
        "CREATE VIEW theirs AS SELECT key FROM sessions",
    ],
)
async def test_r1_a_file_that_is_almost_ours_is_left_as_it_is(
    path: Path, version: int, addition: str
) -> None:
    write_version(path, version)
    before = their_file(path, addition)
    await assert_refused(path, "belongs to another application")
    assert content(path) == before


@pytest.mark.parametrize("version", [1, 2])
async def test_a_file_older_than_the_application_id_gets_it(path: Path, version: int) -> None:
    write_version(path, version)
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE INDEX sessions_by_user ON sessions (user)")
        database.execute("ANALYZE")
    async with open_store(path) as store:
        await register(store, "k", A)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert database.execute("SELECT inode FROM file").fetchall() == [(str(path.stat().st_ino),)]


def write_version(path: Path, version: int) -> None:
    """Write an empty file as a former version of this library did."""
    schema = files("async_session_store.backends.sqlite").joinpath("schema")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        for number in range(1, version + 1):
            database.executescript(schema.joinpath(f"{number}.sql").read_text(encoding="utf-8"))
        database.execute(f"PRAGMA user_version = {version}")


# --- Users ------------------------------------------------------------------------------------

SETUID = """
import asyncio, os, sys
from async_session_store import AsyncSessionStore, StoreUnavailableError
from async_session_store.backends.sqlite import SqliteBackend
from async_session_store.testing.contract.builders import A, register

async def main(path):
    async with AsyncSessionStore(SqliteBackend(path, synchronous=sys.argv[2])) as store:
        for _ in range(4):
            await register(store, "k", A)
        os.setuid(65534)
        try:
            await register(store, "new", A)
        except StoreUnavailableError as error:
            print(error)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.usefixtures("root", "unmeasured")
@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_r1_a_write_that_cannot_be_checked_is_not_said_to_be_undone(synchronous: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bot.db"
        ran = subprocess.run(
            [sys.executable, "-c", SETUID, path, synchronous],
            check=True,
            capture_output=True,
            text=True,
        )
        assert "can no longer be checked (Permission denied)" in ran.stdout
        assert "whether this call was carried out is unknown" in ran.stdout
        assert ran.stderr == ""
        async with open_store(path) as store:
            assert await find(store, A) == "new"
