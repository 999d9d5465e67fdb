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
_BLANKS: Final = b"\t\n\r "
_PAIRS: Final = tuple(map(bytes, product(_BLANKS, repeat=2)))
_DIGITS: Final = dict(zip("0123456789abcdef", _PAIRS, strict=True))
_TO_BLANKS: Final = str.maketrans({digit: pair.decode() for digit, pair in _DIGITS.items()})
_TO_HEX: Final = {pair: digit for digit, pair in _DIGITS.items()}


def fresh() -> bytes:
    """A stamp that no document had before."""
    return _random.stamp().translate(_TO_BLANKS).encode()


def etag(document: bytes) -> str:
    """The stamp of a document in hex; for one that has none, the SHA-1 of its bytes."""
    if not length(document):
        return _codec.etag(document)
    ending = document[-_LENGTH:]
    pairs = (ending[index : index + 2] for index in range(0, _LENGTH, 2))
    return "".join(_TO_HEX[pair] for pair in pairs)


def as_stored(etag: str) -> str:
    """What a script compares with a document: its stamp or its SHA-1."""
    return etag.translate(_TO_BLANKS) if len(etag) == _LENGTH // 2 else etag


def length(document: bytes) -> int:
    """How many bytes of a document are its stamp: none, if it has none."""
    ending = document[-_LENGTH:]
    return _LENGTH if len(ending) == _LENGTH and not ending.strip(_BLANKS) else 0
