"""Stamps: blanks at the end of a document that show that we wrote it, and which version it is.

JSON may end in blanks. Any other program that rewrites the document ends it differently, and the
Rust crate adds none. So a script compares a few bytes to find out whether a document is the one in
our meta key, however large it is. A claim or a touch appends a stamp to a document that a Rust
process wrote.
"""

from __future__ import annotations

import re
from itertools import product
from typing import Final

from async_session_store import _codec, _random

_LENGTH: Final = 32  # bytes, for 64 bits
_NO_ETAG: Final = "-"
_BLANKS: Final = b"\t\n\r "
_QUADS: Final = tuple(map(bytes, product(_BLANKS, repeat=4)))  # the blanks that stand for each byte
_HEX: Final = re.compile(r"[0-9a-f]{16}")
_SHA_1: Final = re.compile(r"[0-9a-f]{40}")
_TO_DIGITS: Final = bytes.maketrans(_BLANKS, b"0123")  # each blank is two bits


def fresh() -> bytes:
    """Return a stamp that no other document has."""
    return _blanks(_random.stamp())


def etag(document: bytes) -> str:
    """Return the stamp of a document in hex, or the SHA-1 of its bytes if it has none."""
    if not length(document):
        return _codec.etag(document)
    return f"{int(document[-_LENGTH:].translate(_TO_DIGITS), 4):016x}"


def _blanks(stamp: bytes) -> bytes:
    return b"".join([_QUADS[byte] for byte in stamp])


def as_stored(etag: str) -> bytes | str:
    """Return an etag as scripts compare it: a stamp, a SHA-1, or a text that never matches."""
    if _HEX.fullmatch(etag):
        return _blanks(bytes.fromhex(etag))
    return etag if _SHA_1.fullmatch(etag) else _NO_ETAG


def length(document: bytes) -> int:
    """Return the length of a document's stamp in bytes, 0 if it has none."""
    ending = document[-_LENGTH:]
    return _LENGTH if len(ending) == _LENGTH and not ending.strip(_BLANKS) else 0
