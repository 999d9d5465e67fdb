"""Text that leaves the process must be Unicode: Python's may hold lone surrogates."""

from __future__ import annotations

from contextlib import suppress

from async_session_store.errors import InvalidInputError


def encoded(field: str, value: str) -> bytes:
    """A text in UTF-8."""
    with suppress(UnicodeEncodeError):  # which holds the value, so it must not be the context
        return value.encode()
    raise InvalidInputError(f"{field}: must be valid Unicode")
