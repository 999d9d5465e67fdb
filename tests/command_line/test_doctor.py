"""What the doctor finds on files and servers that are really set up wrongly."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from ran_commands import Command, fill, in_store

from async_session_store import AsyncSessionStore
from redis_server import RedisServer

Levels = dict[str, str]

NOBODY = 65534


def levels(command: Command, *options: str, code: int) -> Levels:
    """Run the doctor. Return the level of each subject."""
    ran = command("doctor", "--json", *options)
    assert ran.code == code, ran
    found = ran.json["findings"]
    for each in found:
        assert bool(each["fix"]) == (each["level"] != "ok"), each
    return {each["subject"]: each["level"] for each in found}


def bad(found: Levels) -> Levels:
    return {subject: level for subject, level in found.items() if level != "ok"}


# --- SQLite ---------------------------------------------------------------------------------------


@pytest.fixture
def file(sqlite_url: str, path: Path) -> Path:
    assert sqlite_url.endswith(str(path))
    in_store(fill)
    return path


def test_a_sound_file(file: Path, command: Command) -> None:
    before = file.read_bytes()
    found = levels(command, code=0)
    assert set(found) == {
        *("version", "folder", "file system", "disk", "file", "log", "schema", "space", "opening")
    }
    assert levels(command, "--integrity", code=0)["pages"] == "ok"
    assert file.read_bytes() == before
    text = command("doctor").out
    assert text.startswith(f"sqlite {file}\nok       version      SQLite ")


@pytest.mark.parametrize(
    ("mode", "level", "code"), [(0o644, "warning", 4), (0o660, "warning", 4), (0o400, "problem", 1)]
)
def test_the_mode_of_a_file(file: Path, command: Command, mode: int, level: str, code: int) -> None:
    file.chmod(mode)
    assert bad(levels(command, code=code)) == {"file": level}
    assert str(file) in command("doctor").out.replace("\n", "")


def test_a_folder_in_which_anybody_may_replace_the_file(file: Path, command: Command) -> None:
    file.parent.chmod(0o777)
    assert bad(levels(command, code=4)) == {"folder": "warning"}
    file.parent.chmod(0o1777)
    assert bad(levels(command, code=0)) == {}


@contextmanager
def by_an_ordinary_user(*paths: Path) -> Iterator[None]:
    """Give the paths to an ordinary user and be that user, as root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    for path in paths:
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not in the folder of the test, into which only root may look.
    with TemporaryDirectory() as folder:
        file = Path(folder, "bot.db")
        monkeypatch.setenv("SESSION_STORE_URL", f"sqlite:///{file}")
        in_store(fill)
        with by_an_ordinary_user(Path(folder), file):
            Path(folder).chmod(0o500)
            assert bad(levels(command, code=1))["folder"] == "problem"
            Path(folder).chmod(0o700)


@pytest.mark.usefixtures("sqlite_url")
def test_a_missing_file_is_not_created(path: Path, command: Command) -> None:
    assert bad(levels(command, code=4)) == {"file": "warning"}
    assert list(path.parent.iterdir()) == []
    missing = f"sqlite:///{path.parent}/missing/bot.db"
    assert bad(levels(command, "--url", missing, code=1)) == {
        "folder": "problem",
        "file": "warning",
    }


@contextmanager
def long_log(file: Path) -> Iterator[None]:
    """Keep a reader open while 20 MB are written."""
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        with closing(sqlite3.connect(file, isolation_level=None)) as writer:
            writer.execute("PRAGMA synchronous = OFF").close()
            writer.execute("UPDATE sessions SET context_json = hex(zeroblob(3400000))").close()
        yield
        reader.execute("ROLLBACK")


def test_a_long_log(file: Path, command: Command) -> None:
    with long_log(file):
        assert bad(levels(command, code=4)) == {"log": "warning"}
    assert command("compact", "--yes").code == 0
    assert levels(command, code=0)["log"] == "ok"


def test_an_older_schema_is_not_migrated(file: Path, command: Command) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 5").close()
    found = levels(command, code=4)
    assert bad(found) == {"schema": "warning"}
    assert "opening" not in found
    assert list(file.parent.iterdir()) == [file]
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (5,)


