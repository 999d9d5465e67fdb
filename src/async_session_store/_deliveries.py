"""The digest that a store remembers of a handled delivery, however long its id."""

from __future__ import annotations

import hashlib
from typing import Final

# 120 bits, so that with 10 million deliveries of one owner the chance of a false match is 1 in
# 10**22. A multiple of 3 bytes, so that Base64 needs no padding.
_DIGEST_BYTES: Final = 15


def delivery_digest(scope_hash: str, delivery_id: str) -> bytes:
    """Return the digest that stands for a delivery at a scope.

    Storage keeps it, so it must never change: a file of an older version is migrated with it, and
    processes that share a storage have to agree. A scope's hash has a fixed length, so no two
    pairs give the same joined text.
    """
    text = f"{scope_hash}{delivery_id}".encode()
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()
