"""What is remembered of a delivery that was handled: a digest, however long its id is."""

from __future__ import annotations

import hashlib
from typing import Final

# 120 bits, so that among 10 million deliveries of one owner a false match has a chance of 1 in
# 10**22. A multiple of 3 bytes, so that Base64 needs no padding.
_DIGEST_BYTES: Final = 15


def delivery_digest(scope_hash: str, delivery_id: str) -> bytes:
    """Return the digest that stands for a delivery at a scope.

    Storage keeps it, so it must stay as it is: a file of an older version is migrated with it, and
    processes that share a storage have to agree. A scope's hash has a fixed length, so no two
    pairs are joined to the same text.
    """
    text = f"{scope_hash}{delivery_id}".encode()
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()