@pytest.mark.parametrize("content", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 7"])
@pytest.mark.usefixtures("sqlite_url")
def test_another_applications_file(path: Path, command: Command, content: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(content).close()
    path.chmod(0o600)
    before = path.read_bytes()
    assert bad(levels(command, code=1)) == {"content": "problem"}
    assert path.read_bytes() == before


def test_a_damaged_file(file: Path, command: Command) -> None:
    in_store(AsyncSessionStore.compact)
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(size - 8192)
        damaged.write(b"\xff" * 8192)
    assert "problem" in levels(command, "--integrity", code=1).values()


def test_memory(command: Command) -> None:
    assert levels(command, code=4) == {"storage": "warning"}


# --- Redis ----------------------------------------------------------------------------------------


@pytest.fixture
def bot(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_STORE_URL", server.url)


@pytest.mark.usefixtures("bot")
def test_settings_of_a_server(admin: redis.Redis, command: Command) -> None:
    assert bad(levels(command, code=1)) == {"persistence": "problem"}
    admin.config_set("save", "3600 1")
    assert bad(levels(command, code=4)) == {"persistence": "warning"}
    admin.config_set("appendonly", "yes")
    assert bad(levels(command, code=0)) == {}
    admin.config_set("appendfsync", "no")
    assert bad(levels(command, code=4)) == {"persistence": "warning"}
    admin.config_set("appendfsync", "always")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    assert bad(levels(command, code=4)) == {"eviction": "warning"}  # there is no limit yet
    admin.config_set("maxmemory", "100mb")
    assert bad(levels(command, code=1)) == {"eviction": "problem"}
    admin.config_set("maxmemory-policy", "volatile-ttl")
    assert bad(levels(command, code=1)) == {"eviction": "problem"}
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 20_000)
    assert bad(levels(command, code=4)) == {"memory": "warning"}
    admin.config_set("maxmemory", 0)
    admin.config_set("min-replicas-to-write", 1)
    assert bad(levels(command, code=1)) == {"replication": "problem"}
    admin.config_set("min-replicas-to-write", 0)
    admin.replicaof("127.0.0.1", "1")
    assert bad(levels(command, code=1)) == {"replication": "problem"}
    assert admin.keys("*") == []


ALL = ("+@all", "~greentic:session:*", "&greentic:session:turns:*")


@pytest.mark.parametrize(
    ("rules", "expected", "fix"),
    [
        (ALL, {}, ""),
        ((*ALL, "-sadd", "-zadd"), {"permissions": "problem"}, "grant it +sadd +zadd"),
        ((*ALL, "-client"), {"permissions": "problem"}, "grant it +client|info +client|kill"),
        (
            ("+@all", "~other:*", "&greentic:session:turns:*"),
            {"permissions": "problem"},
            "grant it ~greentic:session:*",
        ),
        (
            ("+@all", "~greentic:session:*", "resetchannels"),
            {"channels": "warning"},
            "grant +subscribe +publish &greentic:session:turns:*",
        ),
        (
            (*ALL, "-config"),
            {"persistence": "ok"},
            "",
        ),
        ((*ALL, "-info"), {"server": "unknown"}, "grant +info to check more"),
    ],
)
def test_permissions(
    server: RedisServer,
    admin: redis.Redis,
    command: Command,
    rules: tuple[str, ...],
    expected: Levels,
    fix: str,
) -> None:
    admin.config_set("appendonly", "yes")
    admin.execute_command("ACL", "SETUSER", "bot", "reset", "on", ">secret", *rules)
    ran = command("doctor", "--url", f"redis://bot:secret@127.0.0.1:{server.port}", "--json")
    found = {each["subject"]: each for each in ran.json["findings"]}
    assert bad({each: found[each]["level"] for each in found}) == bad(expected)
    assert [each["fix"] for each in found.values() if each["fix"]] == ([fix] if fix else [])
    assert "secret" not in ran.out + ran.err
    assert admin.keys("*") == []


def test_a_server_in_cluster_mode(command: Command) -> None:
    with RedisServer.start(cluster_enabled="yes") as server:
        found = levels(command, "--url", server.url, code=1)
    assert found == {"answer": "ok", "server": "problem"}


def test_a_wrong_password(server: RedisServer, admin: redis.Redis, command: Command) -> None:
    admin.execute_command("ACL", "SETUSER", "bot", "on", ">secret", *ALL)
    ran = command("doctor", "--url", f"redis://bot:secret2@127.0.0.1:{server.port}")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("Error: Redis: it refuses the user name or password")
    assert "secret" not in ran.err
