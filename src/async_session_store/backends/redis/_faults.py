"""Translation of the errors of Redis and redis-py into those of the library."""

from __future__ import annotations

import ssl
from typing import Final

from redis import exceptions

from async_session_store.errors import SessionStoreError, StoreTimeoutError, StoreUnavailableError

_UNKNOWN: Final = "whether the call was carried out is unknown; check before you repeat a write"
_NOTHING: Final = "nothing was written"

_OUT_OF_MEMORY: Final = "it is out of memory; raise maxmemory or free some"
_NO_PERMISSION: Final = "its user may not run a command that the store needs"
_READ_ONLY: Final = "it is a read-only replica; connect to the primary"
_PROTOCOL_ERROR: Final = "Protocol error: "
_TOO_LARGE: Final = "the call is larger than its proto-max-bulk-len; lower max_document_bytes"
_CERTIFICATE: Final = (
    "its TLS certificate was not accepted; check ssl_ca_certs, and that the certificate is valid "
    "and names the host of the URL"
)
_TLS: Final = (
    "the TLS handshake failed; check that the port speaks TLS, and your own certificate if the "
    "server asks for one"
)
_NO_FILE: Final = (
    "it cannot be reached: a file that the URL names (a socket, a certificate) is missing"
)
_UNREACHABLE: Final = "it cannot be reached; check that it runs and that the URL is right"

_OBSTACLES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLCertVerificationError, _CERTIFICATE),
    (ssl.SSLError, _TLS),
    (FileNotFoundError, _NO_FILE),
)
_REFUSALS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.AuthenticationError, "it refuses the user name or password; check the URL"),
    (exceptions.NoPermissionError, _NO_PERMISSION),
    (exceptions.OutOfMemoryError, _OUT_OF_MEMORY),
    (exceptions.ReadOnlyError, _READ_ONLY),
    (exceptions.MasterDownError, "it is a replica that has lost its primary"),
    (exceptions.BusyLoadingError, "it is loading its data; try again soon"),
    (exceptions.MaxConnectionsError, "the client's pool has no free connection; enlarge it"),
)
# Fragments of server errors for which redis-py has no class. An error in a script is quoted inside
# another error.
_FRAGMENTS: Final = {
    "DB index is out of range": "it has no database of that number; check the URL",
    "-OOM ": _OUT_OF_MEMORY,
    "-READONLY ": _READ_ONLY,
    "user executing the script": _NO_PERMISSION,
    "ACL failure in script": _NO_PERMISSION,
    "-NOPERM ": _NO_PERMISSION,
    "MISCONF": "it cannot save to its disk, and so refuses writes",
    "NOREPLICAS": "it has too few replicas, and so refuses writes",
    "BUSY ": "it is busy with a script that runs too long",
    _PROTOCOL_ERROR: _TOO_LARGE,
}


def refused(error: Exception) -> SessionStoreError:
    """Return the error for a command that the server refused, and so did not carry out."""
    advice = _advice(error) or "it refused a command; the cause of this error says why"
    return _because(StoreUnavailableError(f"Redis: {advice}; {_NOTHING}"), error)


def not_sent(error: Exception) -> SessionStoreError:
    """Return the error for a call that was not sent, as there was no connection."""
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        text = f"Redis: it did not accept a connection in time; {_NOTHING}"
        return _because(StoreTimeoutError(text), error)
    if isinstance(error, exceptions.ResponseError) or _advice(error):
        return refused(error)
    return _because(StoreUnavailableError(f"Redis: {_obstacle(error)}; {_NOTHING}"), error)


def lost(error: Exception) -> SessionStoreError:
    """Return the error for a call that was sent and not answered."""
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return _because(StoreTimeoutError(f"Redis: no answer in time; {_UNKNOWN}"), error)
    return _because(StoreUnavailableError(f"Redis: the connection broke; {_UNKNOWN}"), error)


def ends_connection(reply: exceptions.RedisError) -> bool:
    """Return whether nothing more should be sent on the connection after this reply.

    After a failover, the server is a replica, and only a new connection finds the new primary.
    After a protocol error, the server hangs up.
    """
    return (
        isinstance(reply, (exceptions.ReadOnlyError, exceptions.MasterDownError))
        or "-READONLY " in str(reply)
        or str(reply).startswith(_PROTOCOL_ERROR)
    )


def _obstacle(error: BaseException | None) -> str:
    """Return why connecting failed. redis-py leaves the reason in the context of its own error."""
    while error is not None:
        for kind, text in _OBSTACLES:
            if isinstance(error, kind):
                return text
        error = error.__context__
    return _UNREACHABLE


def _advice(error: Exception) -> str | None:
    for kind, advice in _REFUSALS:
        if isinstance(error, kind):
            return advice
    for fragment, advice in _FRAGMENTS.items():
        if fragment in str(error):
            return advice
    return None


def _because(error: SessionStoreError, cause: Exception) -> SessionStoreError:
    error.__cause__ = cause
    return error
