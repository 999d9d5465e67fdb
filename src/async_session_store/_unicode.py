"""Encoding text. A Python string may hold lone surrogates, which UTF-8 cannot encode."""

from __future__ import annotations

from contextlib import suppress

from async_session_store.errors import InvalidInputError


def encoded(field: str, value: str) -> bytes:
    """Return a text in UTF-8. Raises ``InvalidInputError``, which names the field."""
    with suppress(UnicodeEncodeError):  # it holds the value, so do not chain it
        return value.encode()
    raise InvalidInputError(f"{field}: must be valid Unicode")
