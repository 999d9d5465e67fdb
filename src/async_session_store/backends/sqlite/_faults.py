"""Translation of the errors of SQLite into those of the library."""

from __future__ import annotations

import sqlite3
from typing import Final

from async_session_store.errors import StoreUnavailableError

# SQLite's own texts, which are the same in all versions. Error names need Python 3.11.
_ADVICE: Final = {
    "locked": "another process held the database for busy_timeout; nothing was written",
    "full": "the disk is full; nothing was written",
    "readonly": "the database file or its folder is read-only",
    "unable to open": (
        "the database file cannot be opened; check that its folder exists and is writable"
    ),
    "not a database": (
        "the file at this path is not a SQLite database; give the path of another file"
    ),
    "malformed": "the database file is damaged; restore it from a back-up",
    "disk i/o error": "reading or writing the disk failed; whether a write was stored is unknown",
}


def unavailable(error: sqlite3.Error | OSError) -> StoreUnavailableError:
    """Return the library's error for an error of SQLite or of its file, which is its cause."""
    own = StoreUnavailableError(f"SQLite: {_advice(error)}")
    own.__cause__ = error
    return own


def is_locked(fault: sqlite3.OperationalError) -> bool:
    """Return whether another connection holds the lock. If so, nothing was done."""
    return "locked" in str(fault)


def _advice(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        return f"the database file cannot be opened: {error.strerror}"
    text = str(error).lower()
    for fragment, advice in _ADVICE.items():
        if fragment in text:
            return advice
    return f"SQLite failed with {type(error).__name__}"
