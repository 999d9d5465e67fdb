"""Redis's faults in the words of the library."""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions

from async_session_store.errors import SessionStoreError, StoreTimeoutError, StoreUnavailableError

_UNKNOWN: Final = "whether the call was carried out is unknown; look before you repeat a write"
_NOTHING: Final = "nothing was written"

_OUT_OF_MEMORY: Final = "it is out of memory; raise maxmemory or free some"
_READ_ONLY: Final = "it is a read-only replica; connect to the primary"

_REFUSALS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.AuthenticationError, "it refuses the user name or password; check the URL"),
    (exceptions.AuthorizationError, "it refuses the user name or password; check the URL"),
    (exceptions.NoPermissionError, "its user may not run a command that the store needs"),
    (exceptions.OutOfMemoryError, _OUT_OF_MEMORY),
    (exceptions.ReadOnlyError, _READ_ONLY),
    (exceptions.MasterDownError, "it is a replica that has lost its primary"),
    (exceptions.BusyLoadingError, "it is loading its data; try again soon"),
    (exceptions.MaxConnectionsError, "the client's pool has no free connection; enlarge it"),
)
_REFUSALS_IN_SCRIPTS: Final = {
    "OOM": _OUT_OF_MEMORY,
    "READONLY": _READ_ONLY,
    "MISCONF": "it cannot save to its disk, and so refuses writes",
    "BUSY": "it is busy with a script that runs too long",
}


def refused(error: Exception) -> SessionStoreError:
    """The error for a command that the server answered with an error: it was not carried out."""
    advice = _advice(error) or f"it refused a command ({_code(error) or type(error).__name__})"
    return _because(StoreUnavailableError(f"Redis: {advice}; {_NOTHING}"), error)


def not_sent(error: Exception) -> SessionStoreError:
    """The error for a connection that could not be had."""
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        text = f"Redis: it did not accept a connection in time; {_NOTHING}"
        return _because(StoreTimeoutError(text), error)
    if _advice(error):
        return refused(error)
    text = f"Redis: it cannot be reached; check that it runs and that the URL is right; {_NOTHING}"
    return _because(StoreUnavailableError(text), error)


def lost(error: Exception) -> SessionStoreError:
    """The error for a call that was sent and not answered."""
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return _because(StoreTimeoutError(f"Redis: no answer in time; {_UNKNOWN}"), error)
    if _advice(error):
        return refused(error)
    return _because(StoreUnavailableError(f"Redis: the connection broke; {_UNKNOWN}"), error)


def _advice(error: Exception) -> str | None:
    for kind, advice in _REFUSALS:
        if isinstance(error, kind):
            return advice
    return _REFUSALS_IN_SCRIPTS.get(_code(error))


def _code(error: Exception) -> str:
    """The code in the text of an error reply; Redis 6.2 puts a script's error inside another."""
    nested = re.search(r"-([A-Z]{3,}) ", str(error))
    return nested[1] if nested else str(error).partition(" ")[0].rstrip(":")


def _because(error: SessionStoreError, cause: Exception) -> SessionStoreError:
    error.__cause__ = cause
    return error
