"""Stamps: by the blanks that a document ends in, we know that we wrote it, and which one it is.

JSON may end in blanks, and whoever writes the document anew ends it otherwise: the Rust crate in
none. So a script tells by a few bytes whether a document is the one that our meta key knows,
however large it is.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from async_session_store import _codec, _random

_LENGTH: Final = 32  # bytes, for 64 bits
_PAIRS: Final = tuple(map("".join, product("\t\n\r ", repeat=2)))
_BLANKS: Final = dict(zip("0123456789abcdef", _PAIRS, strict=True))
_TO_BLANKS: Final = str.maketrans(_BLANKS)
_TO_HEX: Final = {blanks.encode(): digit for digit, blanks in _BLANKS.items()}


def fresh() -> str:
    """A stamp that no document had before."""
    return _random.stamp().translate(_TO_BLANKS)


def etag(document: bytes) -> str:
    """The stamp of a document in hex; for one that has none, the SHA-1 of its bytes."""
    if not is_stamped(document):
        return _codec.etag(document)
    ending = document[-_LENGTH:]
    pairs = (ending[index : index + 2] for index in range(0, _LENGTH, 2))
    return "".join(_TO_HEX[pair] for pair in pairs)


def as_stored(etag: str) -> str:
    """What a script compares with a document: its stamp or its SHA-1."""
    return etag.translate(_TO_BLANKS) if len(etag) == _LENGTH // 2 else etag


def size(document: bytes) -> int:
    """The size of a document less its stamp, in bytes."""
    return len(document) - (_LENGTH if is_stamped(document) else 0)


def is_stamped(document: bytes) -> bool:
    ending = document[-_LENGTH:]
    return len(ending) == _LENGTH and not ending.strip(b"\t\n\r ")
