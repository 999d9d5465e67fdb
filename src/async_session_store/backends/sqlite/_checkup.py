"""The checks of a SQLite file for operators. They change nothing that is stored."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Final
from urllib.parse import quote

from async_session_store._findings import (
    Finding,
    ok,
    problem,
    refusal,
    size_text,
    unknown,
    warning,
)
from async_session_store.backends.sqlite._faults import unavailable
from async_session_store.backends.sqlite._place import (
    IN_MEMORY,
    NETWORK,
    Place,
    find_place,
    mounted_file_systems,
)
from async_session_store.backends.sqlite._schema import LATEST, check_sqlite, read_version
from async_session_store.backends.sqlite._stale_log import check_log
from async_session_store.errors import StoreUnavailableError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_LONG_LOG: Final = 16 * 1000 * 1000  # bytes; SQLite checkpoints at 4 MB
_MUCH_UNUSED: Final = 16 * 1000 * 1000  # bytes
_LITTLE_FREE: Final = 64 * 1000 * 1000  # bytes
_TOO_LITTLE_FREE: Final = 8 * 1000 * 1000  # bytes: the log and its next checkpoint
_LOG_TIMEOUT: Final = 0.2  # seconds, in which another process may be opening the file
_STEPS: Final = 10_000  # of SQLite's virtual machine, between two chances for Ctrl-C


def check_file(path: str, *, whole: bool) -> Iterator[Finding]:
    """Check the place, the permissions and the content of a file. It may be in use meanwhile.

    With ``whole``, also check each page, which reads the whole file.
    """
    yield _library()
    if path == IN_MEMORY:
        yield warning("file", "a private database in memory", "name a file: sqlite:///bot.db")
        return
    place = find_place(path)
    yield from _check_folder(place)
    if not os.path.exists(place.real):  # noqa: PTH110  # as in _place
        yield warning("file", "there is no file yet", "check the path; a bot creates it")
        return
    yield from _check_modes(place)
    yield _check_log_size(place)
    try:
        check_log(place, _LOG_TIMEOUT)
        yield from _check_content(place, whole=whole)
    except StoreUnavailableError as error:
        yield refusal("content", error)
    except sqlite3.Error as error:
        yield refusal("content", unavailable(error))


def _library() -> Finding:
    try:
        check_sqlite()
    except StoreUnavailableError as error:
        return refusal("version", error)
    return ok("version", f"SQLite {sqlite3.sqlite_version}")


# --- The place ------------------------------------------------------------------------------------


def _check_folder(place: Place) -> Iterator[Finding]:
    folder = os.path.dirname(place.real)  # noqa: PTH120  # as in _place
    if not os.path.isdir(folder):  # noqa: PTH112
        yield problem("folder", "it does not exist", "create it, or correct the path")
        return
    mode = os.stat(folder).st_mode  # noqa: PTH116
    if not _may(folder, os.W_OK | os.X_OK):
        yield problem(
            "folder",
            "this user may not write to it, and SQLite keeps its log there",
            "give the bot's user write access to the folder, not only to the file",
        )
    elif mode & _OTHERS_MAY_WRITE and not mode & stat.S_ISVTX:
        yield warning(
            "folder",
            f"mode {_mode_text(mode)}: other users may replace the file",
            f"chmod go-w {folder}",
        )
    else:
        yield ok("folder", f"mode {_mode_text(mode)}")
    yield _check_file_system(place)
    yield _check_free_space(folder, place)


def _check_file_system(place: Place) -> Finding:
    kind, is_mount = mounted_file_systems(place)
    if is_mount:
        return problem(
            "file system",
            "the file is a mount point of its own, so its log would stay outside",
            "mount the folder instead of the file",
        )
    if kind is None:
        return unknown("file system", "its kind cannot be read here", "make sure the disk is local")
    if kind in NETWORK:
        return problem(
            "file system",
            f"{kind}, a network file system: processes on several machines would damage the file",
            "keep the file on a local disk, or use Redis",
        )
    return ok("file system", kind)


def _check_free_space(folder: str, place: Place) -> Finding:
    free, needed = shutil.disk_usage(folder).free, _size(place.real)
    text = f"{size_text(free)} free"
    if free < _TOO_LITTLE_FREE:
        return problem("disk", text, "free some space: soon nothing can be written")
    if free < max(_LITTLE_FREE, needed):
        return warning("disk", text, "free some space: compact needs as much as the file takes")
    return ok("disk", text)


def _check_modes(place: Place) -> Iterator[Finding]:
    status = os.stat(place.real)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        yield problem("file", "it is not a regular file", "give the path of a file")
        return
    text = f"mode {_mode_text(status.st_mode)}, {size_text(status.st_size)}"
    exposed = [path for path in (place.real, place.log, place.index) if _mode(path) & _OTHERS]
    if not _may(place.real, os.R_OK | os.W_OK):
        yield problem("file", f"{text}: this user may not read and write it", "correct its owner")
    elif not status.st_mode & stat.S_IWUSR:
        yield problem("file", f"{text}: its owner may not write to it", f"chmod u+w {place.real}")
    elif exposed:
        names = ", ".join(map(os.path.basename, exposed))
        yield warning(
            "file",
            f"{text}: other users of this machine may read what is stored ({names})",
            f"chmod go= {' '.join(exposed)}",
        )
    else:
        yield ok("file", text)


def _check_log_size(place: Place) -> Finding:
    size = _size(place.log)
    if size < _LONG_LOG:
        return ok("log", size_text(size))
    return warning(
        "log",
        f"{size_text(size)}: something that reads for long keeps SQLite from emptying it",
        "look for a back-up or a shell with an open transaction; then run compact",
    )


# --- The content ----------------------------------------------------------------------------------


def _check_content(place: Place, *, whole: bool) -> Iterator[Finding]:
    # A connection that only reads would leave a log and its index behind. If nobody has the file
    # open, neither is needed.
    how = "mode=ro" if os.path.exists(place.log) else "mode=ro&immutable=1"  # noqa: PTH110
    url = f"file:{quote(os.fsencode(place.real))}?{how}"
    with closing(sqlite3.connect(url, uri=True, isolation_level=None)) as connection:
        version = read_version(connection)
        if version == LATEST:
            yield ok("schema", f"version {version}")
        else:
            yield warning(
                "schema",
                f"version {version}; the next open migrates it to {LATEST}",
                "update all programs that use the file: older ones cannot open it after that",
            )
        yield _check_unused(connection)
        if whole:
            yield _check_pages(connection)


def _check_unused(connection: sqlite3.Connection) -> Finding:
    page, pages, unused = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    text = f"{size_text(unused * page)} of {size_text(pages * page)} are unused"
    if unused * page > _MUCH_UNUSED and unused > pages / 2:
        return warning("space", text, "run compact to give it back to the disk")
    return ok("space", text)


def _check_pages(connection: sqlite3.Connection) -> Finding:
    connection.set_progress_handler(lambda: None, _STEPS)  # so that Ctrl-C is handled
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from error
        raise
    if found == "ok":
        return ok("pages", "all are sound")
    return problem("pages", "the file is damaged", "restore it from a back-up")


def _may(path: str, access: int) -> bool:
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def _mode(path: str) -> int:
    with suppress(FileNotFoundError):
        return os.stat(path).st_mode  # noqa: PTH116
    return 0


def _mode_text(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def _size(path: str) -> int:
    with suppress(FileNotFoundError):
        return os.stat(path).st_size  # noqa: PTH116
    return 0
