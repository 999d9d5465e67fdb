"""Stamps: the blanks at the end of a document show that we wrote it, and which version it is.

JSON may end in blanks, and any other program that rewrites the document ends it differently; the
Rust crate adds none. So a few bytes show a script whether a document is the one in our meta key,
however large it is. A claim or a touch also appends a stamp to a document of a Rust process.
"""

from __future__ import annotations

import re
from itertools import product
from typing import Final

from async_session_store import _codec, _random

_LENGTH: Final = 32  # bytes, for 64 bits
_NO_ETAG: Final = "-"
_BLANKS: Final = b"\t\n\r "
_QUADS: Final = tuple(map(bytes, product(_BLANKS, repeat=4)))  # for each byte its blanks
_HEX: Final = re.compile(r"[0-9a-f]{16}")
_SHA_1: Final = re.compile(r"[0-9a-f]{40}")
_TO_DIGITS: Final = bytes.maketrans(_BLANKS, b"0123")  # each blank is two bits


def fresh() -> bytes:
    """A stamp that no document had before."""
    return _blanks(_random.stamp())


def etag(document: bytes) -> str:
    """The stamp of a document in hex; for one that has none, the SHA-1 of its bytes."""
    if not length(document):
        return _codec.etag(document)
    return f"{int(document[-_LENGTH:].translate(_TO_DIGITS), 4):016x}"


def _blanks(stamp: bytes) -> bytes:
    return b"".join([_QUADS[byte] for byte in stamp])


def as_stored(etag: str) -> bytes | str:
    """Return what a script compares with a document: a stamp, a SHA-1, or what never matches."""
    if _HEX.fullmatch(etag):
        return _blanks(bytes.fromhex(etag))
    return etag if _SHA_1.fullmatch(etag) else _NO_ETAG


def length(document: bytes) -> int:
    """How many bytes of a document are its stamp: none, if it has none."""
    ending = document[-_LENGTH:]
    return _LENGTH if len(ending) == _LENGTH and not ending.strip(_BLANKS) else 0
