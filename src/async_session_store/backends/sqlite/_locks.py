"""Locks on SQLite's own descriptors that survive when POSIX drops SQLite's own locks.

SQLite's locks belong to the process. POSIX drops all of them as soon as the process closes any
descriptor of the file, as even a program that merely reads the file does. Another process then
believes that it is the last user of the database, and deletes the WAL while this one still writes
to it. Locks of an open file description last until SQLite closes its descriptor. They also keep the
real last user from checkpointing and deleting the WAL on close, so a clean close releases them
first.

Only Linux has such locks. Elsewhere these functions find no descriptors and no locks.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

if sys.platform == "linux":
    import fcntl

_DESCRIPTORS: Final = "/proc/self/fd"
_FLOCK: Final = Struct("hhqqi4x")
_PENDING_BYTE: Final = 0x40000000
_SHARED: Final = (_PENDING_BYTE + 2, 510)  # everyone who has the database open shares these bytes
_IN_USE: Final = (128, 1)  # of the index: everyone who uses it shares this byte
_CHECKPOINTER: Final = (121, 1)  # of the index


class Identity(NamedTuple):
    """The identity of a file, whatever its path."""

    device: int
    inode: int


@lru_cache(1)
def are_supported() -> bool:
    """Return whether the system has locks of open file descriptions, and lists descriptors.

    Some sandboxes lack them, or have no ``/proc`` or ``/dev``.
    """
    if sys.platform != "linux":
        return False
    try:
        os.stat(_DESCRIPTORS)  # noqa: PTH116  # as below
        with open(os.devnull, "rb") as file:  # noqa: PTH123  # a device
            fcntl.fcntl(file, fcntl.F_OFD_GETLK, _flock("F_RDLCK", 0, 1))
    except OSError:
        return False
    return True


def identity(path: str) -> Identity | None:
    """Return the identity of the file that is at a path now, or None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  # Path.stat takes twice as long
    except FileNotFoundError:
        return None
    return Identity(status.st_dev, status.st_ino)


def descriptors(file: Identity) -> list[int]:
    """Return this process's descriptors of a file."""
    found: list[int] = []
    if are_supported():
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208  # numbers, not paths
            with suppress(OSError):  # another thread has closed it
                status = os.fstat(int(name))
                if (status.st_dev, status.st_ino) == file:
                    found.append(int(name))
    return found


def is_writable(descriptor: int) -> bool:
    """Return whether a descriptor is open for reading and writing, as SQLite's own are."""
    if sys.platform == "linux":
        return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    return False


def hold_database(descriptors: Iterable[int]) -> None:
    """Keep everyone, even SQLite in this process, from becoming the database's last user."""
    for descriptor in filter(is_writable, descriptors):
        _lock(descriptor, "F_RDLCK", *_SHARED)


def release_database(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        _lock(descriptor, "F_UNLCK", *_SHARED)


def hold_index(descriptors: Iterable[int]) -> None:
    """Keep everyone from treating the index of the WAL as abandoned."""
    for descriptor in filter(is_writable, descriptors):
        _lock(descriptor, "F_RDLCK", *_IN_USE)


def release_index(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        _lock(descriptor, "F_UNLCK", *_IN_USE)


@contextmanager
def excluding_others(descriptor: int) -> Generator[None, None, None]:
    """Keep others from opening the database. Raise ``OSError`` if one is just opening it."""
    _lock(descriptor, "F_WRLCK", _PENDING_BYTE, 1)
    try:
        yield
    finally:
        _lock(descriptor, "F_UNLCK", _PENDING_BYTE, 1)


def database_is_in_use(descriptor: int) -> bool:
    return _is_locked(descriptor, *_SHARED)


def index_is_in_use(descriptor: int) -> bool:
    return _is_locked(descriptor, *_IN_USE)


def checkpoint_is_running(index: int) -> bool:
    return _is_locked(index, *_CHECKPOINTER)


class Tripwire:
    """A lock like SQLite's own, on a byte that nobody else locks. It is dropped together with them.

    Args:
        descriptor: SQLite's descriptor of the file whose locks are watched.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._byte = 2**61 + secrets.randbelow(2**60)
        self._query = _flock("F_WRLCK", self._byte, 1) if sys.platform == "linux" else b""
        self.set()

    def set(self) -> None:
        if sys.platform == "linux":
            lock = _flock("F_RDLCK", self._byte, 1)
            fcntl.fcntl(self._descriptor, fcntl.F_SETLK, lock)

    def unset(self) -> None:
        if sys.platform == "linux":
            with suppress(OSError):  # the program has closed it, which dropped the lock
                fcntl.fcntl(self._descriptor, fcntl.F_SETLK, _flock("F_UNLCK", self._byte, 1))

    def is_intact(self) -> bool:
        if sys.platform == "linux":
            found = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, self._query)
            return int.from_bytes(found[:2], sys.byteorder) != fcntl.F_UNLCK
        return True


def _lock(descriptor: int, kind: str, start: int, length: int) -> None:
    if sys.platform == "linux":
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(kind, start, length))


def _is_locked(descriptor: int, start: int, length: int) -> bool:
    """Return whether anyone holds a lock, including this process with its own POSIX locks."""
    if sys.platform != "linux" or not are_supported():
        return False
    query = _flock("F_WRLCK", start, length)
    found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, query)
    return int(_FLOCK.unpack(found)[0]) != fcntl.F_UNLCK


def _flock(kind: str, start: int, length: int) -> bytes:
    return _FLOCK.pack(getattr(fcntl, kind), os.SEEK_SET, start, length, 0)
