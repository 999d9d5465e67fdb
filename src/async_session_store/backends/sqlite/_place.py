"""The place of a database file: creating the file privately, and checking that it suits a WAL."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from async_session_store.errors import StoreUnavailableError

IN_MEMORY: Final = ":memory:"
_MODE: Final = stat.S_IRUSR | stat.S_IWUSR
_MOUNTS: Final = Path("/proc/self/mountinfo")
NETWORK: Final = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"),
    *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "vboxsf"),
}
_LOGGER: Final = logging.getLogger("async_session_store")


@dataclass(frozen=True, slots=True)
class Place:
    """The paths of a database file, and of the two files that SQLite keeps beside it."""

    path: str
    """The absolute path. Links in it are followed each time it is used."""
    real: str
    """The path to which the links led when the store was opened."""

    @property
    def log(self) -> str:
        return f"{self.real}-wal"

    @property
    def index(self) -> str:
        """The index of the WAL, which processes map as shared memory."""
        return f"{self.real}-shm"


class Mount(NamedTuple):
    """A line of the mount table."""

    point: str
    file_system: str


def find_place(path: str) -> Place:
    absolute = os.path.abspath(path)  # noqa: PTH100  # Path.absolute would not resolve ".."
    return Place(absolute, os.path.realpath(absolute))


def create_private(place: Place) -> None:
    """Create the file with the mode 0600 if it does not exist, even behind a dangling link.

    An existing file is not opened: closing it would drop the locks that other connections of this
    process hold on it.
    """
    try:
        descriptor = os.open(place.real, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE)
    except FileExistsError:
        return
    except FileNotFoundError as error:
        raise StoreUnavailableError(
            "SQLite: the folder of the database file does not exist; create it first"
        ) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"SQLite: the database file cannot be created: {error.strerror}"
        ) from error
    try:
        if sys.platform != "win32":
            os.fchmod(descriptor, _MODE)  # whatever the umask
    finally:
        os.close(descriptor)


def check_place(place: Place) -> None:
    """Refuse a place where SQLite cannot keep a WAL, and warn about a network file system.

    All processes must see the same WAL, which is in the same folder, and share its index in memory.
    """
    folder = os.path.dirname(place.real)  # noqa: PTH120  # as SQLite does
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise StoreUnavailableError(
            "SQLite: the folder of the database file cannot be written; SQLite keeps its log there"
        )
    file_system, is_mount = mounted_file_systems(place)
    if is_mount:
        raise StoreUnavailableError(
            "SQLite: the database file is a mount point of its own, so its log would stay outside, "
            "where nobody else sees it; mount its folder instead"
        )
    if file_system in NETWORK:
        _LOGGER.warning(
            "the SQLite file is on a network file system (%s), where processes on several machines "
            "would damage it; keep it on a local disk",
            file_system,
        )


def mounted_file_systems(place: Place) -> tuple[str | None, bool]:
    """Return the type of a file's file system, if known, and whether the file is a mount point."""
    mounts = tuple(parse_mounts(_mount_table()))
    is_mount = any(mount.point == place.real for mount in mounts)
    return file_system_of(place.real, mounts), is_mount


def _mount_table() -> str:
    if sys.platform != "linux":
        return ""
    with suppress(OSError):
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    return ""


def parse_mounts(table: str) -> Iterator[Mount]:
    """Yield the mounts of ``/proc/self/mountinfo``. A later one hides an earlier one."""
    for line in table.splitlines():
        about, _, source = line.partition(" - ")
        fields, (file_system, *_) = about.split(" "), source.split(" ")
        yield Mount(
            re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]), file_system
        )


def file_system_of(path: str, mounts: tuple[Mount, ...]) -> str | None:
    """Return the type of the file system that holds a path, or None if it is unknown."""
    covering = [mount for mount in mounts if path.startswith(f"{mount.point.rstrip('/')}/")]
    longest = max((len(mount.point) for mount in covering), default=0)
    names = [mount.file_system for mount in covering if len(mount.point) == longest]
    return names[-1] if names else None
