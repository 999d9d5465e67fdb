"""The digest that stands for a handled delivery in the storage, whatever its id's length."""

from __future__ import annotations

import hashlib
from typing import Final

# 120 bits, so that with 10 million deliveries of one owner the chance of a false match is 1 in
# 10**22. A multiple of 3 bytes, so that Base64 needs no padding.
_DIGEST_BYTES: Final = 15


def delivery_digest(scope_hash: str, delivery_id: str) -> bytes:
    """Return the digest of a delivery at a scope.

    It is stored, so it must never change: SQLite files of older versions are migrated with it, and
    all processes that share a storage have to compute the same one. The hash of a scope has a
    fixed length, so joining it with the id is unambiguous.
    """
    text = f"{scope_hash}{delivery_id}".encode()
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()
